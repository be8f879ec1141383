"""Recent keyframes and the points that they saw."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy.spatial import KDTree

from page4d_ros.geometry.poses import inverse
from page4d_ros.perception.bundle import Adjusted, adjust
from page4d_ros.perception.drift import PERSISTENT, carried, gathered, rescaled
from page4d_ros.perception.late import stacked
from page4d_ros.perception.mounts import Mounted, Mounts
from page4d_ros.perception.points import Points, Step
from page4d_ros.perception.rig_observations import OfRig
from page4d_ros.perception.sparse_pose import FEWEST

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from page4d_ros.perception.late import Late

FREE = 10  # newest keyframes, whose poses are adjusted
FIXED = 6  # older ones, which hold the rest in place while their points are seen
MOST_POINTS = 400  # in one adjustment
STRIKES = 2  # disagreements that drop a point
EARLY = 4  # keyframes of a young map, of which every frame becomes one
KNOWN = 0.2  # relative deviation of a depth, below which it keeps the unit of length
NEIGHBOURS = 3  # known points whose median inverse depth a new one begins with


class LocalMap:
    """Keyframes and points in one world; the newest keyframes are adjusted together.

    The keyframes of a rig are those of its main camera. Each point belongs to one camera.

    Args:
        mounts: of the cameras; None for one camera.

    Attributes:
        mounts: likewise, with poses and unit as they are adjusted by now.
        view: (N,) camera that sees a point.
        T_camera_world: (K, 4, 4) poses of the keyframes, oldest first.
        covariance: (K, 6, 6) of these since the trajectory began; see `drift`.
        steps: K expected motions, each from the keyframe before; None where nothing is expected.
        late: K motions until the images of a rig's other cameras are taken.
        ids: (N,) rising identities of the points' tracks.
        points: N places.
        seen: (K, N, 2) normalised image coordinates; NaN where not seen.
        across: (K, V, N, 2) likewise in the V cameras of a rig that do not track the point.
        deviation: (N,) standard deviation of the present inverse depths, given the poses.
        strikes: (N,) frames in which a point's track disagreed with it.
    """

    def __init__(self, mounts: Mounts | None = None) -> None:
        self.mounts = mounts or Mounts(1)
        self.T_camera_world = np.zeros((0, 4, 4))
        self.covariance = np.zeros((0, 6, 6))
        self.steps: list[Step | None] = []
        self.late: list[Late] = []
        self.ids = np.zeros(0, np.int64)
        self.view = np.zeros(0, np.intp)
        empty = np.zeros(0)
        self.points = Points(np.zeros((0, 3)), np.zeros((0, 3, 3)), np.zeros((0, 3)), empty, empty)
        self.seen = np.zeros((0, 0, 2))
        count = len(self.mounts.T_view_main)
        self.across = np.zeros((0, count if count > 1 else 0, 0, 2))
        self.deviation = empty
        self.strikes = np.zeros(0, np.int64)

    def find(self, ids: NDArray) -> tuple[NDArray[np.intp], NDArray[np.bool_]]:
        """Columns of tracks' points; True (M,) where a track has one."""
        if not len(self.ids):
            return np.zeros(len(ids), np.intp), np.zeros(len(ids), bool)
        at = np.searchsorted(self.ids, ids).clip(max=len(self.ids) - 1)
        return at, self.ids[at] == ids

    def of(self, ids: NDArray) -> Points:
        """Points of tracks that all have one."""
        return self.points[self.find(ids)[0]]

    @property
    def _rig(self) -> bool:
        return self.mounts.several

    def mounted(self, columns: NDArray) -> Mounted | None:
        """Cameras that see points; None for one camera."""
        mounts = self.mounts
        return Mounted(mounts.newest, self.view[columns], mounts.late.sigma) if self._rig else None

    def sharp(self, columns: NDArray) -> NDArray[np.bool_]:
        """True (M,) for points whose camera is not late, so that its motion adds no error."""
        return self.mounts.late.sigma[self.view[columns]] == 0

    def inverse_depths(self, columns: NDArray, T_camera_world: NDArray) -> NDArray[np.float64]:
        """(M,) inverse depths of points, each in its own camera.

        Args:
            columns: of the points.
            T_camera_world: (4, 4) pose of the main camera.
        """
        mounted = self.mounted(columns)
        T = T_camera_world if mounted is None else mounted.poses(T_camera_world)
        return self.points[columns].inverse_depth(T)

    def measured(
        self, ids: NDArray, T_camera_world: NDArray, most: float
    ) -> tuple[NDArray[np.intp], NDArray[np.float64], NDArray[np.float64]]:
        """Tracks whose depth is known by parallax, and not by its prior.

        Args:
            ids: (M,) rising identities of the tracks.
            T_camera_world: (4, 4) pose of the main camera.
            most: relative standard deviation of an inverse depth.

        Returns:
            Their indices (N,), inverse depths (N,) in their cameras, and the deviations (N,).
        """
        at, has = self.find(ids)
        columns = at[has]
        w, deviation = self.inverse_depths(columns, T_camera_world), self.deviation[columns]
        use = (w > 0) & (deviation < np.minimum(most * w, self.points.deviation[columns] / 2))
        return np.flatnonzero(has)[use], w[use], deviation[use]

    def row(self, ids: NDArray, rays: NDArray) -> NDArray[np.float64]:
        """(N, 2) of `seen` for tracks (M,) at normalised image coordinates (M, 2)."""
        out = np.full((len(self.ids), 2), np.nan)
        at, has = self.find(ids)
        out[at[has]] = rays[has]
        return out

    def shift(self, rays: NDArray, columns: NDArray) -> float:
        """Median motion of points' corners since the last keyframe, in normalised coordinates.

        Args:
            rays: (M, 2) where they are now.
            columns: (M,) of the points.

        Returns:
            Infinity in a young map, or where no point is seen again.
        """
        shift = np.linalg.norm(self.seen[-1, columns] - rays, axis=1)
        shift = shift[np.isfinite(shift)]
        young = len(self.T_camera_world) < EARLY
        return np.inf if young or not len(shift) else float(np.median(shift))

    def add(
        self,
        T_camera_world: NDArray,
        ids: NDArray,
        rays: NDArray,
        inverse_depth: NDArray,
        deviation: NDArray,
        covariance: NDArray,
        step: Step | None = None,
        view: NDArray | None = None,
        across: NDArray | None = None,
    ) -> None:
        """Add a keyframe; tracks without a point get one.

        Args:
            T_camera_world: (4, 4) pose of the keyframe.
            ids: (M,) rising identities of its tracks; new ones are greater than all before.
            rays: (M, 2) their normalised image coordinates.
            inverse_depth: (M,) of new points in the keyframe.
            deviation: (M,) its standard deviation.
            covariance: (6, 6) of the pose, since the trajectory began.
            step: motion expected from the last keyframe.
            view: (M,) cameras of the tracks; the main one, if not given.
            across: (V, M, 2) where others see them at the same time; NaN where they do not.
        """
        view = np.zeros(len(ids), np.intp) if view is None else view
        new = ~self.find(ids)[1]
        count = int(new.sum())
        T = inverse(self.mounts.newest @ T_camera_world)[view[new]]
        fresh = Points(
            np.column_stack([rays[new], inverse_depth[new]]),
            T[:, :3, :3],
            T[:, :3, 3],
            inverse_depth[new],
            deviation[new],
        )
        self.ids = np.concatenate([self.ids, ids[new]])
        self.view = np.concatenate([self.view, view[new]])
        self.points = Points(*map(np.concatenate, zip(self.points, fresh, strict=True)))
        self.deviation = np.concatenate([self.deviation, deviation[new]])
        self.strikes = np.concatenate([self.strikes, np.zeros(count, np.int64)])
        gap = np.full((len(self.seen), count, 2), np.nan)
        self.seen = np.concatenate([self.seen, gap], axis=1)
        self.seen = np.concatenate([self.seen, self.row(ids, rays)[None]])
        K, V = self.across.shape[:2]
        gap = np.full((K, V, count, 2), np.nan)
        self.across = np.concatenate([self.across, gap], axis=2)
        last = np.full((1, V, len(self.ids), 2), np.nan)
        if across is not None:
            last[0, :, self.find(ids)[0]] = across.swapaxes(0, 1)
        self.across = np.concatenate([self.across, last])
        self.T_camera_world = np.concatenate([self.T_camera_world, T_camera_world[None]])
        self.covariance = np.concatenate([self.covariance, covariance[None]])
        self.steps.append(step)
        self.late.append(self.mounts.late)
        self._forget()

    def _forget(self) -> None:
        """Drop the oldest keyframes, and points that none of the rest saw."""
        recent = slice(-(FREE + FIXED), None)
        self.T_camera_world, self.covariance = self.T_camera_world[recent], self.covariance[recent]
        self.seen, self.steps = self.seen[recent], self.steps[recent]
        self.across, self.late = self.across[recent], self.late[recent]
        self.keep(np.isfinite(self.seen[..., 0]).any(0))

    def keep(self, columns: NDArray[np.bool_]) -> None:
        """Drop all points but those where `columns` (N,) is True."""
        self.ids, self.strikes = self.ids[columns], self.strikes[columns]
        self.view = self.view[columns]
        self.points, self.seen = self.points[columns], self.seen[:, columns]
        self.deviation, self.across = self.deviation[columns], self.across[:, :, columns]

    def strike(self, columns: NDArray) -> NDArray[np.int64]:
        """Count a disagreement of points with their tracks; drop them at the second one.

        Returns:
            Identities of the tracks whose points were dropped.
        """
        self.strikes[columns] += 1
        out = self.strikes >= STRIKES
        dropped = self.ids[out]
        if len(dropped):
            self.keep(~out)
        return dropped

    def loosen(self, deviation: float) -> None:
        """Let the priors of inverse depths have at least this relative standard deviation."""
        np.maximum(self.points.deviation, deviation * self.points.prior, out=self.points.deviation)

    @property
    def depth(self) -> float:
        """Median depth of all points in their reference frames; 1 without points."""
        return 1 / float(np.median(self.points.xyw[:, 2])) if len(self.ids) else 1.0

    def nearby(
        self, T_camera_world: NDArray, ids: NDArray, rays: NDArray, view: NDArray
    ) -> NDArray[np.float64]:
        """Inverse depths (M,) in the cameras, each the median of its nearest known neighbours.

        Args:
            T_camera_world: (4, 4) pose of the main camera.
            ids: (M,) tracks, some of which have a point.
            rays: (M, 2) their normalised image coordinates.
            view: (M,) their cameras.
        """
        out = np.empty(len(ids))
        for v in np.unique(view):
            of = view == v
            out[of] = self._nearby(T_camera_world, ids[of], rays[of])
        return out

    def _nearby(self, T_camera_world: NDArray, ids: NDArray, rays: NDArray) -> NDArray[np.float64]:
        """Likewise of one camera."""
        at, has = self.find(ids)
        w = self.inverse_depths(at[has], T_camera_world)
        known = rays[has][w > 0]
        w = w[w > 0]
        if not len(w):
            return np.full(len(ids), 1 / self.depth)
        nearest = KDTree(known).query(rays, np.arange(1, 1 + min(NEIGHBOURS, len(w))))[1]
        return np.median(w[nearest], axis=1)

    def adjust(
        self,
        sigma: float,
        limits: Sequence[float],
        newest: tuple[NDArray, NDArray] | None = None,
        step: Step | None = None,
        *,
        strict: bool = False,
    ) -> tuple[Adjusted, NDArray[np.intp]]:
        """Adjust points and keyframes, and a newest camera that is none.

        Args:
            sigma: standard deviation of `seen`.
            limits: scale of the robust loss, by iteration.
            newest: pose (4, 4) and `row` of a further camera.
            step: motion expected from the last keyframe to it.
            strict: give outliers hardly any weight.

        Returns:
            The result, with covariances of all cameras since the trajectory began, and the
            columns of the points that took part.
        """
        T, seen, across, steps = self.T_camera_world, self.seen, self.across, self.steps
        late = self.late
        if newest is not None:
            T = np.concatenate([T, newest[0][None]])
            seen, steps = np.concatenate([seen, newest[1][None]]), [*steps, step]
            across = np.concatenate([across, np.full_like(across[-1:], np.nan)])
            late = [*late, self.mounts.late]
        views = np.isfinite(seen[..., 0]).sum(0) + np.isfinite(across[..., 0]).sum((0, 1))
        columns = np.flatnonzero(views >= 2)
        most = MOST_POINTS * max(1, len(np.unique(self.view[columns])))
        if len(columns) > most:
            now = np.isfinite(seen[-1, columns, 0])
            best = np.argsort(-(views[columns] + len(T) * now), kind='stable')[:most]
            columns = np.sort(columns[best])
        fixed = max(1, len(T) - FREE)
        rig = None
        if self._rig:
            rig = OfRig(self.mounts, self.view[columns], across[:, :, columns], stacked(late))
        found = adjust(
            T,
            fixed,
            self.points[columns],
            seen[:, columns],
            sigma,
            limits,
            steps,
            strict=strict,
            rig=rig,
        )
        if found.mounts is not None:
            self.mounts.adjusted(found.mounts)
            told = zip(late, found.T_then_now, strict=True)
            late = [each._replace(T_then_now=T) for each, T in told]
            self.late = late[: len(self.late)]
            if newest is not None:
                self.mounts.late = late[-1]
        found = found._replace(covariance=self._gathered(found, fixed))
        self.covariance = found.covariance[: len(self.covariance)]
        before, w = self.points.xyw[columns, 2], found.xyw[:, 2]
        known = self.deviation[columns] < KNOWN * before
        self.points.xyw[columns] = found.xyw
        self.deviation[columns] = found.deviation
        if fixed == 1 and known.sum() >= FEWEST:
            found = found._replace(
                T_camera_world=self._scale(np.median((w / before)[known]), found.T_camera_world)
            )
        self.T_camera_world = found.T_camera_world[: len(self.T_camera_world)]
        return found, columns

    def _gathered(self, found: Adjusted, fixed: int) -> NDArray[np.float64]:
        """Covariances (K, 6, 6) of all cameras, from those of the free ones, given the rest."""
        T = found.T_camera_world
        motion = T[fixed:] @ inverse(T[fixed - 1])
        base = carried(self.covariance[fixed - 1], motion)
        free = base + PERSISTENT * found.covariance + gathered(motion, self.depth)
        return np.concatenate([self.covariance[:fixed], free])

    def _scale(self, ratio: float, T_camera_world: NDArray) -> NDArray[np.float64]:
        """Make the map larger about its first camera.

        Args:
            ratio: of the lengths, after to before.
            T_camera_world: (K, 4, 4) of its cameras.

        Returns:
            Their new poses.
        """
        first = inverse(T_camera_world[0])[:3, 3]
        self.points.xyw[:, 2] /= ratio
        self.deviation /= ratio
        self.covariance = rescaled(self.covariance, ratio)
        self.mounts.scale(ratio)
        self.mounts.late = self.mounts.late.scaled(ratio)
        self.late = [late.scaled(ratio) for late in self.late]
        self.points.t_world_ref[:] = first + ratio * (self.points.t_world_ref - first)
        T = inverse(T_camera_world)
        T[:, :3, 3] = first + ratio * (T[:, :3, 3] - first)
        return inverse(T)
