from dataclasses import replace

import numpy as np
import pytest
from scenario import SCALE, TruthEngine, rendered

from page4d_ros.config import Config, MaskConfig
from page4d_ros.datasets.simulator import Noise
from page4d_ros.geometry.poses import inverse, rotation_angle
from page4d_ros.perception.corners import Corners
from page4d_ros.perception.dynamics import Judged
from page4d_ros.perception.pipeline import Perception
from page4d_ros.perception.refinement import Refinement, refined
from page4d_ros.perception.types import Frame, FrameSet


def doubtful(frames):
    """Network that knows depth and motion; its poses are off."""
    return TruthEngine(frames, noise=Noise(position=0.05, rotation=0.01))


@pytest.fixture(scope='module')
def frames():
    return rendered(12)


def steps_off(frames, **values):
    """Errors of the motion from frame to frame: rad, and metres."""
    config = Config().with_values({k.replace('__', '.'): v for k, v in values.items()})
    perception = Perception(config, doubtful(frames))
    estimates = [
        perception.process(FrameSet.of(Frame(f.stamp_ns, 'camera', lambda f=f: f.rgb, f.camera)))
        for f in frames
    ]
    ours = np.stack([e.odometry.T_world_camera for e in estimates])
    ours[:, :3, 3] /= SCALE
    true = np.stack([f.T_world_camera for f in frames])
    steps, known = (inverse(T[:-1]) @ T[1:] for T in (ours, true))
    turn = rotation_angle(steps[:, :3, :3].swapaxes(1, 2) @ known[:, :3, :3])
    return np.median(turn), np.median(np.linalg.norm((steps - known)[:, :3, 3], axis=1))


def test_poses_of_rendered_frames_become_better(frames):
    coarse, fine = steps_off(frames, odometry__refine=False), steps_off(frames)
    assert fine[0] < coarse[0] / 2
    assert fine[1] < coarse[1] / 2


def window_of(frames, *, count=4, image=None):
    """A window, and corners followed through it."""
    engine, corners = doubtful(frames), Corners()
    for frame in frames[:count]:
        picture = frame.rgb if image is None else image
        taken = Frame(frame.stamp_ns, 'camera', lambda seen=picture: seen, frame.camera)
        engine.push(FrameSet.of(taken), [picture])
        corners.follow(taken.key, picture)
    return engine.step(), corners


def test_the_newest_pose_and_what_else_there_is_stay(frames):
    window, corners = window_of(frames)
    better = refined(window, corners)
    np.testing.assert_array_equal(better.T_gauge_camera[-1], window.T_gauge_camera[-1])
    assert not np.allclose(better.T_gauge_camera[:-1], window.T_gauge_camera[:-1], atol=1e-3)
    assert better.depth is window.depth


def test_without_corners_or_with_several_cameras_the_network_is_believed(frames):
    blank, corners = window_of(frames, image=np.full_like(frames[0].rgb, 127))
    assert corners.seen.shape[1] == 0
    assert refined(blank, corners) is blank
    window, corners = window_of(frames)
    rig = tuple(FrameSet.of(replace(f, view=i % 2)) for i, f in enumerate(window.frames))
    assert refined(replace(window, sets=rig), corners).T_gauge_camera is window.T_gauge_camera
    lost = replace(window, T_gauge_camera=np.full((4, 4, 4), np.nan))
    assert refined(lost, corners) is lost


def test_what_moves_is_followed_no_longer(frames):
    window, corners = window_of(frames)
    refinement = Refinement()
    refinement.corners = {0: corners}
    height, width = window.transforms[-1].height, window.transforms[-1].width
    left = np.arange(width // 2)[None, :] < width // 4 + np.zeros((height // 2, 1))
    thin = np.ones(left.shape, np.float32)
    depth = window.depth[-1]
    motion = Judged(thin, left, depth[::2, ::2], depth, MaskConfig())
    refinement.hide(0, motion, window.transforms[-1])
    assert corners.seen.shape[1] > 0
    assert corners.seen[-1, :, 0].min() > corners.fit.width / 2 - 2
