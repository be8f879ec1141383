"""Poses by corners and a network that knows depth and motion, while its poses are off."""

import numpy as np
import pytest
from scenario import SCALE, TruthEngine, rendered

from page4d_ros.config import Config, MaskConfig
from page4d_ros.datasets.simulator import EXACT, Noise
from page4d_ros.geometry.poses import inverse, rotation_angle
from page4d_ros.perception.dynamics import Judged
from page4d_ros.perception.intake import Restart
from page4d_ros.perception.pipeline import Perception
from page4d_ros.perception.types import NETWORK, NETWORK_AND_POINTS, NOTHING, Frame, FrameSet

OFF, BROKEN = Noise(position=0.05, rotation=0.01), Noise(position=np.nan)
BLIND = Config().with_values({'odometry.estimator': 'network'})


@pytest.fixture(scope='module')
def frames():
    return rendered(12)


def shaded(rgb):
    """An empty wall: grey from left to right, without a corner."""
    return np.zeros_like(rgb) + np.linspace(60, 200, rgb.shape[1]).astype(np.uint8)[:, None]


def run(frames, config=None, *, count=12, blank=False, noise=OFF):
    """The perception after some frames, and its estimates."""
    perception, estimates = Perception(config or Config(), TruthEngine(frames, noise=noise)), []
    for f in frames[:count]:
        image = shaded(f.rgb) if blank else f.rgb
        taken = Frame(f.stamp_ns, 'camera', lambda image=image: image, f.camera)
        estimates.append(perception.process(FrameSet.of(taken)))
    return perception, estimates


def steps_off(frames, estimates):
    """Errors of the motion from frame to frame: rad, and metres."""
    ours = np.stack([e.odometry.T_world_camera for e in estimates])
    ours[:, :3, 3] /= SCALE
    true = np.stack([f.T_world_camera for f in frames])
    steps, known = (inverse(T[:-1]) @ T[1:] for T in (ours, true))
    turn = rotation_angle(steps[:, :3, :3].swapaxes(1, 2) @ known[:, :3, :3])
    return np.median(turn), np.median(np.linalg.norm((steps - known)[:, :3, 3], axis=1))


def test_poses_of_rendered_frames_become_better(frames):
    coarse, fine = (steps_off(frames, run(frames, config)[1]) for config in (BLIND, None))
    assert fine[0] < coarse[0] / 2
    assert fine[1] < coarse[1] / 2


def test_the_newest_pose_and_what_else_there_is_stay(frames):
    (ours, estimates), (network, _) = run(frames, count=4), run(frames, BLIND, count=4)
    assert estimates[-1].odometry.relies_on == NETWORK_AND_POINTS
    better, window = ours.odometry.window, network.odometry.window
    np.testing.assert_array_equal(better.T_gauge_camera[-1], window.T_gauge_camera[-1])
    assert not np.allclose(better.T_gauge_camera[:-1], window.T_gauge_camera[:-1], atol=1e-3)
    np.testing.assert_array_equal(better.depth, window.depth)


def test_without_corners_the_network_is_believed(frames):
    both, blind = (run(frames, c, blank=True, noise=EXACT) for c in (None, BLIND))
    assert not len(both[0].odometry.sparse.tracks.ids)
    assert {e.odometry.relies_on for e in both[1]} == {NETWORK}
    T, expected = (each[0].odometry.window.T_gauge_camera for each in (both, blind))
    np.testing.assert_allclose(T, expected, atol=1e-6)
    T, expected = (each[1][-1].odometry.T_world_camera for each in (both, blind))
    np.testing.assert_allclose(T, expected, atol=1e-3)


def test_corners_carry_on_where_the_networks_poses_are_not_finite(frames):
    expected = run(frames, count=8, noise=EXACT)[1][-1].odometry
    perception, _ = run(frames, count=4, noise=EXACT)
    perception.engine.noise = BROKEN
    for f in frames[4:8]:
        found = perception.process(FrameSet.of(f.frame)).odometry
        assert not found.lost
    np.testing.assert_allclose(found.T_world_camera, expected.T_world_camera, atol=0.05 * SCALE)


def test_with_neither_the_pose_is_lost(frames):
    for config, blank in ((None, True), (BLIND, False)):
        found = [e.odometry for e in run(frames, config, count=4, blank=blank, noise=BROKEN)[1]]
        assert all(each.lost and each.relies_on == NOTHING for each in found)


def test_what_moves_is_followed_no_longer(frames):
    perception, _ = run(frames, count=4)
    tracks, window = perception.odometry.sparse.tracks, perception.odometry.window
    fit = window.transforms[-1]
    left = np.arange(fit.width // 2)[None, :] < fit.width // 4 + np.zeros((fit.height // 2, 1))
    thin, depth = np.ones(left.shape, np.float32), window.depth[-1]
    motion = Judged(thin, left, depth[::2, ::2], depth, MaskConfig())
    perception.odometry.hide(motion, fit, 0)
    assert len(tracks.ids) > 0
    assert tracks.source[:, 0].min() > frames[0].camera.width / 2 - 2


def test_a_cleared_window_has_no_corners(frames):
    perception, _ = run(frames, count=2)
    assert len(perception.odometry.sparse.tracks.ids)
    perception.restart(Restart.WINDOW)
    assert not len(perception.odometry.sparse.tracks.ids)
    assert not perception.odometry.sparse.tracks.sees
