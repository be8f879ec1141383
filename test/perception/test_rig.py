"""Known poses of cameras on a rig: the scale from them, and who does not sit where it should."""

import math
from types import SimpleNamespace

import numpy as np
import pytest
from fakes import OracleEngine, frame, frame_set, pose_at
from scipy.spatial.transform import Rotation

from page4d_ros.config import Config
from page4d_ros.errors import ConfigError
from page4d_ros.geometry.poses import R_BODY_OPTICAL, inverse, rotation_angle, transform
from page4d_ros.perception.pipeline import Perception
from page4d_ros.perception.types import FrameSet
from page4d_ros.units import NS_PER_S

STEP = NS_PER_S // 10
NAMES = ['front', 'left', 'right']
LEFT = transform(Rotation.from_euler('y', -0.6).as_matrix(), (-0.25, 0.05, -0.1))
RIGHT = transform(Rotation.from_euler('y', 0.6).as_matrix(), (0.25, 0.0, -0.15))
MOUNTS = {1: LEFT, 2: RIGHT}
FRONT_ON_BASE = transform(R_BODY_OPTICAL, (0.3, 0.0, 0.5))
SEEN = 0.01  # standard deviation of a predicted position in metres


def rig(views=3, noise=0.0, mode='rig', mounts=MOUNTS, seed=3, grid='joint', **values):
    settings = {
        'cameras': NAMES[:views],
        'model.grid': grid,
        'scale.mode': mode,
        'mask.source': 'head',
        'odometry.estimator': 'network',
    } | {k.replace('__', '.'): v for k, v in values.items()}
    engine = OracleEngine(seed=seed, noise=noise, mounts=mounts)
    return Perception(Config().with_values(settings), engine)


def mount(perception, wrong=None):
    """Tell the poses on the base; `wrong` is by how much those of some views are off."""
    for view, T in ({0: np.eye(4)} | perception.engine.mounts).items():
        off = (wrong or {}).get(view, np.eye(4))
        perception.rig.mount(view, FRONT_ON_BASE @ T @ off)


def drive(perception, steps, views=(0, 1, 2), begin=0):
    return [perception.process(frame_set(i * STEP, views)) for i in range(begin, begin + steps)]


def turned(degrees, axis='y'):
    return transform(Rotation.from_euler(axis, degrees, degrees=True).as_matrix(), np.zeros(3))


def moved(*metres):
    return transform(np.eye(3), metres)


@pytest.mark.parametrize('views', [2, 3])
def test_known_baselines_give_metres(views):
    perception = rig(views, noise=SEEN)
    mount(perception)
    estimates = drive(perception, 40, tuple(range(views)))
    last = estimates[-1].odometry
    assert last.metric
    assert last.scale_state == 'tracking'
    assert last.scale == pytest.approx(1 / perception.engine.unit, rel=0.02)
    way = np.linalg.norm((inverse(pose_at(1.9)) @ pose_at(3.9))[:3, 3])
    before = estimates[19].odometry.T_world_camera
    gone = np.linalg.norm((inverse(before) @ last.T_world_camera)[:3, 3])
    assert gone == pytest.approx(way, rel=0.03)


def test_without_known_poses_the_scale_waits_and_says_why():
    perception = rig()
    (*_, last) = drive(perception, 3)
    assert not last.odometry.metric
    assert last.odometry.scale_state == 'waiting'
    assert 'no poses' in perception.rig.reason
    mount(perception)
    (last,) = drive(perception, 1, begin=3)
    assert last.odometry.metric
    assert perception.rig.reason == ''


@pytest.mark.parametrize(
    ('baseline', 'said'), [(0.04, '1% does not measure'), (0.005, 'no baseline is longer')]
)
def test_baselines_that_are_too_small_are_refused_with_a_reason(baseline, said):
    perception = rig(2, mounts={1: moved(baseline, 0, 0)})
    mount(perception)
    (*_, last) = drive(perception, 3, (0, 1))
    assert not last.odometry.metric
    assert said in perception.rig.reason


def test_a_rig_needs_two_names_for_its_scale():
    with pytest.raises(ConfigError, match='two cameras'):
        Config().with_values({'scale.mode': 'rig', 'cameras': ['front']})


