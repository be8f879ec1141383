"""Cameras of a rig: their relative poses as they are seen, against those that are known.

Known are poses on the robot's base (tf). Seen are those that corners determine, where they do;
otherwise those that the network predicts for frames of the same time. Both together give the
metric scale, and name a camera that does not sit where it should.
"""

from __future__ import annotations

import math
from collections import deque
from itertools import combinations
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from page4d_ros.geometry.poses import at_times, inverse, rotation, rotation_angle, transform
from page4d_ros.perception.late import SIMULTANEOUS
from page4d_ros.perception.mounts import ROUGH
from page4d_ros.units import NS_PER_S

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from numpy.typing import NDArray

    from page4d_ros.config import Config
    from page4d_ros.perception.mounts import Mounts
    from page4d_ros.perception.types import Frame, FrameSet, WindowEstimate

MEMORY_NS = 2 * NS_PER_S  # predictions of so long are averaged
MOST = 100  # predictions of a pair
PERSISTENT_NS = NS_PER_S  # a disagreement is named once it has lasted so long
SAME_NS = 100_000  # frames nearer in time count as simultaneous
SHORTEST = 0.01  # metres of a baseline that is measured
LEAST_SHARE = 0.01  # of a baseline against the distance to the scene
MOST_SCATTER = 0.5  # of the ratios: median absolute deviation over median
ANGLE = math.radians(8.0)  # more is a disagreement
DISTANCE = 0.05  # metres, likewise
CLEAR = 3.0  # standard deviations of what is seen, below which nothing disagrees
DOUBT = 0.05  # relative deviation of a metre by corners, below which it gives the scale
DISTANCE_SHARE = 0.05  # of the baseline, likewise, where that is more

Pair = tuple[int, int]


class Misfit(NamedTuple):
    """Cameras whose predicted poses in the rig disagree with the known ones.

    Attributes:
        cameras: their names: one, or several that cannot be told apart.
        angle: rad; distance: metres, NaN where the rest of the rig gives no scale; medians.
        explained: False if no single camera accounts for it, because the network does not know
            the rig, or several cameras are wrong.
    """

    cameras: tuple[str, ...]
    angle: float
    distance: float
    explained: bool = True

    def __str__(self) -> str:
        """The finding in words."""
        off = f'{math.degrees(self.angle):.0f} degrees'
        off += f' and {self.distance:.2f} m' if math.isfinite(self.distance) else ''
        if not self.explained:
            return f'cameras {", ".join(self.cameras)}: predicted poses are off from tf by {off}'
        return f'camera {" or ".join(self.cameras)} does not sit where tf says: off by {off}'


class _Seen(NamedTuple):
    """Relative pose of a pair: T_a_b (4, 4), and standard deviations in rad and its own unit."""

    T: NDArray[np.float64]
    turn: float = 0.0
    shift: float = 0.0


class _Error(NamedTuple):
    """Disagreement of a pair: rad, metres, and the worse of both in units of its limit."""

    angle: float
    distance: float
    severity: float


