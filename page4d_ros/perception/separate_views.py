"""Windows of a rig's cameras that the network ran one by one, joined into one window."""

from __future__ import annotations

import math
from collections import deque
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from page4d_ros.geometry.poses import at_times, between, inverse
from page4d_ros.geometry.sim3 import Sim3, align, compare_baselines
from page4d_ros.perception.medians import median, weighted_median
from page4d_ros.perception.rig import SAME_NS
from page4d_ros.perception.stitching import Chain, Placement
from page4d_ros.perception.types import FrameSet, WindowEstimate
from page4d_ros.perception.visible import static_log_depth

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from numpy.typing import NDArray

    from page4d_ros.perception.rig import Rig
    from page4d_ros.perception.types import FrameKey

    Beside = Callable[[int, int], NDArray | None]

HISTORY = 50  # measurements of a unit that count
BY_POINTS = 1.0  # weight of a measurement by points; one by motion weighs its way over the depth
SHORTEST = 0.005  # of that, below which motion does not measure
PATH = 20  # frames of a view whose poses are compared with those of the main one
RECENT = 8  # of them, which tell where it sits
FORESEEN = 4.0  # frames that motion may be extended over
ENOUGH = 3  # of the same moment, so that nothing is interpolated


class _Placed(NamedTuple):
    """A view's window in the trajectory.

    Attributes:
        window: of that view alone.
        times: (S,) of its frames in nanoseconds.
        placement: of the window, in its own chain or in the common trajectory.
        depth: median in the same units.
    """

    window: WindowEstimate
    times: NDArray[np.int64]
    placement: Placement
    depth: float

    def moved(self, S: Sim3) -> _Placed:
        """The same in other coordinates, units and all."""
        own = self.placement
        placement = own._replace(
            T_chain_camera=S.apply_to_pose(own.T_chain_camera),
            scale=S.scale * own.scale,
            shift=S.scale * own.shift,
        )
        return self._replace(placement=placement, depth=S.scale * self.depth)


