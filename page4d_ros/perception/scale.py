"""Metric scale: metres per unit of the odometry's chain."""

from __future__ import annotations

import threading
from bisect import bisect
from collections import deque
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from page4d_ros.geometry.poses import R_BODY_OPTICAL
from page4d_ros.perception.edges import upsampled
from page4d_ros.perception.medians import weighted_median
from page4d_ros.perception.types import MOVING
from page4d_ros.units import NS_PER_S

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    from page4d_ros.config import ScaleConfig
    from page4d_ros.perception.depth_correction import TiedDepth
    from page4d_ros.perception.rig import Rig
    from page4d_ros.perception.types import WindowEstimate

SENSOR_TOLERANCE_NS = 50_000_000  # between a depth image and the frame it is compared with
MEMORY_NS = 10 * NS_PER_S  # sensor readings are kept so long for a slow network
GRID = (60, 80)
MIN_BASELINE = 0.05  # metres of reference odometry; shorter ways are not measured
EXACT = 0.05  # deviation of a logarithm of depth that halves its weight
PIECES = 50  # of dense depth that are independent: its errors are alike from pixel to pixel
LEAST_WEIGHT = 5.0  # of all depths together, for a measurement
GROUND_HYPOTHESES = 64
GROUND_TILT = np.cos(np.radians(15.0))
GROUND_BAND = 0.06  # of the height: half the thickness of the ground
GROUND_SHARE = 0.07  # of the weight below the horizon
GROUND_STEPS = 3  # of least squares


class _Depths(NamedTuple):
    """Depths of a frame: of tracked points, and of the network at the middles of `GRID`.

    Attributes:
        source: (N, 2) pixels of the camera's image.
        depth: (N,) in units of the chain.
        weight: (N,) 1 for an exact one, less the less it is known.
    """

    source: NDArray[np.float64]
    depth: NDArray[np.float64]
    weight: NDArray[np.float64]

    @classmethod
    def of(cls, tied: TiedDepth, unit: float) -> _Depths:
        """All that are known of a frame.

        Args:
            tied: its depth.
            unit: units of the chain per unit of the gauge.
        """
        fit, points = tied.fit, tied.points
        size = fit.source_width, fit.source_height
        rows, columns = _grid(size[::-1])
        source = np.stack(np.broadcast_arrays(columns, rows), 2).reshape(-1, 2)
        at, inside = fit.network_pixels(source)
        source = fit.to_source(at)
        depth, deviation = (each[at[:, 1], at[:, 0]] for each in (tied.depth, tied.deviation))
        weight = inside * PIECES / len(source) / (1 + (deviation / EXACT) ** 2)
        if points is not None:
            source = np.concatenate([source, points.source])
            depth = np.concatenate([depth, points.depth])
            weight = np.concatenate([weight, 1 / (1 + (points.error / EXACT) ** 2)])
        use = (depth > 0) & (depth < np.inf) & (weight > 0)
        return cls(source[use], unit * depth[use], weight[use])

    def only(self, use: NDArray[np.bool_]) -> _Depths:
        """Those (N,) where `use` is True."""
        return _Depths(*(each[use] for each in self))


