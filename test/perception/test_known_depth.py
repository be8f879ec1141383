"""Depth and scale by points, where the network knows the place and where it is wrong."""

from functools import cache

import numpy as np
import pytest
from images import CAMERA, HIGH, room
from scipy.spatial.transform import Rotation

from page4d_ros.config import Config
from page4d_ros.datasets.simulator import FrameTruth, Noise, SimulatedEngine
from page4d_ros.geometry.poses import transform
from page4d_ros.perception.pipeline import Perception
from page4d_ros.perception.types import Frame, FrameSet
from page4d_ros.units import NS_PER_S

RATE = 30
PITCH = -0.35  # rad, down to the floor
RIGHT = Noise(position=0.005, rotation=0.002, depth=0.02)
WRONG = Noise(position=1.0, rotation=0.5)
SETTINGS = {
    'window.stride': 1,
    'depth.max_range': 0.0,
    'scale.camera_height': float(HIGH[1]),
}


def pose(k):
    s = k / RATE
    R = Rotation.from_euler('yx', [0.25 * np.sin(1.5 * s), PITCH]).as_matrix()
    return transform(R, (0.8 * np.sin(s), 0.0, 0.4 * s))


@cache
def seen(k):
    return room(pose(k))


class Run:
    """The pipeline in a textured room.

    Args:
        wrong: frame from which on the network says mirrored depths and poses that are noise.
        values: settings.
    """

    def __init__(self, wrong=0, **values):
        self.wrong, self.found = wrong, []
        self.engine = SimulatedEngine(self._truth, 8, resolution=112)
        values = {name.replace('__', '.'): value for name, value in values.items()}
        self.perception = Perception(Config().with_values(SETTINGS | values), self.engine)
        self.perception.scale.up = Rotation.from_euler('x', -PITCH).apply((0.0, -1.0, 0.0))

    def _truth(self, frame, fit, _patch):
        k = round(frame.stamp_ns * RATE / NS_PER_S)
        depth = seen(k)[1]
        if k >= self.wrong:
            depth = depth[:, ::-1] ** 1.3
        return FrameTruth(pose(k), fit.camera_to_network(CAMERA), fit.nearest(depth))

    def go(self, count):
        for k in range(count):
            image, depth = seen(k)
            stamp_ns = k * NS_PER_S // RATE
            self.engine.noise = WRONG if k >= self.wrong else RIGHT
            self.perception.scale.feed_depth(stamp_ns, depth.astype(np.float32))
            frame = Frame(stamp_ns, 'camera', lambda image=image: image, CAMERA)
            self.found.append(self.perception.process(FrameSet.of(frame)))
        return self

    def length(self, first, last):
        """Length of the way between two frames, over the true one."""
        ours, true = (
            np.diff([T[:3, 3] for T in poses], axis=0)
            for poses in (
                [each.odometry.T_world_camera for each in self.found[first:last]],
                [pose(k) for k in range(first, last)],
            )
        )
        return np.linalg.norm(ours, axis=1).sum() / np.linalg.norm(true, axis=1).sum()

    def depth_ratio(self, k):
        """Median of published over true depth."""
        estimate = self.found[k]
        ratio = estimate.maps.depth / estimate.transform.nearest(seen(k)[1])
        return np.nanmedian(ratio)


@pytest.mark.parametrize('mode', ['depth', 'camera_height'])
def test_a_wrong_network_does_not_spoil_the_metres(mode):
    run = Run(scale__mode=mode).go(45)
    assert run.found[-1].odometry.network_trust < 0.1
    assert run.length(15, 45) == pytest.approx(1.0, abs=0.05)
    assert run.depth_ratio(44) == pytest.approx(1.0, abs=0.05)


@pytest.mark.parametrize('mode', ['depth', 'camera_height'])
def test_metres_stay_when_trust_is_lost(mode):
    run = Run(wrong=30, scale__mode=mode).go(75)
    trust = [each.odometry.network_trust for each in run.found]
    assert trust[29] > 0.8
    assert trust[-1] < 0.1
    for first, last in ((0, 30), (30, 50), (50, 75)):
        assert run.length(first, last) == pytest.approx(1.0, abs=0.06)


def test_depth_is_computed_when_it_is_read_and_from_the_points_of_its_time():
    run = Run().go(20)
    early = run.found[15].maps.tied
    assert not {'depth', 'deviation', '_posterior'} & vars(early).keys()
    before = early.depth
    again = Run().go(16).found[15].maps.tied
    np.testing.assert_array_equal(before, again.depth)


def test_what_is_not_known_is_invalid():
    """By the deviation that the settings allow; nothing else is lost."""
    known = Run(wrong=100).go(20).found[-1].maps
    assert known.known.mean() > 0.99
    doubtful = Run(depth__max_error=0.05).go(20).found[-1].maps
    assert 0 < doubtful.known.mean() < 0.9
    assert (doubtful.tied.deviation[doubtful.known] <= 0.05).all()
    assert (doubtful.confidence < doubtful.said_confidence).all()
    everything = Run(depth__max_error=0.0).go(20).found[-1].maps
    assert everything.known.all()
    np.testing.assert_array_equal(everything.confidence, everything.said_confidence)


def test_nothing_is_invented_without_points():
    """A network that was found wrong looks at a wall without a corner."""
    run = Run(wrong=10).go(40)
    blank = np.full((CAMERA.height, CAMERA.width, 3), 200, np.uint8)
    frame = Frame(40 * NS_PER_S // RATE, 'camera', lambda: blank, CAMERA)
    estimate = run.perception.process(FrameSet.of(frame))
    assert not estimate.maps.known.any()