@pytest.mark.parametrize(
    ('view', 'off', 'angle', 'distance', 'mode'),
    [
        (0, turned(20), 20, 0.0, 'rig'),
        (1, turned(-20, 'x'), 20, 0.0, 'rig'),
        (2, moved(0, 0.1, 0), 0, 0.1, 'rig'),
        (0, moved(0, 0, 0.1), 0, 0.1, 'fixed'),
        (1, moved(0.1, 0, 0), 0, 0.1, 'fixed'),
    ],
    ids=['turned', 'tilted', 'lower', 'forward', 'aside'],
)
def test_a_wrong_extrinsic_is_named_within_3_seconds(view, off, angle, distance, mode):
    perception = rig(noise=SEEN / 2, mode=mode, seed=3 if mode == 'rig' else None)
    mount(perception, {view: off})
    drive(perception, 30)
    misfit = perception.rig.misfit
    assert misfit.cameras == (NAMES[view],)
    assert math.degrees(misfit.angle) == pytest.approx(angle, abs=2)
    if not angle:
        assert misfit.distance == pytest.approx(distance, abs=0.03)
    assert NAMES[view] in str(misfit)
    mount(perception)  # corrected while running
    drive(perception, 1, begin=30)
    assert perception.rig.misfit is None


def test_a_rough_metre_is_used_before_it_counts_as_known(monkeypatch):
    """Corners know the unit within 8 percent, then within 4, then hardly."""
    perception = rig(noise=0.0)  # tf knows nothing, so the network does not tell
    scale, follow = perception.scale, perception.rig.follow
    told = SimpleNamespace(several=True, known={}, unit=4.0, doubt=0.08)
    monkeypatch.setattr(perception.rig, 'follow', lambda _mounts: follow(told))
    monkeypatch.setattr(perception.rig, 'check', lambda *_: None)
    drive(perception, 2)
    assert (scale.factor, scale.metric, scale.state) == (0.25, False, 'waiting')
    told.unit = 2.0
    drive(perception, 1, begin=2)
    assert (scale.factor, scale.metric) == (0.5, False)
    told.doubt = 0.04
    drive(perception, 1, begin=3)
    assert (scale.factor, scale.metric) == (0.5, True)
    told.unit, told.doubt = 8.0, 0.08
    drive(perception, 1, begin=4)
    assert scale.factor == 0.5


def test_what_corners_hardly_know_is_no_metre(monkeypatch):
    perception = rig(noise=0.0)
    follow = perception.rig.follow
    told = SimpleNamespace(several=True, known={}, unit=4.0, doubt=0.12)
    monkeypatch.setattr(perception.rig, 'follow', lambda _mounts: follow(told))
    monkeypatch.setattr(perception.rig, 'check', lambda *_: None)
    drive(perception, 2)
    assert (perception.scale.factor, perception.scale.metric) == (1.0, False)


def test_the_scale_comes_from_the_cameras_that_agree():
    perception = rig(noise=SEEN / 2)
    mount(perception, {1: turned(20)})
    (*_, last) = drive(perception, 40)
    assert last.odometry.scale == pytest.approx(1 / perception.engine.unit, rel=0.02)


def test_of_two_cameras_nobody_can_tell_which_is_wrong():
    perception = rig(2, mode='fixed', seed=None)
    mount(perception, {1: turned(20)})
    drive(perception, 30, (0, 1))
    assert perception.rig.misfit.cameras == ('front', 'left')
    assert 'front or left' in str(perception.rig.misfit)


def test_what_no_single_camera_explains_is_said_of_all():
    perception = rig(mode='fixed', seed=None)
    mount(perception, {1: turned(20), 2: turned(30, 'x')})
    drive(perception, 20)
    misfit = perception.rig.misfit
    assert misfit.cameras == ('front', 'left', 'right')
    assert not misfit.explained
    assert 'front, left, right: predicted poses are off from tf' in str(misfit)


def test_cameras_that_sit_right_are_not_named():
    perception = rig(noise=SEEN)
    mount(perception)
    for i in range(60):
        drive(perception, 1, begin=i)
        assert perception.rig.misfit is None


def world_error(estimate, seconds):
    off = inverse(inverse(pose_at(0)) @ pose_at(seconds)) @ estimate.odometry.T_world_camera
    return float(rotation_angle(off[:3, :3])), float(np.linalg.norm(off[:3, 3]))


