"""Trials of odometry on simulated windows with known truth, without a network."""

from __future__ import annotations

import resource
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from page4d_ros.config import Config, WindowConfig
from page4d_ros.datasets.bag_index import Track
from page4d_ros.datasets.simulator import EXACT, Noise
from page4d_ros.evaluation.metrics.trajectory import trajectory_metrics
from page4d_ros.evaluation.plans.odometry_room import RoomWalk, room_depth, stand, walk
from page4d_ros.perception.odometry import Odometry
from page4d_ros.perception.scale import MetricScale

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

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
        still: whether the camera stands still.
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
    def pose(self) -> Callable[[float], NDArray]:
        """Seconds -> T_world_camera."""
        return stand if self.still else walk


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


@dataclass(frozen=True, eq=False)
class Run:
    """Result of a trial.

    Attributes:
        T_true, T_estimated: (n, 4, 4).
        units: (n,) metres per unit of the trajectory.
        seconds: (n,) that odometry took.
        memory: (n,) peak of the process so far, MiB.
    """

    T_true: NDArray[np.float64]
    T_estimated: NDArray[np.float64]
    units: NDArray[np.float64]
    seconds: NDArray[np.float64]
    memory: NDArray[np.float64]


def run(trial: Trial, progress: Callable[[], None] = lambda: None, seed: int = 0) -> Run:
    """Follow the camera through the trial."""
    config = Config()
    engine = RoomWalk(trial.pose, trial.size, trial.rate, trial.noise, seed=seed)
    odometry = Odometry(config.odometry, MetricScale(config.scale))
    n = trial.frames  # all memory is taken before it is watched
    done = Run(*(np.full((n, *shape), np.nan) for shape in ((4, 4), (4, 4), (), (), ())))
    for i in range(n):
        done.T_true[i] = engine.advance(keep_first=odometry.keeps_first(trial.keyframe_overlap))
        window = engine.step(odometry.chain.anchor)
        start = time.perf_counter()
        estimate = odometry.update(window)
        done.seconds[i] = time.perf_counter() - start
        done.T_estimated[i] = estimate.T_world_camera
        done.units[i] = 1.0 / (estimate.scale * engine.unit)
        done.memory[i] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        progress()
    return done


def figures(trial: Trial, done: Run) -> dict[str, Any]:
    """Figures of a trial.

    Returns:
        ``ate_m`` after Sim(3) and ``extent_m``; ``scale_drift``, of the unit from the first frame
        to the last; ``largest_step`` over the median one; ``wander``, for a camera that stands
        still: its largest distance from where it began, over the depth of the scene;
        ``step_ms`` and ``last_step_ms``, medians of the first and the last tenth;
        ``growth_mib`` of memory between them.
    """
    thin = slice(None, None, -(-trial.frames // MOST_POSES))
    at = done.T_estimated[:, :3, 3]
    steps = np.linalg.norm(np.diff(at, axis=0), axis=1)
    part = max(trial.frames // PARTS, 1)
    out = {
        'windows': trial.frames,
        'scale_drift': float(abs(np.log(done.units[-1] / done.units[0]))),
        'step_ms': 1e3 * float(np.median(done.seconds[:part])),
        'last_step_ms': 1e3 * float(np.median(done.seconds[-part:])),
        'growth_mib': float(done.memory[-1] - done.memory[part - 1]),
    }
    if trial.still:
        depth = float(np.median(room_depth(done.T_true[0]))) / done.units[0]
        away = np.linalg.norm(at - at[0], axis=1)
        return out | {'wander': float(away.max()) / depth}
    stamps = np.arange(trial.frames) * round(1e9 / trial.rate)
    truth = Track('world', 'camera', stamps[thin], done.T_true[thin])
    tree, _ = trajectory_metrics(
        Track('odom', 'camera', stamps[thin], done.T_estimated[thin]), truth, metric=False
    )
    if isinstance(tree, str) or isinstance(tree['sim3'], str):
        return out  # too short a run to be aligned
    return out | {
        'ate_m': tree['sim3']['ate_m'],
        'extent_m': tree['truth']['extent_m'],
        'largest_step': float(steps.max() / np.median(steps)),
    }
