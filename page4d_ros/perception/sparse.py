"""Pose of a moving camera from tracked corners alone, with a memory of keyframes and points."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from page4d_ros.geometry.poses import inverse, rotation_angle
from page4d_ros.perception.bundle import Step, locate
from page4d_ros.perception.local_map import LocalMap
from page4d_ros.perception.medians import median
from page4d_ros.perception.tracks import MOST, Tracks
from page4d_ros.perception.trust import Trust
from page4d_ros.perception.two_view import compete, pair

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

    from page4d_ros.geometry.camera import ImageTransform, PinholeCamera
    from page4d_ros.perception.bundle import Located
    from page4d_ros.perception.types import FrameKey

SIGMA = 0.15  # error of a tracked corner at first, in pixels of the tracker's image
LEAST_SIGMA, MOST_SIGMA = 0.1, 0.4  # as it is measured later
RATE = 0.1  # share of a new measurement of it
RAYLEIGH = 1.1774  # median length of an error, in standard deviations
FIND = (60.0, 30.0, 15.0, 8.0, 5.0)  # robust loss by iteration: from a bad start
ADJUST = (8.0, 4.0, 2.5)  # from a good one
FITS = 4.0  # largest error of a corner that fits, in SIGMA
MISFIT = 6.0  # from this error on a corner gets a strike
STRIKES = 2  # that a track survives
KEYFRAME_SHIFT = 0.02  # median motion of corners since the last keyframe, normalised coordinates
KEYFRAME_TRACKS = 0.6  # of MOST; with fewer left, a keyframe is taken
FEWEST = 12  # corners that fit, for a pose
POOR = 0.7  # share of corners that fit, below which points and keyframes are adjusted at once
SURE = 0.8  # likewise, above which no other start is tried
STRIKE_SHARE = 0.5  # likewise, below which the pose is at fault, and not the corner
ENOUGH = 30  # corners that fit, to judge the network by
PARALLEL = 0.1  # relative deviation of a depth, below which it judges the network
MAD = 1.4826  # standard deviations of a normal distribution per median absolute deviation
SAFE = 1.5  # by which the errors of the network are taken larger
HIDES = 0.3  # trust, from which on the mask hides corners
# parallax at which starts compete, in normalised coordinates: the first, doubled each time,
# up to the last
PARALLAX = 0.006, 0.01
CALM = 0.01  # expected motion before there is parallax, in depths of the scene
START = 'net'
FIRST, USUAL = 0.15, 0.7  # deviation of a new point's inverse depth, relative to it


class Witness(NamedTuple):
    """Motion and depth of the newest frame by the network, in the window's gauge.

    Attributes:
        T_newest_earlier: (4, 4) from each earlier camera of the window to the newest, by key.
        inverse_depth: (h, w) of the newest frame; NaN where not known or moving.
        moving: (h, w) bool of the newest frame, True where the mask head sees motion.
        fit: from the camera's image to the network's.
        unit: units of the network's own trajectory per unit of the gauge.
    """

    T_newest_earlier: dict[FrameKey, NDArray[np.float64]]
    inverse_depth: NDArray[np.float32]
    moving: NDArray[np.bool_]
    fit: ImageTransform
    unit: float

    def at(self, source: NDArray) -> NDArray[np.float64]:
        """Inverse depths (N,) at pixels (N, 2) of the camera's image; NaN where not known."""
        return self._sampled(self.inverse_depth, source, np.nan)

    def moves(self, source: NDArray) -> NDArray[np.bool_]:
        """True (N,) at pixels (N, 2) of the camera's image where the mask head sees motion."""
        return self._sampled(self.moving, source, False)

    def _sampled(self, values: NDArray, source: NDArray, fill: float) -> NDArray:
        column, row = np.rint(self.fit.to_network(source)).astype(np.intp).T
        height, width = values.shape
        inside = (column >= 0) & (column < width) & (row >= 0) & (row < height)
        out = np.full(len(source), fill, values.dtype)
        out[inside] = values[row[inside], column[inside]]
        return out


class SparsePose(NamedTuple):
    """Pose of a camera by its corners.

    Attributes:
        T_world_camera: (4, 4), in the unit of the map.
        T_world_previous: (4, 4) of the frame before in the same map, which may be another one now.
        information: (6, 6) of turn and shift in the camera's frame.
        tracked: corners with a known place.
        fits: how many of them agree with the pose.
        unit: units of the map per unit of the window's gauge; NaN without a witness.
        depth: median depth of the points that are seen; NaN without.
    """

    T_world_camera: NDArray[np.float64]
    T_world_previous: NDArray[np.float64]
    information: NDArray[np.float64]
    tracked: int
    fits: int
    unit: float
    depth: float

    @property
    def deviations(self) -> tuple[float, float]:
        """Standard deviations of position, in units of the map, and of orientation, in rad."""
        if not self.information.any():
            return 0.0, 0.0
        variance = np.linalg.inv(self.information).diagonal()
        return float(np.sqrt(variance[3:].mean())), float(np.sqrt(variance[:3].mean()))