class Rig:
    """Relative poses of the cameras, predicted and known.

    `mount` may be called by any thread; all else belongs to the thread of the perception.

    Args:
        config: all settings; ``cameras``, ``rig.offsets`` and ``model.grid`` are used.

    Attributes:
        apart: True if the network sees each camera by itself, so that it predicts no pose of one
            beside another.
        mounts: known T_base_camera (4, 4) by view.
        count: of cameras.
        misfit: persistent disagreement; None for none.
        reason: why the known poses give no scale; "" where they do.
    """

    def __init__(self, config: Config) -> None:
        self.count = max(1, len(config.cameras))
        self.apart = config.apart
        self._names = config.cameras
        self._offsets_ns = [round(seconds * NS_PER_S) for seconds in config.rig.offsets]
        self.mounts: dict[int, NDArray] = {}
        self.forget()

    def forget(self) -> None:
        """Forget the predictions: another unit begins."""
        self._pairs: dict[Pair, deque[tuple[int, NDArray]]] = {}
        self._newest: dict[Pair, NDArray] = {}
        self._by_corners: Mounts | None = None
        self._since_ns: int | None = None
        self.misfit: Misfit | None = None
        self.reason = ''

    def mount(self, view: int, T_base_camera: NDArray) -> None:
        """Set the known pose (4, 4) of a camera on the base."""
        self.mounts = self.mounts | {view: T_base_camera}

    def mounted(self, main: int) -> dict[int, NDArray]:
        """Known T_view_main (4, 4), in metres, of the cameras other than a main one."""
        mounts = self.mounts
        if main not in mounts:
            return {}
        others = mounts.keys() & set(range(self.count)) - {main}
        return {view: inverse(mounts[view]) @ mounts[main] for view in others}

    def by_tf(self, view: int, main: int, metres: float) -> NDArray[np.float64] | None:
        """Known T_view_main (4, 4) in units of so many metres; None if tf does not know both."""
        known = self.mounted(main).get(view)
        if known is not None:
            known[:3, 3] /= metres
        return known

    def after(self, frames: FrameSet, main: int) -> dict[int, float]:
        """Seconds from the frame of the main view, or else of the first, to those of all views."""
        at = dict(zip(frames.views, self.moments(frames.frames), strict=True))
        when = at.get(main, next(iter(at.values())))
        return {view: float(ns - when) / NS_PER_S for view, ns in at.items()}

    def together(self, frames: FrameSet, main: int) -> set[int]:
        """Views whose frames are of the same moment as the main one's, or as the first one's."""
        after = self.after(frames, main)
        return {view for view, seconds in after.items() if abs(seconds) <= SIMULTANEOUS}

    def moments(self, frames: Sequence[Frame]) -> NDArray[np.int64]:
        """Times (N,) of frames by the clock of the first camera, in nanoseconds."""
        return np.array([frame.stamp_ns - self._offset(frame.view) for frame in frames])

    def follow(self, mounts: Mounts | None) -> None:
        """Take the poses of cameras by corners for predicted ones, while there are some."""
        self._by_corners = mounts if mounts is not None and mounts.several else None

    def between(self, a: int, b: int) -> NDArray[np.float64] | None:
        """Predicted T_a_b (4, 4) of two views, in units of the chain; None if never seen."""
        if a == b:
            return np.eye(4)
        seen = self._pairs.get((min(a, b), max(a, b)))
        if not seen:
            return None
        T = _mean(np.stack([T for _, T in seen]))
        return T if a < b else inverse(T)

    def observe(self, window: WindowEstimate, T_chain_camera: NDArray) -> None:
        """Take in the poses (N, 4, 4) of a window's frames, if the network saw them together."""
        if self.apart:
            return
        views = np.array([frame.view for frame in window.frames])
        if views.min() == views.max():
            self._newest = {}
            return
        stamps_ns = self.moments(window.frames)
        now = int(stamps_ns[window.reference])
        tracks = {v: (stamps_ns[views == v], T_chain_camera[views == v]) for v in set(views)}
        self._newest = {}
        for pair in combinations(sorted(tracks), 2):
            relative = _relative(*(tracks[view] for view in pair))
            if len(relative):
                self._newest[pair] = relative
                seen = self._pairs.setdefault(pair, deque(maxlen=MOST))
                seen.append((now, _mean(relative)))
                while not 0 <= now - seen[0][0] <= MEMORY_NS:
                    seen.popleft()

    def _offset(self, view: int) -> int:
        return self._offsets_ns[view] if self._offsets_ns else 0

    def scale(self, depth: float) -> float | None:
        """Metres per unit of the chain, by the newest window; None, and a `reason`, for none.

        Args:
            depth: usual distance to the scene in units of the chain.
        """
        mounts = self._by_corners
        if mounts is not None and mounts.doubt < DOUBT:
            self.reason = ''
            return 1 / mounts.unit
        known = self._known()
        if not known:
            self.reason = 'tf has no poses of two cameras that are seen together'
            if self.apart:
                self.reason = 'corners do not know it yet, and model.grid is per_view'
            return None
        predicted = self._predicted(known)
        wrong, _ = self._wrong(predicted, known, None)
        if len(wrong) > 1:
            self.reason = f'known and predicted poses of {self._named(wrong)} disagree'
            return None
        lengths, scatter, share = _ratios(self._newest, known, wrong, depth)
        self.reason = _objection(lengths, scatter, share)
        return None if self.reason else lengths

    @property
    def rough(self) -> float | None:
        """Metres per unit of the chain as far as corners tell; None if not even roughly."""
        mounts = self._by_corners
        return 1 / mounts.unit if mounts is not None and mounts.doubt < ROUGH else None

    def check(self, now: int, factor: float | None) -> None:
        """Compare the cameras with their known poses, and name who disagrees for a while.

        Args:
            now: the time, in nanoseconds.
            factor: metres per unit of the trajectory, if known from elsewhere than the rig.
        """
        if self._by_corners is None:
            known = self._known()
            seen = self._predicted(known)
        else:
            known, seen = _by_corners(self._by_corners)
            if factor is None and self._by_corners.doubt < ROUGH:
                factor = 1 / self._by_corners.unit
        wrong, explained = self._wrong(seen, known, factor)
        if not wrong:
            self._since_ns = self.misfit = None
            return
        if self._since_ns is None or now < self._since_ns:
            self._since_ns = now
        if now - self._since_ns < PERSISTENT_NS:
            return
        # by the scale of the others
        errors = _errors(seen, known, factor, wrong if len(wrong) == 1 else ())
        touched = [error for pair, error in errors.items() if wrong & set(pair)]
        angle, distance = np.median([error[:2] for error in touched], axis=0)
        names = tuple(self._name(view) for view in sorted(wrong))
        self.misfit = Misfit(names, float(angle), float(distance), explained)

    def _known(self) -> dict[Pair, NDArray]:
        """T_a_b of the pairs that the network saw and that are known."""
        mounts = self.mounts
        return {
            (a, b): inverse(mounts[a]) @ mounts[b]
            for a, b in self._pairs
            if a in mounts and b in mounts and self._pairs[a, b]
        }

    def _predicted(self, pairs: Collection[Pair]) -> dict[Pair, _Seen]:
        """Relative poses as the network sees them."""
        return {pair: _Seen(self.between(*pair)) for pair in pairs}

    @staticmethod
    def _wrong(
        seen: dict[Pair, _Seen], known: dict[Pair, NDArray], factor: float | None
    ) -> tuple[set[int], bool]:
        """Views each without which the others agree, and True; all and False if there is none."""
        errors = _errors(seen, known, factor)
        if all(error.severity <= 1 for error in errors.values()):
            return set(), True
        views = {view for pair in errors for view in pair}
        worst = {}
        for view in views:
            rest = _errors(seen, known, factor, without={view})
            worst[view] = max((e.severity for p, e in rest.items() if view not in p), default=0.0)
        found = {view for view in views if worst[view] <= 1}
        return found or views, bool(found)

    def _name(self, view: int) -> str:
        return self._names[view] if view < len(self._names) else str(view)

    def _named(self, views: Collection[int]) -> str:
        return ', '.join(self._name(view) for view in sorted(views))


