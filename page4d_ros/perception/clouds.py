"""Maps of the newest frame on the host, and its coloured points, split by what moves."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING

import cv2
import numpy as np

from page4d_ros.geometry.poses import inverse

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from page4d_ros.config import DepthConfig, PointsConfig
    from page4d_ros.perception.types import Estimate, Motion, WindowEstimate

POINT = np.dtype(
    [
        ('x', np.float32),
        ('y', np.float32),
        ('z', np.float32),
        ('rgb', np.float32),  # the bits of 0x00RRGGBB, as PCL and RViz read them
        ('confidence', np.float32),
        ('probability', np.float32),  # that it moves
    ]
)


class Maps:
    """What is said of every pixel of a window's newest frame, as arrays of the host.

    Each map comes from the device, and is made, when it is first asked for.

    Args:
        window: ends with that frame.
        scale: from its unit to that of the trajectory's world.
        motion: what moves in the frame.
        limits: which depths count.

    Attributes:
        confidence: (h, w) in [0, 1).
    """

    def __init__(
        self, window: WindowEstimate, scale: float, motion: Motion, limits: DepthConfig
    ) -> None:
        self._scale, self._motion, self._limits = scale, motion, limits
        self._depth, self.confidence = window.depth[-1], window.confidence[-1]
        self._image, self._camera = window.images[-1], window.cameras[-1]
        self._head_points = None if window.points is None else window.points[-1]
        self._T_camera_gauge = inverse(window.T_gauge_camera[-1])

    @cached_property
    def depth(self) -> NDArray[np.float32]:
        """(h, w) along z, in metres if the odometry is metric; NaN where invalid."""
        depth = self._depth * np.float32(self._scale)
        valid = depth > 0
        valid &= depth <= (self._limits.max_range or np.finfo(np.float32).max)
        valid &= self.confidence >= self._limits.min_confidence
        return cv2.copyTo(depth, valid.view(np.uint8), np.full_like(depth, np.nan))

    @cached_property
    def known(self) -> NDArray[np.bool_]:
        """(h, w), where depth is valid."""
        return self.depth > 0

    @cached_property
    def rgb(self) -> NDArray[np.uint8]:
        """The network's image (h, w, 3)."""
        return cv2.merge(self._colours)

    @cached_property
    def xyz(self) -> tuple[NDArray[np.float32], ...]:
        """x, y and z (h, w) in the camera's optical frame, in the unit of depth.

        The point head's points where the network gave them, else those of depth and camera, NaN
        where it is invalid.
        """
        if self._head_points is not None:
            T = self._T_camera_gauge
            points = self._head_points @ T[:3, :3].T + T[:3, 3]
            return tuple(np.moveaxis(self._scale * points, -1, 0).astype(np.float32))
        z, camera = self.depth, self._camera
        x = (np.arange(z.shape[1]) - camera.cx) / camera.fx
        y = (np.arange(z.shape[0]) - camera.cy) / camera.fy
        return x.astype(np.float32) * z, y.astype(np.float32)[:, None] * z, z

    @cached_property
    def fields(self) -> tuple[NDArray[np.float32], ...]:
        """Each field (h, w) of the pixels' `POINT`; metres are NaN where invalid."""
        red, green, blue = self._colours
        packed = cv2.merge([blue, green, red, np.zeros_like(red)]).view(np.float32)
        return *self.xyz, packed[..., 0], self.confidence, self._motion.probability

    @cached_property
    def _colours(self) -> list[NDArray[np.uint8]]:
        planes = self._image.float().cpu().numpy()
        return [cv2.convertScaleAbs(plane, alpha=255) for plane in planes]  # it rounds


def colours(points: NDArray) -> NDArray[np.uint8]:
    """Red, green, blue (n, 3) of points (n,) with the field ``rgb`` of `POINT`."""
    packed = points['rgb'].view(np.uint32)[:, None]
    return (packed >> np.array([16, 8, 0], np.uint32)).astype(np.uint8)


def cloud(estimate: Estimate, config: PointsConfig, *, dynamic: bool) -> NDArray:
    """Points (n,) of dtype `POINT` of the static or of the dynamic part.

    Invalid depths are left out. More than ``points.max_points`` are thinned evenly over the image.
    """
    view = (slice(None, None, config.stride),) * 2
    maps, mask = estimate.maps, estimate.mask[view]
    index = np.flatnonzero(maps.known[view] & ((mask > 0) if dynamic else (mask == 0)))
    if len(index) > config.max_points:
        step = (len(index) << 16) // config.max_points  # in 65536ths: division would take longer
        index = index.take(np.arange(0, step * config.max_points, step) >> 16)
    if not len(index):
        return np.zeros(0, POINT)
    # merged in one row: assigning to the fields of a structure takes several times longer
    return cv2.merge([field[view].take(index)[None] for field in maps.fields]).view(POINT)[0, :, 0]
