"""A network that knows the truth, and tells it in a new random gauge for every window."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy.spatial.transform import Rotation

from page4d_ros.geometry.camera import ImageTransform, PinholeCamera
from page4d_ros.geometry.poses import R_BODY_OPTICAL, inverse, transform
from page4d_ros.geometry.sim3 import Sim3
from page4d_ros.perception.types import Frame, FrameSet, WindowEstimate
from page4d_ros.units import NS_PER_S

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from page4d_ros.perception.types import FrameKey

HALF = np.array([5.0, 4.0, 1.5])  # of the room, metres
CAMERA = PinholeCamera(64, 48, 55.0, 55.0, 31.5, 23.5)
FIT = ImageTransform(64, 48, 64, 48, 0, 0, 64, 48)
SCALES = 0.3, 3.0  # of the gauges
OBJECT_SPEED = 0.8  # m/s
OBJECT_TURN = 0.3  # rad/s
HONEST = 20


@dataclass(frozen=True)
class Noise:
    """Errors that are added to the simulated windows.

    Attributes:
        position: of every camera in every window, in metres; standard deviation, as all here.
        rotation: of the same, in rad.
        depth: of every pixel's logarithm of depth.
        scale: of the logarithm of a whole frame's depth.
        fooled: share of windows whose poses are those relative to a moving object, after the
            first `HONEST` frames.
    """

    position: float = 0.0
    rotation: float = 0.0
    depth: float = 0.0
    scale: float = 0.0
    fooled: float = 0.0


def walk(seconds: float) -> NDArray[np.float64]:
    """T_world_camera (4, 4) of a camera carried about a room of 10 x 8 x 3 metres."""
    t = seconds
    at = (2.5 * np.sin(0.21 * t), 2.0 * np.sin(0.33 * t + 0.6), 0.25 * np.sin(0.9 * t))
    turn = [0.8 * np.sin(0.17 * t) + 0.5 * t / 10, 0.1 * np.sin(0.8 * t), 0.05 * np.sin(1.1 * t)]
    return transform(Rotation.from_euler('zyx', turn).as_matrix() @ R_BODY_OPTICAL, at)


def stand(_seconds: float) -> NDArray[np.float64]:
    """T_world_camera (4, 4) of a camera that does not move."""
    return walk(0.0)


def room_depth(T_world_camera: NDArray) -> NDArray[np.float32]:
    """Depth (h, w) of the room's walls along z, metres."""
    rays = CAMERA.unproject(np.ones((CAMERA.height, CAMERA.width))) @ T_world_camera[:3, :3].T
    with np.errstate(divide='ignore'):
        reach = (np.copysign(HALF, rays) - T_world_camera[:3, 3]) / rays
    return reach.min(-1).astype(np.float32)


class Oracle:
    """The windows of a camera that is carried along a path.

    Args:
        pose: seconds -> T_world_camera (4, 4).
        size: frames per window.
        rate: frames per second.
        noise: what is wrong with the answers.
        seed: of the gauges and the noise.

    Attributes:
        count: frames so far.
        unit: of the last window's gauge per metre.
    """

    def __init__(
        self,
        pose: Callable[[float], NDArray],
        size: int,
        rate: float,
        noise: Noise | None = None,
        *,
        seed: int = 0,
    ) -> None:
        self.pose, self.size, self.rate = pose, size, rate
        self.noise = noise or Noise()
        self.count, self.unit = 0, 1.0
        self._rng = np.random.default_rng(seed)
        self._slots: list[tuple[Frame, NDArray]] = []

    def push(self, *, keep_first: bool = False) -> NDArray[np.float64]:
        """Take the next frame into the window, and return its T_world_camera."""
        seconds = self.count / self.rate
        frame, T = Frame(round(seconds * NS_PER_S), 'camera', _no_image), self.pose(seconds)
        if len(self._slots) == self.size:
            del self._slots[int(keep_first and self.size > 2)]
        self._slots.append((frame, T))
        self.count += 1
        return T

    def step(self, anchor: FrameKey | None = None) -> WindowEstimate:
        """Prediction for the window; depth for its newest frame, and from the anchor on."""
        frames, truth = zip(*self._slots, strict=True)
        keys = [frame.key for frame in frames]
        newest = len(keys) - keys.index(anchor) if anchor in keys else 1
        noise, rng = self.noise, self._rng
        seen = np.stack(truth)
        if rng.random() < noise.fooled and self.count > HONEST:
            seen = self._followed(seen, np.array([frame.stamp_ns for frame in frames]) / NS_PER_S)
        low, high = np.log(SCALES)
        turn, shift = Rotation.random(random_state=rng).as_matrix(), rng.normal(size=3)
        self.unit = float(np.exp(rng.uniform(low, high)))
        gauge = Sim3(self.unit, turn, shift)
        wobble = Rotation.from_rotvec(noise.rotation * rng.normal(size=(len(seen), 3)))
        at = seen[:, :3, 3] + noise.position * rng.normal(size=(len(seen), 3))
        poses = gauge.apply_to_pose(transform(seen[:, :3, :3] @ wobble.as_matrix(), at))
        depth = np.stack([room_depth(T) for T in truth[-newest:]]) * gauge.scale
        depth *= np.exp(noise.depth * rng.normal(size=depth.shape))
        depth *= np.exp(noise.scale * rng.normal(size=(newest, 1, 1)))
        return WindowEstimate(
            sets=tuple(map(FrameSet.of, frames)),
            transforms=(FIT,) * len(frames),
            images=(),
            T_gauge_camera=poses,
            cameras=(CAMERA,) * len(frames),
            depth=depth.astype(np.float32),
            confidence=np.full(depth.shape, 0.8, np.float32),
            dynamic=None,
        )

    def _followed(self, T_world_camera: NDArray, seconds: NDArray) -> NDArray[np.float64]:
        """Poses seen from an object that moves through the room while the window lasts."""
        ago = seconds - seconds[-1]
        direction = self._rng.normal(size=3)
        velocity = OBJECT_SPEED * direction / np.linalg.norm(direction)
        turn = OBJECT_TURN * self._rng.choice((-1.0, 1.0))
        R = Rotation.from_rotvec(turn * ago[:, None] * (0.0, 0.0, 1.0)).as_matrix()
        return inverse(transform(R, ago[:, None] * velocity)) @ T_world_camera


def _no_image() -> NDArray:
    raise NotImplementedError('the oracle does not look')