class SparseEstimator:
    """Follows a calibrated camera by its corners, and by a network as far as that is trusted.

    Every frame is located among the known points; a frame that saw much move or lost many corners
    becomes a keyframe, and the newest keyframes are adjusted together. Points begin at the depth
    of the network or of their neighbours, with a prior that parallax overrules; as soon as there
    is parallax, the start by an essential matrix is compared with it, and the better one stays.

    Attributes:
        trust: errors of the network.
    """

    def __init__(self) -> None:
        self.tracks = Tracks()
        self.trust = Trust()
        self.forget()

    def forget(self) -> None:
        """Begin anew."""
        self.tracks.forget()
        self.map = LocalMap()
        self._T = np.eye(4)  # T_camera_world of the last frame
        self._motion = np.eye(4)
        self._parallax = PARALLAX[0]
        self._sigma = SIGMA
        self._alone = False
        self._ratio = np.nan  # units of the map per unit of the network's trajectory
        self._known: dict[FrameKey, NDArray] = {}  # T_camera_world of recent frames
        self._keyframes: list[FrameKey] = []

    def follow(self, image: NDArray[np.uint8]) -> None:
        """Track the corners into a new image (H, W, 3), RGB, before `update`."""
        self.tracks.follow(image)

    def update(
        self,
        key: FrameKey,
        camera: PinholeCamera,
        witness: Witness | None = None,
        *,
        alone: bool = False,
    ) -> SparsePose:
        """Locate the newest image's camera.

        Args:
            key: identity of the image.
            camera: its intrinsics, as it was given to `follow`.
            witness: what the network says; None without one.
            alone: take nothing from the witness but the unit of length.
        """
        self._alone = alone
        pixel = 1 / (self.tracks.fit.scale_x * camera.fx)
        sigma = self._sigma * pixel
        if not len(self.map.T_camera_world):
            return self._begin(key, camera, witness)
        if witness is not None and self._hides and len(self.tracks.ids):
            self.tracks.drop(witness.moves(self.tracks.source))
        rays = self._rays(camera)
        if self._young:
            self._compete(rays, sigma)
        previous = self._T
        at, has = self.map.find(self.tracks.ids)
        columns = at[has]
        said = np.full(len(rays), np.nan) if witness is None else witness.at(self.tracks.source)
        unit = np.nan if witness is None else witness.unit * self._ratio
        step = self._step(witness, unit)
        self._expect(witness, unit)
        found = self._locate(rays[has], columns, sigma, step)
        T, error = found.T_camera_world, found.error
        moved = self._moved(rays[has], columns)
        if moved or (error < FITS).mean() < POOR:
            row = self.map.row(self.tracks.ids, rays)
            adjusted, columns = self.map.adjust(sigma, ADJUST, (T, row), step and step[2])
            T, error = adjusted.T_camera_world[-1], adjusted.error[-1]
        known = np.isfinite(error)
        if known.any():
            measured = float(np.median(error[known])) * self._sigma / RAYLEIGH
            self._sigma += RATE * (min(max(measured, LEAST_SIGMA), MOST_SIGMA) - self._sigma)
        tracked, fits = int(known.sum()), int((error < FITS).sum())
        good = columns[error < FITS]
        depth = 1 / np.median(self.map.points[good].inverse_depth(T)) if len(good) else np.nan
        if witness is not None:
            unit = self._measure(witness, T, said, unit, depth, fits)
        if fits > STRIKE_SHARE * tracked:
            self._strike(columns[np.nan_to_num(error) > MISFIT])
        if moved:
            self._keyframe(key, T, camera, witness, unit, step and step[2])
        self._motion, self._T = T @ inverse(self._T), T
        self._known[key] = T
        self._last = self.tracks.ids, self._rays(camera)
        return SparsePose(
            inverse(T), inverse(previous), found.information, tracked, fits, unit, depth
        )

    def poses(self, keys: Iterable[FrameKey]) -> dict[FrameKey, NDArray[np.float64]]:
        """T_world_camera (4, 4) of recent frames, by key; all others are forgotten."""
        self._known = {key: self._known[key] for key in keys if key in self._known}
        rows = dict(zip(self._keyframes, self.map.T_camera_world, strict=True))
        return {key: inverse(rows.get(key, T)) for key, T in self._known.items()}

    @property
    def _hides(self) -> bool:
        """True if the network's mask says which corners move."""
        return not self._alone and self.trust.value > HIDES

    @property
    def _young(self) -> bool:
        """True while a better start of the map may be found."""
        return self._parallax < PARALLAX[1]

    def hide(self, motion: Judged, fit: ImageTransform) -> None:
        """Drop corners on moving objects, if the network is trusted.

        Args:
            motion: moving pixels of the newest frame.
            fit: from the camera's image to the network's.
        """
        if not self._hides or not len(self.tracks.ids):
            return
        at = np.rint(fit.to_network(self.tracks.source)).astype(np.intp)
        inside = at.clip(0, (fit.width - 1, fit.height - 1))
        self.tracks.drop((inside == at).all(1) & motion.near(inside))

    def _rays(self, camera: PinholeCamera) -> NDArray[np.float64]:
        """(N, 2) normalised image coordinates of the tracks."""
        return (self.tracks.source - (camera.cx, camera.cy)) / (camera.fx, camera.fy)

    def _begin(
        self, key: FrameKey, camera: PinholeCamera, witness: Witness | None
    ) -> SparsePose:
        self.tracks.refill()
        count = len(self.tracks.ids)
        w = np.ones(count)
        if witness is not None and witness.unit > 0:
            said = witness.at(self.tracks.source) / witness.unit
            middle = median(said)
            if np.isfinite(middle):
                w = np.where(np.isfinite(said), said, middle) if START == 'net' and not self._alone else np.full(count, middle)
                self._ratio = 1.0
        self.map.add(self._T, self.tracks.ids, self._rays(camera), w, FIRST * w)
        self._keyframes = [key]
        self._known = {key: self._T}
        unit = np.nan if witness is None else witness.unit
        self._last = self.tracks.ids, self._rays(camera)
        return SparsePose(
            inverse(self._T), inverse(self._T), np.zeros((6, 6)), 0, 0, unit, np.nan
        )

    def _step(
        self, witness: Witness | None, unit: float
    ) -> tuple[NDArray, Step, Step | None] | None:
        """Motion that the network expects since the last keyframe, or since the last frame.

        Returns:
            Pose of that frame, the motion, and the motion again if it is since the keyframe.
        """
        w = self.map.points.xyw[:, 2]
        depth = 1 / np.median(w) if len(w) else 1.0
        if self._alone or witness is None or not np.isfinite(unit):
            if not self._young:
                return None
            step = Step(np.eye(4), 1.0, CALM * depth)
            return self.map.T_camera_world[-1], step, step
        key = self._keyframes[-1]
        since = key if key in witness.T_newest_earlier else next(reversed(self._known))
        if since not in witness.T_newest_earlier:
            return None
        T = witness.T_newest_earlier[since].copy()
        T[:3, 3] *= unit
        step = self._said(T, depth)
        if since == key:
            return self.map.T_camera_world[-1], step, step
        return self._known[since], step, None

    def _expect(self, witness: Witness | None, unit: float) -> None:
        """Renew the motions between keyframes that the network sees again, now with more frames."""
        if self._alone or witness is None or not np.isfinite(unit):
            return
        seen = [key in witness.T_newest_earlier for key in self._keyframes]
        depth = 1 / np.median(self.map.points.xyw[:, 2])
        for k in range(1, len(seen)):
            if seen[k - 1] and seen[k]:
                before, key = self._keyframes[k - 1 : k + 1]
                T = inverse(witness.T_newest_earlier[key]) @ witness.T_newest_earlier[before]
                T[:3, 3] *= unit
                self.map.steps[k] = self._said(T, depth)

    def _said(self, T_later_earlier: NDArray, depth: float) -> Step:
        """Motion by the network, in units of the map, with its usual errors."""
        return Step(T_later_earlier, SAFE * self.trust.turn, SAFE * self.trust.shift * depth)

    def _locate(
        self, rays: NDArray, columns: NDArray, sigma: float, step: tuple | None
    ) -> Located:
        points = self.map.points[columns]
        points = points._replace(deviation=np.zeros(len(columns)))
        prior = None if step is None else step[:2]
        starts = [self._motion @ self._T, self._T]
        if step is not None:
            starts.append(step[1].T_later_earlier @ step[0])
        best = None
        for T in starts:
            found = locate(T, points, rays, sigma, FIND, prior)
            if best is None or found.cost < best.cost:
                best = found
            if (best.error < FITS).mean() > SURE:
                break
        return best

    def _moved(self, rays: NDArray, columns: NDArray) -> bool:
        """True if the camera sees enough anew to become a keyframe."""
        shift = np.linalg.norm(self.map.seen[-1, columns] - rays, axis=1)
        shift = shift[np.isfinite(shift)]
        few = len(self.tracks.ids) < KEYFRAME_TRACKS * MOST
        return bool(few or not len(shift) or np.median(shift) > KEYFRAME_SHIFT)

    def _measure(
        self,
        witness: Witness,
        T: NDArray,
        said: NDArray,
        unit: float,
        depth: float,
        fits: int,
    ) -> float:
        """Compare the network with the points; returns the unit of the window's gauge."""
        at, has = self.map.find(self.tracks.ids)
        columns = at[has]
        points = self.map.points[columns]
        w = points.inverse_depth(T)
        measured = self.map.deviation[columns] < np.minimum(PARALLEL * w, points.deviation / 2)
        ratio = np.log(np.maximum(said[has], 1e-12) / np.maximum(w, 1e-12))
        ratio[~measured | ~(w > 0)] = np.nan
        spread = turn = shift = np.nan
        if np.isfinite(ratio).sum() >= FEWEST:
            middle = median(ratio)
            spread = MAD * median(np.abs(ratio - middle))
            unit = float(np.exp(middle))
            self._ratio = unit / witness.unit
        earlier = [key for key in witness.T_newest_earlier if key in self._known]
        if earlier and fits >= ENOUGH and np.isfinite(unit):
            rows = dict(zip(self._keyframes, self.map.T_camera_world, strict=True))
            T_ours = T @ inverse(np.array([rows.get(key, self._known[key]) for key in earlier]))
            T_said = np.array([witness.T_newest_earlier[key] for key in earlier])
            off = T_said[:, :3, :3] @ T_ours[:, :3, :3].swapaxes(1, 2)
            turn = float(np.sqrt((rotation_angle(off) ** 2).mean()))
            gap = unit * T_said[:, :3, 3] - T_ours[:, :3, 3]
            shift = float(np.sqrt((gap**2).sum(1).mean()) / depth)
        self.trust.add(turn, shift, float(spread))
        return unit

    def _strike(self, columns: NDArray) -> None:
        """Drop tracks that disagreed with their points for the second time."""
        self.map.strikes[columns] += 1
        out = self.map.strikes >= STRIKES
        if out.any():
            self.tracks.drop(np.isin(self.tracks.ids, self.map.ids[out]))
            self.map.keep(~out)

    def _keyframe(
        self,
        key: FrameKey,
        T: NDArray,
        camera: PinholeCamera,
        witness: Witness | None,
        unit: float,
        step: Step | None,
    ) -> None:
        self.tracks.refill()
        ids, rays = self.tracks.ids, self._rays(camera)
        at, has = self.map.find(ids)
        if has.any():
            w = self.map.near(T, at[has], rays)
        else:
            w = np.full(len(ids), np.median(self.map.points.xyw[:, 2]))
        deviation = USUAL * w
        if not self._alone and witness is not None and np.isfinite(unit) and self.trust.depth < USUAL / 2:
            said = witness.at(self.tracks.source) / unit
            use = np.isfinite(said) & (said > 0)
            w = np.where(use, said, w)
            deviation = np.where(use, SAFE * self.trust.depth * w, deviation)
        self.map.add(T, ids, rays, w, deviation, step)
        self._keyframes = [*self._keyframes, key][-len(self.map.T_camera_world) :]

    def _compete(self, rays: NDArray, sigma: float) -> None:
        """Begin anew from two views where that explains the tracks better."""
        ids = self.tracks.ids
        row = pair(self.map, ids, rays, self._parallax)
        if row is None:
            return
        at, has = self.map.find(ids)
        found = self._locate(rays[has], at[has], sigma, None)
        before = self.map
        start = compete(self.map, found.T_camera_world, row, ids, rays, sigma)
        self._parallax *= 2
        self.map = start.map
        if self.map is not before:
            self._keyframes = [self._keyframes[row]]
            rows = dict(zip(self._keyframes, self.map.T_camera_world, strict=True))
            self._known = {key: T for key, T in self._known.items() if key in rows} | rows
            last_ids, last = self._last
            at, has = self.map.find(last_ids)
            points = self.map.points[at[has]]
            points = points._replace(deviation=np.zeros(int(has.sum())))
            self._T = locate(
                start.T_camera_world, points, last[has], sigma, FIND
            ).T_camera_world
        self._motion = start.T_camera_world @ inverse(self._T)
