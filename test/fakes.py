"""Stand-ins whose answers are known: an engine that tells the truth, and plain messages."""

import time
from collections import deque
from types import SimpleNamespace

import numpy as np
import torch
from scipy.spatial.transform import Rotation

from page4d_ros.geometry.camera import ImageTransform, PinholeCamera
from page4d_ros.geometry.poses import transform
from page4d_ros.geometry.sim3 import Sim3
from page4d_ros.messages.factory import MessageFactory
from page4d_ros.model.preprocess import image_to_network
from page4d_ros.perception.types import Frame, FrameSet, WindowEstimate
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


def random_gauge(rng):
    R = Rotation.random(random_state=rng).as_matrix()
    return Sim3(float(rng.uniform(0.3, 3.0)), R, rng.normal(size=3))


class OracleEngine:
    """Engine that knows the truth and tells it in a new random gauge for every window.

    Args:
        size: frame sets per window.
        pose: seconds -> T_world_camera (4, 4) of view 0.
        depth: (T_world_camera, camera) -> (h, w).
        noise: standard deviation of position (m) and of log depth.
        delay: seconds that a step takes.
        seed: of the gauges and the noise; None keeps the true gauge.
        mounts: view -> T_view0_camera (4, 4) of the other views.
    """

    name = 'oracle'
    device = torch.device('cpu')
    trained = True
    purpose = ''
    caution = ''
    patch_size = 14

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
        self.mounts = {0: np.eye(4)} | (mounts or {})
        self.pose, self.depth, self.noise, self.delay = pose, depth, noise, delay
        self.rng = np.random.default_rng(seed)
        self.keep_gauge = seed is None
        self.resolution = resolution
        self.slots = deque(maxlen=size)
        self.dynamic_patch = None
        self.steps = 0

    def clear(self):
        self.slots.clear()

    def hide(self, motions):
        pass

    def free(self):
        self.clear()

    def push(self, frames, images, *, keep_first=False):
        height, width = images[0].shape[:2]
        fit = ImageTransform.crop(width, height, self.resolution)
        if self.slots and self.slots[-1][1] != fit:
            self.clear()
        if keep_first and len(self.slots) == self.slots.maxlen:
            del self.slots[1]
        self.slots.append((frames, fit, [image_to_network(i, fit, self.device) for i in images]))

    def step(self, anchor=None, *, gram=False):
        time.sleep(self.delay)
        self.steps += 1
        sets, fits, images = zip(*self.slots, strict=True)
        frames = [frame for each in sets for frame in each.frames]
        fit = fits[0]
        source = PinholeCamera(fit.source_width, fit.source_height, 50.0, 52.0, 31.0, 24.5)
        camera = fit.camera_to_network(frames[-1].camera or source)
        truth = [self.pose(f.stamp_ns / NS_PER_S) @ self.mounts[f.view] for f in frames]
        depth = np.stack([self.depth(T, camera) for T in truth])
        gauge = Sim3.identity() if self.keep_gauge else random_gauge(self.rng)
        poses = gauge.apply_to_pose(np.stack(truth))
        poses[:, :3, 3] += gauge.scale * self.noise * self.rng.normal(size=(len(truth), 3))
        depth = depth * gauge.scale * np.exp(self.noise * self.rng.normal(size=depth.shape))
        h, w = fit.height // 14, fit.width // 14
        dynamic = np.full((len(frames), h, w), 0.1, np.float32)
        if self.dynamic_patch:
            dynamic[:, self.dynamic_patch[0], self.dynamic_patch[1]] = 0.9
        return WindowEstimate(
            sets=sets,
            transforms=(fit,) * len(frames),
            images=tuple(image for each in images for image in each),
            T_gauge_camera=poses,
            cameras=(camera,) * len(frames),
            depth=depth.astype(np.float32),
            confidence=np.full(depth.shape, 0.8, np.float32),
            dynamic=dynamic,
            seconds={'encode': 0.0, 'forward': self.delay},
        )
