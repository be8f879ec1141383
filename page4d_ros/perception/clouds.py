"""Coloured point clouds of the newest frame, split into its static and its moving part."""

from __future__ import annotations

from typing import TYPE_CHECKING

import cv2
import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

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

MOST_CELLS = 1 << 21  # of a grid along an axis, so that a cell's number fits 63 bits


def colours(points: NDArray) -> NDArray[np.uint8]:
    """Red, green, blue (n, 3) of points (n,) with the field ``rgb`` of `POINT`."""
    packed = points['rgb'].view(np.uint32)[:, None]
    return (packed >> np.array([16, 8, 0], np.uint32)).astype(np.uint8)


def packed(rgb: NDArray) -> NDArray[np.float32]:
    """Field ``rgb`` (n,) of `POINT` of red, green, blue (n, 3), rounded."""
    red, green, blue = np.rint(rgb).astype(np.uint32).T
    return (red << 16 | green << 8 | blue).view(np.float32)


def cloud(
    estimate: Estimate | ViewEstimate,
    config: PointsConfig,
    *,
    dynamic: bool,
    T_level_camera: NDArray | None = None,
) -> NDArray:
    """Points (n,) of dtype `POINT` of the static or of the dynamic part.

    Invalid depths are left out. More than ``points.max_points`` are thinned evenly over the image.

    Args:
        estimate: the frame.
        config: size and extent.
        dynamic: True for the moving part.
        T_level_camera: (4, 4) pose of the optical frame in a level one, whose x-y plane and z axis
            ``points.max_range`` and the heights refer to; None leaves nothing out by them.
    """
    view = (slice(None, None, config.stride),) * 2
    maps, mask = estimate.maps, estimate.mask[view]
    index = np.flatnonzero(maps.known[view] & ((mask > 0) if dynamic else (mask == 0)))
    if config.limited and T_level_camera is not None:
        index = index[_within([field[view] for field in maps.xyz], index, config, T_level_camera)]
    if not config.voxel:
        index = index.take(_even(len(index), config.max_points))
    if not len(index):
        return np.zeros(0, POINT)
    # merged in one row: assigning to the fields of a structured array is several times slower
    rows = [field[view].take(index)[None] for field in maps.fields]
    points = cv2.merge(rows).view(POINT)[0, :, 0]
    if config.voxel:
        points = _averaged(points, config.voxel)
        points = points.take(_even(len(points), config.max_points))
    return points


def organized(
    view: ViewEstimate, config: PointsConfig, T_level_camera: NDArray | None = None
) -> NDArray:
    """Points (h, w) of dtype `POINT` of all pixels, static and dynamic, in the image's order.

    x, y and z are NaN where depth is invalid, or where `cloud` would leave a point out. Neither
    ``points.voxel`` nor ``points.max_points`` apply.

    Args:
        view: the frame.
        config: stride and extent.
        T_level_camera: as in `cloud`.
    """
    every = (slice(None, None, config.stride),) * 2
    maps = view.maps
    points = cv2.merge([field[every] for field in maps.fields]).view(POINT)[..., 0]
    kept = maps.known[every].copy()
    if config.limited and T_level_camera is not None:
        index = np.flatnonzero(kept)
        near = _within([field[every] for field in maps.xyz], index, config, T_level_camera)
        kept.flat[index[~near]] = False
    for axis in 'xyz':
        points[axis][~kept] = np.nan
    return points


def _within(
    xyz: Sequence[NDArray], index: NDArray, config: PointsConfig, T_level_camera: NDArray
) -> NDArray[np.bool_]:
    """True for each of the pixels `index` of maps x, y, z whose point is within the limits."""
    x, y, z = level_points(xyz, index, T_level_camera)
    kept = (z >= config.min_height) & (z <= config.max_height)
    if config.max_range:
        kept &= np.hypot(x, y) <= config.max_range
    return kept


def level_points(
    xyz: Sequence[NDArray], index: NDArray, T_level_camera: NDArray
) -> NDArray[np.float64]:
    """Coordinates (3, n) in a level frame of the pixels `index` of maps x, y, z (h, w)."""
    points = np.stack([each.take(index) for each in xyz])
    return T_level_camera[:3, :3] @ points + T_level_camera[:3, 3:]


def _even(count: int, most: int) -> NDArray[np.intp]:
    """Indices of `most` of `count` items, evenly; of all if they are fewer."""
    if count <= most:
        return np.arange(count)
    step = (count << 16) // most  # in 65536ths: division would take longer
    return np.arange(0, step * most, step) >> 16


def _averaged(points: NDArray, edge: float) -> NDArray:
    """Mean of the points (n,) within each cube of a grid, as PCL's VoxelGrid does."""
    cells = np.floor(np.stack([points[axis] for axis in 'xyz']) / edge)
    x, y, z = np.minimum(cells - cells.min(1, keepdims=True), MOST_CELLS - 1).astype(np.int64)
    _, cube, count = np.unique(
        (x * MOST_CELLS + y) * MOST_CELLS + z, return_inverse=True, return_counts=True
    )
    out = np.empty(len(count), POINT)
    for name in set(POINT.names) - {'rgb'}:
        out[name] = np.bincount(cube, points[name]) / count
    means = [np.bincount(cube, channel) / count for channel in colours(points).T]
    out['rgb'] = packed(np.stack(means, -1))
    return out
