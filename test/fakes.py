"""Stand-ins with known outputs: a simulated network of a smooth drive, and plain messages."""

import time
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
from scipy.spatial.transform import Rotation

from page4d_ros.datasets.simulator import TRUE_GAUGE, FrameTruth, Noise, SimulatedEngine
from page4d_ros.geometry.camera import PinholeCamera
from page4d_ros.geometry.poses import transform
from page4d_ros.messages.factory import MessageFactory
from page4d_ros.perception.types import Frame, FrameSet
from page4d_ros.units import NS_PER_S

CAMERA = PinholeCamera(64, 48, 50.0, 52.0, 31.0, 24.5)


class PlainMessages(MessageFactory):
    """Messages without any ROS: namespaces that keep what they were given."""

    def __call__(self, kind, /, **fields):
        return SimpleNamespace(type_name=kind, **fields)

    def sequence(self, values):
        return np.ascontiguousarray(values)

    def fixed(self, values):
        return np.asarray(values)


def picture(stamp_ns, width=64, height=48):
    """An image (height, width, 3) that differs from stamp to stamp."""
    rng = np.random.default_rng(stamp_ns % 2**32)
    return rng.integers(0, 256, (height, width, 3), dtype=np.uint8)


def frame(stamp_ns, camera=CAMERA, frame_id='camera', image=None, view=0):
    taken = picture(stamp_ns) if image is None else image
    return Frame(int(stamp_ns), frame_id, lambda: taken, camera, view)


def frame_set(stamp_ns, views=(0,), **values):
    """Frames of some cameras at one time; of a single one unless said otherwise."""
    frames = (frame(stamp_ns, view=view, **values) for view in views)
    return FrameSet(int(stamp_ns), tuple(frames))


def pose_at(seconds):
    """A smooth handheld drive: T_world_camera at a time."""
    R = Rotation.from_euler('yxz', [0.3 * np.sin(seconds), 0.1 * np.cos(seconds), 0.02 * seconds])
    t = (0.5 * seconds, 0.1 * np.sin(2 * seconds), 0.3 * np.cos(seconds))
    return transform(R.as_matrix(), t)


def room_depth(T_world_camera, camera):
    """Depth (h, w) of a plane at z = 6 m in the world, seen from a pose."""
    rays = camera.unproject(np.ones((camera.height, camera.width)))
    R, t = T_world_camera[:3, :3], T_world_camera[:3, 3]
    return (6.0 - t[2]) / (rays @ R.T)[..., 2]


class OracleEngine(SimulatedEngine):
    """Simulated network in a world of functions, with what tests of the node need.

    It counts its steps, can take its time, and calls a chosen patch moving.

    Args:
        size: frame sets per window.
        pose: seconds -> T_world_camera (4, 4) of view 0.
        depth: (T_world_camera, camera) -> (h, w).
        noise: standard deviation of position (m) and of log depth.
        delay: seconds that a step takes.
        seed: of the gauges and the noise; None keeps the true gauge.
        mounts: view -> T_view0_camera (4, 4) of the other views.
    """

    def __init__(
        self,
        size=4,
        pose=pose_at,
        depth=room_depth,
        noise=0.0,
        delay=0.0,
        seed=0,
        resolution=56,
        mounts=None,
    ):
        super().__init__(
            self._truth,
            size,
            noise=Noise(position=noise, depth=noise),
            seed=seed or 0,
            gauge=TRUE_GAUGE if seed is None else None,
            resolution=resolution,
        )
        self.pose, self.depth, self.delay = pose, depth, delay
        self.mounts = {0: np.eye(4)} | (mounts or {})
        self.dynamic_patch = None
        self.steps = 0

    def step(self, anchor=None, *, gram=False):
        time.sleep(self.delay)
        self.steps += 1
        return super().step(anchor, gram=gram)

    def _truth(self, frame, fit, patch):
        source = replace(CAMERA, width=fit.source_width, height=fit.source_height)
        camera = fit.camera_to_network(frame.camera or source)
        T = self.pose(frame.stamp_ns / NS_PER_S) @ self.mounts[frame.view]
        moving = np.zeros((fit.height // patch, fit.width // patch))
        if self.dynamic_patch:
            moving[self.dynamic_patch] = 1.0
        return FrameTruth(T, camera, self.depth(T, camera), moving)
