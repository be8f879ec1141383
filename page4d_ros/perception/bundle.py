"""Least squares over reprojection errors: bundle adjustment.

All errors are in standard deviations of a tracked corner; weights are those of Cauchy's
distribution, which grow strict from step to step.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from page4d_ros.perception.observations import NEAREST, Views, lower
from page4d_ros.perception.points import Points, Step, moved
from page4d_ros.perception.rig_observations import RigViews

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from page4d_ros.perception.mounts import MountSolution
    from page4d_ros.perception.rig_observations import OfRig

FARTHEST = 1e-4  # least inverse depth, relative to the median
DAMPING = 1e-6


class Adjusted(NamedTuple):
    """Result of a bundle adjustment.

    Attributes:
        T_camera_world: (K, 4, 4).
        xyw: (N, 3) of the points.
        error: (K, N) reprojection errors in standard deviations; NaN where not seen.
        deviation: (N,) standard deviation of the inverse depths, given the poses.
        covariance: (F, 6, 6) of the free cameras, given the fixed ones: three turns and three
            shifts in the camera's frame.
        mounts: of the cameras of a rig; None for one camera.
        T_then_now: (K, V, 4, 4) likewise, see `Late`.
    """

    T_camera_world: NDArray[np.float64]
    xyw: NDArray[np.float64]
    error: NDArray[np.float64]
    deviation: NDArray[np.float64]
    covariance: NDArray[np.float64]
    mounts: MountSolution | None = None
    T_then_now: NDArray[np.float64] | None = None


def adjust(
    T_camera_world: NDArray,
    fixed: int,
    points: Points,
    seen: NDArray,
    sigma: float,
    limits: Sequence[float],
    steps: Sequence[Step | None],
    *,
    strict: bool = False,
    rig: OfRig | None = None,
) -> Adjusted:
    """Most likely poses of K cameras and places of N points.

    With a rig the poses are those of its main camera, and the mounts of the others are estimated,
    too.

    Gauss-Newton; the points are eliminated (Schur complement; Triggs et al., Bundle Adjustment,
    2000, section 6.1).

    Args:
        T_camera_world: (K, 4, 4) initial poses.
        fixed: that many first cameras stay where they are.
        points: initial places, with their priors (Cauchy).
        seen: (K, N, 2) normalised image coordinates; NaN where not seen.
        sigma: standard deviation of `seen`.
        limits: scale of the robust loss in `sigma`, by iteration.
        steps: K, expected motion from the camera before to each, where there is one.
        strict: give outliers hardly any weight (Geman and McClure, 1987), instead of little.
        rig: its cameras; None for one camera.
    """
    T, xyw = T_camera_world.copy(), points.xyw.copy()
    F, N = len(T) - fixed, len(xyw)
    views = Views(seen, fixed, points) if rig is None else RigViews(seen, fixed, points, rig)
    A = np.zeros(
        (6 * F + views.more, 3 * N)
    )  # of cameras and points, whitened by the points' information
    expected = [(k, step) for k, step in enumerate(steps) if step and k >= max(fixed, 1)]
    own = np.arange(6 * F).reshape(F, 6)  # unknowns of each camera
    power = 2 if strict else 1
    farthest = FARTHEST * np.median(xyw[:, 2])
    noise = sigma * views.noise
    for limit in limits:
        points = points._replace(xyw=xyw)
        uv, near, J_pose, J_point = views.project(T, points)
        error = views.uv - uv
        outlying = 1 + (error**2).sum(0) / (limit * noise) ** 2
        weight = (near < 1 / NEAREST) / outlying**power / noise**2
        W_pose, W_point = J_pose * weight[views.free], J_point * weight
        H, g = views.of_cameras(W_pose, J_pose, error)
        C, d = views.of_points(W_point, J_point, error)
        trust = 1 / (points.deviation**2 + (xyw[:, 2] - points.prior) ** 2)
        C[5] += trust
        d[2] += trust * (points.prior - xyw[:, 2])
        C[[0, 2]] += views.damping
        root = _root_of_inverse(C)
        mixed = np.einsum('icm,jcm->jim', W_pose, J_point[..., views.free])
        views.enter(A.ravel(), lower(root[:, views.point[views.free]], mixed))
        views.mix(A, root, J_point, weight)
        e = lower(root, d)
        S = -(A @ A.T)  # without a copy, which would take twice as long
        S[own[:, :, None], own[:, None]] += H
        g = np.append(g, np.zeros(views.more)) - A @ e.ravel()
        views.add(S, g, W_pose, weight, error)
        _pull(S, g, T, fixed, expected)
        S.ravel()[:: len(S) + 1] *= 1 + DAMPING
        S.ravel()[:: len(S) + 1] += DAMPING
        step = np.linalg.solve(S, g)
        xyw = xyw + _upper(root, e - (step @ A).reshape(3, N)).T
        xyw[:, 2] = np.maximum(xyw[:, 2], farthest)
        T[fixed:] = moved(T[fixed:], step[: 6 * F].reshape(F, 6))
        views.move(step[6 * F :])
    uv, near = views.project(T, points._replace(xyw=xyw))[:2]
    covariance = np.linalg.inv(S)
    mounts = views.solved(covariance[6 * F :, 6 * F :])
    covariance = covariance[own[:, :, None], own[:, None]]
    error = views.distance(uv, near, sigma)
    return Adjusted(T, xyw, error, root[5], covariance, mounts, views.T_then_now)


def _pull(
    S: NDArray, g: NDArray, T: NDArray, fixed: int, steps: Sequence[tuple[int, Step]]
) -> None:
    """Add expected motions to the normal equations of the poses.

    Args:
        S: (6F, 6F) information of the free cameras; changed.
        g: (6F,) its product with their motion; changed.
        T: (K, 4, 4) poses of the cameras.
        fixed: that many first cameras stay where they are.
        steps: expected motions, each with its later camera.
    """
    for later, step in steps:
        information, off = step.pull(T[later], T[later - 1])
        at = slice(6 * (later - fixed), 6 * (later - fixed) + 6)
        S[at, at] += np.diag(information)
        g[at] += information * off
        if later > fixed:  # the earlier camera is free, too
            before = slice(at.start - 6, at.start)
            W = information[:, None] * step.adjoint
            S[before, before] += step.adjoint.T @ W
            S[at, before] -= W
            S[before, at] -= W.T
            g[before] -= W.T @ off


def _root_of_inverse(C: NDArray) -> NDArray[np.float64]:
    """Lower triangles L (6, N) with L' L = the inverse of C.

    Args:
        C: (6, N) lower triangles of positive definite matrices, row by row.
    """
    a = 1 / np.sqrt(C[0])
    b, p = C[1] * a, C[3] * a
    c = 1 / np.sqrt(C[2] - b * b)
    q = (C[4] - b * p) * c
    r = 1 / np.sqrt(C[5] - p * p - q * q)
    ba = -a * b * c
    return np.array([a, ba, c, -(p * a + q * ba) * r, -q * c * r, r])


def _upper(L: NDArray, v: NDArray) -> NDArray[np.float64]:
    """Likewise of the transposes of L."""
    return np.array(
        [L[0] * v[0] + L[1] * v[1] + L[3] * v[2], L[2] * v[1] + L[4] * v[2], L[5] * v[2]]
    )
