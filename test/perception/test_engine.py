"""The engine says what the published way of running the network says, and runs less."""

import copy
from dataclasses import replace

import numpy as np
import pytest
import torch
from engine_cases import LIMIT, SETTINGS, SIZE, differences, frame, network_of, pair, relative, run
from torch.utils._python_dispatch import TorchDispatchMode

from page4d_ros.errors import ConfigError, DeviceMemoryError
from page4d_ros.geometry.poses import inverse
from page4d_ros.model.checkpoint import untrained_network
from page4d_ros.model.config import FourDVGGTConfig, NetworkConfig
from page4d_ros.model.network import StepPlan
from page4d_ros.model.pose_encoding import decode_pose
from page4d_ros.model.reference import Reference
from page4d_ros.model.runtime import compiled
from page4d_ros.model.variants import MINED
from page4d_ros.perception import window_engine as engine_module
from page4d_ros.perception.clip import Mined
from page4d_ros.perception.types import Frame, FrameKey, FrameSet
from page4d_ros.perception.window_engine import WindowEngine

ROOM_IS_FULL = [
    torch.OutOfMemoryError('CUDA out of memory'),
    RuntimeError("[enforce fail at alloc_cpu.cpp:127] DefaultCPUAllocator: can't allocate memory"),
    MemoryError(),
]
LAYERS = [
    {},
    {'mask_layer': 0, 'masked_layers': (0, 1, 2, 3)},
    {'masked_layers': (1,), 'mask_layer': 1, 'depth': 5, 'dpt_taps': (0, 1, 2, 3)},
]


@pytest.mark.parametrize('fields', LAYERS)
@pytest.mark.parametrize('mask', [False, True])
def test_same_numbers_as_the_published_way(mask, fields):
    worst = run(*pair(mask=mask, **fields), float(mask))
    assert set(worst) == {'pose', 'depth', 'confidence', 'points', 'mask'}
    assert max(worst.values()) <= LIMIT, worst


def test_a_window_that_keeps_its_first_frame():
    engine, reference = pair(mask=True)
    for index in range(8):
        engine.push(*frame(index), keep_first=index < 6)
        window = engine.step()
        worst = differences(window, reference, 1.0)
        assert max(worst.values()) <= LIMIT, (index, worst)
    # 0 3 4 5 while it was kept, then 3 left because 0 did
    assert [f.stamp_ns for f in window.frames] == [4, 5, 6, 7]


@pytest.mark.parametrize('mask', [False, True])
def test_two_views_are_frames_of_a_window_of_twice_the_size(mask):
    network = network_of(mask=mask)
    rig, alone = WindowEngine(network, SETTINGS, 2), WindowEngine(network, SETTINGS, 4)
    for time in range(5):
        pair = []
        for view in range(2):
            (single,), (image,) = frame(2 * time + view)[0].frames, frame(2 * time + view)[1]
            single = replace(single, stamp_ns=time, view=view)
            alone.push(FrameSet.of(single), [image])
            pair.append((single, image))
        frames, images = zip(*pair, strict=True)
        rig.push(FrameSet(time, frames), images)
        anchor = FrameKey(time - 1, 0) if time % 2 else None
        ours, theirs = rig.step(anchor, gram=True), alone.step(anchor, gram=True)
        assert [f.key for f in ours.frames] == [f.key for f in theirs.frames]
        assert len(ours.depth) == len(theirs.depth) == (4 if time % 2 else 2)
        for name in ('T_gauge_camera', 'depth', 'confidence', 'dynamic', 'points'):
            assert relative(getattr(ours, name), getattr(theirs, name)) <= LIMIT, name
        assert [len(each.gram) for each in (ours, theirs)] == [2, 1]  # one map per newest frame
        assert relative(ours.gram[-1], theirs.gram[-1]) <= 1e-9
    assert [f.key for f in ours.frames] == [(3, 0), (3, 1), (4, 0), (4, 1)]


def test_the_first_set_may_be_kept_and_a_camera_may_be_missing():
    network = network_of(mask=True)
    engine, reference = WindowEngine(network, SETTINGS, 3), Reference(network)
    views = [(0, 1), (0,), (0, 1), (1,), (0, 1)]
    for time, present in enumerate(views):
        frames = tuple(Frame(time, 'camera', lambda: None, view=view) for view in present)
        images = [frame(10 * time + view)[1][0] for view in present]
        engine.push(FrameSet(time, frames), images, keep_first=True)
        window = engine.step()
        assert len(window.depth) == len(present)
        assert max(differences(window, reference, 1.0).values()) <= LIMIT
    assert [f.key for f in window.frames] == [(0, 0), (0, 1), (3, 1), (4, 0), (4, 1)]


