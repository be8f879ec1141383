"""Coloured point clouds of the newest frame, split into its static and its moving part."""

from __future__ import annotations

from typing import TYPE_CHECKING

import cv2
import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from page4d_ros.config import PointsConfig
    from page4d_ros.perception.types import Estimate, ViewEstimate

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


def colours(points: NDArray) -> NDArray[np.uint8]:
    """Red, green, blue (n, 3) of points (n,) with the field ``rgb`` of `POINT`."""
    packed = points['rgb'].view(np.uint32)[:, None]
    return (packed >> np.array([16, 8, 0], np.uint32)).astype(np.uint8)


def cloud(estimate: Estimate | ViewEstimate, config: PointsConfig, *, dynamic: bool) -> NDArray:
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
    # merged in one row: assigning to the fields of a structured array is several times slower
    return cv2.merge([field[view].take(index)[None] for field in maps.fields]).view(POINT)[0, :, 0]
