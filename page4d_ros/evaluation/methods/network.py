"""Networks as evaluated methods: windows, streams, and the loop that runs them."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from page4d_ros.evaluation.metrics.prediction import Grid, Prediction
from page4d_ros.evaluation.result import Output
from page4d_ros.geometry.poses import inverse
from page4d_ros.perception.dynamics import Dynamics
from page4d_ros.perception.motion_classifier import DEFAULT
from page4d_ros.perception.pipeline import Perception
from page4d_ros.perception.types import FrameSet
from page4d_ros.window_scores import relative_poses

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from page4d_ros.config import Config
    from page4d_ros.datasets.rendered import RenderedSequence
    from page4d_ros.evaluation.result import Source
    from page4d_ros.perception.dynamics import MotionEstimator
    from page4d_ros.perception.engine import Engine
    from page4d_ros.perception.motion_classifier import MotionClassifier
    from page4d_ros.perception.odometry import Odometry
    from page4d_ros.perception.types import Estimate
    from page4d_ros.truth import GroundTruthFrame


class Predictor(Protocol):
    """One that answers windows.

    Attributes:
        label: name in the tables.
    """

    label: str

    def predict(self, sequence: RenderedSequence) -> Prediction:
        """Predict for a window."""


class OfWindow:
    """A method that is asked for a whole window at once."""

    def __init__(self, predictor: Predictor) -> None:
        self.predictor, self.label = predictor, predictor.label

    def run(self, source: Source) -> Iterator[Prediction]:
        """The prediction for the window."""
        yield self.predictor.predict(source.data)


class Network:
    """A network through the product's own path; every pixel's depth counts, however doubtful.

    Args:
        label: name in the tables.
        engine: holds the network, and the window.
        config: all settings of the perception.
        classifier: turns evidence of motion into a probability, fitted to these weights.
    """

    def __init__(
        self, label: str, engine: Engine, config: Config, classifier: MotionClassifier = DEFAULT
    ) -> None:
        self.label, self.engine, self.config = label, engine, config
        self.classifier = classifier
        self.dynamics = Dynamics(config.mask, classifier)

    def alone(self) -> Network:
        """The same, with poses as the network says them."""
        found = self.with_values({'odometry.estimator': 'network'})
        found.label = f'{self.label}, network alone'
        return found

    def predict(self, sequence: RenderedSequence) -> Prediction:
        """Predict for a window."""
        known = list(sequence.frames())
        odometry = self._streamed(known)
        streamed = odometry.window
        self.engine.clear()
        self.dynamics.forget()
        for seen in known:
            frames = FrameSet.of(seen.frame)
            self.engine.push(frames, [seen.rgb])
            self.dynamics.follow(frames, [seen.rgb])
        window = self.engine.step(gram=self.dynamics.gram)  # with the depths of all frames
        T = streamed.T_gauge_camera.copy()
        T[:, :3, 3] *= np.nanmedian(window.depth[-1] / streamed.depth[-1])  # of the same frame
        window = replace(window, T_gauge_camera=T)
        return Prediction(
            Grid(window.transforms[-1], self.engine.patch_size),
            depth=window.depth,
            relative=relative_poses(inverse(window.T_gauge_camera)[:, :3]),
            motion=window.dynamic,
            mask=self.dynamics.update(window, trust=odometry.trust).mask > 0,
        )

    def _streamed(self, known: list[GroundTruthFrame]) -> Odometry:
        """Odometry of the node after frames that come one after the other."""
        self.engine.clear()
        perception = self.perception()
        for seen in known:
            perception.process(FrameSet.of(seen.frame))
        return perception.odometry

    def outputs(
        self, frames: Iterable[GroundTruthFrame], dynamics: MotionEstimator | None = None
    ) -> Iterator[Output]:
        """Run the perception over a stream, from an empty window, as the node does.

        Args:
            frames: images of one camera in order of time.
            dynamics: estimates the motion masks; None takes that of the settings.
        """
        self.engine.clear()
        perception = self.perception(dynamics)
        for frame in frames:
            yield as_output(perception.process(FrameSet.of(frame.frame)), frame)

    def perception(self, dynamics: MotionEstimator | None = None) -> Perception:
        """The pipeline that the node runs, with nothing behind it yet."""
        dynamics = dynamics or Dynamics(self.config.mask, self.classifier)
        return Perception(self.config, self.engine, dynamics)

    def run(self, source: Source) -> Iterator[Output]:
        """Outputs along a sequence; see `Method`."""
        return self.outputs(source.data.frames())

    def with_values(self, values: dict[str, Any]) -> Network:
        """The same weights with other settings, by dotted name."""
        return Network(self.label, self.engine, self.config.with_values(values), self.classifier)


def as_output(estimate: Estimate, frame: GroundTruthFrame) -> Output:
    """An estimate as the output for its frame."""
    odometry = estimate.odometry
    return Output(frame, None if odometry.lost else odometry.T_world_camera, estimate)
