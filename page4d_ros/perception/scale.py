"""Metric scale: metres per unit of the odometry's chain."""

from __future__ import annotations

import threading
from bisect import bisect
from collections import deque
from typing import TYPE_CHECKING

import numpy as np

from page4d_ros.geometry.poses import R_BODY_OPTICAL
from page4d_ros.perception.edges import upsampled
from page4d_ros.perception.types import MOVING
from page4d_ros.units import NS_PER_S

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    from page4d_ros.config import ScaleConfig
    from page4d_ros.perception.types import WindowEstimate

SENSOR_TOLERANCE_NS = 50_000_000  # between a depth image and the frame it is compared with
MEMORY_NS = 10 * NS_PER_S  # sensor readings are kept so long for a slow network
GRID = (60, 80)
MIN_BASELINE = 0.05  # metres of reference odometry; shorter ways are not measured
GROUND_HYPOTHESES = 64
GROUND_POINTS = 4000
GROUND_TILT = np.cos(np.radians(15.0))
GROUND_BAND = 0.03


class MetricScale:
    """Median of the measurements of the configured source during ``scale.window`` seconds.

    Without a new measurement the factor stays: it is frozen, never guessed. Any thread may feed
    readings; all else belongs to the thread of the perception.

    Attributes:
        factor: metres per unit of the chain.
        metric: True if `factor` is known, so that lengths are metres.
        up: (3,) opposite of gravity in the reference camera's optical frame; the node sets it
            from tf.
    """

    def __init__(self, config: ScaleConfig) -> None:
        self.config = config
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

    def update(self, window: WindowEstimate, T_chain_camera: NDArray, unit: float) -> None:
        """Measure once, if the source has readings for this window.

        Args:
            window: the network's output.
            T_chain_camera: (N, 4, 4) its cameras in the chain.
            unit: units of the chain per unit of the window's gauge.
        """
        measure = {
            'depth': lambda: self._from_depth(window, unit),
            'odometry': lambda: self._from_odometry(window, T_chain_camera),
            'camera_height': lambda: self._from_ground(window, unit),
        }.get(self.config.mode)
        value = measure() if measure else None
        now = window.frames[window.reference].stamp_ns
        if value is None or not np.isfinite(value) or value <= 0:
            return
        if self._measured and now < self._measured[-1][0]:
            self.forget()
        self._measured.append((now, value))
        while self._measured[0][0] < now - self.config.window * NS_PER_S:
            self._measured.popleft()
        self.factor = float(np.median([value for _, value in self._measured]))
        self.metric = True

    def _from_depth(self, window: WindowEstimate, unit: float) -> float | None:
        """Median ratio of sensor depth to ours, for the sensor image nearest in time."""
        index = window.reference
        stamp_ns = window.frames[index].stamp_ns
        with self._feeding:
            near = min(self._depths, key=lambda item: abs(item[0] - stamp_ns), default=None)
        if near is None or abs(near[0] - stamp_ns) > SENSOR_TOLERANCE_NS:
            return None
        ours = window.transforms[index].image_to_source(window.depth[index], np.nan) * unit
        ratio = near[1] / ours[_grid(ours.shape)]
        ratio = ratio[np.isfinite(ratio) & (ratio > 0)]
        return float(np.median(ratio)) if len(ratio) >= 50 else None

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

    def _from_ground(self, window: WindowEstimate, unit: float) -> float | None:
        """Ratio of the known camera height to ours above the largest level plane (RANSAC)."""
        depth = _static_depth(window)
        step = max(1, int(np.sqrt(depth.size / GROUND_POINTS)))
        points = window.cameras[window.reference].unproject(depth)[::step, ::step]
        points = points.reshape(-1, 3) * unit
        points = points[np.isfinite(points).all(1)]
        points = points[points @ self.up < 0]
        if len(points) < 50:
            return None
        rng = np.random.default_rng(0)
        triples = points[rng.integers(len(points), size=(GROUND_HYPOTHESES, 3))]
        normals = np.cross(triples[:, 1] - triples[:, 0], triples[:, 2] - triples[:, 0])
        normals /= np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-12)
        normals *= np.sign(normals @ self.up)[:, None]
        heights = -np.einsum('ij,ij->i', normals, triples[:, 0])
        level = (normals @ self.up > GROUND_TILT) & (heights > 0)
        if not level.any():
            return None
        distance = np.abs(points @ normals[level].T + heights[level])
        support = (distance < GROUND_BAND * heights[level]).sum(0)
        best = int(support.argmax())
        if support[best] < 0.1 * len(points):
            return None
        return self.config.camera_height / float(heights[level][best])


def _static_depth(window: WindowEstimate) -> NDArray:
    """Depth (h, w) of the newest reference frame in units of the gauge, NaN where it moves."""
    depth = window.depth[window.reference]
    if window.dynamic is not None:
        score = upsampled(window.dynamic[window.reference], depth.shape)
        depth = np.where(score > MOVING, np.float32(np.nan), depth)
    return depth


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
