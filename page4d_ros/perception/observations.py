"""Observations of points by cameras, and their derivatives, for a bundle adjustment."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from page4d_ros.perception.points import by_pose

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from page4d_ros.perception.mounts import MountSolution
    from page4d_ros.perception.points import Points

NEAREST = 1e-6  # least depth of a projected point, in its first depth
ANGLE = 0.01  # prior deviation of a point's ray, in normalised image coordinates
BEHIND = 1e3  # error of a point behind a camera, in standard deviations


class Views:
    """M observations of points by cameras, one camera after the other.

    Attributes:
        camera: (M,) indices of the cameras; point: (M,) of the points.
        uv: (2, M) observed normalised image coordinates.
        free: the observations of the F cameras that move.
        entry: (3, 6, M) their places in a matrix (F, 6, 3, N) of cameras and points, flat.
        more: number of unknowns beside cameras and points.
        damping: information of the points' rays.
        noise: their standard deviations, in those of a tracked corner.
        T_then_now: (K, V, 4, 4) motions until images of a rig are taken, see `Late`; None for one
            camera.
    """

    more = 0
    T_then_now: NDArray | None = None
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


def lower(L: NDArray, v: NDArray) -> NDArray[np.float64]:
    """Products (3, ..., M) of lower triangles L (6, M) and vectors v (3, ..., M)."""
    return np.array(
        [L[0] * v[0], L[1] * v[0] + L[2] * v[1], L[3] * v[0] + L[4] * v[1] + L[5] * v[2]]
    )
