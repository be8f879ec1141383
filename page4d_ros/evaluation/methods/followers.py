"""The estimator of the node with one witness: weights, or a simulated network that knows much."""

from __future__ import annotations

import time
from dataclasses import replace
from functools import wraps
from typing import TYPE_CHECKING, Any

from page4d_ros.datasets.simulator import Noise, SequenceWorld, SimulatedEngine
from page4d_ros.errors import BagError
from page4d_ros.evaluation.methods.network import Network
from page4d_ros.evaluation.result import UnsuitableError
from page4d_ros.perception.motion_classifier import DEFAULT

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from page4d_ros.config import Config
    from page4d_ros.evaluation.result import Output, Source
    from page4d_ros.perception.dynamics import MotionEstimator
    from page4d_ros.perception.engine import Engine
    from page4d_ros.perception.pipeline import Perception
    from page4d_ros.truth import GroundTruthFrame

WAYS = {'both': '', 'network': ', network alone', 'geometry': ', corners alone'}
CPU = 'estimator_cpu'  # among the seconds of an estimate
ORACLE = Noise(position=0.002, rotation=0.002, depth=0.01)  # 2 mm, 0.1 degrees, 1 %
FOOLED = replace(ORACLE, fooled=0.3)
ORACLES = {'oracle': ORACLE, 'oracle, 30 % of windows fooled': FOOLED}


class Follower(Network):
    """A network with one of the ways of ``odometry.estimator``, and its cost beside the network.

    The seconds of each estimate have `CPU`, the CPU time of all threads that following corners
    and joining them with the window took.

    Args:
        network: weights and settings.
        way: of `WAYS`.
    """

    def __init__(self, network: Network, way: str = 'both') -> None:
        config = network.config.with_values({'odometry.estimator': way})
        super().__init__(network.label + WAYS[way], network.engine, config, network.classifier)
        self._spent = 0.0

    def perception(self, dynamics: MotionEstimator | None = None) -> Perception:
        """The pipeline that the node runs, with a clock at the odometry."""
        found = super().perception(dynamics)
        found.odometry.follow = self._timed(found.odometry.follow)
        found.odometry.update = self._timed(found.odometry.update)
        return found

    def outputs(
        self, frames: Iterable[GroundTruthFrame], dynamics: MotionEstimator | None = None
    ) -> Iterator[Output]:
        """Run the perception over a stream; see `Network.outputs`."""
        self._spent = 0.0
        for output in super().outputs(frames, dynamics):
            output.estimate.seconds[CPU], self._spent = self._spent, 0.0
            yield output

    def _timed(self, call: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(call)
        def run(*args: Any) -> Any:
            start = time.process_time()
            try:
                return call(*args)
            finally:
                self._spent += time.process_time() - start

        return run


class Oracle:
    """The estimator with the true poses and depths, disturbed, in a random gauge each window.

    Args:
        label: name in the tables.
        noise: what is wrong with the windows.
        config: all settings.
        like: its resolution and patches are taken.
        seed: of gauges and noise.
    """

    def __init__(
        self, label: str, noise: Noise, config: Config, like: Engine, *, seed: int = 0
    ) -> None:
        self.label, self.noise, self.config = label, noise, config
        self.like, self.seed = like, seed

    def run(self, source: Source) -> Iterator[Output]:
        """Outputs of the frames whose camera, pose and depth are known; see `Method`."""
        engine = SimulatedEngine(
            SequenceWorld(source.data.sequence),
            self.config.window.size,
            noise=self.noise,
            seed=self.seed,
            resolution=self.like.resolution,
            patch_size=self.like.patch_size,
        )
        known = (
            frame
            for frame in source.data.frames()
            if frame.camera is not None and frame.has_pose and frame.depth is not None
        )
        count = 0
        try:
            for output in Follower(Network(self.label, engine, self.config, DEFAULT)).outputs(
                known
            ):
                count += 1
                yield output
        except BagError as error:
            raise UnsuitableError(str(error)) from error
        if not count:
            raise UnsuitableError('no frame has camera, pose and depth, which an oracle must know')
