"""Windows of a rig's cameras that the network ran one by one, joined into one window."""

from __future__ import annotations

import math
from collections import deque
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from page4d_ros.geometry.poses import at_times, inverse
from page4d_ros.geometry.sim3 import Sim3, align, compare_baselines
from page4d_ros.perception.medians import median, weighted_median
from page4d_ros.perception.rig import SAME_NS
from page4d_ros.perception.stitching import Chain
from page4d_ros.perception.types import FrameSet, WindowEstimate
from page4d_ros.perception.visible import static_log_depth

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from numpy.typing import NDArray

    from page4d_ros.perception.rig import Rig

    Beside = Callable[[int, int], NDArray | None]

HISTORY = 50  # measurements of a unit that count
BY_POINTS = 1.0  # weight of a measurement by points; one by motion weighs its way over the depth
SHORTEST = 0.02  # of that, below which motion does not measure


class _Placed(NamedTuple):
    """A view's window in its chain.

    Attributes:
        window: of that view alone.
        times: (S,) of its frames in nanoseconds.
        T_chain_camera: (S, 4, 4).
        scale: units of the chain per unit of the window's gauge.
        depth: median in units of the chain.
    """

    window: WindowEstimate
    times: NDArray[np.int64]
    T_chain_camera: NDArray[np.float64]
    scale: float
    depth: float


class SeparateViews:
    """Joins windows that have a gauge each.

    A chain of each view gives its windows a unit that lasts. The length of that unit in units of
    the main view's chain is the median of what was measured lately: by points whose depth is
    known, or else by the distances between the positions of the camera, which are also known from
    those of the main camera and the mounts. Before both, what the cameras see is taken to be
    equally far away. Poses of a view follow from those of the main one by its mount; at other
    times they are those of its own window, moved as a whole.

    Args:
        rig: tells the moments of frames.
    """

    def __init__(self, rig: Rig) -> None:
        self._rig = rig
        self.forget()

    def forget(self) -> None:
        """Forget everything."""
        self._main: int | None = None  # view whose chain has the common unit
        self._chains: dict[int, Chain] = {}
        self._units: dict[int, float] = {}  # of the main view's chain, per unit of a view's
        self._to_main: dict[int, Sim3] = {}  # chain of a view to that of the main one
        self._measured: dict[int, deque[tuple[float, float]]] = {}  # logarithms, with weights

    def clear(self) -> None:
        """Begin new windows, whose units are not known."""
        for chain in self._chains.values():
            chain.clear()
        self._units.clear()
        self._to_main.clear()
        self._measured.clear()

    def measure(self, errors: Mapping[int, float]) -> None:
        """Correct the units.

        Args:
            errors: logarithm of known depth over that of the last joined window, by view; that of
                the main view is an error of all.
        """
        common = errors.get(self._main, 0.0)
        for view, error in errors.items():
            if view in self._units:
                self._note(view, math.log(self._units[view]) + error - common, BY_POINTS)

    def join(self, windows: Sequence[WindowEstimate], beside: Beside) -> WindowEstimate:
        """One window in the gauge of the main view, or of another one where that is missing.

        Args:
            windows: one per view.
            beside: (view, main view) -> T_view_main (4, 4) in units of the main view's chain;
                None if not known, and both are taken to be at one place.
        """
        parts = {window.frames[-1].view: window for window in windows}
        finite = {v: w for v, w in parts.items() if np.isfinite(w.T_gauge_camera).all()}
        if finite:
            if self._main is None:
                self._main = next(iter(finite))
            placed = {view: self._place(view, window) for view, window in finite.items()}
            first = self._main if self._main in placed else next(iter(placed))
            base = self._in_main(first, placed[first])
            for view, window in parts.items():
                if view not in placed:
                    parts[view] = self._unknown(window, base)
                elif view != first:
                    T_base_view = _relative(first, view, self._main, beside)
                    self._compare(view, placed[view], base, T_base_view)
                    parts[view] = self._moved(view, placed[view], base, T_base_view)
        return _flat([window for _, window in sorted(parts.items())])

    def _place(self, view: int, window: WindowEstimate) -> _Placed:
        chain = self._chains.setdefault(view, Chain())
        log_depth = static_log_depth(window)
        keys = [frame.key for frame in window.frames]
        placement = chain.place(keys, window.T_gauge_camera, log_depth)
        if placement.restarted:
            self._units.pop(view, None)
            self._to_main.pop(view, None)
            self._measured.pop(view, None)
        depth = math.exp(median(log_depth[-1])) * placement.scale
        times = self._rig.moments(window.frames)
        return _Placed(window, times, placement.T_chain_camera, placement.scale, depth)

    def _in_main(self, view: int, placed: _Placed) -> _Placed:
        """The same in the coordinates of the main view's chain."""
        S = self._to_main.get(view, Sim3.identity())
        return placed._replace(
            T_chain_camera=S.apply_to_pose(placed.T_chain_camera),
            scale=S.scale * placed.scale,
            depth=S.scale * placed.depth,
        )

    def _compare(self, view: int, placed: _Placed, base: _Placed, T_base_view: NDArray) -> None:
        """Measure the unit of a view by its motion, and update that and its place."""
        T_known, same, known = _at(placed, base, base.T_chain_camera @ T_base_view)
        T_chain = placed.T_chain_camera[known]
        ratio, length = compare_baselines(T_known[known], T_chain)
        way = length / base.depth
        if math.isfinite(ratio) and way > SHORTEST:
            self._note(view, math.log(ratio), way)
        if self._measured.get(view):
            values, weights = np.array(self._measured[view]).T
            self._units[view] = math.exp(weighted_median(values, weights))
        elif view not in self._units:
            guess = base.depth / placed.depth
            self._units[view] = guess if math.isfinite(guess) else 1.0
        if same.any() or view not in self._to_main:
            self._to_main[view] = align(T_known[known], T_chain, self._units[view]).S_a_b

    def _note(self, view: int, log_unit: float, weight: float) -> None:
        self._measured.setdefault(view, deque(maxlen=HISTORY)).append((log_unit, weight))

    def _moved(
        self, view: int, placed: _Placed, base: _Placed, T_base_view: NDArray
    ) -> WindowEstimate:
        """Window of a view in the gauge of the base."""
        ours = self._in_main(view, placed)
        to_gauge = align(base.window.T_gauge_camera, base.T_chain_camera, 1 / base.scale).S_a_b
        T = to_gauge.apply_to_pose(ours.T_chain_camera)
        T_mount = T_base_view.copy()
        T_mount[:3, 3] /= base.scale
        T_known, same, _ = _at(placed, base, base.window.T_gauge_camera @ T_mount)
        T[same] = T_known[same]
        window, scale = placed.window, ours.scale / base.scale
        points = window.points
        if points is not None:
            seen = inverse(window.T_gauge_camera[-1])
            points = scale * (points @ seen[:3, :3].T + seen[:3, 3])
            points = (points @ T[-1, :3, :3].T + T[-1, :3, 3]).astype(np.float32)
        depth = window.depth * np.float32(scale)
        return replace(window, T_gauge_camera=T, depth=depth, points=points)

    def _unknown(self, window: WindowEstimate, base: _Placed) -> WindowEstimate:
        """Window of a view whose poses are not finite: at the base, without depth."""
        times = self._rig.moments(window.frames)
        T, _ = at_times(base.times, base.window.T_gauge_camera, times)
        unknown = {
            name: None if value is None else np.full_like(value, np.nan)
            for name, value in (('depth', window.depth), ('points', window.points))
        }
        return replace(window, T_gauge_camera=T, **unknown)


