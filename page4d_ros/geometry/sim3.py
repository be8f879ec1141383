"""Similarity between the gauges of two overlapping windows.

Each window of a feed-forward network lives in its own gauge: a frame and a unit of length of its
own. Cameras and depths seen by both windows tie them together.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from scipy.spatial.transform import Rotation

from page4d_ros.geometry.poses import transform

if TYPE_CHECKING:
    from numpy.typing import NDArray

ITERATIONS = 10
FLOOR = 1e-9
MIN_POINTS = 3


@dataclass(frozen=True)
class Sim3:
    """x_a = scale * R @ x_b + t."""

    scale: float
    R: NDArray[np.float64]
    t: NDArray[np.float64]

    @classmethod
    def identity(cls) -> Sim3:
        """Return the similarity that changes nothing."""
        return cls(1.0, np.eye(3), np.zeros(3))

    @classmethod
    def fit(cls, a: NDArray, b: NDArray) -> Sim3:
        """Least squares over pairs of points (n, 3) in both gauges (Umeyama, 1991).

        Raises:
            ValueError: fewer than three points, or all on one.
        """
        if len(a) < MIN_POINTS or not (spread := (b - b.mean(0))).any():
            raise ValueError('a similarity needs three points that lie apart')
        R = Rotation.align_vectors(a - a.mean(0), spread)[0].as_matrix()
        scale = float(((a - a.mean(0)) * (spread @ R.T)).sum() / (spread**2).sum())
        return cls(scale, R, a.mean(0) - scale * R @ b.mean(0))

    def apply(self, points: NDArray) -> NDArray[np.float64]:
        """Bring points (..., 3) from gauge b to gauge a."""
        return self.scale * points @ self.R.T + self.t

    def apply_to_pose(self, T_b_camera: NDArray) -> NDArray[np.float64]:
        """Bring camera poses (..., 4, 4) from gauge b to gauge a."""
        R = self.R @ T_b_camera[..., :3, :3]
        t = self.scale * T_b_camera[..., :3, 3] @ self.R.T + self.t
        return transform(R, t)


@dataclass(frozen=True)
class Alignment:
    """A `Sim3` and how well the shared cameras agree with it.

    Attributes:
        S_a_b: gauge b to gauge a.
        turns: angle between each of the N shared cameras after alignment, rad.
        shifts: distance between their centres, in units of gauge a.
    """

    S_a_b: Sim3
    turns: NDArray[np.float64]
    shifts: NDArray[np.float64]


def align(
    T_a_camera: NDArray, T_b_camera: NDArray, scale: float, weights: NDArray | None = None
) -> Alignment:
    """Robust similarity from N >= 1 cameras known in two gauges, given the ratio of units.

    Rotation and translation come from the geometric medians of the N relative ones, so that
    cameras with less than half of the weight may be wrong. The scale is given because a camera
    that turns on the spot or stands still has no baseline to tell it.

    Args:
        T_a_camera: poses in gauge a, (N, 4, 4).
        T_b_camera: poses of the same cameras in gauge b, (N, 4, 4).
        scale: units of a per unit of b.
        weights: of the cameras, (N,), positive; None weighs all the same.
    """
    trust = np.ones(len(T_a_camera)) if weights is None else np.asarray(weights, np.float64)
    R_each = T_a_camera[:, :3, :3] @ np.swapaxes(T_b_camera[:, :3, :3], 1, 2)
    R, angles = _mean_rotation(R_each, trust)
    t_each = T_a_camera[:, :3, 3] - scale * T_b_camera[:, :3, 3] @ R.T
    t, distances = _geometric_median(t_each, trust)
    return Alignment(Sim3(scale, R, t), angles, distances)


class Baselines(NamedTuple):
    """Ratio of two units of length, from the distances between cameras.

    Attributes:
        ratio: units of a per unit of b; NaN where no two cameras are apart.
        length: typical distance between two cameras, in units of a.
    """

    ratio: float
    length: float


def compare_baselines(T_a_camera: NDArray, T_b_camera: NDArray) -> Baselines:
    """Median ratio of the distances between N cameras known in two gauges; long ones count more.

    Args:
        T_a_camera: poses in gauge a, (N, 4, 4).
        T_b_camera: poses of the same cameras in gauge b, (N, 4, 4).
    """
    i, j = np.triu_indices(len(T_a_camera), 1)
    a, b = (np.linalg.norm(T[i, :3, 3] - T[j, :3, 3], axis=1) for T in (T_a_camera, T_b_camera))
    apart = (a > 0) & (b > 0)
    if not apart.any():
        return Baselines(np.nan, 0.0)
    a, b = a[apart], b[apart]
    order = np.argsort(a / b)
    below = np.cumsum(a[order])
    middle = order[np.searchsorted(below, 0.5 * below[-1])]
    return Baselines(float(a[middle] / b[middle]), float(np.median(a)))


def _mean_rotation(R_each: NDArray, trust: NDArray) -> tuple[NDArray, NDArray]:
    """Rotation nearest to the geometric median of the matrices, and angles to it."""
    flat = R_each.reshape(-1, 9)
    centre, _ = _geometric_median(flat, trust)
    U, _, Vt = np.linalg.svd(centre.reshape(3, 3))
    U[:, 2] *= np.sign(np.linalg.det(U @ Vt))
    mean = U @ Vt
    chords = _lengths(flat - mean.ravel())
    return mean, 2 * np.arcsin(np.minimum(chords / np.sqrt(8), 1.0))


def _geometric_median(points: NDArray, trust: NDArray) -> tuple[NDArray, NDArray]:
    """Point of the least sum of distances (Weiszfeld, 1937), and distances to it."""
    centre = trust @ points / trust.sum()
    floor = max(1e-6 * float(np.ptp(points, axis=0).max()), FLOOR)
    for _ in range(ITERATIONS):
        weights = trust / np.maximum(_lengths(points - centre), floor)
        centre = weights @ points / weights.sum()
    return centre, _lengths(points - centre)


def _lengths(rows: NDArray) -> NDArray[np.float64]:
    """Norms (N,) of rows (N, k); np.linalg.norm takes longer than all else for so few."""
    return np.sqrt(np.einsum('nk,nk->n', rows, rows))
