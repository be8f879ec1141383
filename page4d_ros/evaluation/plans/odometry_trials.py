"""Trials of odometry on simulated windows with known truth, without a network."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import numpy as np

from page4d_ros.config import Config, WindowConfig
from page4d_ros.datasets.bag_index import Track
from page4d_ros.datasets.simulator import EXACT, Noise
from page4d_ros.evaluation.metrics.trajectory import trajectory_metrics
from page4d_ros.evaluation.plans.odometry_room import RoomWalk, room_depth, stand, walk
from page4d_ros.evaluation.result import Measured
from page4d_ros.perception.memory import MIB, resident_bytes
from page4d_ros.perception.odometry import Odometry
from page4d_ros.perception.scale import MetricScale

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray

    from page4d_ros.datasets.simulator import SimulatedEngine
    from page4d_ros.evaluation.result import Source

MOST_POSES = 2000  # that a trajectory is aligned by
PARTS = 10  # of a run; the first and the last are compared


@dataclass(frozen=True)
class Trial:
    """A way through the room, and what is wrong with the windows.

    Attributes:
        name: in tables.
        frames: how many; rate: per second.
        size: frames per window.
        noise: of the windows.
        still: True if the camera stands still.
        keyframe_overlap: see `WindowConfig`.
    """

    name: str
    frames: int
    rate: float = 10.0
    size: int = 8
    noise: Noise = EXACT
    still: bool = False
    keyframe_overlap: float = WindowConfig().keyframe_overlap

    @property
    def facts(self) -> dict[str, Any]:
        """All settings, for ``metrics.json``."""
        return asdict(self)

    @property
    def pose(self) -> Callable[[float], NDArray]:
        """Seconds -> T_world_camera."""
        return stand if self.still else walk


class Run(Protocol):
    """A trial, as far as its figures need to know it.

    Attributes:
        frames: how many; rate: per second.
        still: True if the camera stands still.
    """

    frames: int
    rate: float
    still: bool


NOISY = Noise(position=0.005, rotation=0.005, depth=0.01)
FOOLED = Noise(position=0.002, rotation=0.002, depth=0.01, fooled=0.3)


def trials(*, quick: bool = False) -> list[Trial]:
    """All of them; a tenth as long if `quick`."""
    short = 10 if quick else 1
    windows, still = 1000 // short, 6000 // short
    return [
        Trial('exact windows', windows),
        Trial('noise of 5 mm, 0.3 deg and 1 % of depth', windows, noise=NOISY),
        Trial('the same, windows of 4', windows, size=4, noise=NOISY),
        Trial('less noise, 30 % of windows fooled', windows, noise=FOOLED),
        Trial('still for 10 min, noise', still, noise=NOISY, still=True),
        Trial('the same, always sliding', still, noise=NOISY, still=True, keyframe_overlap=0.0),
        Trial('30 min at 30 Hz, noise', 54_000 // short, rate=30.0, size=4, noise=NOISY),
    ]


class Step(NamedTuple):
    """Odometry after one window.

    Attributes:
        T_true, T_estimated: (4, 4).
        unit: metres per unit of the trajectory.
        seconds: that odometry took.
        memory: that the process holds, MiB; NaN where the system does not tell.
    """

    T_true: NDArray[np.float64]
    T_estimated: NDArray[np.float64]
    unit: float
    seconds: float
    memory: float


def next_step(
    engine: SimulatedEngine, odometry: Odometry, T_true: NDArray, seconds: float = 0.0
) -> Step:
    """Update odometry with the engine's next window.

    Args:
        engine: to which the frame has been pushed.
        odometry: is changed.
        T_true: (4, 4) of the frame.
        seconds: that odometry took for the frame before.
    """
    window = engine.step(odometry.chain.anchor)
    start = time.perf_counter()
    estimate = odometry.update(window)
    seconds += time.perf_counter() - start
    unit = 1.0 / (estimate.scale * engine.unit)
    return Step(T_true, estimate.T_world_camera, unit, seconds, resident_bytes() / MIB)


class SimulatedOdometry:
    """Odometry on simulated windows.

    Args:
        seed: of gauges and noise.
    """

    label = 'odometry'

    def __init__(self, seed: int = 0) -> None:
        self.seed = seed

    def run(self, source: Source) -> Iterator[Step]:
        """Follow the camera through a trial."""
        trial, config = source.data, Config()
        engine = RoomWalk(trial.pose, trial.size, trial.rate, trial.noise, seed=self.seed)
        odometry = Odometry(config.odometry, MetricScale(config.scale))
        for _ in range(trial.frames):
            T = engine.advance(keep_first=odometry.keeps_first(trial.keyframe_overlap))
            yield next_step(engine, odometry, T)


class TrialFigures:
    """Figures of a trial: ``windows``, and what `result` describes."""

    def __init__(self, trial: Run) -> None:
        self.trial, self._count = trial, 0
        n = trial.frames  # all memory is taken before it is watched
        self._steps = Step(
            *(np.full((n, *shape), np.nan) for shape in ((4, 4), (4, 4), (), (), ()))
        )

    def add(self, step: Step) -> None:
        """Take in the next window."""
        for known, value in zip(self._steps, step, strict=True):
            known[self._count] = value
        self._count += 1

    def result(self) -> Measured:
        """Figures of a trial.

        Returns:
            ``ate_m`` after Sim(3) and ``extent_m``; ``scale_drift``, of the unit from the first
            frame to the last; ``largest_step`` over the median one; ``wander``, for a camera that
            stands still: its largest distance from where it began, over the depth of the scene;
            ``step_ms`` and ``last_step_ms``, medians of the first and the last tenth;
            ``growth_mib`` of memory between them.
        """
        trial, done = self.trial, self._steps
        thin = slice(None, None, -(-trial.frames // MOST_POSES))
        at = done.T_estimated[:, :3, 3]
        steps = np.linalg.norm(np.diff(at, axis=0), axis=1)
        part = max(trial.frames // PARTS, 1)
        out = {
            'windows': trial.frames,
            'scale_drift': float(abs(np.log(done.unit[-1] / done.unit[0]))),
            'step_ms': 1e3 * float(np.median(done.seconds[:part])),
            'last_step_ms': 1e3 * float(np.median(done.seconds[-part:])),
            'growth_mib': float(done.memory[-1] - done.memory[part - 1]),
        }
        if trial.still:
            depth = float(np.median(room_depth(done.T_true[0]))) / done.unit[0]
            away = np.linalg.norm(at - at[0], axis=1)
            return Measured(out | {'wander': float(away.max()) / depth})
        stamps = np.arange(trial.frames) * round(1e9 / trial.rate)
        truth = Track('world', 'camera', stamps[thin], done.T_true[thin])
        estimate = Track('odom', 'camera', stamps[thin], done.T_estimated[thin])
        tree, _ = trajectory_metrics(estimate, truth, metric=False)
        if isinstance(tree, str) or isinstance(tree['sim3'], str):
            return Measured(out)  # too short a run to be aligned
        found = {'ate_m': tree['sim3']['ate_m'], 'extent_m': tree['truth']['extent_m']}
        return Measured(out | found | {'largest_step': float(steps.max() / np.median(steps))})
