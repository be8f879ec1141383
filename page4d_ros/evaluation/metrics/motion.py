"""Figures of masks and probabilities over sequences of frames."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from page4d_ros.evaluation.metrics.masks import Measure, boundary, region
from page4d_ros.perception.dynamics import clean, threshold
from page4d_ros.perception.residuals import (
    View,
    reprojection_residuals,
    sample_nearest,
    thinned_rgb,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from page4d_ros.config import MaskConfig
    from page4d_ros.perception.types import WindowEstimate

BINS = 15  # of the expected calibration error
SAME = 3.0  # deviations of depth within which two frames see the same surface


@dataclass
class Sequence:
    """One source's predictions for one sequence.

    Attributes:
        as_published: frames in which nothing moves count, too, and have a J of 0; the quarters
            of decay as `Measure.of` has them.
        regions: J of the frames in which something moves; boundaries: F of them.
        table: pixels by truth and call.
        bins: pixels, sum of probability and sum of truth, by probability.
        flicker: change of probability at places at rest, summed, and how many.
    """

    as_published: bool = False
    regions: list[float] = field(default_factory=list)
    boundaries: list[float] = field(default_factory=list)
    table: NDArray = field(default_factory=lambda: np.zeros((2, 2)))
    bins: NDArray = field(default_factory=lambda: np.zeros((3, BINS)))
    flicker: NDArray = field(default_factory=lambda: np.zeros(2))

    def add(
        self,
        probability: NDArray,
        called: NDArray[np.bool_],
        truth: NDArray[np.bool_],
        counts: NDArray[np.bool_] | None = None,
    ) -> None:
        """Take in a frame (h, w); pixels that do not count are neither called nor true."""
        counts = np.ones_like(truth) if counts is None else counts
        if self.as_published or (truth & counts).any():
            self.regions.append(region(called & counts, truth & counts))
            self.boundaries.append(boundary(called & counts, truth & counts))
        probability, called, truth = probability[counts], called[counts], truth[counts]
        index = 2 * truth.ravel() + called.ravel()
        self.table += np.bincount(index, minlength=4).reshape(2, 2)
        p, y = probability.ravel(), truth.ravel()
        which = np.minimum((p * BINS).astype(int), BINS - 1)
        for row, weights in enumerate((None, p, y)):
            self.bins[row] += np.bincount(which, weights, BINS)

    def compare(
        self,
        now: NDArray,
        before: NDArray,
        at: tuple[NDArray, NDArray],
        still: NDArray[np.bool_],
    ) -> None:
        """Take in how probability changed where nothing did.

        Args:
            now: (h, w) probability.
            before: of the frame before, in its own pixels.
            at: column and row (h, w) of the frame's pixels in the one before.
            still: (h, w) bool, pixels at rest that both frames see.
        """
        sampled = cv2.remap(before, *at, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        self.flicker += float(np.abs(now - sampled)[still].sum()), float(still.sum())


def called_moving(probability: NDArray, config: MaskConfig) -> NDArray[np.bool_]:
    """The mask (h, w) without its margin, as papers compare masks."""
    return clean(threshold(probability, config), replace(config, dilate=0)) > 0


def pooled(sequences: list[Sequence]) -> dict[str, Any]:
    """Figures: measures are means over sequences, the others over all pixels."""
    nothing = Sequence()
    table = sum((s.table for s in sequences), nothing.table)
    bins = sum((s.bins for s in sequences), nothing.bins)
    flicker = sum((s.flicker for s in sequences), nothing.flicker)
    moving = [s for s in sequences if s.regions]
    (still, false), (missed, hit) = table
    J = [Measure.of(s.regions, as_published=s.as_published) for s in moving]
    F = [Measure.of(s.boundaries, as_published=s.as_published) for s in moving]
    return {
        'JM': _mean([m.mean for m in J]),
        'JR': _mean([m.recall for m in J]),
        'JD': _mean([m.decay for m in J]),
        'FM': _mean([m.mean for m in F]),
        'FR': _mean([m.recall for m in F]),
        'FD': _mean([m.decay for m in F]),
        'precision': _ratio(hit, hit + false),
        'recall': _ratio(hit, hit + missed),
        'called': _ratio(hit + false, table.sum()),
        'false_positives': _ratio(false, still + false),
        'moving': _ratio(hit + missed, table.sum()),
        'ece': _ratio(np.abs(bins[1] - bins[2]).sum(), bins[0].sum()),
        'flicker': _ratio(flicker[0], flicker[1]),
        'sequences': len(sequences),
    }


def _mean(values: list[float]) -> float:
    return float(np.mean(values)) if values else np.nan


def _ratio(part: float, whole: float) -> float:
    return float(part / whole) if whole else np.nan


def places_at_rest(
    truth: WindowEstimate, moving: NDArray[np.bool_], before: NDArray[np.bool_]
) -> tuple[tuple[NDArray, NDArray], NDArray[np.bool_]]:
    """Places of the newest frame's pixels one frame before, and which of them are at rest.

    Args:
        truth: window of true poses and depths, with depth of at least two frames.
        moving: (h, w) of the newest frame.
        before: (h, w) of the one before.

    Returns:
        Their columns and rows (h, w), and (h, w) bool.
    """
    now, last = (View.of(truth, i, truth.depth[i], thinned_rgb(truth.images[i])) for i in (-1, -2))
    seen = reprojection_residuals(now, truth.confidence[-1], [last])
    at, visible = (seen.u[0], seen.v[0]), seen.visible[0]
    still = visible & (np.abs(seen.depth[0]) < SAME) & ~moving
    return at, still & (sample_nearest(before.view(np.uint8), *at) == 0)
