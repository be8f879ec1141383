from dataclasses import replace

import numpy as np
import pytest
from fakes import CAMERA, OracleEngine, frame_set, pose_at, room_depth

from page4d_ros.config import Config
from page4d_ros.geometry.poses import inverse, rotation_angle, transform
from page4d_ros.perception.intake import Restart
from page4d_ros.perception.pipeline import Perception
from page4d_ros.units import NS_PER_S

STEP = NS_PER_S // 10
CHAIN = Config().with_values(
    {'odometry.estimator': 'network'}
)  # pictures here do not show the motion


def drive(engine, count, config=None, start=0):
    perception = Perception(config or CHAIN, engine)
    return perception, [perception.process(frame_set(start + i * STEP)) for i in range(count)]


def truth(i, start=0):
    T_world = [pose_at((start + j * STEP) / NS_PER_S) for j in (0, i)]
    return inverse(T_world[0]) @ T_world[1]


def test_random_gauges_chain_to_the_true_drive_up_to_scale():
    _, estimates = drive(OracleEngine(size=4), 200)
    last = estimates[-1].odometry.T_world_camera
    scale = np.linalg.norm(last[:3, 3]) / np.linalg.norm(truth(199)[:3, 3])
    for i in (1, 7, 50, 120, 199):
        T = estimates[i].odometry.T_world_camera
        expected = transform(truth(i)[:3, :3], scale * truth(i)[:3, 3])
        # float32 depth is the only thing inexact here
        np.testing.assert_allclose(T, expected, atol=1e-3 * scale * max(i, 10) / 10)
    assert not any(e.odometry.lost or e.odometry.metric for e in estimates)
    assert [e.odometry.restarted for e in estimates] == [True] + [False] * 199


def test_noise_does_not_make_it_jump():
    _, estimates = drive(OracleEngine(size=6, noise=0.01), 100)
    positions = np.array([e.odometry.T_world_camera[:3, 3] for e in estimates])
    steps = np.linalg.norm(np.diff(positions, axis=0), axis=1)
    assert steps.max() < 3 * np.median(steps)


def test_depth_and_trajectory_share_one_unit():
    """The plane that every frame sees stays where it is in the world."""
    _, estimates = drive(OracleEngine(size=4), 30)
    scale = estimates[0].odometry.scale
    planes = []
    for estimate in estimates:
        points = estimate.camera.unproject(estimate.maps.depth)[::6, ::6].reshape(-1, 3)
        T = pose_at(0) @ np.eye(4)
        world = points @ estimate.odometry.T_world_camera[:3, :3].T
        world = (world + estimate.odometry.T_world_camera[:3, 3]) @ T[:3, :3].T
        planes.append(np.nanmedian(world[:, 2]))
    assert scale > 0
    assert np.ptp(planes) < 2e-3 * np.mean(planes)


def test_twist_is_the_velocity_in_the_cameras_axes():
    config = CHAIN.with_values({'scale.mode': 'fixed', 'scale.factor': 1.0})
    _, estimates = drive(OracleEngine(size=4, seed=None), 20, config)
    i = 12
    ahead, behind = pose_at(i * STEP / NS_PER_S), pose_at((i - 1) * STEP / NS_PER_S)
    in_camera = ahead[:3, :3].T @ (ahead[:3, 3] - behind[:3, 3]) / 0.1
    np.testing.assert_allclose(estimates[i].odometry.twist[:3], in_camera, atol=1e-3)
    assert estimates[i].odometry.metric


def test_a_cleared_window_goes_on_from_the_last_pose():
    perception, before = drive(OracleEngine(size=4), 10)
    perception.restart(Restart.WINDOW)
    after = perception.process(frame_set(100 * STEP))
    assert after.odometry.restarted
    assert after.window_fill == 1
    np.testing.assert_allclose(
        after.odometry.T_world_camera, before[-1].odometry.T_world_camera, atol=1e-9
    )
    np.testing.assert_array_equal(after.odometry.twist, 0)


def test_a_reset_begins_at_identity():
    perception, _ = drive(OracleEngine(size=4), 10)
    perception.restart(Restart.POSE)
    np.testing.assert_array_equal(
        perception.process(frame_set(100 * STEP)).odometry.T_world_camera, np.eye(4)
    )