def _by_corners(mounts: Mounts) -> tuple[dict[Pair, NDArray], dict[Pair, _Seen]]:
    """Relative poses (4, 4) of the cameras in metres as known, and in the map as seen."""
    known, seen = {}, {}
    variance = mounts.covariance.diagonal(axis1=1, axis2=2).reshape(-1, 2, 3).mean(2)
    for a, b in combinations(sorted(mounts.known), 2):
        known[a, b] = mounts.known[a] @ inverse(mounts.known[b])
        T = mounts.T_view_main[a] @ inverse(mounts.T_view_main[b])
        turn, shift = np.sqrt(variance[a] + variance[b])
        seen[a, b] = _Seen(T, float(turn), float(shift))
    return known, seen


def _errors(
    seen: dict[Pair, _Seen],
    known: dict[Pair, NDArray],
    factor: float | None,
    without: Collection[int] = (),
) -> dict[Pair, _Error]:
    """Disagreement of each pair, at a scale or at that of the pairs without some cameras."""
    if factor is None:
        single = {pair: each.T[None] for pair, each in seen.items()}
        factor = _ratios(single, known, without, math.inf)[0]
    out = {}
    for pair, T_known in known.items():
        T, turn, shift = seen[pair]
        angle = float(rotation_angle(T[:3, :3].T @ T_known[:3, :3]))
        distance = float(np.linalg.norm(factor * T[:3, 3] - T_known[:3, 3]))
        limit = max(DISTANCE, DISTANCE_SHARE * float(np.linalg.norm(T_known[:3, 3])))
        severity = max(
            angle / max(ANGLE, CLEAR * turn), distance / max(limit, CLEAR * factor * shift)
        )
        out[pair] = _Error(angle, distance, severity if np.isfinite(severity) else 0.0)
    return out


