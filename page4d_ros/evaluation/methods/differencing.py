"""Motion from grey differences between frames, with or without stabilisation."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple

import cv2
import numpy as np

from page4d_ros.config import MaskConfig
from page4d_ros.evaluation.methods.klt import FEWEST, follow_corners, grey_image
from page4d_ros.evaluation.metrics.prediction import Grid, Prediction, Truth, overlap
from page4d_ros.perception.dynamics import clean
from page4d_ros.window_scores import MOVING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from page4d_ros.datasets.rendered import RenderedSequence

LEVELS = 60  # candidate thresholds


class _Levels(NamedTuple):
    patches: float
    pixels: float


class Differencing:
    """Grey difference of a frame and the one before (of the first, the one after).

    Its thresholds are those with the best IoU on the training's drives; its mask is cleaned up as
    the product cleans its own.

    Args:
        grid: pixels and patches of the network.
        prior: windows of the training.
        compensate: undo the camera's motion first, by the homography that most KLT tracks obey.
    """

    def __init__(self, grid: Grid, prior: Sequence[RenderedSequence], *, compensate: bool) -> None:
        self.grid, self.compensate = grid, compensate
        self.label = f'frame difference{", stabilised" if compensate else ""}'
        self.levels = self._learn(prior)

    def predict(self, sequence: RenderedSequence) -> Prediction:
        """Predict for a window."""
        pixels, patches = self._difference(sequence)
        return Prediction(
            self.grid,
            motion=patches,
            threshold=self.levels.patches,
            mask=self._mask(pixels[-1], self.levels.pixels),
        )

    def _mask(self, difference: NDArray, level: float) -> NDArray[np.bool_]:
        return clean(difference > level, MaskConfig()) > 0

    def _difference(self, sequence: RenderedSequence) -> tuple[NDArray, NDArray]:
        """Differences of pixels (S, h, w) and their means over patches (S, h', w'), 0 to 1."""
        fit, patch = self.grid
        images = [grey_image(image, fit) for image in sequence.rgb]
        pixels = [self._against(images[1], images[0])]
        pixels += [self._against(a, b) for a, b in pairwise(images)]
        pixels = np.stack(pixels)
        blocks = pixels.reshape(len(pixels), fit.height // patch, patch, fit.width // patch, patch)
        return pixels, blocks.mean((2, 4))

    def _against(self, other: NDArray, image: NDArray) -> NDArray[np.float32]:
        H = None
        if self.compensate:
            a, b = follow_corners([other, image])[0]
            cv2.setRNGSeed(0)
            H = cv2.findHomography(a, b, cv2.RANSAC, 1.0)[0] if len(a) >= FEWEST else None
        H = np.eye(3) if H is None else H
        size = image.shape[::-1]
        moved = cv2.warpPerspective(other, H, size)
        seen = cv2.warpPerspective(np.full_like(other, 255), H, size) == 255
        return np.where(seen, cv2.absdiff(moved, image), 0).astype(np.float32) / 255

    def _learn(self, prior: Sequence[RenderedSequence]) -> _Levels:
        levels = np.geomspace(0.005, 0.8, LEVELS)
        counts = np.zeros((2, LEVELS, 2))
        for sequence in prior:
            truth, (pixels, patches) = Truth.of(sequence, self.grid), self._difference(sequence)
            for index, level in enumerate(levels):
                counts[0, index] += overlap(patches > level, truth.motion > MOVING)
                counts[1, index] += overlap(self._mask(pixels[-1], level), truth.mask[-1])
        best = (counts[..., 0] / np.maximum(counts[..., 1], 1)).argmax(1)
        return _Levels(*(float(levels[i]) for i in best))
