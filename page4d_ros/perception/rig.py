"""Cameras of a rig: their relative poses as predicted, against those that are known.

Known are poses on the robot's base (tf). Predicted are relative poses of frames of the same time.
Both together give the metric scale, and name a camera that does not sit where it should.
"""

from __future__ import annotations

import math
from collections import deque
from itertools import combinations
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from page4d_ros.geometry.poses import between, inverse, rotation, rotation_angle, transform
from page4d_ros.units import NS_PER_S

if TYPE_CHECKING:
    from collections.abc import Collection

    from numpy.typing import NDArray

    from page4d_ros.config import Config
    from page4d_ros.perception.types import WindowEstimate

MEMORY_NS = 2 * NS_PER_S  # predictions of so long are averaged
MOST = 100  # predictions of a pair
PERSISTENT_NS = NS_PER_S  # a disagreement is named once it has lasted so long
SAME_NS = 100_000  # frames nearer in time count as simultaneous
SHORTEST = 0.01  # metres of a baseline that is measured
LEAST_SHARE = 0.01  # of a baseline against the distance to the scene
MOST_SCATTER = 0.5  # of the ratios: median absolute deviation over median
ANGLE = math.radians(8.0)  # more is a disagreement
DISTANCE = 0.05  # metres, likewise
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


class _Error(NamedTuple):
    """Disagreement of a pair: rad, metres, and the worse of both in units of its limit."""

    angle: float
    distance: float
    severity: float


class Rig:
    """Relative poses of the cameras, predicted and known.

    `mount` may be called by any thread; all else belongs to the thread of the perception.

    Args:
        config: all settings; ``cameras`` and ``rig.offsets`` are used.

    Attributes:
        mounts: known T_base_camera (4, 4) by view.
        several: True if more than one camera is configured.
        misfit: persistent disagreement; None for none.
        reason: why the known poses give no scale; "" where they do.
    """

    def __init__(self, config: Config) -> None:
        self.several = len(config.cameras) > 1
        self._names = config.cameras
        self._offsets_ns = [round(seconds * NS_PER_S) for seconds in config.rig.offsets]
        self.mounts: dict[int, NDArray] = {}
        self.forget()

    def forget(self) -> None:
        """Forget the predictions: another unit begins."""
        self._pairs: dict[Pair, deque[tuple[int, NDArray]]] = {}
        self._newest: dict[Pair, NDArray] = {}
        self._since_ns: int | None = None
        self.misfit: Misfit | None = None
        self.reason = ''

    def mount(self, view: int, T_base_camera: NDArray) -> None:
        """Set the known pose (4, 4) of a camera on the base."""
        self.mounts = self.mounts | {view: T_base_camera}

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
        """Take in the poses (N, 4, 4) of a window's frames."""
        views = np.array([frame.view for frame in window.frames])
        if views.min() == views.max():
            self._newest = {}
            return
        stamps_ns = np.array([f.stamp_ns - self._offset(f.view) for f in window.frames])
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
        known = self._known()
        if not known:
            self.reason = 'tf has no poses of two cameras that are seen together'
            return None
        wrong, _ = self._wrong(self._errors(known, None), known)
        if len(wrong) > 1:
            self.reason = f'known and predicted poses of {self._named(wrong)} disagree'
            return None
        lengths, scatter, share = _ratios(self._newest, known, wrong, depth)
        self.reason = _objection(lengths, scatter, share)
        return None if self.reason else lengths

    def check(self, factor: float | None) -> None:
        """Compare predicted poses with the known ones, and name who disagrees for a while.

        Args:
            factor: metres per unit of the chain, if known from elsewhere than the rig.
        """
        known = self._known()
        errors = self._errors(known, factor)
        wrong, explained = self._wrong(errors, known, factor)
        stamps = [seen[-1][0] for seen in self._pairs.values() if seen]
        if not wrong or not stamps:
            self._since_ns = self.misfit = None
            return
        now = max(stamps)
        if self._since_ns is None or now < self._since_ns:
            self._since_ns = now
        if now - self._since_ns < PERSISTENT_NS:
            return
        if len(wrong) == 1:  # by the scale of the others
            errors = self._errors(known, factor, without=wrong)
        touched = [error for pair, error in errors.items() if wrong & set(pair)]
        angle, distance = np.median([error[:2] for error in touched], axis=0)
        names = tuple(self._name(view) for view in sorted(wrong))
        self.misfit = Misfit(names, float(angle), float(distance), explained)

    def _known(self) -> dict[Pair, NDArray]:
        """T_a_b of the pairs that are seen and known."""
        mounts = self.mounts
        return {
            (a, b): inverse(mounts[a]) @ mounts[b]
            for a, b in self._pairs
            if a in mounts and b in mounts and self._pairs[a, b]
        }

    def _errors(
        self,
        known: dict[Pair, NDArray],
        factor: float | None,
        without: Collection[int] = (),
    ) -> dict[Pair, _Error]:
        """Disagreement of each pair, at the scale of the pairs without some cameras."""
        predicted = {pair: self.between(*pair) for pair in known}
        if factor is None:
            single = {pair: T[None] for pair, T in predicted.items()}
            factor = _ratios(single, known, without, math.inf)[0]
        out = {}
        for pair, T_known in known.items():
            T = predicted[pair]
            angle = float(rotation_angle(T[:3, :3].T @ T_known[:3, :3]))
            distance = float(np.linalg.norm(factor * T[:3, 3] - T_known[:3, 3]))
            limit = max(DISTANCE, DISTANCE_SHARE * float(np.linalg.norm(T_known[:3, 3])))
            severity = max(angle / ANGLE, distance / limit)
            out[pair] = _Error(angle, distance, severity if np.isfinite(severity) else 0.0)
        return out

    def _wrong(
        self,
        errors: dict[Pair, _Error],
        known: dict[Pair, NDArray],
        factor: float | None = None,
    ) -> tuple[set[int], bool]:
        """Views each without which the others agree, and True; all and False if there is none."""
        if all(error.severity <= 1 for error in errors.values()):
            return set(), True
        views = {view for pair in errors for view in pair}
        worst = {}
        for view in views:
            rest = self._errors(known, factor, without={view})
            worst[view] = max((e.severity for p, e in rest.items() if view not in p), default=0.0)
        found = {view for view in views if worst[view] <= 1}
        return found or views, bool(found)

    def _name(self, view: int) -> str:
        return self._names[view] if view < len(self._names) else str(view)

    def _named(self, views: Collection[int]) -> str:
        return ', '.join(self._name(view) for view in sorted(views))


def _relative(a: tuple[NDArray, NDArray], b: tuple[NDArray, NDArray]) -> NDArray[np.float64]:
    """T_a_b (M, 4, 4) at the times of b's frames that lie between a's, or at one of a's.

    Args:
        a: increasing stamps (N,) in nanoseconds, and poses (N, 4, 4), of one camera.
        b: of another.
    """
    (times, T_a), (at, T_b) = a, b
    after = np.searchsorted(times, at).clip(1, max(len(times) - 1, 1))
    first, second = after - 1, np.minimum(after, len(times) - 1)
    span = np.maximum(times[second] - times[first], 1)
    part = (at - times[first]) / span
    nearest = np.where(np.abs(at - times[first]) <= np.abs(at - times[second]), first, second)
    same = np.abs(at - times[nearest]) <= SAME_NS
    inside = (part >= 0) & (part <= 1)
    there = between(T_a[first], T_a[second], part.clip(0, 1))
    there[same] = T_a[nearest[same]]
    return (inverse(there) @ T_b)[same | inside]


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
