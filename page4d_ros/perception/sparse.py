"""Pose of a moving camera from tracked corners, with a memory of keyframes and points."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from page4d_ros.geometry.poses import inverse
from page4d_ros.perception.bundle import Located, Step, locate
from page4d_ros.perception.corner_noise import CornerNoise
from page4d_ros.perception.depth_correction import PointDepths
from page4d_ros.perception.local_map import LocalMap
from page4d_ros.perception.locating import FIND, FITS, SURE, best_pose
from page4d_ros.perception.medians import median
from page4d_ros.perception.recognition import Recognition
from page4d_ros.perception.residuals import MAD
from page4d_ros.perception.seen import Seen
from page4d_ros.perception.sparse_pose import FEWEST, SparsePose
from page4d_ros.perception.tracks import MOST, Tracks
from page4d_ros.perception.trust import TRUSTED, Trust
from page4d_ros.perception.two_view import compete, pair

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

    from page4d_ros.geometry.camera import ImageTransform, PinholeCamera
    from page4d_ros.perception.dynamics import Judged
    from page4d_ros.perception.recognition import Recognised
    from page4d_ros.perception.types import FrameKey
    from page4d_ros.perception.witness import Witness

ADJUST = (8.0, 4.0, 2.5)  # a good start
MISFIT = 6.0  # from this error on a corner gets a strike
POOR = 0.7  # share of corners that fit, below which points and keyframes are adjusted at once
YOUNG = 8  # keyframes, until which a start that fits poorly competes again
RIGHT = 0.5  # likewise, below which the pose is at fault, and not the corner
ENOUGH = 30  # corners that fit, to judge the network by
PATIENCE = 5  # frames without a pose; then a new map begins
KEYFRAME_SHIFT = 0.02  # median motion of corners since the last keyframe, normalised coordinates
EARLY = 4  # keyframes of a young map, of which every frame becomes one
KEYFRAME_TRACKS = 0.6  # of MOST; with fewer left, a keyframe is taken
# deviations of inverse depths, relative: of the first points, and of points that begin at the
# depth of their neighbours
FIRST, NEIGHBOUR = 0.15, 0.7
# parallax at which starts compete, in normalised coordinates: the first, doubled each time, up to
# the last
PARALLAX = 0.006, 0.01
CALM = 0.01  # expected motion before there is parallax, in depths of the scene
MEASURED = 0.1  # relative deviation of a depth, below which it judges the network
KNOWN = 0.2  # likewise, below which it corrects the network's depths
SAFE = 1.5  # by which the errors of the network are taken larger


class SparseEstimator:
    """Follows a calibrated camera by its corners, and by a network as far as that is trusted.

    Every frame is located among the known points; a frame that saw much move or lost many corners
    becomes a keyframe, and the newest keyframes are adjusted together. Points begin at the depth
    of the network or of their neighbours, with a prior that parallax overrules; as soon as there
    is parallax, the start by an essential matrix is compared with it, and the better one stays.
    What the network says of the camera's motion is a further measurement; its standard deviations
    are the errors that it made lately.

    Attributes:
        tracks: corners of the newest image.
        map: keyframes and points.
        trust: errors of the network.
    """

    def __init__(self, *, alone: bool = False) -> None:
        """Begin.

        Args:
            alone: take nothing from the network but the unit of length.
        """
        self.alone = alone
        self.tracks = Tracks()
        self.trust = Trust()
        self.forget()

    def forget(self) -> None:
        """Begin a new map at identity; the trust remains."""
        self._T = np.eye(4)  # T_camera_world of the last frame
        self._noise = CornerNoise()
        self._ratio = np.nan  # units of the map per unit of the network's trajectory
        self._depth = np.nan  # median depth of the points in the last frame
        self._memory = Recognition()
        self.interrupt()

    def interrupt(self) -> None:
        """Begin a new map where the last one is recognised, otherwise at the last pose."""
        self.tracks.forget()
        self._known: dict[FrameKey, NDArray] = {}  # T_camera_world of recent frames
        self._forget_map()

    def _forget_map(self) -> None:
        self.map = LocalMap()
        self._motion = np.eye(4)
        self._parallax = PARALLAX[0]
        self._keyframes: list[FrameKey] = []
        self._last: tuple[NDArray, NDArray] = np.zeros(0, np.int64), np.zeros((0, 2))
        self._misses = 0

    def follow(self, image: NDArray[np.uint8]) -> None:
        """Track the corners into a new image (H, W, 3), RGB, before `update`."""
        self.tracks.follow(image)

    @property
    def sees(self) -> bool:
        """True if there is an image to locate."""
        return self.tracks.fit is not None

    def update(
        self, key: FrameKey, camera: PinholeCamera, witness: Witness | None = None
    ) -> SparsePose:
        """Locate the newest image's camera.

        Args:
            key: identity of the image.
            camera: its intrinsics, as it was given to `follow`.
            witness: what the network says; None without one.
        """
        blank = self.tracks.blank
        witness = None if blank else witness  # it cannot know either
        self._drop_moving(witness)
        unit = np.nan if witness is None else witness.unit * self._ratio
        sigma = self._noise.sigma / (self.tracks.fit.scale_x * camera.fx)
        seen = Seen(key, camera, self._rays(camera), sigma, witness, unit)
        if blank:
            return self._lose(seen, 0, 0)
        if not len(self.map.T_camera_world):
            return self._begin(seen)
        if self._parallax < PARALLAX[1]:
            self._compete(seen)
        previous = self._T
        step = self._step(seen)
        found, columns, moved = self._fit(seen, step)
        tracked, fits = int(np.isfinite(found.error).sum()), int((found.error < FITS).sum())
        found = self._led(found, seen, step)
        if found is None:
            return self._lose(seen, tracked, fits)
        T, error = found.T_camera_world, found.error
        fits = int((error < FITS).sum())
        self._misses = 0
        good = columns[error < FITS]
        if len(good):
            self._depth = 1 / np.median(self.map.points[good].inverse_depth(T))
        if witness is not None:
            seen = seen._replace(unit=self._judge(seen, T, fits))
        if np.isfinite(error).any():
            self._learn(error, columns, right=fits > RIGHT * tracked)
        if moved:
            self._keyframe(seen, T, step[1] if step and step[2] else None)
        self._motion, self._T = T @ inverse(self._T), T
        self._known[key] = T
        self._last = self.tracks.ids, self._rays(camera)
        pose = inverse(T), inverse(previous)
        return SparsePose(*pose, found.information, tracked, fits, seen.unit)

    def poses(self, keys: Iterable[FrameKey]) -> dict[FrameKey, NDArray[np.float64]]:
        """T_world_camera (4, 4) of recent frames, by key; all others are forgotten."""
        self._known = {key: self._known[key] for key in keys if key in self._known}
        return {key: inverse(T) for key, T in self._recent().items()}

    def depths(self, unit: float) -> PointDepths:
        """Depths of the points that the newest image sees and that parallax has measured.

        Args:
            unit: units of the map per unit of the window's gauge.
        """
        source, w, deviation = self._measured(self._T, KNOWN)
        return PointDepths(source, 1 / (w * unit), deviation / w)

    def _measured(self, T_camera_world: NDArray, most: float) -> tuple[NDArray, NDArray, NDArray]:
        """Points of the newest image whose depth is known by parallax, and not by its prior.

        Args:
            T_camera_world: (4, 4) its pose.
            most: relative standard deviation of an inverse depth.

        Returns:
            Pixels of the camera's image (N, 2), inverse depths (N,), their deviations (N,).
        """
        at, has = self.map.find(self.tracks.ids)
        points = self.map.points[at[has]]
        w, deviation = points.inverse_depth(T_camera_world), self.map.deviation[at[has]]
        use = (w > 0) & (deviation < np.minimum(most * w, points.deviation / 2))
        return self.tracks.source[has][use], w[use], deviation[use]

    def hide(self, motion: Judged, fit: ImageTransform) -> None:
        """Drop corners on moving objects, if the network is trusted.

        Args:
            motion: moving pixels of the newest frame.
            fit: from the camera's image to the network's.
        """
        if self._trusted and len(self.tracks.ids):
            at, inside = fit.network_pixels(self.tracks.source)
            self.tracks.drop(inside & motion.near(at))

    def _drop_moving(self, witness: Witness | None) -> None:
        """Drop corners that the network's mask head sees moving, if it is trusted."""
        if witness is not None and self._trusted and len(self.tracks.ids):
            self.tracks.drop(witness.moves(self.tracks.source))

    @property
    def _trusted(self) -> bool:
        """True if the network alone may give a pose, and its mask hide corners."""
        return not self.alone and self.trust.value >= TRUSTED

    def _recent(self) -> dict[FrameKey, NDArray]:
        """T_camera_world of recent frames, of keyframes as they are adjusted by now."""
        rows = dict(zip(self._keyframes, self.map.T_camera_world, strict=True))
        return {key: rows.get(key, T) for key, T in self._known.items()}

    def _rays(self, camera: PinholeCamera) -> NDArray[np.float64]:
        """(N, 2) normalised image coordinates of the tracks."""
        if not len(self.tracks.ids):
            return np.zeros((0, 2))
        return (self.tracks.source - (camera.cx, camera.cy)) / (camera.fx, camera.fy)

    def _begin(self, seen: Seen) -> SparsePose:
        """Make the first keyframe of a map.

        After a gap it is where a recent keyframe is recognised, or where a trusted network says,
        or at the last pose.
        """
        previous, again = self._T, None
        self.tracks.refill()
        ids, rays = self.tracks.ids, self._rays(seen.camera)
        if len(ids):
            again = self._memory.find(self.tracks.grey, self.tracks.at, rays, seen.sigma)
        if again is None:
            self._bridge(seen)
        else:
            self._T = again.T_camera_world
        w, unit = self._first_depths(seen, again)
        pose = inverse(self._T)
        heeded = seen.witness is not None and self._trusted
        if len(ids) < FEWEST and not heeded:
            return SparsePose(pose, pose, np.zeros((6, 6)), 0, 0, unit, lost=True)
        self.map.add(self._T, ids, rays, w, FIRST * w)
        self._keyframes = [seen.key]
        self._known[seen.key] = self._T
        self._last = ids, rays
        known = again is not None
        step = pose, inverse(previous)
        return SparsePose(*step, np.zeros((6, 6)), 0, 0, unit, recognised=known)

    def _bridge(self, seen: Seen) -> None:
        """Take the pose of a trusted network that saw a known frame, too."""
        said = {} if seen.heeded is None else seen.heeded.T_newest_earlier
        bridges = [key for key in self._known if key in said] if self._trusted else []
        if bridges:
            T = said[bridges[-1]].copy()
            T[:3, 3] *= seen.unit
            self._T = T @ self._known[bridges[-1]]

    def _first_depths(
        self, seen: Seen, again: Recognised | None
    ) -> tuple[NDArray[np.float64], float]:
        """Inverse depths (N,) of the first points, and units of the map per unit of the gauge.

        Recognised points keep theirs; the others have the network's, or one for all.
        """
        witness, unit = seen.witness, np.nan
        if again is not None:
            self._depth = 1 / median(again.inverse_depth)
        w = np.full(len(self.tracks.ids), 1 / self._depth if np.isfinite(self._depth) else 1.0)
        if witness is not None:
            said = witness.inverse_depths(self.tracks.source)
            if again is not None and np.isfinite(said[again.index]).any():
                self._ratio = median(said[again.index] / again.inverse_depth) / witness.unit
            self._ratio = self._ratio if np.isfinite(self._ratio) else 1.0
            unit = witness.unit * self._ratio
            known = np.isfinite(said)
            middle = median(said if known.any() else witness.inverse_depth)
            w = np.where(known & (not self.alone), said, middle) / unit
            self._depth = unit / middle
        if again is not None:
            w[again.index] = again.inverse_depth
        return w, unit

    def _lose(self, seen: Seen, tracked: int, fits: int) -> SparsePose:
        """Stay at the last pose; begin a new map there if that lasts."""
        self._misses += 1
        if self._misses >= PATIENCE:
            self.tracks.forget_corners()
            self._forget_map()
        pose = inverse(self._T)
        return SparsePose(pose, pose, np.zeros((6, 6)), tracked, fits, seen.unit, lost=True)

    def _step(self, seen: Seen) -> tuple[NDArray, Step, bool] | None:
        """Motion that is expected since the last keyframe, or since the last frame.

        Returns:
            T_camera_world of that frame, the motion, and whether it is the keyframe.
        """
        T_keyframe = self.map.T_camera_world[-1]
        depth = self._depth if np.isfinite(self._depth) else self.map.depth
        witness = None if self.alone else seen.heeded
        if witness is None:
            young = self._parallax < PARALLAX[1]
            return (T_keyframe, Step(np.eye(4), 1.0, CALM * depth), True) if young else None
        keys = [key if key in witness.T_newest_earlier else None for key in self._keyframes]
        for k, (before, key) in enumerate(pairwise(keys), 1):
            if before and key:  # the window sees both again, now with more frames
                T_newest = witness.T_newest_earlier
                self.map.steps[k] = self._said(
                    inverse(T_newest[key]) @ T_newest[before], seen, depth
                )
        since = keys[-1] or next(reversed(self._known), None)
        if since not in witness.T_newest_earlier:
            return None
        step = self._said(witness.T_newest_earlier[since], seen, depth)
        return (T_keyframe if keys[-1] else self._known[since]), step, keys[-1] is not None

    def _said(self, T_later_earlier: NDArray, seen: Seen, depth: float) -> Step:
        """Motion by the network, with its usual errors, in units of the map."""
        T = T_later_earlier.copy()
        T[:3, 3] *= seen.unit
        return Step(T, SAFE * self.trust.turn, SAFE * self.trust.shift * depth)

    def _fit(
        self, seen: Seen, step: tuple[NDArray, Step, bool] | None
    ) -> tuple[Located, NDArray[np.intp], bool]:
        """Locate the camera; adjust points and keyframes with it where that is due.

        Returns:
            Its pose with the errors of the points that it sees, their columns in the map, and
            whether it is to become a keyframe.
        """
        at, has = self.map.find(self.tracks.ids)
        columns, rays = at[has], seen.rays[has]
        found = self._locate(rays, columns, seen.sigma, step)
        moved = self._moved(rays, columns)
        if len(columns) and (moved or (found.error < FITS).mean() < POOR):
            newest = found.T_camera_world, self.map.row(self.tracks.ids, seen.rays)
            expected = step[1] if step and step[2] else None
            adjusted, columns = self.map.adjust(seen.sigma, ADJUST, newest, expected)
            T, error = adjusted.T_camera_world[-1], adjusted.error[-1]
            found = found._replace(T_camera_world=T, error=error)
        return found, columns, moved

    def _led(
        self, found: Located, seen: Seen, step: tuple[NDArray, Step, bool] | None
    ) -> Located | None:
        """The pose itself, that of a trusted network where corners say little, or None."""
        fits = (found.error < FITS).sum()
        if step is None or seen.heeded is None or not self._trusted:
            return None if fits < FEWEST else found
        since, motion, _ = step
        sure = fits >= ENOUGH or fits > SURE * np.isfinite(found.error).sum()
        if fits >= FEWEST and (sure or not motion.excludes(found.T_camera_world, since)):
            return found
        # corners that agree by chance, in noise or between unlike images
        T = motion.T_later_earlier @ since
        information = np.diag(motion.pull(T, since)[0])
        return Located(T, np.full_like(found.error, np.nan), information, found.cost)

    def _locate(
        self,
        rays: NDArray,
        columns: NDArray,
        sigma: float,
        step: tuple[NDArray, Step, bool] | None,
    ) -> Located:
        """Pose among the known points, from the motion before, rest, or the network's motion."""
        starts = [self._motion @ self._T, self._T]
        if step is not None:
            starts.append(step[1].T_later_earlier @ step[0])
        return best_pose(starts, self.map.points[columns], rays, sigma, step and step[:2])

    def _moved(self, rays: NDArray, columns: NDArray) -> bool:
        """True if the camera sees enough anew to become a keyframe, or if there are few."""
        if len(self.map.T_camera_world) < EARLY:
            return True
        shift = np.linalg.norm(self.map.seen[-1, columns] - rays, axis=1)
        shift = shift[np.isfinite(shift)]
        few = len(self.tracks.ids) < KEYFRAME_TRACKS * MOST
        return bool(few or not len(shift) or np.median(shift) > KEYFRAME_SHIFT)

    def _judge(self, seen: Seen, T: NDArray, fits: int) -> float:
        """Compare the network with the points; returns the unit of the window's gauge."""
        witness, unit = seen.witness, seen.unit
        source, w, _ = self._measured(T, MEASURED)
        ratio = np.log(witness.inverse_depths(source) / w)
        spread = turn = shift = np.nan
        if fits >= FEWEST and np.isfinite(ratio).sum() >= FEWEST:
            middle = median(ratio)
            spread = float(MAD * median(np.abs(ratio - middle)))
            unit = float(np.exp(middle))
            self._ratio = unit / witness.unit
        if fits >= ENOUGH and np.isfinite(unit):
            turn, shift = witness.errors(T, self._recent(), unit)
            shift /= self._depth
        self.trust.add(turn, shift, spread)
        trusted = self.trust.value >= TRUSTED
        self.map.loosen(SAFE * self.trust.depth if trusted else NEIGHBOUR)
        return unit

    def _learn(self, error: NDArray, columns: NDArray, *, right: bool) -> None:
        """Measure the noise of corners, and drop those that disagreed for the second time."""
        self._noise.learn(error, right=right)
        if right:
            out = self.map.strike(columns[np.nan_to_num(error) > MISFIT])
            self.tracks.drop(np.isin(self.tracks.ids, out))

    def _keyframe(self, seen: Seen, T: NDArray, step: Step | None) -> None:
        """Take the newest image into the map, with new corners where it has none."""
        self.tracks.refill()
        ids, rays = self.tracks.ids, self._rays(seen.camera)
        w = self.map.nearby(T, ids, rays)
        deviation = NEIGHBOUR * w
        if not self.alone and seen.heeded is not None and SAFE * self.trust.depth < NEIGHBOUR:
            said = seen.witness.inverse_depths(self.tracks.source) / seen.unit
            w = np.where(said > 0, said, w)
            deviation = np.where(said > 0, SAFE * self.trust.depth * w, deviation)
        self.map.add(T, ids, rays, w, deviation, step)
        if len(ids):
            self._memory.remember(self.tracks.grey, self.tracks.at, self.map.of(ids))
        self._keyframes = [*self._keyframes, seen.key][-len(self.map.T_camera_world) :]

    def _compete(self, seen: Seen) -> None:
        """Begin anew from two views where that explains the tracks better."""
        ids, rays, sigma = self.tracks.ids, seen.rays, seen.sigma
        row = pair(self.map, ids, rays, self._parallax)
        if row is None:
            return
        at, has = self.map.find(ids)
        found = self._locate(rays[has], at[has], sigma, None)
        start = compete(self.map, found.T_camera_world, row, ids, rays, sigma)
        if start.fits > POOR or len(self._keyframes) >= YOUNG:
            self._parallax *= 2
        if start.map is not self.map:
            self.map = start.map
            self._keyframes = [self._keyframes[k] for k in start.rows]
            self._known = dict(zip(self._keyframes, self.map.T_camera_world, strict=True))
            last_ids, last = self._last
            at, has = self.map.find(last_ids)
            points, last = self.map.points[at[has]], last[has]
            self._T = locate(start.T_camera_world, points, last, sigma, FIND).T_camera_world
        self._motion = start.T_camera_world @ inverse(self._T)
