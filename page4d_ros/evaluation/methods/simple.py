"""Simple methods that cost nothing, to compare networks with."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from page4d_ros.evaluation.metrics.prediction import Grid, Prediction, Truth
from page4d_ros.evaluation.result import Output
from page4d_ros.geometry.camera import ImageTransform

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from page4d_ros.datasets.rendered import RenderedSequence
    from page4d_ros.evaluation.result import Source
    from page4d_ros.perception.engine import Engine


class Still:
    """The camera stands still."""

    label = 'identity pose'

    def __init__(self, grid: Grid) -> None:
        self.grid = grid

    def predict(self, sequence: RenderedSequence) -> Prediction:
        """Predict for a window."""
        pairs = len(sequence.rgb) * (len(sequence.rgb) - 1) // 2
        return Prediction(self.grid, relative=np.tile(np.eye(4)[:3], (pairs, 1, 1)))

    def run(self, source: Source) -> Iterator[Output]:
        """Poses of the camera along a stream."""
        for frame in source.data.frames():
            yield Output(frame, np.eye(4))


class FlatWall:
    """Every pixel is equally far."""

    label = 'flat wall'

    def __init__(self, grid: Grid) -> None:
        self.grid = grid

    def predict(self, sequence: RenderedSequence) -> Prediction:
        """Predict for a window."""
        fit = self.grid.fit
        return Prediction(self.grid, depth=np.ones((len(sequence.rgb), fit.height, fit.width)))


class AllMoving:
    """Everything moves; its average precision is that of any random order."""

    label = 'everything moves'

    def __init__(self, grid: Grid) -> None:
        self.grid = grid

    def predict(self, sequence: RenderedSequence) -> Prediction:
        """Predict for a window."""
        fit, patch = self.grid
        shape = len(sequence.rgb), fit.height // patch, fit.width // patch
        mask = np.ones((fit.height, fit.width), bool)
        return Prediction(self.grid, motion=np.ones(shape), mask=mask)


class MeanDepth:
    """The mean depth of every pixel over the training's drives, of all rooms or of this one.

    Args:
        grid: whose pixels.
        prior: windows of the training.
        by_room: answer with the mean of the very room, and not at all elsewhere.
    """

    def __init__(self, grid: Grid, prior: Sequence[RenderedSequence], *, by_room: bool) -> None:
        self.grid, self.by_room = grid, by_room
        self.label = 'mean depth, this room' if by_room else 'mean depth, known rooms'
        depths: dict[int | None, list[NDArray]] = {}
        for sequence in prior:
            key = sequence.room if by_room else None
            depths.setdefault(key, []).append(Truth.of(sequence, grid).depth)
        self.means = {key: np.concatenate(maps).mean(0) for key, maps in depths.items()}

    def predict(self, sequence: RenderedSequence) -> Prediction:
        """Predict for a window."""
        mean = self.means.get(sequence.room if self.by_room else None)
        if mean is None:
            return Prediction(self.grid)
        return Prediction(self.grid, depth=np.repeat(mean[None], len(sequence.rgb), 0))


def network_grid(engine: Engine, size: tuple[int, int]) -> Grid:
    """Pixels and patches of an engine's network for a camera of (width, height) pixels."""
    patch = engine.patch_size
    return Grid(ImageTransform.crop(*size, engine.resolution, patch), patch)
