"""Frame sets on their way through the perception: several cameras, and one as the set of one."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from fakes import CAMERA, OracleEngine, frame, frame_set, picture, pose_at
from scipy.spatial.transform import Rotation

from page4d_ros.config import Config
from page4d_ros.errors import FrameError
from page4d_ros.geometry.camera import ImageTransform
from page4d_ros.geometry.poses import inverse, transform
from page4d_ros.perception.pipeline import Perception
from page4d_ros.perception.types import Frame, FrameKey, FrameSet, WindowEstimate
from page4d_ros.units import NS_PER_S

STEP = NS_PER_S // 10
BESIDE = transform(Rotation.from_euler('y', 0.4).as_matrix(), (0.3, 0.0, 0.1))
RIG = {1: BESIDE}
SETTINGS = {'odometry.estimator': 'network', 'scale.mode': 'fixed', 'scale.factor': 1.0}


def config(**values):
    return Config().with_values(SETTINGS | {k.replace('__', '.'): v for k, v in values.items()})


def grid(*sets):
    """Window of such frame sets; every value tells the index of its frame."""
    count = sum(len(each.frames) for each in sets)
    index = np.arange(count, dtype=np.float32)
    maps = np.tile(index[:, None, None], (1, 4, 6))
    fit = ImageTransform.crop(6, 4, 6, 2)
    return WindowEstimate(
        sets=sets,
        transforms=(fit,) * count,
        images=tuple(torch.zeros(3, 4, 6) for _ in range(count)),
        T_gauge_camera=np.tile(np.eye(4), (count, 1, 1)),
        cameras=(CAMERA,) * count,
        depth=maps[1:],
        confidence=maps[1:],
        dynamic=maps[:, :2, :3],
    )


def test_the_frames_of_a_set_have_increasing_views():
    both = frame(1, view=0), frame(2, view=3)
    frames = FrameSet(1, both)
    assert frames.views == (0, 3)
    assert frames.keys == (FrameKey(1, 0), FrameKey(2, 3))  # stamps of their own
    for wrong in ((), both[::-1], (both[0], both[0])):
        with pytest.raises(ValueError, match='increasing views'):
            FrameSet(1, wrong)


def test_one_camera_is_the_set_of_one():
    one = frame(7, view=2)
    assert FrameSet.of(one).stamp_ns == 7
    assert FrameSet.of(one).frames == (one,)


def test_a_window_is_flat_and_may_miss_frames():
    window = grid(frame_set(1, (0, 1, 2)), frame_set(2, (1,)), frame_set(3, (1, 2)))
    assert [f.key for f in window.frames] == [(1, 0), (1, 1), (1, 2), (2, 1), (3, 1), (3, 2)]
    assert [window.frames[i].view for i in window.newest] == [1, 2]
    # counted from the end, an index holds for arrays of all frames and for those of the newest
    assert [window.depth[i][0, 0] for i in window.newest] == [4, 5]
    assert [window.dynamic[i][0, 0] for i in window.newest] == [4, 5]
    assert window.frames[window.reference].key == (3, 1)


def test_a_window_of_one_camera_ends_with_its_newest_frame():
    window = grid(frame_set(1), frame_set(2))
    assert list(window.newest) == [-1]
    assert window.reference == -1


def test_an_estimate_has_a_part_for_each_view():
    perception = Perception(config(), OracleEngine(seed=None, mounts=RIG))
    for i in range(6):
        estimate = perception.process(frame_set(i * STEP, (0, 1)))
    assert [view.frame.view for view in estimate.views] == [0, 1]
    first = estimate.views[0]
    for name in ('frame', 'camera', 'calibrated', 'transform', 'maps', 'motion'):
        assert getattr(estimate, name) is getattr(first, name)
    assert estimate.mask is first.mask
    assert estimate.probability is first.probability
    assert estimate.window_fill == 4  # sets, not frames
    # depth of each view is that of its own camera
    for view, mount in zip(estimate.views, (np.eye(4), BESIDE), strict=True):
        truth = perception.engine.depth(pose_at(0.5) @ mount, view.camera)
        np.testing.assert_allclose(view.maps.depth, truth, rtol=1e-3)


@pytest.mark.parametrize('seed', [None, 3])
def test_the_pose_is_that_of_the_reference_camera(seed):
    perception = Perception(config(), OracleEngine(seed=seed, mounts=RIG))
    poses = [
        perception.process(frame_set(i * STEP, (0, 1))).odometry.T_world_camera for i in range(12)
    ]
    true = inverse(pose_at(0)) @ pose_at(1.1)
    np.testing.assert_allclose(poses[-1][:3, :3], true[:3, :3], atol=1e-3)
    unit = np.linalg.norm(poses[-1][:3, 3]) / np.linalg.norm(true[:3, 3])
    np.testing.assert_allclose(poses[-1][:3, 3], unit * true[:3, 3], atol=2e-3)


def test_a_camera_may_be_missing_from_any_set():
    perception = Perception(config(), OracleEngine(seed=None, mounts=RIG))
    for i in range(12):
        views = {3: (0,), 4: (0,), 8: (0,)}.get(i, (0, 1))
        estimate = perception.process(frame_set(i * STEP, views))
        assert [view.frame.view for view in estimate.views] == list(views)
        assert not estimate.odometry.lost
    true = inverse(pose_at(0)) @ pose_at(1.1)
    np.testing.assert_allclose(estimate.odometry.T_world_camera, true, atol=5e-3)


def test_motion_is_judged_by_earlier_frames_of_the_same_view():
    """A view that nothing moves in finds nothing, whatever stands elsewhere."""
    perception = Perception(config(mask__source='geometry'), OracleEngine(seed=None, mounts=RIG))
    blank = np.full((48, 64, 3), 127, np.uint8)
    for i in range(5):
        frames = frame_set(i * STEP, (0, 1), image=blank)
        dark = replace(frames.frames[1], decode=lambda: blank // 4)
        estimate = perception.process(FrameSet(i * STEP, (frames.frames[0], dark)))
    assert not any(view.mask.any() for view in estimate.views)


def test_cameras_without_a_mount_sit_where_the_network_sees_them():
    """Corners say where the main one is; in the window the others keep their place beside it."""
    runs = []
    for estimator in ('both', 'network'):
        engine = OracleEngine(seed=1, noise=0.01, mounts=RIG)
        perception = Perception(config(odometry__estimator=estimator), engine)
        for i in range(6):
            perception.process(frame_set(i * STEP, (0, 1)))
        assert perception.odometry.sparse.tracks.there == [0] * (estimator == 'both')
        runs.append(perception.odometry.window.T_gauge_camera)
    ours, said = (inverse(T[-2]) @ T[-1] for T in runs)
    np.testing.assert_allclose(ours, said, atol=1e-9)


def test_a_set_is_still_only_if_all_of_it_is():
    perception = Perception(config(window__min_motion=0.05), OracleEngine(mounts=RIG))
    grey = np.full((48, 64, 3), 100, np.uint8)
    still = [perception.process(frame_set(i, (0, 1), image=grey)).still for i in (0, 1)]
    assert still == [False, True]
    frames = frame_set(2, (0, 1), image=grey)
    moved = FrameSet(2, (frames.frames[0], replace(frames.frames[1], decode=lambda: grey * 2)))
    estimate = perception.process(moved)
    assert not estimate.still
    assert not perception.process(frame_set(3, (0,), image=grey)).still  # a view has gone
    last = perception.process(frame_set(4, (0,), image=grey))
    assert last.still
    assert last.frame.stamp_ns == 4


def test_a_broken_image_changes_nothing():
    perception = Perception(config(), OracleEngine(mounts=RIG))
    perception.process(frame_set(0, (0, 1)))

    def fail():
        raise FrameError('cut off')

    broken = FrameSet(STEP, (frame(STEP), Frame(STEP, 'camera', fail, CAMERA, 1)))
    with pytest.raises(FrameError, match='cut off'):
        perception.process(broken)
    assert perception.process(frame_set(2 * STEP, (0, 1))).window_fill == 2


def test_the_index_of_a_single_camera_does_not_matter():
    """All state is kept by view: the third camera alone gives the numbers of the first alone."""
    runs = []
    for view in (0, 2):
        engine = OracleEngine(seed=1, noise=0.01, mounts={2: np.eye(4)})
        perception = Perception(Config(), engine)
        runs.append([perception.process(frame_set(i * STEP, (view,))) for i in range(8)])
    for a, b in zip(*runs, strict=True):
        np.testing.assert_array_equal(a.odometry.T_world_camera, b.odometry.T_world_camera)
        np.testing.assert_array_equal(a.maps.depth, b.maps.depth)
        np.testing.assert_array_equal(a.probability, b.probability)


def test_cameras_of_different_sizes_and_lenses_share_a_window():
    """Depth of each has its own camera, and the pose is as good as with equal ones."""
    perception = Perception(config(mask__source='geometry'), OracleEngine(seed=None, mounts=RIG))
    wide = replace(CAMERA, width=90, height=50, fx=40.0, fy=41.0, cx=44.0, cy=25.0)
    for i in range(8):
        second = frame(i * STEP, wide, view=1, image=picture(i, 90, 50))
        estimate = perception.process(FrameSet(i * STEP, (frame(i * STEP), second)))
    front, other = estimate.views
    assert front.maps.depth.shape == other.maps.depth.shape
    assert front.calibrated
    assert other.calibrated
    for view, mount in zip(estimate.views, (np.eye(4), BESIDE), strict=True):
        assert view.camera == view.transform.camera_to_network(view.frame.camera)
        truth = perception.engine.depth(pose_at(0.7) @ mount, view.camera)
        np.testing.assert_allclose(view.maps.depth, truth, rtol=1e-3)
    true = inverse(pose_at(0)) @ pose_at(0.7)
    np.testing.assert_allclose(estimate.odometry.T_world_camera, true, atol=5e-3)
