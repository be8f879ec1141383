"""Resizing of maps with their edges aligned to those of depth."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

import cv2
import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

EDGE_DEPTH = 0.1  # steps of the logarithm of depth below which the filter smooths


def restored(thin: NDArray, thin_depth: NDArray, depth: NDArray) -> NDArray:
    """Upsample a float32 map (h', w') of every n-th pixel to all pixels (h, w).

    Each pixel takes the neighbour that is nearest in depth, so that edges stay where they are:
    those between known columns first, then those between known rows.

    Args:
        thin: the map.
        thin_depth: (h', w').
        depth: (h, w).
    """
    if thin.shape == depth.shape:
        return thin
    step = -(-depth.shape[1] // thin.shape[1])
    rows = np.ascontiguousarray(depth[::step])
    return _between(_between(thin, thin_depth, rows, (0, step)), rows, depth, (step, 0))


def _between(thin: NDArray, thin_depth: NDArray, depth: NDArray, step: tuple[int, int]) -> NDArray:
    """The same between pixels that are `step` apart along one axis, and 0 along the other."""
    height, width = depth.shape
    down, right = step
    there, value = (_repeated(each, down, right) for each in (thin_depth, thin))
    near, far = np.s_[:height, :width], np.s_[down : down + height, right : right + width]
    away = cv2.absdiff(there[near], depth)
    closer = cv2.compare(cv2.absdiff(there[far], depth), away, cv2.CMP_LT)
    return cv2.copyTo(value[far], closer, value[near].copy())


def _repeated(thin: NDArray, down: int, right: int) -> NDArray:
    """Repeat each pixel `down` or `right` times along that axis; the last one comes twice."""
    more = cv2.copyMakeBorder(thin, 0, min(down, 1), 0, min(right, 1), cv2.BORDER_REPLICATE)
    scale = {'fx': max(right, 1), 'fy': max(down, 1)}
    return cv2.resize(more, None, **scale, interpolation=cv2.INTER_NEAREST)


def finite(values: NDArray) -> NDArray:
    """Replace values that are not finite by 0, in place."""
    values[~np.isfinite(values)] = 0
    return values


def upsampled(score: NDArray, size: tuple[int, int]) -> NDArray[np.float32]:
    """Resize a map (h', w') to (h, w), bilinearly."""
    return cv2.resize(score, size[::-1], interpolation=cv2.INTER_LINEAR)


def sharpened(
    score: NDArray[np.float32], depth: NDArray[np.float32], radius: float
) -> NDArray[np.float32]:
    """Align the edges of a score (h, w) to those of depth (h, w): guided filter (He et al., 2010).

    Depth has the edges of objects; those of the image are of texture, too. Scores that are not
    finite become 0, in place.

    Args:
        score: the map.
        depth: (h, w).
        radius: of the filter, as a share of the width.
    """
    guide = finite(np.log(np.maximum(depth, np.float32(1e-6))))
    guide -= guide.mean()
    reach = max(1, round(radius * depth.shape[1]))
    size = _inside(*depth.shape, reach)
    finite(score)
    g, p, gg, gp = (
        box_sums(each, reach) / size for each in (guide, score, guide * guide, guide * score)
    )
    slope = (gp - g * p) / (gg - g * g + EDGE_DEPTH**2)
    slope, offset = (box_sums(each, reach) / size for each in (slope, p - slope * g))
    return slope * guide + offset


@lru_cache(maxsize=4)
def _inside(height: int, width: int, radius: int) -> NDArray[np.float32]:
    """Number of pixels (h, w) within a square around each."""
    return box_sums(np.ones((height, width), np.float32), radius)


def box_sums(values: NDArray[np.floating], radius: int) -> NDArray[np.floating]:
    """Sum (h, w) over the pixels within a square around each, zeros beyond the border."""
    side = 2 * radius + 1
    border = cv2.BORDER_CONSTANT  # zeros
    return cv2.boxFilter(values, -1, (side, side), normalize=False, borderType=border)
