"""Alignment of windows, each in a gauge of its own, into one chain over the frames they share."""

from __future__ import annotations

import math
import statistics
from collections import deque
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from scipy.spatial.transform import Rotation

from page4d_ros.geometry.poses import between, inverse, rotation, rotation_angle, transform
from page4d_ros.geometry.sim3 import Alignment, align, compare_baselines
from page4d_ros.perception.medians import median

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from page4d_ros.perception.types import FrameKey

HISTORY = 50  # windows over which the usual disagreement is measured
ENOUGH = 3  # of them, before a window can be suspicious
SUSPICIOUS = 5.0  # times the usual disagreement
SMALLEST_TURN = 0.015  # rad that are never suspicious
SMALLEST_SHIFT = 0.015  # of the scene's depth, likewise
MOST_DOUBTED = 8  # windows in a row; then the world has changed, and the next one is right
MOST_WINDOWS = 50.0  # that a frame's pose is averaged over
RECENT = 4  # frames whose motion is extrapolated for a guess
GUESSED = 0.1  # weight of a guessed pose, in windows
GUESS = 0.3  # tolerance of a guess, relative to its motion
TINY = 1e-12
LONG = 20.0  # least length of a baseline that gives the scale, in disagreements


@dataclass(frozen=True, eq=False)
class _Placed:
    """A frame in the chain.

    Attributes:
        T_chain_camera: pose averaged over `windows` windows.
        windows: weight of the pose.
        log_depth: NaN where dynamic or doubtful; None if not known.
        guessed: rad and units of the chain that it moved by guess; None if it was measured.
    """

    T_chain_camera: NDArray[np.float64]
    windows: float
    log_depth: NDArray | None = None
    guessed: tuple[float, float] | None = None


class Placement(NamedTuple):
    """Pose and scale of a window in the chain.

    Attributes:
        T_chain_camera: (N, 4, 4) poses of its cameras.
        scale: units of the chain per unit of the window's gauge.
        turn: disagreement of the shared cameras in rad.
        shift: their disagreement in units of the chain.
        restarted: True if only the last pose ties it to the chain.
        doubted: True if it disagrees with the chain, so that the newest pose is extrapolated from
            the motion before.
    """

    T_chain_camera: NDArray[np.float64]
    scale: float
    turn: float
    shift: float
    restarted: bool = False
    doubted: bool = False


