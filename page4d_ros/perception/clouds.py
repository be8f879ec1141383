"""Maps of the newest frame on the host, and its coloured points, split by what moves."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING

import cv2
import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from page4d_ros.config import PointsConfig
    from page4d_ros.perception.types import Estimate

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
    """What an estimate says of every pixel, as arrays of the host.

    Each comes from the device once, when it is first asked for.

    Args:
        estimate: the newest frame.
    """

    def __init__(self, estimate: Estimate) -> None:
        self.estimate = estimate

    @cached_property
    def depth(self) -> NDArray[np.float32]:
        """(h, w) along z, NaN where invalid."""
        return self.estimate.depth.float().cpu().numpy()

    @cached_property
    def known(self) -> NDArray[np.bool_]:
        """(h, w), where depth is valid."""
        return self.depth > 0

    @cached_property
    def confidence(self) -> NDArray[np.float32]:
        """(h, w) in [0, 1)."""
        return self.estimate.confidence.float().cpu().numpy()

    @cached_property
    def rgb(self) -> NDArray[np.uint8]:
        """The network's image (h, w, 3)."""
        return cv2.merge(self._colours)

    @cached_property
    def points(self) -> NDArray:
        """Every pixel's point (h, w) of dtype `POINT` in the camera's optical frame.

        Metres (NaN where invalid), packed colour, confidence in [0, 1), and the probability that
        the point moves.
        """
        red, green, blue = self._colours
        packed = cv2.merge([blue, green, red, np.zeros_like(red)]).view(np.float32)
        facts = packed[..., 0], self.confidence, self.estimate.probability
        return cv2.merge([*self._xyz(), *facts]).view(POINT)[..., 0]

    @cached_property
    def _colours(self) -> list[NDArray[np.uint8]]:
        planes = self.estimate.image.float().cpu().numpy()
        return [cv2.convertScaleAbs(plane, alpha=255) for plane in planes]  # it rounds

    def _xyz(self) -> tuple[NDArray[np.float32], ...]:
        if self.estimate.points is not None:
            return tuple(np.moveaxis(self.estimate.points.float().cpu().numpy(), -1, 0))
        z, camera = self.depth, self.estimate.camera
        x = (np.arange(z.shape[1]) - camera.cx) / camera.fx
        y = (np.arange(z.shape[0]) - camera.cy) / camera.fy
        return x.astype(np.float32) * z, y.astype(np.float32)[:, None] * z, z


def colours(points: NDArray) -> NDArray[np.uint8]:
    """Red, green, blue (n, 3) of points (n,) with the field ``rgb`` of `POINT`."""
    packed = points['rgb'].view(np.uint32)[:, None]
    return (packed >> np.array([16, 8, 0], np.uint32)).astype(np.uint8)


def cloud(maps: Maps, config: PointsConfig, *, dynamic: bool) -> NDArray:
    """Points (n,) of dtype `POINT` of the static or of the dynamic part.

    Invalid depths are left out. More than ``points.max_points`` are thinned evenly over the image.
    """
    view = (slice(None, None, config.stride),) * 2
    mask = maps.estimate.mask[view]
    index = np.flatnonzero(maps.known[view] & ((mask > 0) if dynamic else (mask == 0)))
    if len(index) > config.max_points:
        index = index.take(np.arange(config.max_points) * len(index) // config.max_points)
    rows = maps.points[view].reshape(-1, 1).view(np.float32)  # quicker to take than a structure
    return rows.take(index, axis=0).view(POINT)[:, 0]