class MetricScale:
    """Median of the measurements of the configured source during ``scale.window`` seconds.

    Without a new measurement the factor stays: it is frozen, never guessed. Any thread may feed
    readings; all else belongs to the thread of the perception.

    Args:
        config: source and its settings.
        rig: the cameras' relative poses, for mode rig.

    Attributes:
        factor: metres per unit of the chain; a rough value or 1 if `metric` is False.
        metric: True if `factor` is known, so that lengths are metres.
        up: (3,) opposite of gravity in the reference camera's optical frame; the node sets it
            from tf.
    """

    def __init__(self, config: ScaleConfig, rig: Rig | None = None) -> None:
        self.config = config
        self.rig = rig
        self.up = R_BODY_OPTICAL.T @ (0.0, 0.0, 1.0)
        self._feeding = threading.Lock()
        self.reset()

    @property
    def state(self) -> str:
        """Source of the factor.

        ``none`` and ``fixed`` as configured; ``waiting`` before the first measurement,
        ``tracking`` while the last is younger than ``scale.window``, ``frozen`` after that.
        """
        if self.config.mode in {'none', 'fixed'}:
            return self.config.mode
        if not self.metric:
            return 'waiting'
        late = self._now_ns - self._measured[-1][0] if self._measured else np.inf
        return 'frozen' if late > self.config.window * NS_PER_S else 'tracking'

    def reset(self) -> None:
        """Forget all measurements."""
        fixed = self.config.mode == 'fixed'
        self.factor = self.config.factor if fixed else 1.0
        self.metric = fixed
        with self._feeding:
            self._depths: deque[tuple[int, NDArray]] = deque()
            self._positions: deque[tuple[int, NDArray]] = deque()
        self._now_ns = 0
        self.forget()

    def forget(self) -> None:
        """Forget the measurements, and keep the factor: another unit or another time begins."""
        self._measured: deque[tuple[int, float]] = deque()

    def feed_depth(self, stamp_ns: int, depth: NDArray) -> None:
        """Add a sensor's depth image (H, W), metres, of the reference camera (mode depth)."""
        reading = depth[_grid(depth.shape)]
        with self._feeding:
            _remember(self._depths, stamp_ns, reading)

    def feed_position(self, stamp_ns: int, position: ArrayLike) -> None:
        """Add a position (3,), metres, of a reference odometry (mode odometry)."""
        with self._feeding:
            _remember(self._positions, stamp_ns, np.asarray(position, np.float64))

    def advance(self, stamp_ns: int) -> None:
        """Set the present time, by which measurements grow old."""
        self._now_ns = stamp_ns

    def update(
        self, window: WindowEstimate, T_chain_camera: NDArray, unit: float, tied: TiedDepth
    ) -> None:
        """Measure once, if the source has readings for this window.

        Args:
            window: the network's output.
            T_chain_camera: (N, 4, 4) its cameras in the chain.
            unit: units of the chain per unit of the window's gauge.
            tied: depth of its reference frame.
        """
        measure = {
            'depth': lambda: self._from_depth(window, _Depths.of(tied, unit)),
            'odometry': lambda: self._from_odometry(window, T_chain_camera),
            'camera_height': lambda: self._from_ground(window, _Depths.of(tied, unit)),
            'rig': lambda: self._from_rig(_Depths.of(tied, unit)),
        }.get(self.config.mode)
        value = measure() if measure else None
        now = window.frames[window.reference].stamp_ns
        if value is None or not np.isfinite(value) or value <= 0:
            self._roughly()
            return
        if self._measured and now < self._measured[-1][0]:
            self.forget()
        self._measured.append((now, value))
        while self._measured[0][0] < now - self.config.window * NS_PER_S:
            self._measured.popleft()
        self.factor = float(np.median([value for _, value in self._measured]))
        self.metric = True

    def _roughly(self) -> None:
        """Take what a rig knows roughly before it knows better: lengths change less then."""
        rough = self.rig.rough if self.config.mode == 'rig' and self.rig is not None else None
        if rough is not None and not self.metric:
            self.factor = rough

    def _from_depth(self, window: WindowEstimate, ours: _Depths) -> float | None:
        """Median ratio of sensor depth to ours, for the sensor image nearest in time."""
        stamp_ns = window.frames[window.reference].stamp_ns
        with self._feeding:
            near = min(self._depths, key=lambda item: abs(item[0] - stamp_ns), default=None)
        if near is None or abs(near[0] - stamp_ns) > SENSOR_TOLERANCE_NS:
            return None
        fit = window.transforms[window.reference]
        cell = (ours.source + 0.5) * GRID[::-1] / (fit.source_width, fit.source_height)
        column, row = cell.astype(int).clip(0, (GRID[1] - 1, GRID[0] - 1)).T
        ratio = near[1][row, column] / ours.depth
        use = np.isfinite(ratio) & (ratio > 0)
        if ours.weight[use].sum() < LEAST_WEIGHT:
            return None
        return weighted_median(ratio[use], ours.weight[use])

    def _from_odometry(self, window: WindowEstimate, T_chain_camera: NDArray) -> float | None:
        """Ratio of the distance that the reference moved to ours, between frames it covers."""
        newest = window.frames[window.reference]
        own = [i for i, frame in enumerate(window.frames) if frame.view == newest.view]
        known = [self._position_at(window.frames[i].stamp_ns) for i in own]
        first = next((i for i, position in enumerate(known) if position is not None), None)
        if first is None or known[-1] is None:
            return None
        reference = np.linalg.norm(known[-1] - known[first])
        ours = np.linalg.norm(T_chain_camera[own[-1], :3, 3] - T_chain_camera[own[first], :3, 3])
        return float(reference / ours) if reference > MIN_BASELINE and ours > 0 else None

    def _position_at(self, stamp_ns: int) -> NDArray | None:
        with self._feeding:
            known = list(self._positions)
        after = bisect([stamp for stamp, _ in known], stamp_ns)
        if known and known[-1][0] == stamp_ns:
            return known[-1][1]
        if after == 0 or after == len(known):
            return None
        (t0, p0), (t1, p1) = known[after - 1], known[after]
        return p0 + (p1 - p0) * ((stamp_ns - t0) / max(t1 - t0, 1))

    def _from_rig(self, ours: _Depths) -> float | None:
        """Ratio of the rig's known baselines to ours."""
        if self.rig is None or not len(ours.depth):
            return None
        return self.rig.scale(weighted_median(ours.depth, ours.weight))

    def _from_ground(self, window: WindowEstimate, ours: _Depths) -> float | None:
        """Ratio of the known camera height to ours above the largest level plane (RANSAC)."""
        camera, fit = window.cameras[window.reference], window.transforms[window.reference]
        at, _ = fit.network_pixels(ours.source)
        rays = (fit.to_network(ours.source) - (camera.cx, camera.cy)) / (camera.fx, camera.fy)
        points = np.column_stack([rays, np.ones(len(rays))]) * ours.depth[:, None]
        use = ~_moving(window)[at[:, 1], at[:, 0]] & (points @ self.up < 0)
        points, weight = points[use], ours.weight[use]
        if weight.sum() < LEAST_WEIGHT:
            return None
        height = _height(points, weight, self.up)
        return None if height is None else self.config.camera_height / height