def test_another_image_size_restarts_the_window_and_keeps_the_pose():
    perception, before = drive(OracleEngine(size=4), 5)
    image = np.zeros((96, 96, 3), np.uint8)
    after = perception.process(frame_set(99 * STEP, image=image, camera=None))
    assert after.window_fill == 1
    assert after.maps.depth.shape == (56, 56)
    assert (
        rotation_angle(
            before[-1].odometry.T_world_camera[:3, :3].T @ after.odometry.T_world_camera[:3, :3]
        )
        < 1e-6
    )


def test_an_answer_that_is_not_finite_is_lost_and_recovered_from():
    broken = {7}

    def pose(seconds):
        T = pose_at(seconds).copy()
        if round(seconds * 10) in broken:
            T[0, 3] = np.nan
        return T

    class Forgiving(OracleEngine):
        """Drops a frame from the window once it has made a window useless."""

        def step(self, anchor=None, **kwargs):
            window = super().step(anchor, **kwargs)
            if round(window.frames[-1].stamp_ns / NS_PER_S * 10) in broken:
                self.sets.pop()
            return window

    config = CHAIN.with_values({'scale.mode': 'fixed', 'scale.factor': 1.0})
    _, estimates = drive(Forgiving(size=4, pose=pose, seed=None), 12, config)
    assert [e.odometry.lost for e in estimates] == [i in broken for i in range(12)]
    assert all(e.odometry.metric for e in estimates)
    # the windows around the lost frame share others: not a centimetre is lost
    np.testing.assert_allclose(estimates[11].odometry.T_world_camera, truth(11), atol=5e-3)
    assert not estimates[8].odometry.restarted


@pytest.mark.parametrize('mode', ['depth', 'odometry', 'camera_height'])
def test_metric_scale_is_found_and_frozen(mode):
    config = CHAIN.with_values(
        {
            'scale.mode': mode,
            'scale.camera_height': 1.2,
            'scale.window': 0.5,
            'model.resolution': 56,
        }
    )
    floor = 1.2
    down = transform(np.eye(3), np.zeros(3))

    def level(seconds):
        T = down.copy()
        T[:3, 3] = (0.3 * np.sin(seconds), 0.0, 0.4 * seconds)
        return T

    def depth(T, camera):
        rays = camera.unproject(np.ones((camera.height, camera.width)))
        with np.errstate(divide='ignore'):
            ground = np.where(rays[..., 1] > 0.02, floor / rays[..., 1], np.inf)
        return np.minimum(ground, 30.0)

    perception, states = Perception(config, OracleEngine(size=4, pose=level, depth=depth)), []
    for i in range(40):
        stamp = i * STEP
        if i < 30:
            perception.scale.feed_depth(stamp, depth(level(0), CAMERA))
            perception.scale.feed_position(stamp, level(stamp / NS_PER_S)[:3, 3])
        last = perception.process(frame_set(stamp))
        states.append(last.odometry.scale_state)
    assert last.odometry.metric
    assert states[20] == 'tracking'
    assert states[-1] == ('tracking' if mode == 'camera_height' else 'frozen')
    step = last.odometry.T_world_camera[:3, 3]
    moved = level(39 * STEP / NS_PER_S)[:3, 3]
    early = {'depth': 0.02, 'odometry': 0.12, 'camera_height': 0.03}[mode]
    assert abs(np.linalg.norm(step) / np.linalg.norm(moved) - 1) < early
    assert abs(np.nanmin(last.maps.depth) / depth(level(0), last.camera).min() - 1) < 0.03


def test_measurements_end_with_their_unit():
    """After a restart the window's unit is another one; old ratios must not outvote new ones."""
    config = CHAIN.with_values({'scale.mode': 'depth'})
    perception = Perception(config, OracleEngine(size=2, seed=None))

    def show(i, unit):
        perception.engine.depth = lambda T, camera: room_depth(T, camera) * unit
        stamp = i * STEP
        perception.scale.feed_depth(stamp, room_depth(pose_at(stamp / NS_PER_S), CAMERA))
        return perception.process(frame_set(stamp))

    before = [show(i, 1.0) for i in range(20)][-1]
    perception.restart(Restart.WINDOW)
    after = show(20, 2.0)
    assert before.odometry.scale == pytest.approx(1.0, abs=0.02)
    assert after.odometry.scale == pytest.approx(0.5, abs=0.02)


