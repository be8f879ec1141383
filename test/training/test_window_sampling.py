"""Windows: exact under turns and zoom, drawn by seed and index alone, or refused."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
import training_cases as cases
from fakes import room_depth
from safetensors import safe_open
from safetensors.numpy import load_file, save_file

from page4d_ros.errors import TrainingError
from page4d_ros.geometry.camera import PinholeCamera
from page4d_ros.geometry.poses import inverse
from page4d_ros.model.checkpoint import load_network
from page4d_ros.model.pose_encoding import unproject
from page4d_ros.synthetic.render import centred_camera
from page4d_ros.training import window_sampling as module
from page4d_ros.training.recipe import AugmentationConfig, DataConfig
from page4d_ros.training.trainer import _one_line_errors
from page4d_ros.training.validation import Validation
from page4d_ros.training.window_sampling import (
    Shard,
    WindowDataset,
    choose_frames,
    find_shards,
    make_views,
)

CLEAR = AugmentationConfig(0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0)
CONFIG = DataConfig(
    width=56, height=42, fov_x_deg=50, turn_deg=6, shake_deg=1, zoom=0.1, augmentation=CLEAR
)


@pytest.fixture
def shard(files):
    return find_shards(files / 'train')[0]


def test_without_an_angle_views_have_the_lens_of_their_shard(shard):
    _, depth, _, K, _ = views(shard, None, replace(CONFIG, fov_x_deg=0))
    fov = 2 * np.degrees(np.arctan(56 / 2 / K[:, 0, 0]))
    np.testing.assert_allclose(fov, shard.fov_x_deg - 2 * CONFIG.turn_deg, rtol=1e-5)
    assert (depth > 0).all()


def views(shard, rng, config=CONFIG, indices=(3, 0, 7)):
    return make_views(shard, np.array(indices), config, 14, rng)[:5]


def plane_points(depth, extrinsics, K):
    arrays = (torch.from_numpy(x).double() for x in (depth, extrinsics, K))
    return unproject(*arrays).numpy()


@pytest.mark.parametrize('seed', [None, 0, 1, 2])
def test_turned_and_zoomed_views_are_exact(shard, seed):
    """Depth, pose, picture and mask of a view agree with the plane, and so with each other."""
    rng = None if seed is None else np.random.default_rng(seed)
    images, depth, extrinsics, K, motion = views(shard, rng)
    assert images.shape == (3, 3, 42, 56)
    known = depth > 0
    assert known.mean() > 0.98
    points = plane_points(depth, extrinsics, K)
    # float16 holds 6 m to 4 mm; the nearest source pixel is up to half of one away
    assert np.abs(points[known][:, 2] - 6.0).max() < 0.15
    assert np.median(np.abs(points[known][:, 2] - 6.0)) < 0.03
    exact = np.stack(
        [
            room_depth(inverse(np.vstack([E, [0, 0, 0, 1]])), PinholeCamera.from_matrix(k, 56, 42))
            for E, k in zip(extrinsics.astype(float), K, strict=True)
        ]
    )
    points = plane_points(exact, extrinsics, K)
    painted = np.abs(images.transpose(0, 2, 3, 1) - cases.colour(points))
    assert painted[known].max() < 0.01  # 8 bits and bilinear sampling of a linear picture
    moving = (points[..., 0] < 0).reshape(3, 3, 14, 4, 14).mean((2, 4))
    assert np.abs(motion - moving).max() < 0.15


def test_the_plain_view_is_the_middle_of_the_frame(shard):
    _, _, extrinsics, K, _ = views(shard, None, indices=(4,))
    T = cases.plane_poses(10, 0)[4]
    np.testing.assert_allclose(np.vstack([extrinsics[0], [0, 0, 0, 1]]), inverse(T), atol=1e-5)
    np.testing.assert_allclose(K[0], centred_camera(56, 42, 50).K, rtol=1e-6)
    assert 2 * np.degrees(np.arctan(56 / 2 / K[0, 0, 0])) == pytest.approx(50)


def test_a_mistaken_turn_would_show(shard, monkeypatch):
    right = module.rotate_view
    monkeypatch.setattr(module, 'rotate_view', lambda frame, R, *rest: right(frame, R.T, *rest))
    _, depth, extrinsics, K, _ = views(shard, np.random.default_rng(0))
    points = plane_points(depth, extrinsics, K)
    assert np.median(np.abs(points[depth > 0][:, 2] - 6.0)) > 0.1


def test_augmentation_changes_nothing_but_the_image(shard):
    plain = views(shard, np.random.default_rng(0))
    loud = views(
        shard, np.random.default_rng(0), replace(CONFIG, augmentation=AugmentationConfig())
    )
    assert np.abs(plain[0] - loud[0]).mean() > 0.01
    assert 0 <= loud[0].min() <= loud[0].max() <= 1
    for a, b in zip(plain[1:], loud[1:], strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize('size', range(1, 9))
def test_windows_stay_within_their_drive(size):
    rng = np.random.default_rng(size)
    for frames in range(8, 21):
        for ordered in (0.0, 1.0):
            config = DataConfig(max_stride=4, ordered=ordered)
            windows = [choose_frames(rng, frames, size, config) for _ in range(150)]
            assert {window.shape for window in windows} == {(size,)}
            assert {len(set(window.tolist())) for window in windows} == {size}
            assert 0 <= np.min(windows) <= np.max(windows) < frames
            if size > 1 and ordered:
                steps = {tuple(set(np.diff(window).tolist())) for window in windows}
                longest = min(4, (frames - 1) // (size - 1))
                assert steps == {(sign * n,) for n in range(1, longest + 1) for sign in (1, -1)}


def test_every_frame_can_begin_or_end_a_window():
    rng = np.random.default_rng(0)
    config = DataConfig(ordered=1.0, max_stride=2)
    seen = np.concatenate([choose_frames(rng, 8, 4, config) for _ in range(200)])
    assert set(seen.tolist()) == set(range(8))


def equal(a, b):
    return all(torch.equal(x, y) for x, y in zip(a, b, strict=True))


def test_a_batch_is_drawn_from_seed_and_index_alone(files, shard):
    config = replace(CONFIG, frames_per_batch=8, augmentation=AugmentationConfig())
    shards = find_shards(files / 'train')
    dataset = WindowDataset(shards, config, 14, seed=5, steps=10)
    third = dataset[3]
    [dataset[i] for i in (0, 7)]
    np.random.default_rng().random()
    torch.rand(3)
    again = WindowDataset(find_shards(files / 'train'), config, 14, seed=5, steps=99)
    assert equal(third, dataset[3])
    assert equal(third, again[3])
    other = WindowDataset(shards, config, 14, seed=6, steps=10)
    for different in (dataset[4], other[3]):
        same_shape = different.images.shape == third.images.shape
        assert not (same_shape and torch.equal(different.images, third.images))


def test_a_batch_has_as_many_views_whatever_its_windows(files):
    config = replace(CONFIG, frames_per_batch=8, window_sizes={1: 1, 3: 1, 4: 1, 9: 0})
    dataset = WindowDataset(find_shards(files / 'train'), config, 14, seed=0, steps=10)
    assert len(dataset) == 10
    shapes = {tuple(dataset[i].images.shape[:2]) for i in range(10)}
    assert shapes == {(8, 1), (2, 3), (2, 4)}


def test_mixed_windows_are_of_one_room(tmp_path, files):
    """All drives look at one plane, from which their views can be told to share a frame."""
    for seed in (0, 1):
        cases.plane_shard(tmp_path / f'{seed}.safetensors', seed=seed)
    cases.plane_shard(tmp_path / '2.safetensors', seed=2, room_seed=7)
    config = replace(CONFIG, frames_per_batch=64, window_sizes={4: 1})
    shards = find_shards(tmp_path)
    plain, mixed = (
        WindowDataset(shards, replace(config, mixed=share), 14, 0, 1)[0] for share in (0.0, 1.0)
    )
    assert plain.motion.isfinite().all()
    assert mixed.motion.isnan().all()
    points = unproject(mixed.depth, mixed.extrinsics, mixed.intrinsics)
    assert (points[mixed.depth > 0][:, 2] - 6).abs().median() < 0.03
    drives = [cases.plane_poses(10, seed)[:, :3, 3] for seed in range(3)]
    centres = -(mixed.extrinsics[..., :3].mT @ mixed.extrinsics[..., 3:]).squeeze(-1).numpy()
    found = [{nearest(drives, centre) for centre in window} for window in centres]
    assert {2} in found
    assert {0, 1} in found
    assert not any({2} < drive for drive in found)


def nearest(drives, centre):
    return int(np.argmin([np.linalg.norm(drive - centre, axis=1).min() for drive in drives]))


def test_recordings_are_never_mixed(tmp_path):
    for seed in (0, 1):
        cases.plane_shard(tmp_path / f'{seed}.safetensors', seed=seed, room_seed=-1)
    config = replace(CONFIG, frames_per_batch=16, window_sizes={4: 1}, mixed=1.0)
    assert WindowDataset(find_shards(tmp_path), config, 14, 0, 1)[0].motion.isfinite().all()


def test_windows_longer_than_a_drive_are_refused(files):
    config = replace(CONFIG, window_sizes={2: 1, 12: 0.1})
    with pytest.raises(TrainingError, match=r'0.safetensors: has 10 frames, and windows .* 12'):
        WindowDataset(find_shards(files / 'train'), config, 14, seed=0, steps=1)
    never = replace(CONFIG, window_sizes={2: 1, 12: 0})
    WindowDataset(find_shards(files / 'train'), never, 14, seed=0, steps=1)


def test_views_are_whole_patches(files):
    with pytest.raises(TrainingError, match=r'data.height: 45 is not a multiple .* 14; take 42'):
        WindowDataset(find_shards(files / 'train'), replace(CONFIG, height=45), 14, 0, 1)


def test_without_masks_motion_is_unknown(tmp_path):
    cases.plane_shard(tmp_path / 'a.safetensors', masked=False)
    shard = Shard.open(tmp_path / 'a.safetensors')
    assert not shard.masked
    *others, motion = views(shard, np.random.default_rng(0))
    assert motion.shape == (3, 3, 4)
    assert np.isnan(motion).all()
    cases.plane_shard(tmp_path / 'b.safetensors')
    *wanted, _ = views(Shard.open(tmp_path / 'b.safetensors'), np.random.default_rng(0))
    for a, b in zip(others, wanted, strict=True):
        np.testing.assert_array_equal(a, b)


def rewrite(path, change, facts=lambda facts: facts):
    with safe_open(path, 'np') as file:
        known = json.loads(file.metadata()['shard'])
    arrays = {name: array.copy() for name, array in load_file(path).items()}
    change(arrays)
    save_file(arrays, path, {'shard': json.dumps(facts(known))})


def without(name):
    return lambda facts: {key: value for key, value in facts.items() if key != name}


@pytest.mark.parametrize(
    'damage',
    [
        lambda path: path.write_bytes(path.read_bytes()[:-100]),
        lambda path: path.write_bytes(path.read_bytes()[:5]),
        lambda path: path.write_text('no shard at all, but long enough for a header'),
        lambda path: save_file({'rgb': np.zeros(3)}, path),
        lambda path: rewrite(path, lambda arrays: None, without('fx')),
        lambda path: rewrite(path, lambda arrays: None, without('room_seed')),
        lambda path: rewrite(path, lambda arrays: None, lambda facts: [facts]),
        lambda path: rewrite(path, lambda arrays: None, lambda facts: facts | {'fx': 'wide'}),
        lambda path: rewrite(path, lambda arrays: None, lambda facts: facts | {'fx': math.nan}),
        lambda path: rewrite(path, lambda arrays: None, lambda facts: facts | {'rate_hz': 0.0}),
        lambda path: rewrite(path, lambda arrays: arrays.pop('rgb')),
        lambda path: rewrite(path, lambda arrays: arrays.pop('depth')),
        lambda path: rewrite(path, lambda arrays: arrays.update(depth=arrays['depth'][:, :-1])),
        lambda path: rewrite(path, lambda arrays: arrays.update(mask=arrays['mask'][:5])),
        lambda path: rewrite(path, lambda arrays: arrays.update(T_world_camera=np.eye(4))),
    ],
)
def test_a_damaged_shard_is_one_clear_error(tmp_path, damage):
    path = cases.plane_shard(tmp_path / 'a.safetensors')
    Shard.open(path)
    damage(path)
    with pytest.raises(TrainingError, match='damaged') as caught:
        find_shards(tmp_path)
    assert str(caught.value).startswith(str(path))
    assert '\n' not in str(caught.value)


@pytest.mark.parametrize(
    ('name', 'bad'), [('T_world_camera', np.nan), ('T_world_camera', np.inf), ('depth', np.inf)]
)
def test_numbers_of_a_shard_that_are_not_finite_are_refused(tmp_path, name, bad):
    path = cases.plane_shard(tmp_path / 'a.safetensors')
    rewrite(path, lambda arrays: arrays[name][3].fill(bad))
    shard = Shard.open(path)
    assert len(shard.read(np.array([0, 1]))) == 2
    with pytest.raises(TrainingError, match='damaged shard; poses or depths are not finite'):
        shard.read(np.array([2, 3]))


@pytest.mark.parametrize('facts', [{'room_seed': math.inf}, {'fx': 10**400}, {'rate_hz': [1]}])
def test_facts_of_a_shard_that_are_no_numbers_are_refused(tmp_path, facts):
    path = cases.plane_shard(tmp_path / 'a.safetensors', **facts)
    with pytest.raises(TrainingError, match='not a shard of a drive, or damaged'):
        Shard.open(path)


def test_no_shards_are_refused(tmp_path):
    for folder in (tmp_path, tmp_path / 'missing'):
        with pytest.raises(TrainingError, match=r'no shards .* make some with `page4d shards`'):
            find_shards(folder)


@pytest.mark.parametrize('workers', [0, 1])
def test_a_shard_that_goes_away_is_one_clear_line(tmp_path, workers):
    path = cases.plane_shard(tmp_path / 'a.safetensors')
    dataset = WindowDataset(find_shards(tmp_path), CONFIG, 14, 0, 2)
    path.unlink()
    loader = torch.utils.data.DataLoader(dataset, batch_size=None, num_workers=workers)
    with pytest.raises(TrainingError, match='cannot be read any more') as caught:
        list(_one_line_errors(loader))
    assert str(caught.value).startswith(str(path))
    assert '\n' not in str(caught.value)


def test_validation_is_fixed_and_plain(files, watched):
    validation = Validation(replace(CONFIG, validation=watched), 14)
    one, two = list(validation.windows()), list(validation.windows())
    assert len(one) == 2
    assert all(equal(a, b) for a, b in zip(one, two, strict=True))
    assert one[0].images.shape == (1, 4, 3, 42, 56)
    network = load_network(files / 'micro.safetensors')
    first, second = validation.run(network), validation.run(network)
    assert first == second
    assert {'abs_rel', 'rotation_deg', 'translation', 'mask_ap'} <= first.keys()


def test_validation_takes_what_there_is(tmp_path, files, watched, recwarn):
    assert Validation(replace(CONFIG, validation=''), 14).shards == []
    for name, frames in (('a', 4), ('b', 5), ('c', 9)):
        cases.plane_shard(tmp_path / f'{name}.safetensors', frames=frames, masked=False)
    validation = Validation(replace(CONFIG, validation=str(tmp_path)), 14)
    found = validation.run(load_network(files / 'micro.safetensors'))
    assert np.isfinite(found['abs_rel'])
    assert np.isnan(found['moving'])
    assert not [w for w in recwarn if issubclass(w.category, RuntimeWarning)]
    cases.plane_shard(tmp_path / 'd.safetensors', frames=3)
    with pytest.raises(TrainingError, match='has 3 frames; validation takes 4'):
        Validation(replace(CONFIG, validation=str(tmp_path)), 14)