def _height(points: NDArray, weight: NDArray, up: NDArray) -> float | None:
    """Height of the origin above the level plane that holds most of the weight.

    By random triples, each judged by how near the others are (MSAC; Torr and Zisserman, MLESAC,
    2000), then least squares.

    Args:
        points: (N, 3) below the origin.
        weight: (N,).
        up: (3,) opposite of gravity, within `GROUND_TILT`.
    """
    rng = np.random.default_rng(0)
    draws = rng.choice(len(points), (GROUND_HYPOTHESES, 3), p=weight / weight.sum())
    triples = points[draws]
    normals = np.cross(triples[:, 1] - triples[:, 0], triples[:, 2] - triples[:, 0])
    normals /= np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-12)
    normals *= np.sign(normals @ up)[:, None]
    heights = -np.einsum('ij,ij->i', normals, triples[:, 0])
    level = (normals @ up > GROUND_TILT) & (heights > 0)
    if not level.any():
        return None
    normals, heights = normals[level], heights[level]
    support = weight @ _nearness(points, normals.T, heights)
    best = int(support.argmax())
    if support[best] < GROUND_SHARE * weight.sum():
        return None
    normal, height = normals[best], heights[best]
    for _ in range(GROUND_STEPS):
        near = weight * _nearness(points, normal, height)
        middle = near @ points / near.sum()
        spread = (points - middle) * np.sqrt(near)[:, None]
        fitted = np.linalg.eigh(spread.T @ spread)[1][:, 0]
        fitted *= np.sign(fitted @ up)
        if fitted @ up < GROUND_TILT:
            break
        normal, height = fitted, -fitted @ middle
    return float(height)


def _nearness(points: NDArray, normals: NDArray, heights: NDArray | float) -> NDArray[np.float64]:
    """1 on a plane to 0 outside its band: of points (N, 3) to planes (3[, K]), (N[, K])."""
    return np.maximum(1 - ((points @ normals + heights) / (GROUND_BAND * heights)) ** 2, 0)


def _moving(window: WindowEstimate) -> NDArray[np.bool_]:
    """True (h, w) where the mask head sees motion in the newest reference frame."""
    shape = window.depth.shape[1:]
    if window.dynamic is None:
        return np.zeros(shape, bool)
    return upsampled(window.dynamic[window.reference], shape) > MOVING


def _remember(readings: deque[tuple[int, NDArray]], stamp_ns: int, value: NDArray) -> None:
    """Keep readings in order of time; one that is older than the last begins a new time."""
    if readings and stamp_ns < readings[-1][0]:
        readings.clear()
    readings.append((stamp_ns, value))
    while readings[0][0] < stamp_ns - MEMORY_NS:
        readings.popleft()


def _grid(shape: tuple[int, int]) -> tuple[NDArray, NDArray]:
    """Index of the pixels at the centres of `GRID` equal cells."""
    return np.ix_(
        *(
            ((np.arange(n) + 0.5) * size / n).astype(int)
            for n, size in zip(GRID, shape, strict=True)
        )
    )
