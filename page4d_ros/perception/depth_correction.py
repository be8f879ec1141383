"""Dense depth tied to the depths of tracked points."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import cv2
import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from page4d_ros.geometry.camera import ImageTransform

FEWEST = 12  # points for a correction
MOST = 150  # that it rests on
COLUMNS = 16  # of the grid that the correction is computed on
LENGTHS = 0.5, 0.12  # over which errors of the network are alike, of the image's width
OPTIMISTIC = 30.0  # deviations are given the poses, which are not known either
SLOPE = 0.5  # usual error of the slope, in errors of the depth over its spread
RELIEF = 1.0  # logarithm of depth over the median, beyond which the slope is that of its end
NOISE = 0.05  # least deviation of a point's logarithm of depth: it may lie on an edge


class PointDepths(NamedTuple):
    """Depths of tracked points in the newest image.

    Attributes:
        source: (N, 2) their pixels in the camera's image.
        depth: (N,) in units of the window's gauge.
        deviation: (N,) standard deviation of its logarithm.
    """

    source: NDArray[np.float64]
    depth: NDArray[np.float64]
    deviation: NDArray[np.float64]


def corrected(
    depth: NDArray[np.float32], fit: ImageTransform, points: PointDepths, error: float
) -> NDArray[np.float32]:
    """Depth with a smooth factor that makes it agree with points.

    The logarithm of the factor is a Gaussian process (Rasmussen and Williams, Gaussian Processes
    for Machine Learning, 2006, sections 2.2 and 2.7) with a linear part: the logarithm of the
    network's depth times a slope, so that depths of a network that does not know the place shrink
    to a plane; and a rest, which is zero, give or take the error that these depths had lately, far
    from all points, and what the points say near them.

    Args:
        depth: (h, w) of the network.
        fit: from the camera's image to the network's.
        points: static ones.
        error: usual error of the logarithm of the network's depth.
    """
    at, inside = fit.network_pixels(points.source)
    said = depth[at[:, 1], at[:, 0]].astype(np.float64)
    use = inside & np.isfinite(said) & (said > 0) & (points.depth > 0)
    chosen = np.flatnonzero(use)
    if len(chosen) < FEWEST:
        return depth
    chosen = chosen[np.argsort(points.deviation[chosen], kind='stable')[:MOST]]
    height, width = depth.shape
    rows = max(2, round(COLUMNS * height / width))
    place = at[chosen] / width
    value = np.log(points.depth[chosen] / said[chosen])
    noise = np.hypot(OPTIMISTIC * points.deviation[chosen], NOISE)
    middle = np.median(np.log(said[chosen]))
    relief = np.log(said[chosen]) - middle
    slope = min(1.0, SLOPE * error / max(float(relief.std()), 1e-6))
    K = error**2 * _alike(place, place) + slope**2 * np.outer(relief, relief) + np.diag(noise**2)
    weights = np.linalg.solve(K, value.clip(-3 * error, 3 * error))
    u, v = np.meshgrid(
        (np.arange(COLUMNS) + 0.5) / COLUMNS, (np.arange(rows) + 0.5) / rows * height / width
    )
    field = error**2 * _alike(np.column_stack([u.ravel(), v.ravel()]), place) @ weights
    field = field.reshape(rows, COLUMNS).astype(np.float32)
    field = cv2.resize(field, (width, height), interpolation=cv2.INTER_LINEAR)
    beta = slope**2 * float(relief @ weights)
    with np.errstate(divide='ignore', invalid='ignore'):
        field += np.float32(beta) * (np.log(depth) - np.float32(middle)).clip(-RELIEF, RELIEF)
    return depth * np.exp(field)


def _alike(a: NDArray, b: NDArray) -> NDArray[np.float64]:
    """Correlation (N, M) of the errors at places a (N, 2) and b (M, 2), in image widths."""
    squared = ((a[:, None] - b) ** 2).sum(2)
    return np.mean([np.exp(-squared / (2 * length**2)) for length in LENGTHS], axis=0)
