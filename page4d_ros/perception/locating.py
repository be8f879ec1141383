"""Pose of a camera among known points, whatever is known before."""

from __future__ import annotations

from typing import TYPE_CHECKING

import cv2
import numpy as np

from page4d_ros.geometry.poses import transform
from page4d_ros.perception.bundle import FARTHEST, Located, Points, Step, locate

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

FIND = (60.0, 30.0, 15.0, 8.0, 5.0)  # scales of the robust loss, by iteration: any start
REFINE = (5.0, 5.0, 5.0)  # a start from a sample
FITS = 4.0  # largest error of a corner that fits, in standard deviations
SURE = 0.65  # share of corners that fit, above which no other start is tried
SAMPLED = 8  # least number of points to sample from
SAMPLES = 300
INLIER = 3.0  # standard deviations


def best_pose(
    starts: Sequence[NDArray],
    points: Points,
    seen: NDArray,
    sigma: float,
    expected: tuple[NDArray, Step] | None = None,
) -> Located:
    """Pose of least robust cost, from several starts and, if none fits well, from samples.

    Args:
        starts: one or more poses (4, 4), T_camera_world.
        points: some may be wrong.
        seen: (N, 2) normalised image coordinates.
        sigma: standard deviation of `seen`.
        expected: see `locate`.
    """
    best = None
    for T in starts:
        found = locate(T, points, seen, sigma, FIND, expected)
        best = found if best is None or found.cost < best.cost else best
        if (best.error < FITS).sum() > SURE * len(seen):
            return best
    T = sampled(points, seen, sigma)
    if T is not None:
        found = locate(T, points, seen, sigma, REFINE, expected)
        best = found if found.cost < best.cost else best
    return best


def sampled(points: Points, seen: NDArray, sigma: float) -> NDArray[np.float64] | None:
    """Pose (4, 4), T_camera_world, with most inliers among samples of points; None without one.

    Perspective-n-point in RANSAC (Fischler and Bolles, 1981), by OpenCV.

    Args:
        points: some may be wrong.
        seen: (N, 2) normalised image coordinates.
        sigma: standard deviation of `seen`.
    """
    X, w = points.homogeneous
    near = w > FARTHEST * np.median(w) if len(w) else w > 0
    if near.sum() < SAMPLED:
        return None
    cv2.setRNGSeed(0)
    found, turn, shift, _ = cv2.solvePnPRansac(
        X[near] / w[near, None],
        seen[near],
        np.eye(3),
        None,
        iterationsCount=SAMPLES,
        reprojectionError=INLIER * sigma,
        flags=cv2.SOLVEPNP_AP3P,
    )
    return transform(cv2.Rodrigues(turn)[0], shift[:, 0]) if found else None