def test_readings_are_bounded_and_start_again_with_time():
    scale = Perception(Config(), OracleEngine()).scale
    for i in range(1000):
        scale.feed_position(i * STEP, (0, 0, i))
        scale.feed_depth(i * STEP, np.ones((480, 640), np.float32))
    assert len(scale._positions) == len(scale._depths) == 101
    assert scale._depths[0][1].shape == (60, 80)
    scale.feed_position(0, (0, 0, 0))
    assert len(scale._positions) == 1


def test_a_still_camera_keeps_its_pose_alive_without_filling_the_window():
    config = CHAIN.with_values({'window.min_motion': 0.01})
    perception = Perception(config, OracleEngine(size=4))
    image = np.zeros((48, 64, 3), np.uint8)
    moving = [perception.process(frame_set(i * STEP)) for i in range(3)]
    first = perception.process(frame_set(3 * STEP, image=image))
    still = perception.process(frame_set(4 * STEP, image=image))
    assert not any(e.still for e in (*moving, first))
    assert still.still
    assert still.frame.stamp_ns == 4 * STEP
    assert perception.engine.steps == 4
    np.testing.assert_array_equal(still.odometry.T_world_camera, first.odometry.T_world_camera)
    np.testing.assert_array_equal(still.odometry.twist, 0)


def test_without_a_source_the_scale_is_not_metric():
    config = CHAIN.with_values({'scale.mode': 'depth'})
    _, estimates = drive(OracleEngine(size=3), 5, config)
    assert not estimates[-1].odometry.metric


def test_the_state_of_the_scale_is_told():
    assert drive(OracleEngine(), 1)[1][0].odometry.scale_state == 'none'
    fixed = CHAIN.with_values({'scale.mode': 'fixed'})
    assert drive(OracleEngine(), 1, fixed)[1][0].odometry.scale_state == 'fixed'
    silent = CHAIN.with_values({'scale.mode': 'depth'})
    assert drive(OracleEngine(), 3, silent)[1][-1].odometry.scale_state == 'waiting'


def test_few_static_pixels_widen_the_covariance():
    engine = OracleEngine(size=4)
    engine.dynamic_patch = (slice(None), slice(0, 2))
    _, crowded = drive(engine, 5)
    _, empty = drive(OracleEngine(size=4), 5)
    ratio = crowded[-1].odometry.position_variance / empty[-1].odometry.position_variance
    assert ratio == pytest.approx(2.0, rel=0.05)


def test_a_reference_stays_while_it_is_seen():
    """Standing still keeps the first frame; walking on lets it go."""
    engine = OracleEngine(size=4, pose=lambda seconds: pose_at(max(seconds - 2, 0)))
    _, estimates = drive(engine, 20)
    assert estimates[-1].window_fill == 4
    assert engine.sets[0].frames.stamp_ns == 0
    _, _ = drive(engine, 60)
    assert engine.sets[0].frames.stamp_ns > 0


def test_views_are_compared_by_one_calibration():
    """The network's own intrinsics stay in the window beside the calibrated newest ones."""

    class Longer(OracleEngine):
        def step(self, anchor=None, **kwargs):
            window = super().step(anchor, **kwargs)
            own = [replace(c, fx=1.05 * c.fx, fy=1.05 * c.fy) for c in window.cameras]
            return replace(window, cameras=tuple(own))

    engine = Longer(size=4, pose=lambda _seconds: pose_at(0))
    drive(engine, 12)
    assert engine.sets[0].frames.stamp_ns == 0


def test_confident_pixels_that_all_move_leave_the_doubtful_ones():
    class Near(OracleEngine):
        def step(self, anchor=None, **kwargs):
            window = super().step(anchor, **kwargs)
            confidence = window.confidence.copy()
            confidence[:, : confidence.shape[1] // 2] = 0.1
            window.dynamic[:, window.dynamic.shape[1] // 2 :] = 0.9
            return replace(window, confidence=confidence)

    _, estimates = drive(Near(size=4), 5)
    assert not any(e.odometry.lost for e in estimates)


def test_a_silent_source_is_told_while_nothing_is_measured():
    config = CHAIN.with_values({'scale.mode': 'depth', 'scale.window': 0.5})
    engine = OracleEngine(size=4)
    perception = Perception(config, engine)
    for i in range(20):
        stamp = i * STEP
        if i < 5:
            perception.scale.feed_depth(stamp, room_depth(pose_at(stamp / NS_PER_S), CAMERA))
        else:
            engine.pose = lambda _seconds: np.full((4, 4), np.nan)
        last = perception.process(frame_set(stamp))
    assert last.odometry.lost
    assert last.odometry.scale_state == 'frozen'
