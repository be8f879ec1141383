"""Planar scan of what does not move: the nearest obstacle along each bearing of the base frame."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from page4d_ros.perception.clouds import level_points

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from page4d_ros.config import ScanConfig
    from page4d_ros.perception.types import ViewEstimate


def bearings(config: ScanConfig) -> tuple[float, float, int]:
    """First bearing, step (rad) and number of bearings, which are the middles of equal sectors."""
    count = round(2 * math.pi / config.increment)
    step = 2 * math.pi / count
    return step / 2 - math.pi, step, count


def scan(view: ViewEstimate, config: ScanConfig, T_base_camera: NDArray) -> NDArray[np.float32]:
    """Horizontal distances (n,) from the base's z axis to the nearest obstacle of each sector.

    A sector without an obstacle within ``scan.max_range`` is +inf (REP 117) if it was seen: if
    the ray to one of its pixels goes through the band of heights as far as that. Otherwise it is
    NaN: out of view, hidden by what moves, or of invalid depth, so that nothing may be said of it.

    Args:
        view: the frame.
        config: band of heights, range and bearings.
        T_base_camera: (4, 4) pose of the optical frame in the base frame.
    """
    _, step, count = bearings(config)
    index = np.flatnonzero(view.maps.known & (view.mask == 0))
    x, y, z = level_points(view.maps.xyz, index, T_base_camera)
    sector = ((np.arctan2(y, x) + np.pi) / step).astype(np.intp) % count
    distance = np.hypot(x, y)
    within = np.clip(z, config.min_height, config.max_height)
    hit = (within == z) & (distance <= config.max_range)
    # share of its ray after which a pixel's height leaves the band
    height = T_base_camera[2, 3]
    with np.errstate(divide='ignore'):  # a level ray never leaves it
        share = np.divide(within - height, z - height, out=np.ones_like(z), where=within != z)
    through = (share > 0) & (share <= 1) & (share * distance >= config.max_range)
    out = np.full(count, np.nan, np.float32)
    out[sector[through]] = np.inf
    nearest = np.full(count, np.inf)
    np.minimum.at(nearest, sector[hit], distance[hit])
    return np.where(np.isfinite(nearest), nearest, out).astype(np.float32)
