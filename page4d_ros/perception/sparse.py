"""Pose of a moving camera from tracked corners, with a memory of keyframes and points."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from page4d_ros.geometry.poses import inverse
from page4d_ros.perception.across import look_across
from page4d_ros.perception.corner_noise import CornerNoise
from page4d_ros.perception.corners import Corners
from page4d_ros.perception.depth_correction import PointDepths
from page4d_ros.perception.drift import (
    Course,
    after,
    carried,
    gathered,
    measured,
    of_motion,
    undecided,
)
from page4d_ros.perception.late import Pacing
from page4d_ros.perception.local_map import LocalMap
from page4d_ros.perception.locating import FIND, FITS, Located, best_pose, locate
from page4d_ros.perception.medians import median
from page4d_ros.perception.mounts import Mounts
from page4d_ros.perception.points import Step
from page4d_ros.perception.prior import ENOUGH, Expected, Prior
from page4d_ros.perception.recognition import Recognition
from page4d_ros.perception.sparse_pose import FEWEST, Found, SparsePose
from page4d_ros.perception.tracks import MOST
from page4d_ros.perception.two_view import compete, pair

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from numpy.typing import NDArray

    from page4d_ros.geometry.camera import ImageTransform, PinholeCamera
    from page4d_ros.perception.dynamics import Judged
    from page4d_ros.perception.recognition import Recognised
    from page4d_ros.perception.seen import Seen
    from page4d_ros.perception.tracks import Tracks
    from page4d_ros.perception.types import FrameKey
    from page4d_ros.perception.witness import Witness

ADJUST = (8.0, 4.0, 2.5)  # scales of the robust loss, by iteration: a good start
FROM_AFAR = (10.0, 8.0, 8.0, 6.0, 6.0, 6.0)  # likewise, depths that are hardly known
MISFIT = 6.0  # from this error on a corner gets a strike
POOR = 0.7  # share of corners that fit, below which points and keyframes are adjusted at once
YOUNG = 8  # keyframes, until which a start that fits poorly competes again
SURE = 0.8  # share of corners that fit, with which a pose needs no network's consent
RIGHT = 0.5  # likewise, below which the pose is at fault, and not the corner
CUT = 0.25  # share of corners that stay, below which a lost camera sees something else
PATIENCE = 5  # frames without a pose; then a new map begins
KEYFRAME_SHIFT = 0.02  # median motion of corners since the last keyframe, normalised coordinates
KEYFRAME_TRACKS = 0.6  # of MOST; with fewer left, a keyframe is taken
# deviations of inverse depths, relative: of the first points, and of points that begin at the
# depth of their neighbours
FIRST, NEIGHBOUR = 0.15, 0.7
# parallax at which starts compete, in normalised coordinates; it doubles from first to last
PARALLAX = 0.006, 0.01
CALM = 0.01  # expected motion before there is parallax, in depths of the scene
MEASURED = 0.1  # relative deviation of a depth, below which it judges the network
KNOWN = 0.2  # likewise, below which it corrects the network's depths


class SparseEstimator:
    """Follows calibrated cameras by their corners, and by a network as far as that is trusted.

    There is one camera, or there are those of a rig whose mounts are known. All poses are those
    of the main camera; the corners of all cameras determine them together.

    Every frame is located among the known points; a frame that saw much move or lost many corners
    becomes a keyframe, and the newest keyframes are adjusted together. Points begin at the depth
    of the network or of their neighbours, with a prior that parallax overrules; as soon as there
    is parallax, the start by an essential matrix is compared with it, and the better one stays.
    What the network says of the camera's motion is a further measurement; its standard deviations
    are the errors that it made lately.

    Attributes:
        tracks: corners of the newest images.
        map: keyframes and points.
        prior: what the network says, and how far it is trusted.
    """

    def __init__(self, *, alone: bool = False, count: int = 1) -> None:
        """Begin with a number of cameras; alone takes but the unit of length from the network."""
        self.prior = Prior(alone=alone)
        self.tracks, self.map = Corners(count), LocalMap(Mounts(count))
        self._pacing = Pacing(count)
        self.forget()

    @property
    def mounts(self) -> Mounts:
        """Cameras of the rig."""
        return self.map.mounts

    def lead(self, main: int) -> None:
        """Let another camera be the main one, before anything is seen."""
        count = max(len(self.tracks.views), main + 1)
        self.tracks, self.map = Corners(count), LocalMap(Mounts(count, main))
        self._pacing = Pacing(count)

    def forget(self) -> None:
        """Begin a new map at identity; the trust remains."""
        self._T = np.eye(4)  # T_camera_world of the last frame
        self._course = Course()
        self._noise = CornerNoise()
        self.prior.ratio = np.nan
        self._depth = np.nan  # median depth of the points in the last frame
        self._memory = Recognition()
        self.interrupt()

    def interrupt(self) -> None:
        """Begin a new map where the last one is recognised, otherwise at the last pose."""
        self.tracks.forget()
        self._known: dict[FrameKey, NDArray] = {}  # T_camera_world of recent frames
        self._forget_map()

    def _forget_map(self) -> None:
        self.tracks.forget_corners()
        self.map = LocalMap(self.mounts)
        self._motion = np.eye(4)
        self._pacing.forget()
        self._parallax = PARALLAX[0]
        self._keyframes: list[FrameKey] = []
        self._last: tuple[NDArray, NDArray] = np.zeros(0, np.int64), np.zeros((0, 2))
        self._misses = 0

    def follow(self, images: Mapping[int, NDArray[np.uint8]]) -> None:
        """Track the corners into new images (H, W, 3), RGB, by view, before `update`."""
        self.tracks.follow(images)

    def update(
        self,
        key: FrameKey,
        cameras: Mapping[int, PinholeCamera],
        witnesses: Mapping[int, Witness] | None = None,
        after: Mapping[int, float] | None = None,
    ) -> SparsePose:
        """Locate the newest images' cameras.

        Args:
            key: identity of the main camera's image.
            cameras: intrinsics of the images by view, as they were given to `follow`.
            witnesses: what the network says of them.
            after: seconds by which images of other cameras are newer than the main one's, by
                view; at most `MOST_LATE` more or less.
        """
        self._pacing.after = after or {}
        seconds = self._course.seconds(key.stamp_ns)
        self.mounts.late = self._pacing.foreseen(seconds)
        seen = self.prior.look(
            key, self.mounts.main, self.tracks, cameras, witnesses or {}, self._noise
        )
        if not self.tracks.seeing and seen.witness is None:
            return self._lose(seen, 0, 0)
        if not len(self.map.T_camera_world):
            return self._begin(seen)
        if self._parallax < PARALLAX[1]:
            seen = self._compete(seen)
        previous = self._T
        expected = self._expected(seen)
        found, columns, moved = self._fit(seen, expected)
        tracked, fits = int(np.isfinite(found.error).sum()), int((found.error < FITS).sum())
        found = self._led(found, seen, expected)
        if found is None and self.tracks.kept < CUT:
            return self._restart(seen)
        if found is None:
            return self._lose(seen, tracked, fits)
        T, error = found.T_camera_world, found.error
        fits = int((error < FITS).sum())
        self._misses = 0
        good = columns[error < FITS]
        if len(good):
            self._depth = 1 / np.median(self.map.inverse_depths(good, T))
        seen = self._judged(seen, fits, T)
        if np.isfinite(error).any():
            self._learn(error, columns, right=fits > RIGHT * tracked)
        self._pace(key, T, seconds)
        if moved:
            step = expected.step if expected and expected.keyframe else None
            self._keyframe(self._refilled(seen), found, step)
        self._motion, self._T = T @ inverse(self._T), T
        self.map.covariance += self._course.advance(key.stamp_ns, T, found.covariance)
        self._known[key] = T
        self._last = self.tracks.ids, self.tracks.rays(cameras)
        pose = inverse(T), inverse(previous), self._covariance, found.of_step
        return SparsePose(*pose, tracked, fits, seen.unit)

    def _judged(self, seen: Seen, fits: int, T: NDArray) -> Seen:
        """Compare the witness, if there is one, with corners; they tell the unit of its gauge."""
        if seen.witness is None:
            return seen
        tracks = self.tracks.views[seen.main]
        use, w, _ = self.map.measured(tracks.ids, T, MEASURED)
        points = tracks.source[use], w
        unit = self.prior.judge(seen, fits, points, (T, self._recent()), self._depth)
        self.map.loosen(self.prior.depth_deviation if self.prior.trusted else NEIGHBOUR)
        return seen._replace(unit=unit)

    def _pace(self, key: FrameKey, T: NDArray, seconds: float) -> None:
        """Learn from the motion to the newest images; of the last keyframe it is known now."""
        if self._pacing.newest == self._keyframes[-1]:
            step = T @ inverse(self.map.T_camera_world[-1])
            self.map.late[-1] = self._pacing.enclosed(self.map.late[-1], step, seconds)
            self._pacing.learn(step, seconds, self._scene)
        self._pacing.go_on(key, T @ inverse(self._T), seconds)

    @property
    def _covariance(self) -> NDArray[np.float64]:
        """Covariance (6, 6) of the last pose; larger as long as there is no parallax."""
        covariance = self._course.covariance + self._course.doubt
        return covariance + undecided(self._scene) if self._parallax < PARALLAX[1] else covariance

    @property
    def _scene(self) -> float:
        """Depth of the scene in units of the map."""
        return self._depth if np.isfinite(self._depth) else self.map.depth

    def poses(self, keys: Iterable[FrameKey]) -> dict[FrameKey, NDArray[np.float64]]:
        """T_world_camera (4, 4) of recent frames, by key; all others are forgotten."""
        self._known = {key: self._known[key] for key in keys if key in self._known}
        return {key: inverse(T) for key, T in self._recent().items()}

    def depths(self, unit: float, view: int) -> PointDepths:
        """Depths of the points that the newest image sees and that parallax has measured.

        Args:
            unit: units of the map per unit of the window's gauge.
            view: camera of that image.
        """
        tracks = self.tracks.views[view]
        use, w, deviation = self.map.measured(tracks.ids, self._T, KNOWN)
        return PointDepths(tracks.source[use], 1 / (w * unit), deviation / w)

    def hide(self, motion: Judged, fit: ImageTransform, view: int) -> None:
        """Drop corners on moving objects, if the network is trusted.

        Args:
            motion: moving pixels of a newest frame.
            fit: from the camera's image to the network's.
            view: the camera.
        """
        if self.prior.trusted:
            self.tracks.hide(motion, fit, view)

    def _recent(self) -> dict[FrameKey, NDArray]:
        """T_camera_world of recent frames, of keyframes as they are adjusted by now."""
        rows = dict(zip(self._keyframes, self.map.T_camera_world, strict=True))
        return {key: rows.get(key, T) for key, T in self._known.items()}

    def _begin(self, seen: Seen) -> SparsePose:
        """Make the first keyframe of a map.

        After a gap it is where a recent keyframe is recognised, or where a trusted network says,
        or at the last pose.
        """
        previous, covariance = self._T, None
        self.tracks.leave(np.flatnonzero(self.mounts.late.sigma))  # nobody knows how it moves
        seen = self._refilled(seen)
        ids, rays = self.tracks.ids, seen.rays
        again = self._main and self._memory.find(self._main, seen)
        bridge = self.prior.bridge(seen, self._known, self._scene)
        if again is not None:
            self._T, self._depth = again.T_camera_world, 1 / median(again.inverse_depth)
            covariance = again.covariance
        elif bridge and not self._course.sudden(seen.key.stamp_ns, bridge.pose, self._scene):
            self._T = bridge.pose
            covariance = after(self._course.covariance, bridge.step)
        w, unit = self._first_depths(seen, again)
        if len(ids) < FEWEST and not (seen.witness is not None and self.prior.trusted):
            return self._lose(seen, 0, 0)
        self._course.begin(seen.key.stamp_ns, self._T, covariance, self._scene)
        self.mounts.begin(1 / median(w) if len(w) else self._scene)
        w, deviation, across = look_across(self.tracks, self.map, seen, self._T, w, FIRST * w)
        covariance = self._course.covariance
        self.map.add(self._T, ids, rays, w, deviation, covariance, view=seen.view, across=across)
        self._keyframes = [seen.key]
        self._known[seen.key] = self._T
        self._pacing.begin(seen.key)
        self._last = ids, rays
        covariances = self._course.covariance, np.zeros((6, 6))
        return SparsePose(inverse(self._T), inverse(previous), *covariances, 0, 0, unit)

    def _first_depths(
        self, seen: Seen, again: Recognised | None
    ) -> tuple[NDArray[np.float64], float]:
        """Inverse depths (N,) of the first points, and units of the map per unit of the gauge.

        Recognised points keep theirs; the others have the network's, or one for all.
        """
        w = np.full(len(seen.rays), 1 / self._depth if np.isfinite(self._depth) else 1.0)
        said, unit = self.prior.first_depths(seen, self.tracks.source, again)
        w = np.where(np.isnan(said), w, said)
        if np.isfinite(unit):
            self._depth = 1 / median(w)
        if again is not None:
            w[again.index] = again.inverse_depth
        return w, unit

    def _restart(self, seen: Seen) -> SparsePose:
        """Begin a new map after a cut, with new corners."""
        self._forget_map()
        return self._begin(seen)

    def _lose(self, seen: Seen, tracked: int, fits: int) -> SparsePose:
        """Stay at the last pose; begin a new map there if that lasts."""
        self._misses += 1
        if self._misses >= PATIENCE:
            self._forget_map()
        nothing = np.zeros((6, 6))
        pose = inverse(self._T), inverse(self._T), nothing, nothing
        return SparsePose(*pose, tracked, fits, seen.unit, lost=True)

    def _expected(self, seen: Seen) -> Expected | None:
        """Motion that the network, or else the lack of parallax, leads to expect."""
        if self.prior.alone or seen.heeded is None:
            young = self._parallax < PARALLAX[1]
            step = Step(np.eye(4), 1.0, CALM * self._scene)
            return Expected(self.map.T_camera_world[-1], step, keyframe=True) if young else None
        return self.prior.expected(seen, self.map, self._keyframes, self._known, self._scene)

    def _fit(self, seen: Seen, expected: Expected | None) -> tuple[Found, NDArray[np.intp], bool]:
        """Locate the camera; adjust points and keyframes with it where that is due.

        Returns:
            Its pose with the errors of the points that it sees, their columns in the map, and
            whether it is to become a keyframe.
        """
        at, has = self.map.find(self.tracks.ids)
        columns, rays = at[has], seen.rays[has]
        found = self._locate(rays, columns, seen.sigma, expected)
        if self.mounts.late.sigma.any():
            step = found.T_camera_world @ inverse(self._T)
            self.mounts.late = self._pacing.extended(step, self._course.seconds(seen.key.stamp_ns))
            found = self._locate(rays, columns, seen.sigma, expected)
        moved = self._moved(rays, columns)
        T, error = found.T_camera_world, found.error
        own, motion = measured(found.information), T @ inverse(self.map.T_camera_world[-1])
        covariance = carried(self.map.covariance[-1], motion) + own + gathered(motion, self._scene)
        led = expected is not None and self.prior.trusted and (error < FITS).sum() < FEWEST
        if len(columns) and not led and (moved or (error < FITS).mean() < POOR):
            newest = T, self.map.row(self.tracks.ids, seen.rays)
            step = expected.step if expected and expected.keyframe else None
            young = len(self.map.T_camera_world) < YOUNG
            limits = FROM_AFAR if young else ADJUST
            adjusted, columns = self.map.adjust(seen.sigma, limits, newest, step, strict=young)
            T, error = adjusted.T_camera_world[-1], adjusted.error[-1]
            covariance = adjusted.covariance[-1]
        of_step = 2 * own + of_motion(T @ inverse(self._T), self._scene)
        return Found(T, error, covariance, of_step), columns, moved

    def _led(self, found: Found, seen: Seen, expected: Expected | None) -> Found | None:
        """The pose itself, that of a trusted network where corners say little, or None."""
        fits = (found.error < FITS).sum()
        if expected is None or seen.heeded is None or not self.prior.trusted:
            return None if fits < FEWEST else found
        T_before, step, _ = expected
        sure = fits >= ENOUGH or fits > SURE * np.isfinite(found.error).sum()
        if fits >= FEWEST and (sure or not step.excludes(found.T_camera_world, T_before)):
            return found
        if self._course.sudden(seen.key.stamp_ns, expected.pose, self._scene):
            return None
        # corners that agree by chance, in noise or between unlike images
        before = self.map.covariance[-1] if expected.keyframe else self._course.covariance
        covariance = after(before, expected.step)
        nothing = np.full_like(found.error, np.nan)
        return Found(expected.pose, nothing, covariance, 2 * expected.step.covariance)

    def _locate(
        self, rays: NDArray, columns: NDArray, sigma: float, expected: Expected | None
    ) -> Located:
        """Pose among the known points, from the motion before, rest, or the network's motion."""
        starts = [self._motion @ self._T, self._T]
        if expected is not None:
            starts.append(expected.pose)
        points, mounted = self.map.points[columns], self.map.mounted(columns)
        return best_pose(starts, points, rays, sigma, expected and expected[:2], mounted)

    def _moved(self, rays: NDArray, columns: NDArray) -> bool:
        """True if the camera sees enough anew to become a keyframe, or if there are few."""
        few = len(self.tracks.ids) < KEYFRAME_TRACKS * MOST * len(self.tracks.seeing)
        return few or self.map.shift(rays, columns) > KEYFRAME_SHIFT

    def _learn(self, error: NDArray, columns: NDArray, *, right: bool) -> None:
        """Measure the noise of corners, and drop those that disagreed for the second time."""
        sharp = self.map.sharp(columns)
        if np.isfinite(error[sharp]).any():
            self._noise.learn(error[sharp], right=right)
        if right:
            out = self.map.strike(columns[np.nan_to_num(error) > MISFIT])
            self.tracks.drop(np.isin(self.tracks.ids, out))

    def _keyframe(self, seen: Seen, found: Found, step: Step | None) -> None:
        """Take the newest image into the map, with new corners where it has none."""
        T, ids, rays = found.T_camera_world, self.tracks.ids, seen.rays
        w = self.map.nearby(T, ids, rays, seen.view)
        deviation = NEIGHBOUR * w
        said = self.prior.depths(seen, self.tracks.source)
        if self.prior.depth_deviation < NEIGHBOUR:
            w = np.where(said > 0, said, w)
            deviation = np.where(said > 0, self.prior.depth_deviation * w, deviation)
        w, deviation, across = look_across(self.tracks, self.map, seen, T, w, deviation)
        self.map.add(T, ids, rays, w, deviation, found.covariance, step, seen.view, across)
        main = self._main
        if main is not None and len(main.ids):
            self._memory.remember(main, self.map.of(main.ids), found.covariance)
        self._keyframes = [*self._keyframes, seen.key][-len(self.map.T_camera_world) :]

    @property
    def _main(self) -> Tracks | None:
        """Corners of the main camera, if it sees something."""
        main = self.mounts.main
        return self.tracks.views[main] if main in self.tracks.seeing else None

    def _refilled(self, seen: Seen) -> Seen:
        """The newest images with new corners where they have none."""
        self.tracks.refill()
        return seen._replace(rays=self.tracks.rays(seen.cameras), view=self.tracks.view)

    def _compete(self, seen: Seen) -> Seen:
        """Begin anew from two views where that explains the tracks better; what is still seen."""
        ids, rays, sigma = self.tracks.ids, seen.rays, seen.sigma
        row = pair(self.map, ids, rays, self._parallax)
        if row is None:
            return seen
        at, has = self.map.find(ids)
        found = self._locate(rays[has], at[has], sigma, None)
        start = compete(self.map, found.T_camera_world, row, ids, rays, sigma)
        if start.fits > POOR or len(self._keyframes) >= YOUNG:
            self._parallax *= 2
        if start.map is not self.map:
            self.map = start.map
            self._keyframes = [self._keyframes[k] for k in start.rows]
            self._known = dict(zip(self._keyframes, self.map.T_camera_world, strict=True))
            self._pacing.forget()
            mine = seen.view == seen.main  # those of the others have no points any more
            self.tracks.drop(~mine)
            seen = seen._replace(rays=rays[mine], view=seen.view[mine])
            self.map.covariance += undecided(self._scene)  # of the poses that are given up
            last_ids, last = self._last
            at, has = self.map.find(last_ids)
            points, last = self.map.points[at[has]], last[has]
            self._T = locate(start.T_camera_world, points, last, sigma, FIND).T_camera_world
        self._motion = start.T_camera_world @ inverse(self._T)
        return seen
