"""Pose of a camera among known points, whatever is known before."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import cv2
import numpy as np

from page4d_ros.geometry.poses import inverse, transform
from page4d_ros.perception.bundle import DAMPING, FARTHEST
from page4d_ros.perception.late import noise
from page4d_ros.perception.mounts import of_rig
from page4d_ros.perception.observations import BEHIND, NEAREST
from page4d_ros.perception.points import Points, Step, by_pose, moved

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from page4d_ros.perception.mounts import Mounted

FIND = (60.0, 30.0, 15.0, 8.0, 5.0)  # scales of the robust loss, by iteration: any start
REFINE = (5.0, 5.0, 5.0)  # a start from a sample
FITS = 4.0  # largest error of a corner that fits, in standard deviations
SURE = 0.65  # share of corners that fit, above which no other start is tried
SAMPLED = 8  # least number of points to sample from
SAMPLES = 100
INLIER = 3.0  # standard deviations


class Located(NamedTuple):
    """Result of locating a camera.

    Attributes:
        T_camera_world: (4, 4).
        error: (N,) reprojection errors in standard deviations.
        information: (6, 6) of the pose: three turns and three shifts in the camera's frame.
        cost: sum of the robust loss.
    """

    T_camera_world: NDArray[np.float64]
    error: NDArray[np.float64]
    information: NDArray[np.float64]
    cost: float


def locate(
    T_camera_world: NDArray,
    points: Points,
    seen: NDArray,
    sigma: float,
    limits: Sequence[float],
    expected: tuple[NDArray, Step] | None = None,
    mounted: Mounted | None = None,
) -> Located:
    """Most likely pose of a camera, or of a rig's main camera, among known points.

    Args:
        T_camera_world: (4, 4) initial pose.
        points: where they are; they stay there.
        seen: (N, 2) normalised image coordinates.
        sigma: standard deviation of `seen`.
        limits: scale of the robust loss in `sigma`, by iteration; the last one gives the cost.
        expected: pose (4, 4), T_camera_world, of an earlier camera, and the motion since.
        mounted: cameras of a rig that see the points; None for one camera.
    """
    T, shared = T_camera_world, 1.0
    X, w = points.homogeneous
    if mounted is not None:
        sigma, shared = noise(mounted.late[mounted.view], sigma, mounted.view)
    for limit in limits:
        uv, near = _seen_from(T, X, w, mounted)
        J = by_pose(uv, w * near)
        if mounted is not None:
            J = of_rig(J, mounted.T_view_main, mounted.view)
        error = seen.T - uv
        outlying = 1 + (error**2).sum(0) / (limit * sigma) ** 2
        WJ = J * ((near < 1 / NEAREST) / outlying / (sigma**2 * shared))
        H = WJ.reshape(6, -1) @ J.reshape(6, -1).T
        g = WJ.reshape(6, -1) @ error.ravel()
        if expected is not None:
            information, off = expected[1].pull(T, expected[0])
            H, g = H + np.diag(information), g + information * off
        H.ravel()[::7] = H.diagonal() * (1 + DAMPING) + DAMPING
        T = moved(T[None], np.linalg.solve(H, g)[None])[0]
    uv, near = _seen_from(T, X, w, mounted)
    distance = np.sqrt(((seen.T - uv) ** 2).sum(0)) / sigma
    distance = np.where(near < 1 / NEAREST, np.minimum(distance, BEHIND), BEHIND)
    return Located(T, distance, H, float(np.log1p((distance / limits[-1]) ** 2).sum()))


def _seen_from(
    T: NDArray, X: NDArray, w: NDArray, mounted: Mounted | None
) -> tuple[NDArray, NDArray]:
    """Normalised image coordinates (2, N) and inverse depths in those of the points (N,)."""
    if mounted is None:
        q = T[:3, :3] @ X.T + T[:3, 3:] * w
    else:
        each = mounted.poses(T)[:, :3]
        q = np.einsum('nij,nj->in', each[..., :3], X) + each[..., 3].T * w
    near = 1 / np.maximum(q[2], NEAREST)
    return q[:2] * near, near


def best_pose(
    starts: Sequence[NDArray],
    points: Points,
    seen: NDArray,
    sigma: float,
    expected: tuple[NDArray, Step] | None = None,
    mounted: Mounted | None = None,
) -> Located:
    """Pose of least robust cost, from several starts and, if none fits well, from samples.

    Args:
        starts: one or more poses (4, 4), T_camera_world.
        points: some may be wrong.
        seen: (N, 2) normalised image coordinates.
        sigma: standard deviation of `seen`.
        expected: see `locate`.
        mounted: likewise.
    """
    best = None
    for T in starts:
        found = locate(T, points, seen, sigma, FIND, expected, mounted)
        best = found if best is None or found.cost < best.cost else best
        if (best.error < FITS).sum() > SURE * len(seen):
            return best
    T = _sampled_of(points, seen, sigma, mounted)
    if T is not None:
        found = locate(T, points, seen, sigma, REFINE, expected, mounted)
        best = found if found.cost < best.cost else best
    return best


def _sampled_of(
    points: Points, seen: NDArray, sigma: float, mounted: Mounted | None
) -> NDArray[np.float64] | None:
    """Likewise `sampled`, of the camera of a rig that sees most of the points."""
    if mounted is None or not len(seen):
        return sampled(points, seen, sigma)
    view = np.bincount(mounted.view).argmax()
    of = mounted.view == view
    T = sampled(points[of], seen[of], sigma)
    return None if T is None else inverse(mounted.T_view_main[view]) @ T


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
