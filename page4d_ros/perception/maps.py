"""Per-pixel results of one frame, as arrays on the host."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Protocol

import cv2
import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

    from page4d_ros.config import DepthConfig
    from page4d_ros.geometry.camera import PinholeCamera
    from page4d_ros.perception.depth_correction import TiedDepth


class Motion(Protocol):
    """Moving pixels of a frame.

    Attributes:
        probability: (h, w) float32 that a pixel moves.
        mask: (h, w) uint8, 0 static, 255 dynamic.
    """

    probability: NDArray[np.float32]
    mask: NDArray[np.uint8]


@dataclass(frozen=True, eq=False)
class Maps:
    """Depth, confidence, colour and points of a frame's pixels at the network's resolution.

    Each map is computed, or copied from the device, when it is first read.

    Attributes:
        tied: depth in units of the window's gauge, with its deviation.
        said_confidence: (h, w) in [0, 1), of the network.
        image: (3, h, w) RGB bytes, on the engine's device.
        camera: intrinsics for the size (h, w).
        motion: moving pixels of the frame.
        limits: range, confidence and deviation outside which a depth is invalid.
        scale: units of the trajectory's world (metres if the odometry is metric) per unit of the
            gauge.
        head_points: (h, w, 3) of the network's point head, in the gauge; None without one.
        T_camera_gauge: (4, 4) from the gauge to the camera's optical frame.
    """

    tied: TiedDepth
    said_confidence: NDArray[np.float32]
    image: Tensor
    camera: PinholeCamera
    motion: Motion
    limits: DepthConfig
    scale: float
    head_points: NDArray[np.float32] | None
    T_camera_gauge: NDArray[np.float64]

    @cached_property
    def depth(self) -> NDArray[np.float32]:
        """(h, w) along z, in metres if the odometry is metric; NaN where invalid."""
        depth = self.tied.depth * np.float32(self.scale)
        valid = depth > 0
        valid &= depth <= (self.limits.max_range or np.finfo(np.float32).max)
        valid &= self.confidence >= self.limits.min_confidence
        if self.limits.max_error:
            valid &= self.tied.deviation <= self.limits.max_error
        return cv2.copyTo(depth, valid.view(np.uint8), np.full_like(depth, np.nan))

    @cached_property
    def confidence(self) -> NDArray[np.float32]:
        """(h, w) in [0, 1): of the network, halved where the deviation is ``depth.max_error``."""
        if not self.limits.max_error:
            return self.said_confidence
        ratio = self.tied.deviation / np.float32(self.limits.max_error)
        return self.said_confidence / (1 + ratio * ratio)

    @cached_property
    def known(self) -> NDArray[np.bool_]:
        """(h, w), True where depth is valid."""
        return self.depth > 0

    @cached_property
    def rgb(self) -> NDArray[np.uint8]:
        """The network's image (h, w, 3)."""
        return cv2.merge(self._colours)

    @cached_property
    def xyz(self) -> tuple[NDArray[np.float32], ...]:
        """x, y and z (h, w) in the camera's optical frame, in the unit of depth.

        Taken from the point head if the network has one, otherwise depth back-projected through
        the camera, NaN where depth is invalid.
        """
        if self.head_points is not None:
            T = self.T_camera_gauge
            points = self.head_points @ T[:3, :3].T + T[:3, 3]
            return tuple(np.moveaxis(self.scale * points, -1, 0).astype(np.float32))
        z, camera = self.depth, self.camera
        x = (np.arange(z.shape[1]) - camera.cx) / camera.fx
        y = (np.arange(z.shape[0]) - camera.cy) / camera.fy
        return x.astype(np.float32) * z, y.astype(np.float32)[:, None] * z, z

    @cached_property
    def fields(self) -> tuple[NDArray[np.float32], ...]:
        """Fields of a point cloud's points (`clouds.POINT`), each (h, w); NaN where invalid."""
        red, green, blue = self._colours
        packed = cv2.merge([blue, green, red, np.zeros_like(red)]).view(np.float32)
        return *self.xyz, packed[..., 0], self.confidence, self.motion.probability

    @cached_property
    def _colours(self) -> list[NDArray[np.uint8]]:
        return list(self.image.cpu().numpy())
