"""A GPU's rules, kept without a GPU: no mixing, no silent reading, no waiting inside a step."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from device_memory import BrokenRule, Device, DeviceTensor, watched

from page4d_ros.config import Config, ModelConfig
from page4d_ros.model.checkpoint import untrained_network
from page4d_ros.model.config import FourDVGGTConfig, NetworkConfig
from page4d_ros.model.variants import AS_TRAINED, MINED
from page4d_ros.perception.clip import Clip, Mined
from page4d_ros.perception.dynamics import Dynamics
from page4d_ros.perception.motion_classifier import DEFAULT
from page4d_ros.perception.pipeline import Perception
from page4d_ros.perception.types import Frame, FrameSet
from page4d_ros.perception.window_engine import WindowEngine

SIZE = 3
SETTINGS = ModelConfig(checkpoint='', device='cpu', resolution=56)
CPU = torch.device('cpu')


@pytest.mark.parametrize(
    'broken',
    [
        lambda ours, host: ours + host,
        lambda ours, host: torch.cat([ours, host]),
        lambda ours, host: torch.nn.functional.linear(ours, host[None]),
        lambda ours, _: ours.sum().item(),
        lambda ours, _: float(ours.sum()),
        lambda ours, _: ours.numpy(),
        lambda ours, _: np.asarray(ours),
        lambda ours, _: ours.tolist(),
        lambda ours, _: bool(ours.any()),
        lambda ours, _: 1 if (ours > 0).all() else 0,
        lambda ours, _: ours[ours > 0],
        lambda ours, _: ours[[0, 2]],
        lambda ours, _: ours.nonzero(),
        lambda ours, _: torch.where(ours > 0),
        lambda ours, _: range(ours.sum().long()),
    ],
)
def test_what_a_gpu_would_not_do_is_refused(broken):
    with Device():
        ours, host = torch.ones(4).to(CPU), torch.ones(4)
        with pytest.raises(BrokenRule):
            broken(ours, host)
        broken(host, host)


def test_what_a_gpu_would_do_is_done():
    with Device() as device:
        ours = torch.ones(4).to(CPU) * 2 + torch.arange(4, device=CPU)
        assert isinstance(ours, DeviceTensor)
        assert (ours + torch.tensor(1.0)).cpu().tolist() == [3, 4, 5, 6]  # numbers travel along
        for moved in (ours.cpu, lambda: torch.ones(4).to(CPU)):
            with device.computing(), pytest.raises(BrokenRule, match='in the middle of a step'):
                moved()
    assert (device.uploads, device.downloads) == (1, 1)


def network(*, mask=False, family=NetworkConfig):
    torch.manual_seed(0)
    return untrained_network(replace(family.tiny(), mask_enabled=mask))


def picture(index, size=(48, 64)):
    return np.random.default_rng(index).integers(0, 256, (*size, 3), np.uint8)


def windows(engine, count=6):
    """Growth, sliding, anchors, statistics and motion that is hidden."""
    out, anchor = [], None
    for index in range(count):
        frames = FrameSet.of(Frame(index, 'camera', None))
        engine.push(frames, [picture(index)], keep_first=index == 4)
        window = engine.step(anchor if index % 2 else None, gram=index > 1)
        mask = np.zeros((42, 56), np.uint8)
        mask[:20, :20] = 255
        engine.hide([Mined(mask / 255, mask)])
        anchor = window.frames[-1].key
        out.append(window)
    return out


@pytest.mark.parametrize('variant', [AS_TRAINED, MINED], ids=lambda v: v.name)
@pytest.mark.parametrize(
    'kind', [{}, {'mask': True}, {'family': FourDVGGTConfig}], ids=['plain', 'mask', '4D-VGGT']
)
@pytest.mark.parametrize('precision', ['fp32', 'bf16'])
def test_a_sliding_window(variant, kind, precision):
    settings = replace(SETTINGS, precision=precision)
    wanted = windows(WindowEngine(network(**kind), settings, SIZE, variant))
    weights = network(**kind)
    with Device() as device:
        engine = WindowEngine(weights, settings, SIZE, variant)
        assert all(isinstance(p.data, DeviceTensor) for p in weights.parameters())
        with watched(device, weights):
            engine.warm_up(gram=True)
            found = windows(engine)
        assert all(isinstance(image, DeviceTensor) for image in found[-1].images)
    for ours, theirs in zip(found, wanted, strict=True):
        for name in ('T_gauge_camera', 'depth', 'confidence', 'dynamic', 'gram'):
            one, other = getattr(ours, name), getattr(theirs, name)
            assert one is other or np.array_equal(one, other), name
            assert not isinstance(one, torch.Tensor)


def test_a_step_that_reads_is_found():
    """The check itself: a network that looks at its own values fails."""
    weights = network()
    with Device() as device:
        engine = WindowEngine(weights, SETTINGS, SIZE)
        run = weights.step
        weights.step = lambda tokens, *rest: run(tokens * float(tokens.amax() > 0), *rest)
        with watched(device, weights), pytest.raises(BrokenRule, match='reads the device'):
            windows(engine, 1)


def perception(weights, variant):
    config = Config().with_values({'model.checkpoint': 'untrained', 'model.resolution': 56})
    engine = WindowEngine(weights, SETTINGS, SIZE, variant)
    return Perception(config, engine, Dynamics(config.mask, DEFAULT))


def maps_of_a_clip(weights, variant, count=5):
    held = Clip(perception(weights, variant))
    for index in range(count):
        held.add(Frame(index * 10**8 + 1, 'camera', None), picture(index))
    views = [estimate.views[0] for estimate in held.estimates()]
    return [part for v in views for part in (v.maps.depth, v.maps.rgb, v.motion.mask)]


@pytest.mark.parametrize('variant', [AS_TRAINED, MINED], ids=lambda v: v.name)
def test_a_clip_and_its_maps(variant):
    if variant is MINED:
        pytest.importorskip('sklearn', reason='scikit-learn is not installed')
        pytest.importorskip('skimage', reason='scikit-image is not installed')
    wanted, weights = maps_of_a_clip(network(), variant), network()
    with Device() as device, watched(device, weights):
        found = maps_of_a_clip(weights, variant)
    for ours, theirs in zip(found, wanted, strict=True):
        assert np.array_equal(ours, theirs, equal_nan=ours.dtype == np.float32)


def test_the_whole_pipeline():
    """Frame by frame with the corners of odometry and what moves."""
    weights = network()
    with Device():
        running = perception(weights, AS_TRAINED)
        for index in range(5):
            image = picture(index)
            frame = Frame(index * 10**8 + 1, 'camera', lambda image=image: image)
            estimate = running.process(FrameSet.of(frame))
            assert estimate.views[0].maps.rgb.shape == (42, 56, 3)