def test_images_of_a_set_are_brought_to_the_size_of_the_first():
    engine, _ = pair(mask=False)
    frames = tuple(Frame(0, 'camera', lambda: None, view=view) for view in range(3))
    sizes = [(48, 64), (96, 100), (48, 64)]
    engine.push(FrameSet(0, frames), [np.zeros((*size, 3), np.uint8) for size in sizes])
    first, other, same = engine.step().transforms
    assert first == same
    assert (other.width, other.height) == (first.width, first.height)
    assert (other.source_width, other.source_height) == (100, 96)
    # the same scale both ways, and the middle of the image
    assert other.scale_x == pytest.approx(other.scale_y, rel=0.02)
    middle = other.to_network((49.5, 47.5))
    np.testing.assert_allclose(middle, ((other.width - 1) / 2, (other.height - 1) / 2), atol=0.51)
    # the size stays where the first camera misses; another size of one camera begins anew
    engine.push(FrameSet(1, frames[1:2]), [np.zeros((96, 100, 3), np.uint8)])
    assert [f.view for f in engine.step().frames] == [0, 1, 2, 1]
    engine.push(FrameSet(2, frames[1:2]), [np.zeros((96, 120, 3), np.uint8)])
    assert [f.view for f in engine.step().frames] == [1]


def test_a_resolution_that_is_no_multiple_of_the_patch():
    with pytest.raises(ConfigError, match=r'model\.resolution: 60 is not a multiple of 14'):
        WindowEngine(network_of(mask=False), replace(SETTINGS, resolution=60), SIZE)


def test_a_window_of_two_always_slides():
    network = network_of(mask=False)
    engine = WindowEngine(network, SETTINGS, 2)
    for index in range(4):
        engine.push(*frame(index), keep_first=True)
    assert [f.stamp_ns for f in engine.step().frames] == [2, 3]


def test_a_cleared_window_and_another_resolution_start_anew():
    engine, reference = pair(mask=True)
    run(engine, reference, 1.0, [1, 1, 1, 1, 1])
    engine.clear()
    assert max(run(engine, reference, 1.0, [1, 2, 3]).values()) <= LIMIT
    engine.push(*frame(50, size=(48, 64)))
    window = engine.step()
    assert len(window.frames) == 1
    assert max(differences(window, reference, 1.0).values()) <= LIMIT


def stale_first(engine):
    first = engine._first_tokens
    kept = []

    def stale(slot, grid):
        kept.append(first(slot, grid))
        return kept[0]

    engine._first_tokens = stale


def wrong_newest(engine):
    step = engine.network.step

    def one_off(tokens, *args):
        return step(torch.roll(tokens, 1, dims=1), *args)

    engine.network.step = one_off


def no_bias(engine):
    engine.network = engine.network.with_mask_in_attention(on=False)


@pytest.mark.parametrize(('spoil', 'name'), [
    (stale_first, 'pose'),
    (wrong_newest, 'depth'),
    (no_bias, 'pose'),
])  # fmt: skip
def test_the_comparison_notices(spoil, name):
    """Three mistakes that an engine could make are far above the limit."""
    engine, reference = pair(mask=True)
    spoil(engine)
    assert run(engine, reference, 1.0)[name] > 1e6 * LIMIT


def test_each_frame_is_encoded_once_and_old_frames_get_no_depth():
    engine, _ = pair(mask=False)
    network, seen = engine.network, {'encoder': 0, 'depth': 0, 'entered': 0}

    def count(name):
        return lambda _, args: seen.__setitem__(name, seen[name] + len(args[0]))

    network.aggregator.patch_embed.register_forward_pre_hook(count('encoder'))
    network.aggregator.frame_blocks[0].register_forward_pre_hook(count('entered'))
    network.depth_head.register_forward_pre_hook(
        lambda _, args: seen.__setitem__('depth', seen['depth'] + args[0][0].shape[1])
    )
    for index in range(10):
        engine.push(*frame(index))
        engine.step()
    assert seen['encoder'] == seen['depth'] == 10
    assert seen['entered'] == 9 + 7  # as one of the later frames, and as the first


