"""Least squares over reprojection errors: bundle adjustment, and the pose of one camera.

Points are homogeneous in a fixed reference frame each: a point (x, y, w) is (x, y, 1) / w in the
frame of the camera that saw it first, so that far points (w = 0) are ordinary ones (inverse
depth; Civera, Davison and Montiel, 2008). All errors are in standard deviations of a tracked
corner; weights are those of Cauchy's distribution, which grow strict from step to step.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import cv2
import numpy as np

from page4d_ros.geometry.poses import adjoint, rotation, transform

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

NEAREST = 1e-6  # least depth of a projected point, in its first depth
ANGLE = 0.01  # prior deviation of a point's ray, in normalised image coordinates
FARTHEST = 1e-4  # least inverse depth, relative to the median
DAMPING = 1e-6
LOOSE = 3.0  # standard deviations from which on an expected motion gives way
BEHIND = 1e3  # error of a point behind a camera, in standard deviations


class Points(NamedTuple):
    """N points in reference frames of their own.

    Attributes:
        xyw: (N, 3) normalised image coordinates x, y and inverse depth w in the reference frame.
        R_world_ref: (N, 3, 3) orientation of the reference frame.
        t_world_ref: (N, 3) its origin.
        prior: (N,) expected inverse depth.
        deviation: (N,) standard deviation of `prior`.
    """

    xyw: NDArray[np.float64]
    R_world_ref: NDArray[np.float64]
    t_world_ref: NDArray[np.float64]
    prior: NDArray[np.float64]
    deviation: NDArray[np.float64]

    def __getitem__(self, index: NDArray) -> Points:
        """Points of an index or a mask."""
        return Points(*(column[index] for column in self))

    @property
    def homogeneous(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """(N, 3) positions in the world times w, and w (N,)."""
        w = self.xyw[:, 2]
        rays = self.xyw.copy()
        rays[:, 2] = 1.0
        return (self.R_world_ref @ rays[..., None])[..., 0] + self.t_world_ref * w[:, None], w

    def inverse_depth(self, T_camera_world: NDArray) -> NDArray[np.float64]:
        """(N,) inverse depths along z of a camera; not finite or negative behind it."""
        X, w = self.homogeneous
        with np.errstate(divide='ignore', invalid='ignore'):
            return w / (X @ T_camera_world[2, :3] + T_camera_world[2, 3] * w)


class Step(NamedTuple):
    """Expected motion between two cameras.

    Attributes:
        T_later_earlier: (4, 4) from the earlier camera to the later one.
        turn: standard deviation in rad.
        shift: standard deviation in units of the map.
    """

    T_later_earlier: NDArray[np.float64]
    turn: float
    shift: float

    @property
    def covariance(self) -> NDArray[np.float64]:
        """(6, 6) of three turns, then three shifts."""
        return np.diag(np.repeat([self.turn**2, self.shift**2], 3))

    def pull(
        self, T_later_world: NDArray, T_earlier_world: NDArray
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Information (6,), and the motion (6,) of the later camera that is expected.

        Both are of three turns, then three shifts, in the later camera's frame. The information
        is that of Cauchy's distribution, so that a wrong expectation gives way.
        """
        T = self.T_later_earlier @ T_earlier_world
        R = T[:3, :3] @ T_later_world[:3, :3].T
        turn, shift = rotation(R).as_rotvec(), T[:3, 3] - R @ T_later_world[:3, 3]
        weights = [
            1 / (sigma**2 + (off @ off) / LOOSE**2)
            for off, sigma in ((turn, self.turn), (shift, self.shift))
        ]
        return np.repeat(weights, 3), np.concatenate([turn, shift])

    def excludes(self, T_later_world: NDArray, T_earlier_world: NDArray) -> bool:
        """True if such a motion is over `LOOSE` standard deviations from the expected one."""
        off = self.pull(T_later_world, T_earlier_world)[1].reshape(2, 3)
        sigma = np.array([self.turn, self.shift])
        return bool((np.linalg.norm(off, axis=1) > LOOSE * sigma).any())


