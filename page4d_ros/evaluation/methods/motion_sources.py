"""Every source of evidence of motion side by side, and geometry alone with the truth."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from page4d_ros.evaluation.metrics.true_windows import TrueWindows
from page4d_ros.evaluation.result import Output
from page4d_ros.perception.dynamics import Dynamics
from page4d_ros.perception.motion_classifier import DEFAULT, SOURCES

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import numpy as np
    from numpy.typing import NDArray

    from page4d_ros.config import MaskConfig
    from page4d_ros.evaluation.methods.network import Network
    from page4d_ros.evaluation.result import Source
    from page4d_ros.perception.maps import Motion
    from page4d_ros.perception.motion_classifier import MotionClassifier
    from page4d_ros.perception.types import FrameSet, WindowEstimate

ORACLE = 'geometry, true depth and poses'
TRUTH_WINDOW = 8


class Panel:
    """In place of `Dynamics`, all sources at once; the perception goes on with the configured one.

    Attributes:
        predictions: of the last window, by source.
        features: what they were judged by.
        each: the `Dynamics` of every source.

    Args:
        config: of the mask.
        classifier: turns evidence of motion into a probability, fitted to these weights.
        ask_all: read Gram statistics even where no source counts them.
    """

    def __init__(
        self, config: MaskConfig, classifier: MotionClassifier, *, ask_all: bool = False
    ) -> None:
        self.config, self.classifier, self.ask_all = config, classifier, ask_all
        self.each = {
            source: Dynamics(replace(config, source=source), classifier) for source in SOURCES
        }
        self.predictions: dict[str, Motion] = {}
        self.features: dict[str, NDArray] = {}

    @property
    def gram(self) -> bool:
        """True if any source reads Gram statistics."""
        return self.ask_all or any(dynamics.gram for dynamics in self.each.values())

    def forget(self) -> None:
        """Begin anew."""
        for dynamics in self.each.values():
            dynamics.forget()

    def follow(self, frames: FrameSet, images: Sequence[NDArray[np.uint8]]) -> None:
        """See `Dynamics.follow`."""
        for dynamics in self.each.values():
            dynamics.follow(frames, images)

    def update(
        self, window: WindowEstimate, scale: float = 1.0, index: int = -1, trust: float = 1.0
    ) -> Motion:
        """See `Dynamics.update`."""
        self.predictions = {
            source: dynamics.update(window, scale, index, trust)
            for source, dynamics in self.each.items()
        }
        self.features = {source: dynamics.features for source, dynamics in self.each.items()}
        return self.predictions[self.config.source]


class MotionSources:
    """A network whose outputs hold the motion by every source of evidence."""

    label = 'network'

    def __init__(self, network: Network) -> None:
        self.network = network

    def run(self, source: Source) -> Iterator[Output]:
        """Outputs along a sequence; see `Method`."""
        panel = Panel(self.network.config.mask, self.network.classifier)
        for output in self.network.outputs(source.data.frames(), panel):
            yield output._replace(motions=panel.predictions)


class TrueGeometry:
    """Geometry alone, with windows of true poses and depths at the camera's pixels.

    Args:
        config: of the mask.
    """

    label = ORACLE

    def __init__(self, config: MaskConfig) -> None:
        self.config = replace(config, source='geometry', dilate=0)

    def run(self, source: Source) -> Iterator[Output]:
        """Motion of each frame; see `Method`."""
        sequence, dynamics = source.data, Dynamics(self.config, DEFAULT)
        windows = TrueWindows(sequence, TRUTH_WINDOW, sequence.camera.width, 1)
        for frame in sequence.frames():
            window = windows.add(frame)
            dynamics.follow(window.sets[-1], [frame.rgb])
            yield Output(frame, None, motions={ORACLE: dynamics.update(window)})