class SeparateViews:
    """Joins windows that have a gauge each into windows of one trajectory, that of the main view.

    A chain of each view gives its windows a unit that lasts. The length of that unit in units of
    the trajectory is the median of what was measured lately: by points whose depth is known, or
    else by the distances between the positions of the camera, which are also known from those of
    another one and the mounts. Before both, what the cameras see is taken to be equally far away.
    Poses of a view follow from those of the main one by its mount; at other times they are those
    of its own window, moved as a whole.

    Args:
        rig: tells the moments of frames.

    Attributes:
        placement: of the last joined window; None if its poses are not finite.
        anchor: frame whose depth ties the next windows to the last ones.
    """

    def __init__(self, rig: Rig) -> None:
        self._rig = rig
        self.forget()

    def forget(self) -> None:
        """Forget everything."""
        self._main: int | None = None  # view whose pose the trajectory is of
        self._T_main = np.eye(4)  # its last pose
        self._chains: dict[int, Chain] = {}
        self._units: dict[int, float] = {}  # of the trajectory, per unit of a view's chain
        self.clear()

    def clear(self) -> None:
        """Begin new windows at the last pose, whose units are about those of before."""
        for chain in self._chains.values():
            chain.clear()
        self._in_trajectory: dict[int, Sim3] = {}  # of a view's chain
        self._guessed: set[int] = set()  # views of which that is not by frames of the same time
        self._paths: dict[int, dict[int, NDArray]] = {}  # poses in the chain, by time
        self._measured: dict[int, deque[tuple[float, float]]] = {}  # logarithms, with weights
        self.placement: Placement | None = None
        self.anchor: FrameKey | None = None

    def measure(self, errors: Mapping[int, float]) -> None:
        """Correct the units.

        Args:
            errors: logarithm of known depth over that of the last joined window, by view; NaN
                where no depth is known. That of the main view is an error of all.
        """
        known = {view: error for view, error in errors.items() if math.isfinite(error)}
        common = known.get(self._main, 0.0)
        for view, error in known.items():
            if view in self._units and view != self._main:
                self._note(view, math.log(self._units[view]) + error - common, BY_POINTS)

    def join(self, windows: Sequence[WindowEstimate], beside: Beside) -> WindowEstimate:
        """One window in the gauge of the main view, or of another one where that is missing.

        Args:
            windows: one per view.
            beside: (view, main view) -> T_view_main (4, 4) in units of the trajectory; None if
                not known, and both are taken to be at one place.
        """
        parts = {window.frames[-1].view: (window, window.T_gauge_camera) for window in windows}
        finite = [v for v, (_, T) in parts.items() if np.isfinite(T).all()]
        if not finite:
            self.placement = None
            return _flat(list(parts.values()))[0]
        if self._main is None:
            self._main = finite[0]
            self._units[self._main] = 1.0
        placed = {view: self._place(view, parts[view][0]) for view in finite}
        first = self._base(placed, beside)
        base = placed[first].moved(self._in_trajectory[first])
        to_gauge = _to_gauge(base)
        for view, (window, _) in parts.items():
            T_base_view = _relative(first, view, self._main, beside)
            if view == first:
                parts[view] = window, base.placement.T_chain_camera
            elif view not in placed:
                parts[view] = self._unknown(window, base, to_gauge, T_base_view)
            else:
                self._compare(view, placed[view], first, base, T_base_view)
                parts[view] = self._moved(view, placed[view], base, to_gauge, T_base_view)
        joined, T = _flat([part for _, part in sorted(parts.items())])
        self.placement = base.placement._replace(T_chain_camera=T)
        self.anchor = self._anchor(joined)
        newest = joined.frames[joined.reference].view
        self._T_main = T[joined.reference] @ _relative(newest, self._main, self._main, beside)
        return joined

    def _anchor(self, joined: WindowEstimate) -> FrameKey:
        """The oldest of the anchors of the views that have a new frame."""
        chains = (self._chains.get(view) for view in joined.sets[-1].views)
        anchors = (chain.anchor for chain in chains if chain is not None)
        return min((key for key in anchors if key is not None), default=joined.frames[-1].key)

    def _place(self, view: int, window: WindowEstimate) -> _Placed:
        """Window in the chain of its view."""
        chain = self._chains.setdefault(view, Chain())
        log_depth = static_log_depth(window)
        keys = [frame.key for frame in window.frames]
        placement = chain.place(keys, window.T_gauge_camera, log_depth)
        if placement.restarted:  # the unit is about that of before
            self._in_trajectory.pop(view, None)
            self._paths.pop(view, None)
        times = self._rig.moments(window.frames)
        poses = zip(times.tolist(), placement.T_chain_camera, strict=True)
        path = self._paths.get(view, {}) | dict(poses)
        self._paths[view] = dict(sorted(path.items())[-PATH:])
        depth = math.exp(median(log_depth[-1])) * placement.scale
        return _Placed(window, times, placement, depth)

    def _base(self, placed: Mapping[int, _Placed], beside: Beside) -> int:
        """View that the others are placed beside: the main one, where its place is known."""
        seen = [view for view in placed if view in self._in_trajectory]
        known = [view for view in seen if view not in self._guessed] or seen
        if self._main in known:
            return self._main
        if known:
            return max(known, key=lambda view: placed[view].times[-1])
        first = self._main if self._main in placed else next(iter(placed))
        T = self._T_main @ _relative(self._main, first, self._main, beside)
        T_chain = placed[first].placement.T_chain_camera[:1]
        found = align(T[None], T_chain, self._units.setdefault(first, 1.0))
        self._in_trajectory[first] = found.S_a_b
        self._guessed.discard(first)
        return first

    def _compare(
        self, view: int, placed: _Placed, first: int, base: _Placed, T_base_view: NDArray
    ) -> None:
        """Measure the unit of a view by its motion, and update that and where it sits."""
        (times, T_chain), (base_times, T_base) = map(self._path, (view, first))
        T_base = self._in_trajectory[first].apply_to_pose(T_base)
        T_known, same, inside = _at(times, base_times, T_base @ T_base_view)
        known = same if same.sum() >= ENOUGH else same | inside
        compared = known.any()
        if not compared and view in self._in_trajectory:
            return  # it goes on from where it was
        if not compared:
            nearest = np.abs(np.subtract.outer(times, base_times)).min(1).argmin()
            known = np.arange(len(times)) == nearest
            if times[nearest] > base_times[-1] and len(base_times) > 1:
                T_known[nearest] = _after(base_times, T_base, times[nearest]) @ T_base_view
        ratio, length = compare_baselines(T_known[known], T_chain[known])
        way = length / base.depth
        if math.isfinite(ratio) and way > SHORTEST:
            self._note(view, math.log(ratio), way)
        if self._measured.get(view):
            values, weights = np.array(self._measured[view]).T
            self._units[view] = math.exp(weighted_median(values, weights))
        elif view not in self._units:
            guess = base.depth / placed.depth
            self._units[view] = guess if math.isfinite(guess) else 1.0
        recent = np.flatnonzero(known)[-RECENT:]
        found = align(T_known[recent], T_chain[recent], self._units[view])
        self._in_trajectory[view] = found.S_a_b
        if compared:
            self._guessed.discard(view)
        else:
            self._guessed.add(view)

    def _path(self, view: int) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """Times (N,) and poses (N, 4, 4) of a view's latest frames, in its chain."""
        path = self._paths[view]
        return np.array(list(path)), np.stack(list(path.values()))

    def _note(self, view: int, log_unit: float, weight: float) -> None:
        self._measured.setdefault(view, deque(maxlen=HISTORY)).append((log_unit, weight))

    def _moved(
        self, view: int, placed: _Placed, base: _Placed, to_gauge: Sim3, T_base_view: NDArray
    ) -> tuple[WindowEstimate, NDArray]:
        """Window of a view in the gauge of the base, and its poses in the trajectory."""
        ours, there = placed.moved(self._in_trajectory[view]).placement, base.placement
        T = ours.T_chain_camera.copy()
        T_known, same, _ = _at(placed.times, base.times, there.T_chain_camera @ T_base_view)
        T[same] = T_known[same]
        window, scale = placed.window, ours.scale / there.scale
        T_gauge, points = to_gauge.apply_to_pose(T), window.points
        if points is not None:
            seen, now = inverse(window.T_gauge_camera[-1]), T_gauge[-1]
            points = scale * (points @ seen[:3, :3].T + seen[:3, 3])
            points = (points @ now[:3, :3].T + now[:3, 3]).astype(np.float32)
        depth = window.depth * np.float32(scale)
        return replace(window, T_gauge_camera=T_gauge, depth=depth, points=points), T

    def _unknown(
        self, window: WindowEstimate, base: _Placed, to_gauge: Sim3, T_base_view: NDArray
    ) -> tuple[WindowEstimate, NDArray]:
        """Window of a view whose poses are not finite: where its mount says, without depth."""
        times = self._rig.moments(window.frames)
        T, _ = at_times(base.times, base.placement.T_chain_camera @ T_base_view, times)
        unknown = {
            name: None if value is None else np.full_like(value, np.nan)
            for name, value in (('depth', window.depth), ('points', window.points))
        }
        return replace(window, T_gauge_camera=to_gauge.apply_to_pose(T), **unknown), T