class Adjusted(NamedTuple):
    """Result of a bundle adjustment.

    Attributes:
        T_camera_world: (K, 4, 4).
        xyw: (N, 3) of the points.
        error: (K, N) reprojection errors in standard deviations; NaN where not seen.
        deviation: (N,) standard deviation of the inverse depths, given the poses.
        covariance: (F, 6, 6) of the free cameras, given the fixed ones: three turns and three
            shifts in the camera's frame.
    """

    T_camera_world: NDArray[np.float64]
    xyw: NDArray[np.float64]
    error: NDArray[np.float64]
    deviation: NDArray[np.float64]
    covariance: NDArray[np.float64]


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
) -> Adjusted:
    """Most likely poses of K cameras and places of N points.

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
    """
    T, xyw = T_camera_world.copy(), points.xyw.copy()
    known = np.isfinite(seen).all(2)
    target = np.where(known[..., None], seen, 0.0).transpose(0, 2, 1)
    N, F = len(xyw), len(T) - fixed
    diagonal = np.arange(F)
    power = 2 if strict else 1
    for limit in limits:
        points = points._replace(xyw=xyw)
        uv, z, J_pose, J_point = _project(T, points)
        error = target - uv
        outlying = 1 + (error**2).sum(1) / (limit * sigma) ** 2
        weight = known * (z > NEAREST) / outlying**power / sigma**2
        error_w = weight[:, None] * error
        W_pose = J_pose[fixed:] * weight[fixed:, None, None]
        b = (W_pose * error[fixed:, None]).sum((2, 3))
        H = W_pose.reshape(F, 6, -1) @ J_pose[fixed:].reshape(F, 6, -1).swapaxes(1, 2)
        W_point = J_point * weight[:, None, None]
        C = (W_point[:, :, None] * J_point[:, None]).sum((0, 3))
        d = (J_point * error_w[:, None]).sum((0, 2))
        E = (W_pose[:, :, None] * J_point[fixed:, None]).sum(3)
        trust = 1 / (points.deviation**2 + (xyw[:, 2] - points.prior) ** 2)
        C[2, 2] += trust
        d[2] += trust * (points.prior - xyw[:, 2])
        C[0, 0] += ANGLE**-2
        C[1, 1] += ANGLE**-2
        C_inverse = _inverse(C)
        E_flat = E.reshape(6 * F, -1)
        EC = (E[:, :, :, None] * C_inverse).sum(2).reshape(6 * F, -1)
        S = -EC @ E_flat.T
        S.reshape(F, 6, F, 6)[diagonal, :, diagonal] += H
        g = b.ravel() - EC @ d.ravel()
        _pull(S, g, T, fixed, steps)
        S.ravel()[:: 6 * F + 1] *= 1 + DAMPING
        S.ravel()[:: 6 * F + 1] += DAMPING
        step = np.linalg.solve(S, g)
        rest = d - (E_flat.T @ step).reshape(3, N)
        T[fixed:] = _moved(T[fixed:], step.reshape(F, 6))
        xyw = xyw + (C_inverse * rest).sum(1).T
        xyw[:, 2] = np.maximum(xyw[:, 2], FARTHEST * np.median(xyw[:, 2]))
    points = points._replace(xyw=xyw)
    uv, z = _projected(T, points)
    distance = np.sqrt(((target - uv) ** 2).sum(1)) / sigma
    distance = np.where(known, np.where(z > NEAREST, distance, BEHIND), np.nan)
    covariance = np.linalg.inv(S).reshape(F, 6, F, 6)[diagonal, :, diagonal]
    return Adjusted(T, xyw, distance, np.sqrt(C_inverse[2, 2]), covariance)


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
) -> Located:
    """Most likely pose of a camera among known points.

    Args:
        T_camera_world: (4, 4) initial pose.
        points: where they are; they stay there.
        seen: (N, 2) normalised image coordinates.
        sigma: standard deviation of `seen`.
        limits: scale of the robust loss in `sigma`, by iteration; the last one gives the cost.
        expected: pose (4, 4), T_camera_world, of an earlier camera, and the motion since.
    """
    T = T_camera_world
    for limit in limits:
        uv, z, J, _ = (each[0] for each in _project(T[None], points))
        error = seen.T - uv
        weight = (z > NEAREST) / (1 + (error**2).sum(0) / (limit * sigma) ** 2) / sigma**2
        WJ = J * weight
        H = WJ.reshape(6, -1) @ J.reshape(6, -1).T
        g = (WJ * error).sum((1, 2))
        if expected is not None:
            information, off = expected[1].pull(T, expected[0])
            H, g = H + np.diag(information), g + information * off
        H[np.diag_indices(6)] = H.diagonal() * (1 + DAMPING) + DAMPING
        T = _moved(T[None], np.linalg.solve(H, g)[None])[0]
    uv, z = (each[0] for each in _projected(T[None], points))
    distance = np.sqrt(((seen.T - uv) ** 2).sum(0)) / sigma
    distance = np.where(z > NEAREST, np.minimum(distance, BEHIND), BEHIND)
    return Located(T, distance, H, float(np.log1p((distance / limits[-1]) ** 2).sum()))


