"""Room that a simulated camera is carried through, for trials of odometry without images."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy.spatial.transform import Rotation

from page4d_ros.datasets.simulator import EXACT, FrameTruth, Noise, SimulatedEngine
from page4d_ros.geometry.camera import ImageTransform, PinholeCamera
from page4d_ros.geometry.poses import R_BODY_OPTICAL, transform
from page4d_ros.perception.types import Frame, FrameSet
from page4d_ros.units import NS_PER_S

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

HALF = np.array([5.0, 4.0, 1.5])  # of the room, metres
CAMERA = PinholeCamera(64, 48, 55.0, 55.0, 31.5, 23.5)
BLANK = np.zeros((CAMERA.height, CAMERA.width, 3), np.uint8)


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


class RoomWalk(SimulatedEngine):
    """Simulated network of a camera that is carried along a path through the room.

    Args:
        pose: seconds -> T_world_camera (4, 4).
        size: frames per window.
        rate: frames per second.
        noise: errors of the windows.
        seed: of the gauges and the noise.
    """

    def __init__(
        self,
        pose: Callable[[float], NDArray],
        size: int,
        rate: float,
        noise: Noise = EXACT,
        *,
        seed: int = 0,
    ) -> None:
        # patches of one pixel: the network's image is the camera's
        super().__init__(
            self._truth, size, noise=noise, seed=seed, resolution=CAMERA.width, patch_size=1
        )
        self.pose, self.rate = pose, rate
        self._frames = 0

    def advance(self, *, keep_first: bool = False) -> NDArray[np.float64]:
        """Push the next frame, and return its T_world_camera."""
        frame = Frame(round(self._seconds * NS_PER_S), 'camera', lambda: BLANK, CAMERA)
        self.push(FrameSet.of(frame), [BLANK], keep_first=keep_first)
        self._frames += 1
        return self.sets[-1].truth[0].T_world_camera

    @property
    def _seconds(self) -> float:
        """Time of the next frame; its stamp is rounded to nanoseconds."""
        return self._frames / self.rate

    def _truth(self, _frame: Frame, _fit: ImageTransform, _patch: int) -> FrameTruth:
        T = self.pose(self._seconds)
        return FrameTruth(T, CAMERA, room_depth(T))