@pytest.mark.parametrize('estimator', ['network', 'both'])
@pytest.mark.parametrize(
    ('known', 'grid'), [(True, 'joint'), (False, 'joint'), (True, 'per_view')]
)
def test_the_pose_stays_that_of_the_first_camera_while_it_is_away(known, grid, estimator):
    perception = rig(mode='fixed', seed=None, grid=grid, odometry__estimator=estimator)
    if known:
        mount(perception)
    for i in range(40):
        views = (1, 2) if 10 <= i < 25 else (0, 1, 2)
        (estimate,) = drive(perception, 1, views, begin=i)
        assert max(world_error(estimate, i / 10)) < 0.01
        place = estimate.odometry.T_camera_reference
        np.testing.assert_allclose(place, np.eye(4) if 0 in views else LEFT, atol=0.01)


@pytest.mark.parametrize(
    ('known', 'grid'), [(True, 'joint'), (False, 'joint'), (True, 'per_view'), (False, 'per_view')]
)
def test_each_view_tells_where_it_is(known, grid):
    perception = rig(mode='fixed', seed=None, grid=grid)
    if known:
        mount(perception)
    for i in range(10):
        views = (1, 2) if known and i == 7 else (0, 1, 2)
        (estimate,) = drive(perception, 1, views, begin=i)
        for view in estimate.views:
            if not known and grid == 'per_view' and view.frame.view:
                assert view.T_world_camera is None
                continue
            true = (
                inverse(pose_at(0)) @ pose_at(i / 10) @ perception.engine.mounts[view.frame.view]
            )
            np.testing.assert_allclose(view.T_world_camera, true, atol=0.01)


def test_view_by_view_without_mounts_the_pose_is_lost_while_the_first_camera_is_away():
    perception = rig(mode='fixed', seed=None, grid='per_view')
    for i in range(20):
        views = (1, 2) if 10 <= i < 15 else (0, 1, 2)
        (estimate,) = drive(perception, 1, views, begin=i)
        assert estimate.odometry.lost == (0 not in views)
        assert len(estimate.views) == len(views)
        if i < 10:
            assert max(world_error(estimate, i / 10)) < 0.01


def test_view_by_view_the_first_camera_to_come_has_the_pose():
    perception = rig(mode='fixed', seed=None, grid='per_view')
    (estimate,) = drive(perception, 1, (1,))
    for i in range(1, 10):
        (estimate,) = drive(perception, 1, (0, 1, 2), begin=i)
        assert not estimate.odometry.lost
    moved_ = inverse(pose_at(0) @ LEFT) @ pose_at(0.9) @ LEFT
    gone = np.linalg.norm(estimate.odometry.T_world_camera[:3, 3])
    assert gone == pytest.approx(np.linalg.norm(moved_[:3, 3]), rel=0.1)


def test_a_first_camera_that_comes_back_after_a_restart_makes_no_leap():
    perception = rig(mode='fixed', seed=None)
    poses = []
    for i in range(30):
        views = (0, 1, 2) if i < 10 or i >= 20 else (1, 2)
        if i in {15, 20}:
            perception.engine.clear()
            perception.odometry.forget_window()
        (estimate,) = drive(perception, 1, views, begin=i)
        poses.append(estimate.odometry.T_world_camera[:3, 3])
    true = [(inverse(pose_at(0)) @ pose_at(i / 10))[:3, 3] for i in range(30)]
    steps, usual = (np.linalg.norm(np.diff(each, axis=0), axis=1) for each in (poses, true))
    assert (steps < usual + 0.02).all()


def test_frames_of_other_times_do_not_spoil_the_scale():
    """A camera that is 200 ms late, and one whose clock is 50 ms ahead."""
    perception = rig(2, seed=None, rig__offsets=[0.0, 0.05])
    mount(perception)
    for i in range(2, 30):
        stamp_ns = i * STEP - 170 * NS_PER_S // 1000
        late = frame(stamp_ns + 50 * NS_PER_S // 1000, view=1)
        taken, said = (pose_at(ns / NS_PER_S) for ns in (stamp_ns, late.stamp_ns))
        perception.engine.mounts[1] = inverse(said) @ taken @ LEFT  # by the camera's own clock
        estimate = perception.process(FrameSet(i * STEP, (frame(i * STEP), late)))
    assert estimate.odometry.metric
    assert estimate.odometry.scale == pytest.approx(1.0, rel=0.02)