class Chain:
    """Poses of the last window's frames, averaged over all windows that contained them.

    The scale between a window and the chain is the median ratio of the static pixels' depths in
    frames whose depth both know; if there is none, the ratio of the distances between shared
    cameras, if these are long; otherwise it stays. (Baselines in addition to depth make it worse:
    the noise of a window makes its baselines longer than the chain's, and the chain shrinks.)
    Rotation and translation are robust means over the shared cameras. Each frame's pose is then
    the mean over the windows that saw it, which is about as good as solving for all windows at
    once.

    If the shared cameras of a window disagree much more than is usual (because it follows a moving
    object, say), it moves nothing: the newest pose is extrapolated, and the scale stays with the
    last measured frame. After `MOST_DOUBTED` such windows in a row the next is believed, and the
    old frames are forgotten.

    The chain keeps the unit of its first window.
    """

    def __init__(self) -> None:
        self.scale = 1.0
        self.last: _Placed | None = None
        self.clear()

    def clear(self) -> None:
        """Forget the window; the next one begins at the last pose."""
        self._placed: dict[FrameKey, _Placed] = {}
        self._turns: deque[float] = deque(maxlen=HISTORY)
        self._shifts: deque[float] = deque(maxlen=HISTORY)
        self._doubted = 0

    def tie(self, T_chain_camera: NDArray) -> None:
        """Let the next window that shares no frame with this one begin at a pose (4, 4)."""
        self.last = replace(self.last, T_chain_camera=T_chain_camera)

    @property
    def anchor(self) -> FrameKey | None:
        """Frame whose depth in the next window gives that window's scale."""
        newest = list(reversed(self._placed))
        measured = (key for key in newest if self._placed[key].guessed is None)
        return next(measured, newest[0] if newest else None)

    def place(
        self,
        keys: Sequence[FrameKey],
        T_gauge_camera: NDArray,
        log_depth: NDArray,
        reference: int = -1,
    ) -> Placement:
        """Put a window into the chain.

        Args:
            keys: of its N frames, newest last.
            T_gauge_camera: (N, 4, 4), finite.
            log_depth: (M, h, w) of the M newest frames, NaN where dynamic or doubtful.
            reference: index of the frame that the next window begins at if it shares none.
        """
        shared = [i for i, key in enumerate(keys) if key in self._placed]
        depths = dict(zip(keys[-len(log_depth) :], log_depth, strict=True))
        if not shared:
            self.clear()
            first = np.eye(4) if self.last is None else self.last.T_chain_camera
            S = align(first[None], T_gauge_camera[:1], self.scale).S_a_b
            T = S.apply_to_pose(T_gauge_camera)
            self._store(keys, T, depths, S.scale)
            self.last = self._placed[keys[reference]]
            return Placement(T, S.scale, 0.0, 0.0, restarted=True)
        known = [self._placed[keys[i]] for i in shared]
        T_known = np.stack([frame.T_chain_camera for frame in known])
        trust = np.array([frame.windows for frame in known])
        scale = self._scale(depths, T_known, T_gauge_camera[shared])
        found = align(T_known, T_gauge_camera[shared], scale, trust)
        turn, shift = (_middle(off) for off in (found.turns, found.shifts))
        T = found.S_a_b.apply_to_pose(T_gauge_camera)
        doubted = self._suspicious(found, known)
        self._doubted = self._doubted + 1 if doubted else 0
        if self._doubted > MOST_DOUBTED:
            doubted, trust = False, np.zeros(len(shared))
            self._turns.clear()
            self._shifts.clear()
            self._doubted = 0
        if doubted:
            T[shared] = T_known
            new = [i for i in range(len(keys)) if i not in shared]
            T[new] = [self._foresee(keys[i].stamp_ns) for i in new]
        else:
            if len(shared) > 2:
                self._turns.append(turn)
                self._shifts.append(shift)
            T[shared] = between(T_known, T[shared], 1.0 / (trust + 1.0))
        self._store(keys, T, depths, scale, doubted=doubted)
        self.last = self._placed[keys[reference]]
        return Placement(T, scale, turn, shift, doubted=doubted)

    def _scale(self, depths: dict[FrameKey, NDArray], T_known: NDArray, T_gauge: NDArray) -> float:
        """Units of the chain per unit of the gauge."""
        differences = [
            self._placed[key].log_depth - depth
            for key, depth in depths.items()
            if key in self._placed and self._placed[key].log_depth is not None
        ]
        if differences:
            ratio = math.exp(median(np.stack(differences)))
            if math.isfinite(ratio):
                return ratio
        ratio, length = compare_baselines(T_known, T_gauge)
        if math.isfinite(ratio) and len(T_known) > 2:
            off = _middle(align(T_known, T_gauge, ratio).shifts)
            if length > LONG * max(off, self._usual(self._shifts)):
                return ratio
        return self.scale

    @staticmethod
    def _usual(history: deque[float]) -> float:
        return statistics.median(history) if history else 0.0

    def _suspicious(self, found: Alignment, known: list[_Placed]) -> bool:
        """True if most of the shared cameras disagree much more than is usual."""
        if len(self._shifts) < ENOUGH:
            return False
        depth = self._placed[self.anchor].log_depth
        middle = 0.0 if depth is None else math.exp(median(depth))
        turn = max(SUSPICIOUS * self._usual(self._turns), SMALLEST_TURN)
        shift = max(SUSPICIOUS * self._usual(self._shifts), SMALLEST_SHIFT * middle, TINY)
        guessed = GUESS * np.array([frame.guessed or (0.0, 0.0) for frame in known])
        off = _middle(found.turns / (turn + guessed[:, 0]))
        return max(off, _middle(found.shifts / (shift + guessed[:, 1]))) > 1.0

    def _foresee(self, stamp_ns: int) -> NDArray[np.float64]:
        """Pose at a time, extrapolated from the motion over the last frames."""
        stamps_ns = [key.stamp_ns for key in self._placed][-RECENT:]
        frames = list(self._placed.values())[-RECENT:]
        T_first, T_last = frames[0].T_chain_camera, frames[-1].T_chain_camera
        if stamps_ns[-1] <= stamps_ns[0]:
            return T_last
        part = (stamp_ns - stamps_ns[-1]) / (stamps_ns[-1] - stamps_ns[0])
        step = inverse(T_first) @ T_last
        turn = Rotation.from_rotvec(part * rotation(step[:3, :3]).as_rotvec())
        return T_last @ transform(turn.as_matrix(), part * step[:3, 3])

    def _guessed(self, T_chain_camera: NDArray) -> tuple[float, float]:
        """Rotation angle and distance from the newest measured frame."""
        sure = [frame for frame in self._placed.values() if frame.guessed is None]
        since = sure[-1] if sure else self.last
        step = inverse(since.T_chain_camera) @ T_chain_camera
        turn, way = since.guessed or (0.0, 0.0)
        return turn + float(rotation_angle(step[:3, :3])), way + float(np.linalg.norm(step[:3, 3]))

    def _store(
        self,
        keys: Sequence[FrameKey],
        T_chain_camera: NDArray,
        depths: dict[FrameKey, NDArray],
        scale: float,
        *,
        doubted: bool = False,
    ) -> None:
        placed = {}
        for key, T in zip(keys, T_chain_camera, strict=True):
            old, depth = self._placed.get(key), depths.get(key)
            depth = None if depth is None else depth + math.log(scale)
            if old is None and doubted:
                frame = _Placed(T, GUESSED, None, self._guessed(T))
            elif old is None:
                frame = _Placed(T, 1.0, depth)
            elif doubted:
                frame = old
            else:
                frame = _Placed(T, min(old.windows + 1.0, MOST_WINDOWS), depth)
            placed[key] = frame
        self._placed, self.scale = placed, scale


def _middle(values: NDArray) -> float:
    """Upper median (N,)."""
    return float(np.sort(values)[len(values) // 2])
