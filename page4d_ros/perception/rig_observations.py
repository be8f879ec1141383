"""Observations by the cameras of a rig, whose mounts are further unknowns."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from page4d_ros.geometry.poses import inverse
from page4d_ros.perception.mounts import MountSolution, by_main, of_rig
from page4d_ros.perception.observations import ANGLE, BEHIND, NEAREST, Views, lower
from page4d_ros.perception.points import Step, by_pose, moved

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from page4d_ros.perception.late import Late
    from page4d_ros.perception.mounts import Mounts
    from page4d_ros.perception.points import Points

MOUNTED_ANGLE = 1.0  # `ANGLE` of points of cameras whose mounts are unknowns
ACROSS = 4.0  # standard deviation of a match between cameras, in those of a tracked corner


class OfRig(NamedTuple):
    """Cameras of a rig and what they see of N points in K frames.

    Attributes:
        mounts: of the cameras.
        view: (N,) camera that tracks each point.
        across: (K, V, N, 2) normalised image coordinates in others of the V; NaN where not seen.
        late: of K frames; the motion until an image is taken is a further unknown.
    """

    mounts: Mounts
    view: NDArray[np.intp]
    across: NDArray[np.float64]
    late: Late


class _Motion(NamedTuple):
    """Unknown motion until a late image of a free frame is taken.

    Attributes:
        k: number of the frame among all; free: among those that move.
        view: the camera; mount: its number among the unknown mounts.
        of: indices of its observations among those of free frames.
        each: likewise among all.
    """

    k: int
    free: int
    view: int
    mount: int
    of: NDArray[np.intp]
    each: NDArray[np.intp]


class RigViews(Views):
    """Observations by the cameras of a rig; a pose is that of the main camera.

    Unknowns beside cameras and points are motions until late images, mounts, and the unit.
    """

    def __init__(self, seen: NDArray, fixed: int, points: Points, rig: OfRig) -> None:
        self._rig = rig
        super().__init__(seen, fixed, points)
        mounts, view = rig.mounts, rig.view
        self._solution = MountSolution(mounts)
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
        self.T_then_now = rig.late.T_then_now.copy()
        self._motions = [
            _Motion(k + fixed, k, mine, i, of, each)
            for i, mine in enumerate(self._solution.views)
            for k, of, each in self._of_both[i]
            if len(each) and rig.late.sigma[k + fixed, mine]
        ]
        self.more = 6 * len(self._motions) + self._solution.size
        self._depth = 1 / float(np.median(points.xyw[:, 2])) if len(points.xyw) else 1.0

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
        each = self._solution.T_view_main[:, None] @ self.T_then_now.swapaxes(0, 1) @ T
        return each[self._view, self.camera, :3].transpose(1, 2, 0)

    def _by_pose(self, uv: NDArray, near: NDArray) -> NDArray[np.float64]:
        self._by_mount = by_pose(uv, near)
        J, T = self._by_mount[..., self.free], self._solution.T_view_main
        out = of_rig(J, T, self._view[self.free])
        for motion in self._motions:
            then = T[motion.view] @ self.T_then_now[motion.k, motion.view]
            out[..., motion.of] = by_main(J[..., motion.of], then)
        return out

    def mix(self, A: NDArray, root: NDArray, J_point: NDArray, weight: NDArray) -> None:
        """Add the rows of motions and mounts."""
        N = self.shape[1]
        rows = A[len(A) - self.more : len(A) - 1].reshape(-1, 6, 3, N)
        chosen = [motion.each for motion in self._motions] + self._of_view
        for row, of in zip(rows, chosen, strict=True):
            W = self._by_mount[..., of] * weight[of]
            mixed = np.einsum('icm,jcm->jim', W, J_point[..., of]).reshape(18, -1)
            at = N * np.arange(18)[:, None] + self.point[of]
            sums = np.bincount(at.ravel(), mixed.ravel(), 18 * N).reshape(3, 6, N)
            row[:] = lower(root, sums).transpose(1, 0, 2)

    def add(
        self, S: NDArray, g: NDArray, W_pose: NDArray, weight: NDArray, error: NDArray
    ) -> None:
        """Add information of motions and mounts, by themselves and with others, and priors."""
        first = len(S) - self._solution.size
        self._add_motions(S, g, W_pose, weight, error)
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

    def _add_motions(
        self, S: NDArray, g: NDArray, W_pose: NDArray, weight: NDArray, error: NDArray
    ) -> None:
        mounts, late = len(S) - self._solution.size, self._rig.late
        for i, (k, free, view, mount, of, each) in enumerate(self._motions):
            at = slice(len(S) - self.more + 6 * i, len(S) - self.more + 6 * i + 6)
            J = self._by_mount[..., each]
            W = (J * weight[each]).reshape(6, -1)
            J = J.reshape(6, -1)
            own = W @ J.T
            S[at, at] += own
            g[at] += W @ error[:, each].ravel()
            for other, mixed in (
                (6 * free, W_pose[..., of].reshape(6, -1) @ J.T),
                (mounts + 6 * mount, own),
            ):
                S[other : other + 6, at] += mixed
                S[at, other : other + 6] += mixed.T
            sigma, T = late.sigma[k, view], self._solution.T_view_main[view]
            expected = Step(T @ late.expected[k, view], sigma, sigma * self._depth)
            information, off = expected.pull(T @ self.T_then_now[k, view], np.eye(4))
            S[at, at] += np.diag(information)
            g[at] += information * off

    def move(self, step: NDArray) -> None:
        """Move mounts and unit, and what happens until late images are taken."""
        T, end = self._solution.T_view_main.copy(), 6 * len(self._motions)
        for motion, each in zip(self._motions, step[:end].reshape(-1, 6), strict=True):
            k, view = motion.k, motion.view
            there = moved((T[view] @ self.T_then_now[k, view])[None], each[None])[0]
            self.T_then_now[k, view] = inverse(T[view]) @ there
        self._solution.move(step[end:])

    def solved(self, covariance: NDArray) -> MountSolution:
        """Mounts and unit."""
        end = 6 * len(self._motions)
        self._solution.solved(covariance[end:, end:])
        return self._solution