def _relative(a: tuple[NDArray, NDArray], b: tuple[NDArray, NDArray]) -> NDArray[np.float64]:
    """T_a_b (M, 4, 4) at the times of b's frames that lie between a's, or at one of a's.

    Args:
        a: increasing stamps (N,) in nanoseconds, and poses (N, 4, 4), of one camera.
        b: of another.
    """
    (times, T_a), (at, T_b) = a, b
    there, inside = at_times(times, T_a, at, SAME_NS)
    return (inverse(there) @ T_b)[inside]


def _mean(T: NDArray) -> NDArray[np.float64]:
    """Mean rotation and median translation of poses (N, 4, 4)."""
    return transform(rotation(T[:, :3, :3]).mean().as_matrix(), np.median(T[:, :3, 3], axis=0))


def _ratios(
    predicted: dict[Pair, NDArray],
    known: dict[Pair, NDArray],
    without: Collection[int],
    depth: float,
) -> tuple[float, float, float]:
    """Metres per predicted unit over all pairs and times, by length along the known direction.

    The direction is compared in the axes of both cameras, so that rotations count, too: the
    centres of two cameras alone would leave a turn about their baseline free.

    Args:
        predicted: (N, 4, 4) per pair.
        known: (4, 4) per pair.
        without: views that do not count.
        depth: distance to the scene in predicted units.

    Returns:
        Median; relative median absolute deviation; largest predicted baseline over `depth`. NaN
        and zero where there is no pair.
    """
    ratios, share = [], 0.0
    for pair, T in predicted.items():
        T_known = known.get(pair)
        if T_known is None or set(pair) & set(without):
            continue
        length = float(np.linalg.norm(T_known[:3, 3]))
        if length < SHORTEST:
            continue
        back, back_known = inverse(T), inverse(T_known)
        along = (T[:, :3, 3] @ T_known[:3, 3] + back[:, :3, 3] @ back_known[:3, 3]) / 2 / length
        share = max(share, float(np.median(along)) / depth)
        ratios.append(length / np.where(along > 0, along, np.nan))
    found = np.concatenate(ratios) if ratios else np.zeros(0)
    found = found[np.isfinite(found)]
    if not len(found):
        return math.nan, math.nan, share
    middle = float(np.median(found))
    return middle, float(np.median(np.abs(found - middle))) / middle, share


def _objection(ratio: float, scatter: float, share: float) -> str:
    """Reason against a scale; "" for none."""
    if not math.isfinite(ratio):
        return f'no baseline is longer than {SHORTEST:g} m and predicted in its direction'
    if share < LEAST_SHARE:
        return (
            f'baselines are {share:.1%} of the distance to the scene, and less than '
            f'{LEAST_SHARE:.0%} does not measure it'
        )
    return '' if scatter <= MOST_SCATTER else f'predicted baselines scatter by {scatter:.0%}'
