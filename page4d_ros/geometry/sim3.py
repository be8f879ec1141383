"""Similarity between the gauges of two overlapping windows.

Each window of a feed-forward network lives in its own gauge: a frame and a unit of length of its
own. Cameras and depths seen by both windows tie them together.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy.spatial.transform import Rotation

from page4d_ros.geometry.poses import transform

if TYPE_CHECKING:
    from numpy.typing import NDArray

ITERATIONS = 20
CONVERGED = 1e-9  # radians between two iterations
FLOOR = 1e-9


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
        rotation_residual: median angle between the shared cameras after alignment, in radians.
        translation_residual: median distance between their centres, in units of gauge a.
    """

    S_a_b: Sim3
    rotation_residual: float
    translation_residual: float


def align(T_a_camera: NDArray, T_b_camera: NDArray, scale: float) -> Alignment:
    """Robust similarity from N >= 1 cameras known in two gauges, given the ratio of units.

    The rotation is the chordal L1 mean of the N relative rotations and the translation the
    geometric median of the N relative translations (Weiszfeld's iteration for both), so that up
    to half of the cameras may be wrong. The scale comes from depth rather than from baselines
    because a camera that turns on the spot or stands still has none.

    Args:
        T_a_camera: poses in gauge a, (N, 4, 4).
        T_b_camera: poses of the same cameras in gauge b, (N, 4, 4).
        scale: units of a per unit of b.
    """
    R_each = T_a_camera[:, :3, :3] @ np.swapaxes(T_b_camera[:, :3, :3], 1, 2)
    R, angles = _mean_rotation(R_each)
    t_each = T_a_camera[:, :3, 3] - scale * T_b_camera[:, :3, 3] @ R.T
    t, distances = _geometric_median(t_each)
    return Alignment(Sim3(scale, R, t), float(np.median(angles)), float(np.median(distances)))


def _mean_rotation(R_each: NDArray) -> tuple[NDArray, NDArray]:
    rotations = Rotation.from_matrix(R_each)
    mean, weights = None, np.ones(len(R_each))
    for _ in range(ITERATIONS):
        last, mean = mean, rotations.mean(weights)
        angles = (mean.inv() * rotations).magnitude()
        if last is not None and (last.inv() * mean).magnitude() < CONVERGED:
            break
        weights = 1.0 / np.maximum(angles, 1e-6)
    return mean.as_matrix(), angles


def _geometric_median(points: NDArray) -> tuple[NDArray, NDArray]:
    centre = np.median(points, axis=0)
    floor = max(1e-6 * float(np.ptp(points)), FLOOR)
    for _ in range(ITERATIONS):
        distances = np.linalg.norm(points - centre, axis=1)
        weights = 1.0 / np.maximum(distances, floor)
        centre = (weights[:, None] * points).sum(0) / weights.sum()
    return centre, np.linalg.norm(points - centre, axis=1)