def _to_gauge(base: _Placed) -> Sim3:
    """Trajectory to the gauge of a window in it."""
    placement = base.placement
    T_gauge = base.window.T_gauge_camera
    return align(T_gauge, placement.T_chain_camera, 1 / placement.scale).S_a_b


def _relative(base: int, view: int, main: int, beside: Beside) -> NDArray[np.float64]:
    """T_base_view (4, 4) as far as it is known."""

    def T_main(each: int) -> NDArray:
        T = None if each == main else beside(each, main)
        return np.eye(4) if T is None else T

    return T_main(base) @ inverse(T_main(view))


def _at(
    times: NDArray, base_times: NDArray, T_base: NDArray
) -> tuple[NDArray, NDArray[np.bool_], NDArray[np.bool_]]:
    """Trajectory (M, 4, 4) of the base at the times (N,) of another view.

    Returns:
        The poses; where (N,) the base has a frame of the same moment; where it has frames before
        and after.
    """
    out, inside = at_times(base_times, T_base, times, SAME_NS)
    return out, np.abs(np.subtract.outer(times, base_times)).min(1) <= SAME_NS, inside


def _after(times: NDArray, T: NDArray, at: int) -> NDArray[np.float64]:
    """Pose (4, 4) at a time after a trajectory, as if the last motion went on for a while."""
    part = (at - times[-2]) / (times[-1] - times[-2])
    return between(T[-2:-1], T[-1:], np.array([min(part, FORESEEN)]))[0]


def _flat(
    parts: Sequence[tuple[WindowEstimate, NDArray]],
) -> tuple[WindowEstimate, NDArray[np.float64]]:
    """The grid of times and views, from a window in one gauge and further poses of each view."""
    cells: dict[int, list[tuple[int, int]]] = {}  # part and index of the frames, by time
    for part, (window, _) in enumerate(parts):
        for index, each in enumerate(window.sets):
            cells.setdefault(each.stamp_ns, []).append((part, index - len(window.sets)))
    times = sorted(cells)
    frames = [cell for time in times for cell in cells[time]]
    newest = 0  # frames of the newest sets, all of which have depth
    for time in reversed(times):
        if any(-index > len(parts[part][0].depth) for part, index in cells[time]):
            break
        newest += len(cells[time])

    def of(name: str, chosen: Sequence[tuple[int, int]]) -> list:
        return [getattr(parts[part][0], name)[index] for part, index in chosen]

    def stacked(name: str, chosen: Sequence[tuple[int, int]]) -> NDArray | None:
        return None if getattr(parts[0][0], name) is None else np.stack(of(name, chosen))

    deep, last = frames[-newest:], cells[times[-1]]
    window = WindowEstimate(
        sets=tuple(FrameSet(time, tuple(of('frames', cells[time]))) for time in times),
        transforms=tuple(of('transforms', frames)),
        images=tuple(of('images', frames)),
        T_gauge_camera=stacked('T_gauge_camera', frames),
        cameras=tuple(of('cameras', frames)),
        depth=stacked('depth', deep),
        confidence=stacked('confidence', deep),
        dynamic=stacked('dynamic', frames),
        gram=stacked('gram', last),
        points=stacked('points', deep),
        seconds=next((window.seconds for window, _ in parts if window.seconds), {}),
    )
    return window, np.stack([parts[part][1][index] for part, index in frames])
