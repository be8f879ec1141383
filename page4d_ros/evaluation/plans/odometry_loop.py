"""A long run with images: a recording that is shown forwards and backwards, again and again."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from page4d_ros.config import Config
from page4d_ros.datasets.simulator import FrameTruth, SimulatedEngine
from page4d_ros.evaluation.plans.odometry_trials import NOISY, next_step
from page4d_ros.perception.odometry import Odometry
from page4d_ros.perception.scale import MetricScale
from page4d_ros.perception.types import Frame, FrameSet
from page4d_ros.units import NS_PER_S

if TYPE_CHECKING:
    from collections.abc import Iterator

    from page4d_ros.evaluation.plans.odometry_trials import Step
    from page4d_ros.evaluation.result import Source
    from page4d_ros.geometry.camera import ImageTransform
    from page4d_ros.truth import GroundTruthFrame

WIDTH = 224  # of the simulated network's input


@dataclass(frozen=True)
class Loop:
    """Images of a drive, there and back, with noisy windows.

    Attributes:
        name: in tables.
        room: frames of the drive, with camera, pose and depth.
        frames: how many; rate: per second.
        size: frames per window.
    """

    name: str
    room: list[GroundTruthFrame]
    frames: int
    rate: float = 30.0
    size: int = 4
    still = False

    @property
    def facts(self) -> dict[str, Any]:
        """Settings, for ``metrics.json``."""
        return {'name': self.name, 'frames': self.frames, 'rate': self.rate, 'size': self.size}

    def at(self, index: int) -> GroundTruthFrame:
        """The frame that is shown as this one of the run."""
        last = len(self.room) - 1
        return self.room[last - abs(last - index % (2 * last))]

    def truth(self, frame: Frame, fit: ImageTransform, _patch: int) -> FrameTruth:
        """Truth about a frame of the run, for the simulated network."""
        known = self.at(round(frame.stamp_ns * self.rate / NS_PER_S))
        depth = fit.nearest(known.depth)
        return FrameTruth(known.T_world_camera, fit.camera_to_network(known.camera), depth)


class LoopedOdometry:
    """Odometry by corners and simulated windows, along a `Loop`.

    Args:
        seed: of gauges and noise.
    """

    label = 'odometry'

    def __init__(self, seed: int = 0) -> None:
        self.seed = seed

    def run(self, source: Source) -> Iterator[Step]:
        """Follow the camera."""
        loop, config = source.data, Config()
        engine = SimulatedEngine(
            loop.truth, loop.size, noise=NOISY, seed=self.seed, resolution=WIDTH
        )
        odometry = Odometry(config.odometry, MetricScale(config.scale))
        for index in range(loop.frames):
            known = loop.at(index)
            stamp_ns = round(index * NS_PER_S / loop.rate)
            frames = FrameSet.of(Frame(stamp_ns, 'camera', lambda: known.rgb, known.camera))  # noqa: B023
            keep_first = odometry.keeps_first(config.window.keyframe_overlap)
            engine.push(frames, [known.rgb], keep_first=keep_first)
            start = time.perf_counter()
            odometry.follow(frames, [known.rgb])
            seconds = time.perf_counter() - start
            yield next_step(engine, odometry, known.T_world_camera, seconds)
