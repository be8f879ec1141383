"""Static depth in the newest views of a window, and their overlap with its first frame."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

from page4d_ros.geometry.poses import inverse
from page4d_ros.perception.medians import median
from page4d_ros.perception.types import MOVING

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from page4d_ros.perception.types import WindowEstimate

DEPTH_COLUMNS = 64  # of the grid of pixels whose depths are compared
OVERLAP_COLUMNS = 16  # of the grid of points whose visibility measures overlap


def static_share(window: WindowEstimate) -> float:
    """Share of the newest view that is static according to the mask head."""
    if window.dynamic is None:
        return 1.0
    return float((window.dynamic[window.reference] <= MOVING).mean())


def overlap(window: WindowEstimate) -> float:
    """Share of the newest view's pixels of known depth that the first frame sees, too."""
    newest = window.reference
    camera = window.cameras[newest]
    pixels = _grid(camera.width, camera.height)
    depth = window.depth[newest][pixels[1], pixels[0]]
    known = (depth > 0) & (depth < np.inf)
    T = inverse(window.T_gauge_camera[0]) @ window.T_gauge_camera[newest]
    rays = np.linalg.solve(camera.K, pixels * np.where(known, depth, 0))
    u, v, z = camera.K @ (T[:3, :3] @ rays + T[:3, 3:])
    inside = known & (z > 0) & (u > -0.5 * z) & (u < (camera.width - 0.5) * z)
    inside &= (v > -0.5 * z) & (v < (camera.height - 0.5) * z)
    return float(inside.sum() / max(known.sum(), 1))


@lru_cache(maxsize=4)
def _grid(width: int, height: int) -> NDArray[np.intp]:
    """(3, n) homogeneous pixels, spread over an image."""
    step = max(1, width // OVERLAP_COLUMNS)
    v, u = np.mgrid[step // 2 : height : step, step // 2 : width : step]
    return np.stack([u.ravel(), v.ravel(), np.ones(u.size, np.intp)])


def static_log_depth(window: WindowEstimate) -> NDArray[np.float32]:
    """(M, h', w') logarithm of a grid of depths; NaN where dynamic, doubtful or not positive."""
    step = max(1, round(window.depth.shape[2] / DEPTH_COLUMNS))
    depth, confidence = (each[:, ::step, ::step] for each in (window.depth, window.confidence))
    known = (depth > 0) & (depth < np.inf)
    use = known & np.array([each >= median(each) for each in confidence])
    if window.dynamic is not None:
        patch = window.transforms[-1].height // window.dynamic.shape[1]
        rows, columns = (np.arange(0, size, step) // patch for size in window.depth.shape[1:])
        score = window.dynamic[-len(depth) :, rows[:, None], columns]
        static = known & np.array([each <= median(each) for each in score])
        # if everything confident moves, static pixels of low confidence are used
        both = use & static
        use = np.where(both.any((1, 2))[:, None, None], both, static)
    return np.log(np.where(use, depth, np.float32(np.nan)))
