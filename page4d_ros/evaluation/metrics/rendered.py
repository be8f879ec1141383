"""Metrics of rendered sequences: errors of windows, and of trajectories along streams."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from scipy.spatial.distance import pdist

from page4d_ros.evaluation.metrics.prediction import Score, Truth
from page4d_ros.evaluation.metrics.sequence import PoseErrors
from page4d_ros.evaluation.result import Measured

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from page4d_ros.datasets.rendered import RenderedSequence
    from page4d_ros.evaluation.metrics.prediction import Grid, Prediction
    from page4d_ros.evaluation.result import Output


class WindowErrors:
    """Errors of one method on a window, as a `Score` by the name ``score``.

    Args:
        sequence: the window.
        truths: of the window by grid; filled where one is missing.
    """

    def __init__(self, sequence: RenderedSequence, truths: dict[Grid, Truth]) -> None:
        self.sequence, self.truths = sequence, truths
        self._score: Score | None = None

    def add(self, prediction: Prediction) -> None:
        """Compare the only prediction."""
        grid = prediction.grid
        if grid not in self.truths:
            self.truths[grid] = Truth.of(self.sequence, grid)
        self._score = Score.of(prediction, self.truths[grid], self.sequence.rig)

    def result(self) -> Measured:
        """The score."""
        return Measured({'score': self._score})


class StreamScore(NamedTuple):
    """Errors of one trajectory; NaN with fewer than three poses.

    Attributes:
        ate: RMSE of position after Sim(3) alignment, over the extent.
        rpe_translation_m: RMSE of the motion between frames, after that alignment.
        rpe_rotation_deg: the same of rotation.
        extent_m: largest distance between two true positions.
        poses: how many poses there are, of how many frames.
        frames: of the stream.
        collapsed: the trajectory cannot be aligned because it has no extent of its own, so that
            its errors are those of the best answer that stands still.
    """

    ate: float
    rpe_translation_m: float
    rpe_rotation_deg: float
    extent_m: float
    poses: int
    frames: int
    collapsed: bool = False


class StreamErrors:
    """Errors of one method along a stream, as a `StreamScore` by the name ``score``."""

    def __init__(self) -> None:
        self._errors = PoseErrors()
        self._truth: list[NDArray] = []
        self._poses = 0

    def add(self, output: Output) -> None:
        """Take in the next frame."""
        self._errors.add(output)
        self._truth.append(output.frame.T_world_camera[:3, 3])
        self._poses += output.T_world_camera is not None

    def result(self) -> Measured:
        """Compare with the truth."""
        tree = self._errors.result().tree['pose']
        extent, counts = float(pdist(self._truth).max()), (self._poses, len(self._truth))
        if isinstance(tree, str):  # says why not
            return Measured({'score': StreamScore(np.nan, np.nan, np.nan, extent, *counts)})
        collapsed = isinstance(tree['sim3'], str)
        errors = tree['standing_still' if collapsed else 'sim3']
        relative = errors['ate_m'] / extent
        steps = errors['rpe_translation_m'], errors['rpe_rotation_deg']
        return Measured({'score': StreamScore(relative, *steps, extent, *counts, collapsed)})
