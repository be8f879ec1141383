"""Expectations of motion and depth that a network gives, with the errors that it made lately."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from page4d_ros.geometry.poses import inverse
from page4d_ros.perception.medians import median
from page4d_ros.perception.points import Step
from page4d_ros.perception.residuals import MAD
from page4d_ros.perception.seen import Seen
from page4d_ros.perception.sparse_pose import FEWEST
from page4d_ros.perception.trust import TRUSTED, Trust

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from page4d_ros.geometry.camera import PinholeCamera
    from page4d_ros.perception.corner_noise import CornerNoise
    from page4d_ros.perception.corners import Corners
    from page4d_ros.perception.local_map import LocalMap
    from page4d_ros.perception.recognition import Recognised
    from page4d_ros.perception.types import FrameKey
    from page4d_ros.perception.witness import Witness

ENOUGH = 30  # corners that fit, to judge the network by
SAFE = 1.5  # by which the errors of the network are taken larger


class Expected(NamedTuple):
    """Expected motion of the newest camera.

    Attributes:
        T_camera_world: (4, 4) pose of an earlier frame.
        step: motion since.
        keyframe: True if that frame is the last keyframe; otherwise it is the last frame.
    """

    T_camera_world: NDArray[np.float64]
    step: Step
    keyframe: bool

    @property
    def pose(self) -> NDArray[np.float64]:
        """(4, 4) T_camera_world of the newest camera, if it moved as expected."""
        return self.step.T_later_earlier @ self.T_camera_world


class Prior:
    """Expectations of a network in units of the map, and the trust in them.

    Attributes:
        alone: True if nothing is taken from the network but the unit of length.
        trust: errors of the network.
        ratio: units of the map per unit of the network's trajectory; NaN if not known.
    """

    def __init__(self, *, alone: bool) -> None:
        self.alone = alone
        self.trust = Trust()
        self.ratio = np.nan

    def unit(self, witness: Witness | None) -> float:
        """Units of the map per unit of the window's gauge; NaN if not known."""
        return np.nan if witness is None else witness.unit * self.ratio

    @property
    def trusted(self) -> bool:
        """True if the network alone may give a pose, and its mask hide corners."""
        return not self.alone and self.trust.value >= TRUSTED

    @property
    def depth_deviation(self) -> float:
        """Relative standard deviation of the network's depths."""
        return SAFE * self.trust.depth

    def look(
        self,
        key: FrameKey,
        main: int,
        tracks: Corners,
        cameras: Mapping[int, PinholeCamera],
        witnesses: Mapping[int, Witness],
        noise: CornerNoise,
    ) -> Seen:
        """The newest images, without corners that a trusted network sees moving.

        Args:
            key: identity of the main camera's image.
            main: view of that camera.
            tracks: corners; those that move are dropped.
            cameras: intrinsics of the images by view.
            witnesses: what the network says of them; of a blank image it cannot know anything.
            noise: of corners.
        """
        witnesses = {view: said for view, said in witnesses.items() if view not in tracks.blank}
        if self.trusted:
            tracks.drop_moving(witnesses)
        unit = self.unit(next(iter(witnesses.values()), None))
        rays, sigma = tracks.rays(cameras), noise.normalised(tracks.focal(cameras))
        return Seen(key, main, rays, tracks.view, sigma, witnesses, cameras, unit)

    def expected(
        self,
        seen: Seen,
        map_: LocalMap,
        keyframes: Sequence[FrameKey],
        known: dict[FrameKey, NDArray],
        depth: float,
    ) -> Expected | None:
        """Motion since the last keyframe, or since the last frame; None if it is not known.

        Args:
            seen: the newest image.
            map_: gets the motions between its keyframes as this window has them.
            keyframes: of the map.
            known: T_camera_world (4, 4) of recent frames, newest last.
            depth: of the scene, in units of the map.
        """
        witness = None if self.alone else seen.heeded
        if witness is None or witness.doubted:
            return None
        said = witness.T_newest_earlier
        keys = [key if key in said else None for key in keyframes]
        for k, (before, key) in enumerate(pairwise(keys), 1):
            if before and key:  # the window sees both again, now with more frames
                map_.steps[k] = self._step(inverse(said[key]) @ said[before], seen.unit, depth)
        since = keys[-1] or next(reversed(known), None)
        if since not in said:
            return None
        step = self._step(said[since], seen.unit, depth)
        T = map_.T_camera_world[-1] if keys[-1] else known[since]
        return Expected(T, step, keys[-1] is not None)

    def bridge(self, seen: Seen, known: dict[FrameKey, NDArray], depth: float) -> Expected | None:
        """Motion since the last known frame that the window has, if the network is trusted.

        Args:
            seen: the newest image.
            known: T_camera_world (4, 4) of recent frames, newest last.
            depth: of the scene, in units of the map.
        """
        said = {} if seen.heeded is None or not self.trusted else seen.heeded.T_newest_earlier
        both = [key for key in known if key in said]
        if not both:
            return None
        step = self._step(said[both[-1]], seen.unit, depth)
        return Expected(known[both[-1]], step, keyframe=False)

    def first_depths(
        self, seen: Seen, source: NDArray, again: Recognised | None
    ) -> tuple[NDArray[np.float64], float]:
        """Inverse depths of the first points of a map, and the unit of the window's gauge.

        Sets the unit, by recognised points if there are some, if it is not known.

        Args:
            seen: the newest images.
            source: (N, 2) pixels of the points in the cameras' images.
            again: some of them, of the main camera, that are known.

        Returns:
            (N,) in units of the map, NaN in images that the network says nothing of; units of
            the map per unit of the gauge, NaN if it says nothing at all.
        """
        out, unit = np.full(len(source), np.nan), np.nan
        if again is not None and seen.witness is not None:
            said = seen.witness.inverse_depths(source[again.index])
            if np.isfinite(said).any():
                self.ratio = median(said / again.inverse_depth) / seen.witness.unit
        for view, witness in seen.witnesses.items():
            self.ratio = self.ratio if np.isfinite(self.ratio) else 1.0
            of, unit = seen.view == view, self.unit(witness)
            said = witness.inverse_depths(source[of])
            known = np.isfinite(said)
            middle = median(said if known.any() else witness.inverse_depth)
            out[of] = np.where(known & (not self.alone), said, middle) / unit
        return out, unit

    def _step(self, T_later_earlier: NDArray, unit: float, depth: float) -> Step:
        T = T_later_earlier.copy()
        T[:3, 3] *= unit
        return Step(T, SAFE * self.trust.turn, SAFE * self.trust.shift * depth)

    def depths(self, seen: Seen, source: NDArray) -> NDArray[np.float64]:
        """Inverse depths (N,) at pixels (N, 2) of the tracks; NaN where not known or of no use."""
        out = np.full(len(source), np.nan)
        for view, witness in seen.witnesses.items():
            if not (self.alone or witness.doubted):
                of = seen.view == view
                out[of] = witness.inverse_depths(source[of]) / seen.unit
        return out

    def judge(
        self,
        seen: Seen,
        fits: int,
        points: tuple[NDArray, NDArray],
        poses: tuple[NDArray, dict[FrameKey, NDArray]],
        depth: float,
    ) -> float:
        """Compare the network with the points.

        Args:
            seen: the newest image, with what the network says.
            fits: corners that agree with the pose.
            points: pixels (N, 2) and inverse depths (N,) of those that are well measured.
            poses: T_camera_world (4, 4) of the newest camera, and of earlier ones.
            depth: of the scene, in units of the map.

        Returns:
            The unit of the window's gauge.
        """
        witness, unit = seen.witness, seen.unit
        ratio = np.log(witness.inverse_depths(points[0]) / points[1])
        spread = turn = shift = np.nan
        if fits >= FEWEST and np.isfinite(ratio).sum() >= FEWEST:
            middle = median(ratio)
            spread = float(MAD * median(np.abs(ratio - middle)))
            unit = float(np.exp(middle))
            self.ratio = unit / witness.unit
        if fits >= ENOUGH and np.isfinite(unit):
            turn, shift = witness.errors(*poses, unit)
            shift /= depth
        self.trust.add(turn, shift, spread, doubted=witness.doubted)
        return unit