def _pull(S: NDArray, g: NDArray, T: NDArray, fixed: int, steps: Sequence[Step | None]) -> None:
    """Add expected motions to the normal equations of the poses."""
    for later, step in enumerate(steps):
        if step is None or later < max(fixed, 1):
            continue
        information, off = step.pull(T[later], T[later - 1])
        at = slice(6 * (later - fixed), 6 * (later - fixed) + 6)
        S[at, at] += np.diag(information)
        g[at] += information * off
        if later > fixed:  # the earlier camera is free, too
            before = slice(at.start - 6, at.start)
            J = turn_first(adjoint(step.T_later_earlier))
            S[before, before] += J.T @ (information[:, None] * J)
            S[at, before] -= information[:, None] * J
            S[before, at] -= (information[:, None] * J).T
            g[before] -= J.T @ (information * off)


def turn_first(matrix: NDArray) -> NDArray[np.float64]:
    """Matrix (..., 6, 6) over turn and shift, from one over shift and turn; and back."""
    return np.roll(matrix, 3, axis=(-2, -1))


def _moved(T: NDArray, step: NDArray) -> NDArray[np.float64]:
    """Poses (F, 4, 4) after steps (F, 6) of turn and shift in the frames of the cameras."""
    turn = np.array([cv2.Rodrigues(each)[0] for each in step[:, :3]])
    shift = (turn @ T[:, :3, 3:])[..., 0] + step[:, 3:]
    R = turn @ T[:, :3, :3]
    # a Newton step to the nearest rotation: predictions from motions would double the rounding
    # errors with each frame
    return transform(1.5 * R - 0.5 * R @ R.swapaxes(1, 2) @ R, shift)


def _projected(T: NDArray, points: Points) -> tuple[NDArray, NDArray]:
    """Normalised image coordinates (K, 2, N) and depths times w (K, N)."""
    X, w = points.homogeneous
    q = T[:, :3, :3] @ X.T + T[:, :3, 3:] * w
    return q[:, :2] / np.maximum(q[:, 2:], NEAREST), q[:, 2]


def _project(T: NDArray, points: Points) -> tuple[NDArray, NDArray, NDArray, NDArray]:
    """Projections of N points into K cameras, with derivatives.

    Returns:
        Normalised image coordinates (K, 2, N); depths times w (K, N); derivatives by turn and
        shift of the camera, (K, 6, 2, N); and by the points' x, y and w, (K, 3, 2, N).
    """
    K, N = len(T), len(points.xyw)
    uv, z = _projected(T, points)
    near = 1 / np.maximum(z, NEAREST)
    x, y, w = uv[:, 0], uv[:, 1], points.xyw[:, 2]
    J_pose = np.zeros((K, 6, 2, N))
    J_pose[:, 3, 0] = J_pose[:, 4, 1] = w * near
    J_pose[:, 5] = -uv * J_pose[:, 3, :1]
    J_pose[:, 0, 0], J_pose[:, 1, 0], J_pose[:, 2, 0] = -x * y, 1 + x * x, -y
    J_pose[:, 0, 1], J_pose[:, 1, 1], J_pose[:, 2, 1] = -1 - y * y, x * y, x
    R, t = T[:, :3, :3], T[:, :3, 3:]
    # columns: the x axis, the y axis and the origin of each reference frame, seen by the cameras
    axes = R.reshape(-1, 3) @ points.R_world_ref[..., :2].transpose(1, 2, 0).reshape(3, -1)
    by = np.empty((K, 3, 3, N))
    by[:, :, :2] = axes.reshape(K, 3, 2, N)
    by[:, :, 2] = R @ points.t_world_ref.T + t
    J_point = (by[:, :2] - uv[:, :, None] * by[:, 2:]) * near[:, None, None]
    return uv, z, J_pose, J_point.swapaxes(1, 2)


def _inverse(C: NDArray) -> NDArray[np.float64]:
    """Inverse of symmetric matrices (3, 3, N)."""
    (a, b, c), (_, d, e), (_, _, f) = C
    out = np.array(
        [
            [d * f - e * e, c * e - b * f, b * e - c * d],
            [c * e - b * f, a * f - c * c, b * c - a * e],
            [b * e - c * d, b * c - a * e, a * d - b * b],
        ]
    )
    return out / (C[0] * out[0]).sum(0)
