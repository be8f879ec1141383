"""Least squares over reprojection errors: bundle adjustment.

All errors are in standard deviations of a tracked corner; weights are those of Cauchy's
distribution, which grow strict from step to step.
"""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from page4d_ros.perception.mounts import Mounted, MountSolution
from page4d_ros.perception.points import Points, Step, by_pose, moved

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from page4d_ros.perception.mounts import Mounts

NEAREST = 1e-6  # least depth of a projected point, in its first depth
ANGLE = 0.01  # prior deviation of a point's ray, in normalised image coordinates
MOUNTED_ANGLE = 1.0  # likewise, of points of cameras whose mounts are unknowns
FARTHEST = 1e-4  # least inverse depth, relative to the median
DAMPING = 1e-6
ACROSS = 4.0  # standard deviation of a match between cameras, in those of a tracked corner
BEHIND = 1e3  # error of a point behind a camera, in standard deviations


class OfRig(NamedTuple):
    """Cameras of a rig and what they see of N points in K frames.

    Attributes:
        mounts: of the cameras.
        view: (N,) camera that tracks each point.
        across: (K, V, N, 2) normalised image coordinates in others of the V; NaN where not seen.
    """

    mounts: Mounts
    view: NDArray[np.intp]
    across: NDArray[np.float64]


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
    """

    T_camera_world: NDArray[np.float64]
    xyw: NDArray[np.float64]
    error: NDArray[np.float64]
    deviation: NDArray[np.float64]
    covariance: NDArray[np.float64]
    mounts: MountSolution | None = None


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
    views = _Views(seen, fixed, points) if rig is None else _RigViews(seen, fixed, points, rig)
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
        views.enter(A.ravel(), _lower(root[:, views.point[views.free]], mixed))
        views.mix(A, root, J_point, weight)
        e = _lower(root, d)
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
    return Adjusted(T, xyw, views.distance(uv, near, sigma), root[5], covariance, mounts)


class _Views:
    """M observations of points by cameras, one camera after the other.

    Attributes:
        camera: (M,) indices of the cameras; point: (M,) of the points.
        uv: (2, M) observed normalised image coordinates.
        free: the observations of the F cameras that move.
        entry: (3, 6, M) their places in a matrix (F, 6, 3, N) of cameras and points, flat.
        more: number of unknowns beside cameras and points.
        damping: information of the points' rays.
        noise: their standard deviations, in those of a tracked corner.
    """

    more = 0
    noise: NDArray | float = 1.0
    damping: NDArray | float = ANGLE**-2

    def __init__(self, seen: NDArray, fixed: int, points: Points) -> None:
        self.shape = seen.shape[:2]
        self.camera, self.point, uv = self._observed(seen)
        self.uv = np.ascontiguousarray(uv.T)
        ends = np.searchsorted(self.camera, np.arange(fixed, len(seen) + 1))
        self.free = slice(ends[0], None)
        ends = (ends - ends[0]).tolist()
        self._of_camera = [slice(*each) for each in pairwise(ends)]
        N, whose = self.shape[1], self.point[self.free]
        first = 18 * N * (self.camera[self.free] - fixed) + whose
        self.entry = first + N * np.arange(3)[:, None, None] + 3 * N * np.arange(6)[:, None]
        self._sum = N * np.arange(9)[:, None] + self.point
        # derivatives of the homogeneous points by x, y and w: axes and origin of their frames
        by = np.zeros((3, 4, N))
        by[:2, :3] = points.R_world_ref[..., :2].transpose(2, 1, 0)
        by[2, :3], by[2, 3] = points.t_world_ref.T, 1.0
        self._by = np.take(by, self.point, axis=2)

    def _observed(self, seen: NDArray) -> tuple[NDArray, NDArray, NDArray]:
        camera, point = np.nonzero(np.isfinite(seen[..., 0]))
        return camera, point, seen[camera, point]

    def enter(self, A: NDArray, values: NDArray) -> None:
        """Put values (3, 6, M) into their places."""
        A[self.entry] = values

    def project(self, T: NDArray, points: Points) -> tuple[NDArray, NDArray, NDArray, NDArray]:
        """Projections of the points into the cameras (K, 4, 4), with derivatives.

        Returns:
            Normalised image coordinates (2, M); inverse depths, in inverse depths of the points
            (M,); derivatives of the free ones by turn and shift of the camera (6, 2, M), and of
            all by the points' x, y and w (3, 2, M).
        """
        X, w = points.homogeneous
        X = np.take(np.concatenate([X.T, w[None]]), self.point, axis=1)
        rows = self._rows(T)
        q = np.einsum('cim,im->cm', rows, X)
        near = 1 / np.maximum(q[2], NEAREST)
        uv = q[:2] * near
        J_point = np.einsum('cim,jim->jcm', (rows[:2] - uv[:, None] * rows[2]) * near, self._by)
        return uv, near, self._by_pose(uv, X[3] * near), J_point

    def _rows(self, T: NDArray) -> NDArray[np.float64]:
        """(3, 4, M) poses (K, 4, 4) of the cameras that observe."""
        return np.take(T[:, :3].transpose(1, 2, 0), self.camera, axis=2)

    def _by_pose(self, uv: NDArray, near: NDArray) -> NDArray[np.float64]:
        return by_pose(uv[:, self.free], near[self.free])

    def mix(self, A: NDArray, root: NDArray, J_point: NDArray, weight: NDArray) -> None:
        """Add rows of further unknowns to a matrix of cameras and points; there are none."""

    def add(
        self, S: NDArray, g: NDArray, W_pose: NDArray, weight: NDArray, error: NDArray
    ) -> None:
        """Add them to the normal equations."""

    def move(self, step: NDArray) -> None:
        """Move them."""

    def solved(self, covariance: NDArray) -> MountSolution | None:  # noqa: ARG002
        """Their values."""
        return None

    def of_cameras(self, W: NDArray, J: NDArray, error: NDArray) -> tuple[NDArray, NDArray]:
        """Information (F, 6, 6) of the free cameras and its product with their motion (F, 6).

        Args:
            W: (6, 2, M) derivatives of the free observations with their weights.
            J: likewise, without weights.
            error: (2, M) of all observations.
        """
        J = np.concatenate([J, error[None, :, self.free]])
        both = [W[..., of].reshape(6, -1) @ J[..., of].reshape(7, -1).T for of in self._of_camera]
        return np.array(both)[..., :6], np.array(both)[..., 6]

    def of_points(self, W: NDArray, J: NDArray, error: NDArray) -> tuple[NDArray, NDArray]:
        """Information (6, N) of the points, a lower triangle, and its product with motion (3, N).

        Args:
            W: (3, 2, M) derivatives with their weights.
            J: likewise, without weights.
            error: (2, M).
        """
        each = [(W[i] * J[j]).sum(0) for i in range(3) for j in range(i + 1)]
        each = np.concatenate([each, (W * error).sum(1)])
        sums = np.bincount(self._sum.ravel(), each.ravel(), 9 * self.shape[1]).reshape(9, -1)
        return sums[:6], sums[6:]

    def distance(self, uv: NDArray, near: NDArray, sigma: float) -> NDArray[np.float64]:
        """(K, N) reprojection errors in standard deviations; NaN where not seen."""
        out = np.full(self.shape, np.nan)
        off = np.sqrt(((self.uv - uv) ** 2).sum(0)) / sigma
        out[self.camera, self.point] = np.where(near < 1 / NEAREST, off, BEHIND)
        return out


class _RigViews(_Views):
    """Observations by the cameras of a rig; a pose is that of the main camera."""

    def __init__(self, seen: NDArray, fixed: int, points: Points, rig: OfRig) -> None:
        self._rig = rig
        super().__init__(seen, fixed, points)
        mounts, view = rig.mounts, rig.view
        self._solution = MountSolution(mounts)
        self.more = self._solution.size
        self.noise = np.where(self._own, 1.0, ACROSS)
        free = self._view[self.free]
        others = ~self._own[self.free]
        self._enter = [self._own[self.free]] + [others & (free == v) for v in np.unique(free)]
        # a mount moves all points of its camera, which must not hold it
        self.damping = np.where(view == mounts.main, ANGLE, MOUNTED_ANGLE) ** -2.0
        self._of_view = [np.flatnonzero(self._view == v) for v in self._solution.views]
        first, count = self.free.start or 0, len(seen) - fixed
        camera = self.camera - fixed
        self._of_both = [
            [(k, of[camera[of] == k] - first, of[camera[of] == k]) for k in range(count)]
            for of in self._of_view
        ]

    def _observed(self, seen: NDArray) -> tuple[NDArray, NDArray, NDArray]:
        camera, point, uv = super()._observed(seen)
        of, view, whose = np.nonzero(np.isfinite(self._rig.across[..., 0]))
        camera, order = (
            np.concatenate([camera, of]),
            np.argsort(np.concatenate([camera, of]), kind='stable'),
        )
        self._own = np.arange(len(order))[order] < len(point)
        self._view = np.concatenate([self._rig.view[point], view])[order]
        uv = np.concatenate([uv, self._rig.across[of, view, whose]])
        return camera[order], np.concatenate([point, whose])[order], uv[order]

    def enter(self, A: NDArray, values: NDArray) -> None:
        """Put values (3, 6, M) into their places, where those of several cameras add up."""
        own, *others = self._enter
        A[self.entry[..., own]] = values[..., own]
        for of in others:
            A[self.entry[..., of]] += values[..., of]

    def distance(self, uv: NDArray, near: NDArray, sigma: float) -> NDArray[np.float64]:
        """Likewise of the cameras that track the points."""
        out = np.full(self.shape, np.nan)
        own = self._own
        off = np.sqrt(((self.uv - uv)[:, own] ** 2).sum(0)) / sigma
        off = np.where(near[own] < 1 / NEAREST, off, BEHIND)
        out[self.camera[own], self.point[own]] = off
        return out

    def _rows(self, T: NDArray) -> NDArray[np.float64]:
        each = self._solution.T_view_main[:, None] @ T
        return each[self._view, self.camera, :3].transpose(1, 2, 0)

    def _by_pose(self, uv: NDArray, near: NDArray) -> NDArray[np.float64]:
        self._by_mount = by_pose(uv, near)
        mounted = Mounted(self._solution.T_view_main, self._view)
        return mounted.of_main(self._by_mount[..., self.free], self._view[self.free])

    def mix(self, A: NDArray, root: NDArray, J_point: NDArray, weight: NDArray) -> None:
        """Add the rows of the mounts."""
        N = self.shape[1]
        rows = A[len(A) - self.more : len(A) - 1].reshape(-1, 6, 3, N)
        for row, of in zip(rows, self._of_view, strict=True):
            W = self._by_mount[..., of] * weight[of]
            mixed = np.einsum('icm,jcm->jim', W, J_point[..., of]).reshape(18, -1)
            at = N * np.arange(18)[:, None] + self.point[of]
            sums = np.bincount(at.ravel(), mixed.ravel(), 18 * N).reshape(3, 6, N)
            row[:] = _lower(root, sums).transpose(1, 0, 2)

    def add(
        self, S: NDArray, g: NDArray, W_pose: NDArray, weight: NDArray, error: NDArray
    ) -> None:
        """Add information of the mounts, by themselves and with the poses, and of the priors."""
        first = len(S) - self.more
        for i, (of, both) in enumerate(zip(self._of_view, self._of_both, strict=True)):
            at = slice(first + 6 * i, first + 6 * i + 6)
            J = self._by_mount[..., of]
            W = (J * weight[of]).reshape(6, -1)
            S[at, at] += W @ J.reshape(6, -1).T
            g[at] += W @ error[:, of].ravel()
            for k, free, each in both:
                pose = slice(6 * k, 6 * k + 6)
                J = self._by_mount[..., each].reshape(6, -1)
                mixed = W_pose[..., free].reshape(6, -1) @ J.T
                S[pose, at] += mixed
                S[at, pose] += mixed.T
        self._solution.pull(S, g)

    def move(self, step: NDArray) -> None:
        """Move mounts and unit."""
        self._solution.move(step)

    def solved(self, covariance: NDArray) -> MountSolution:
        """Mounts and unit."""
        self._solution.solved(covariance)
        return self._solution


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


def _lower(L: NDArray, v: NDArray) -> NDArray[np.float64]:
    """Products (3, ..., M) of lower triangles L (6, M) and vectors v (3, ..., M)."""
    return np.array(
        [L[0] * v[0], L[1] * v[0] + L[2] * v[1], L[3] * v[0] + L[4] * v[1] + L[5] * v[2]]
    )


def _upper(L: NDArray, v: NDArray) -> NDArray[np.float64]:
    """Likewise of the transposes of L."""
    return np.array(
        [L[0] * v[0] + L[1] * v[1] + L[3] * v[2], L[2] * v[1] + L[4] * v[2], L[5] * v[2]]
    )