def _relative(base: int, view: int, main: int, beside: Beside) -> NDArray[np.float64]:
    """T_base_view (4, 4) as far as it is known."""

    def T_main(each: int) -> NDArray:
        T = None if each == main else beside(each, main)
        return np.eye(4) if T is None else T

    return T_main(base) @ inverse(T_main(view))


def _at(
    placed: _Placed, base: _Placed, T: NDArray
) -> tuple[NDArray, NDArray[np.bool_], NDArray[np.bool_]]:
    """Trajectory (S, 4, 4) of the base's frames at the times of a view.

    Returns:
        The poses; where (S,) they are of the same moment; and where they may be compared: there,
        or else between two frames, or else at the nearest one.
    """
    out, inside = at_times(base.times, T, placed.times)
    gap = np.abs(np.subtract.outer(placed.times, base.times)).min(1)
    same = gap <= SAME_NS
    return out, same, next((each for each in (same, inside) if each.any()), gap == gap.min())


def _flat(windows: Sequence[WindowEstimate]) -> WindowEstimate:
    """The grid of times and views, from a window for each view in one gauge."""
    cells: dict[int, list[tuple[WindowEstimate, int]]] = {}  # frames, by time
    for window in windows:
        for index, each in enumerate(window.sets):
            cells.setdefault(each.stamp_ns, []).append((window, index - len(window.sets)))
    times = sorted(cells)
    frames = [cell for time in times for cell in cells[time]]
    newest = 0  # frames of the newest sets, all of which have depth
    for time in reversed(times):
        if any(-index > len(window.depth) for window, index in cells[time]):
            break
        newest += len(cells[time])

    def of(name: str, chosen: list[tuple[WindowEstimate, int]]) -> NDArray | None:
        values = [(getattr(window, name), index) for window, index in chosen]
        return None if values[0][0] is None else np.stack([v[index] for v, index in values])

    deep, last = frames[-newest:], cells[times[-1]]
    return WindowEstimate(
        sets=tuple(FrameSet(t, tuple(w.frames[i] for w, i in cells[t])) for t in times),
        transforms=tuple(window.transforms[index] for window, index in frames),
        images=tuple(window.images[index] for window, index in frames),
        T_gauge_camera=of('T_gauge_camera', frames),
        cameras=tuple(window.cameras[index] for window, index in frames),
        depth=of('depth', deep),
        confidence=of('confidence', deep),
        dynamic=of('dynamic', frames),
        gram=of('gram', last),
        points=of('points', deep),
        seconds=next((window.seconds for window in windows if window.seconds), {}),
    )
