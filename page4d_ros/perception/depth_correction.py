"""Dense depth tied to the depths of tracked points, and how far it may be off."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
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
SLOPE = 0.35  # usual error of the slope, in errors of the depth over its spread
RELIEF = 1.0  # logarithm of depth over the median, beyond which the slope is that of its end
NOISE = 0.05  # least deviation of a point's logarithm of depth: it may lie on an edge


class PointDepths(NamedTuple):
    """Depths of tracked points in the newest image.

    Attributes:
        source: (N, 2) their pixels in the camera's image.
        depth: (N,) in units of the window's gauge.
        deviation: (N,) standard deviation of its logarithm, if all poses were exact.
    """

    source: NDArray[np.float64]
    depth: NDArray[np.float64]
    deviation: NDArray[np.float64]

    @property
    def error(self) -> NDArray[np.float64]:
        """(N,) usual error of its logarithm, with those of the poses."""
        return OPTIMISTIC * self.deviation


class _Posterior(NamedTuple):
    """Gaussian process given the points.

    Attributes:
        field: (rows, COLUMNS) mean of its smooth part, at the middles of the grid's cells.
        beta: mean of the slope.
        middle: logarithm of depth at which the slope adds nothing.
        variance: (3, rows, COLUMNS) coefficients of the variance at a relief r, of r^0, r^1, r^2.
    """

    field: NDArray[np.float32]
    beta: float
    middle: float
    variance: NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class TiedDepth:
    """Depth of a frame with a smooth factor that makes it agree with points.

    The logarithm of the factor is a Gaussian process (Rasmussen and Williams, Gaussian Processes
    for Machine Learning, 2006, sections 2.2 and 2.7) with a linear part: the logarithm of the
    network's depth times a slope, so that depths of a network that does not know the place shrink
    to a plane; and a rest, which is zero, give or take the error that these depths had lately, far
    from all points, and what the points say near them. Both maps are computed when they are first
    read.

    Attributes:
        said: (h, w) depth of the network, in units of the window's gauge.
        fit: from the camera's image to the network's.
        points: static ones, in the same gauge; None without any.
        error: usual error of the logarithm of `said`, after one scale; 0 if nothing judges it.
    """

    said: NDArray[np.float32]
    fit: ImageTransform
    points: PointDepths | None = None
    error: float = 0.0

    @cached_property
    def depth(self) -> NDArray[np.float32]:
        """(h, w) along z, in units of the gauge; as the network says it with too few points."""
        found = self._posterior
        if found is None:
            return self.said
        with np.errstate(invalid='ignore'):
            return self.said * np.exp(self._spread(found.field) + found.beta * self._relief)

    @cached_property
    def deviation(self) -> NDArray[np.float32]:
        """(h, w) standard deviation of the logarithm of depth; `error` without points."""
        found = self._posterior
        if found is None:
            return np.full(self.said.shape, self.error, np.float32)
        constant, linear, square = map(self._spread, found.variance)
        variance = constant + self._relief * (linear + self._relief * square)
        return np.sqrt(np.maximum(variance, 0))

    @cached_property
    def _relief(self) -> NDArray[np.float32]:
        """(h, w) logarithm of depth over its middle, within `RELIEF`; NaN where not known."""
        with np.errstate(divide='ignore', invalid='ignore'):
            relief = np.log(self.said) - np.float32(self._posterior.middle)
        return relief.clip(-RELIEF, RELIEF)

    def _spread(self, grid: NDArray[np.float32]) -> NDArray[np.float32]:
        """(h, w) of values (rows, COLUMNS) at the middles of the grid's cells."""
        return cv2.resize(grid, self.said.shape[::-1], interpolation=cv2.INTER_LINEAR)

    @property
    def offset(self) -> float:
        """Median logarithm of the points' depths over the network's; NaN with too few points."""
        found = self._at_points
        if found is None:
            return math.nan
        chosen, _, said = found
        return float(np.median(np.log(self.points.depth[chosen] / said[chosen])))

    @cached_property
    def _at_points(self) -> tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.float64]] | None:
        """The surest points, and pixels (N, 2) and the network's depths (N,) at all of them.

        None with too few points.
        """
        if self.points is None:
            return None
        points = self.points
        at, inside = self.fit.network_pixels(points.source)
        said = self.said[at[:, 1], at[:, 0]].astype(np.float64)
        use = inside & np.isfinite(said) & (said > 0) & (points.depth > 0)
        chosen = np.flatnonzero(use)
        if len(chosen) < FEWEST:
            return None
        return chosen[np.argsort(points.deviation[chosen], kind='stable')[:MOST]], at, said

    @cached_property
    def _posterior(self) -> _Posterior | None:
        """None with too few points."""
        if self._at_points is None:
            return None
        points, error, (height, width) = self.points, self.error, self.said.shape
        chosen, at, said = self._at_points
        place = at[chosen] / width
        value = np.log(points.depth[chosen] / said[chosen]).clip(-3 * error, 3 * error)
        noise = np.hypot(points.error[chosen], NOISE)
        middle = float(np.median(np.log(said[chosen])))
        relief = np.log(said[chosen]) - middle
        slope = min(1.0, SLOPE * error / max(float(relief.std()), 1e-6))
        rows = max(2, round(COLUMNS * height / width))
        u, v = np.meshgrid(
            (np.arange(COLUMNS) + 0.5) / COLUMNS, (np.arange(rows) + 0.5) / rows * height / width
        )
        alike = error**2 * _alike(np.column_stack([u.ravel(), v.ravel()]), place)
        K = error**2 * _alike(place, place) + np.diag(noise**2)
        K += slope**2 * np.outer(relief, relief)
        # covariances of the smooth part and of the slope with the points, and their whitened forms
        tilt = slope**2 * relief
        solved = np.linalg.solve(K, np.column_stack([value, tilt, alike.T]))
        weights, by_tilt, by_field = solved[:, 0], solved[:, 1], solved[:, 2:]
        variance = np.empty((3, len(alike)))
        variance[0] = error**2 - (alike * by_field.T).sum(1)
        variance[1] = -2 * alike @ by_tilt
        variance[2] = slope**2 - tilt @ by_tilt
        variance *= max(1.0, float(value @ weights) / len(value))  # points that disagree more
        return _Posterior(
            (alike @ weights).reshape(rows, COLUMNS).astype(np.float32),
            float(tilt @ weights),
            middle,
            variance.reshape(3, rows, COLUMNS).astype(np.float32),
        )


def _alike(a: NDArray, b: NDArray) -> NDArray[np.float64]:
    """Correlation (N, M) of the errors at places a (N, 2) and b (M, 2), in image widths."""
    squared = ((a[:, None] - b) ** 2).sum(2)
    return np.mean([np.exp(-squared / (2 * length**2)) for length in LENGTHS], axis=0)