class NoReading(TorchDispatchMode):
    """Fails where a value of a tensor becomes a Python number: a GPU would wait there."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        assert 'local_scalar' not in str(func)
        assert 'is_nonzero' not in str(func)
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize('mask', [False, True])
def test_no_value_is_read_inside_a_step(mask):
    engine, _ = pair(mask=mask)
    for index in range(6):
        engine.push(*frame(index))
        with NoReading():
            engine.step()
    with pytest.raises(AssertionError), NoReading():
        torch.ones(1).item()


def test_half_matrices_give_the_numbers_of_autocast():
    network = untrained_network(replace(NetworkConfig.tiny(), mask_enabled=True, point_head=True))
    plain = Reference(untrained_network(network.config))
    half = replace(SETTINGS, precision='bf16', point_head=True)
    engine = WindowEngine(network, half, SIZE)
    assert network.aggregator.frame_blocks[0].attn.qkv.weight.dtype is torch.bfloat16
    assert network.aggregator.frame_blocks[0].norm1.weight.dtype is torch.float32
    for index in range(SIZE + 2):
        engine.push(*frame(index))
        window = engine.step()
    images = torch.stack(window.images)
    with torch.autocast('cpu', torch.bfloat16):
        auto = plain(images, 1.0)
    exact = plain(images, 1.0)
    ours = relative(window.depth, exact.depth[0, -1:])
    published = relative(auto.depth[0, -1:], exact.depth[0, -1:])
    assert 0 < ours < 2 * published


def test_a_full_window_is_one_graph():
    network = network_of(mask=True)
    reference = Reference(network)
    engine = WindowEngine(network, replace(SETTINGS, compile=True), SIZE)
    engine._compiled = torch.compile(network.step, backend='eager', fullgraph=True)
    assert max(run(engine, reference, 1.0, [1] * 6).values()) <= LIMIT


def test_compiled_functions_give_results_of_their_own():
    double = compiled(lambda x: {'y': 2 * x + 1}, torch.device('cpu'))
    one, other = double(torch.zeros(3)), double(torch.ones(3))
    assert one['y'].tolist() == [1, 1, 1]
    assert other['y'].tolist() == [3, 3, 3]


@pytest.mark.parametrize('error', ROOM_IS_FULL)
def test_out_of_memory_names_settings_that_fit(monkeypatch, error):
    engine, _ = pair(mask=False)
    run(engine, Reference(engine.network), 0.0, [1, 1, 1])

    def full(*_):
        raise error

    engine.network.step = full
    two = engine.network.memory(2, (42, 56), 1).beside_weights - engine.cache_bytes()
    monkeypatch.setattr(engine_module, 'free_bytes', lambda _: two)
    wanted = (
        r'out of memory: a window of 3 frames of 56x42 .* set window.size 2 or model.resolution'
    )
    with pytest.raises(DeviceMemoryError, match=wanted):
        engine.step()
    monkeypatch.setattr(engine_module, 'free_bytes', lambda _: -1e9)
    engine.clear()
    engine.push(*frame(0))
    with pytest.raises(DeviceMemoryError, match=r'set model\.device cpu'):
        engine.step()


def test_warming_up_leaves_no_trace():
    engine, reference = pair(mask=True)
    engine.warm_up()
    assert max(run(engine, reference, 1.0, [1, 1]).values()) <= LIMIT


def test_a_point_head_that_is_not_there():
    with pytest.raises(ConfigError, match=r'model\.point_head: weights .* have no such head'):
        WindowEngine(untrained_network(), replace(SETTINGS, point_head=True), SIZE)


@pytest.mark.parametrize('family', [NetworkConfig, FourDVGGTConfig])
def test_what_moved_is_hidden_from_the_first_layers(family):
    """VGGT4D, causal: the masks of earlier frames, in one pass; the slow way says the same."""
    network = network_of(mask=False, family=family)
    engine = WindowEngine(copy.deepcopy(network), SETTINGS, SIZE, MINED)
    rng = np.random.default_rng(3)
    grid = (3, 4)
    masks = []
    for index in range(7):
        engine.push(*frame(index))
        window = engine.step()
        masks = [*masks, np.zeros(grid, bool)][-SIZE:]
        wanted, gram = slowly(network, torch.stack(window.images), masks, grid)
        T, _ = decode_pose(wanted.pose_enc[0], window.images[0].shape[-2:])
        assert relative(inverse(window.T_gauge_camera)[:, :3], T) < LIMIT
        assert relative(window.depth[-1], wanted.depth[0, -1]) < LIMIT
        assert relative(window.gram[0], gram) < 1e-9
        assert np.array_equal(window.dynamic[-1:], window.gram)
        assert np.array_equal(window.dynamic[:-1] > 0.5, np.stack(masks)[:-1])
        mask = np.zeros((42, 56), np.uint8)
        v, u = rng.integers(0, (42, 56))
        mask[v, u] = 255  # any pixel of a patch counts
        engine.hide([Mined(mask > 0, mask)])
        masks[-1] = np.zeros(grid, bool)
        masks[-1][v // 14, u // 14] = True


def slowly(network, images, masks, grid):
    """The whole window at once, with hidden patches, and the dynamic map of the newest frame."""
    frames = len(images)
    hidden = torch.from_numpy(np.stack(masks))[None]
    with torch.inference_mode():
        encoded = network.encode(images)[None]
        tokens = network.enter(encoded, grid, first=True, hidden=hidden)
        output = network.step(tokens, StepPlan(grid, frames, (frames - 1,)), hidden)
        return output, output.gram[0]


def test_a_mask_does_nothing_to_page4d():
    engine, reference = pair(mask=True)
    for index in range(3):
        engine.push(*frame(index))
        window = engine.step()
        everything = np.full((42, 56), 255, np.uint8)
        engine.hide([Mined(everything > 0, everything)])
    found = differences(window, reference, 1.0)
    assert max(found.values()) < LIMIT


def test_gram_statistics_do_not_change_the_answer():
    engine, reference = pair(mask=True)
    for index in range(3):
        engine.push(*frame(index))
        window = engine.step(gram=True)
    assert max(differences(window, reference, 1.0).values()) < LIMIT
    assert window.gram.shape == (1, 3, 4)
    assert window.gram.max() > 0.9
