"""Contribution of each stretch of a sequence to a figure, for resampling two runs together."""

from __future__ import annotations

from math import isqrt
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    from page4d_ros.evaluation.result import Blocks

ROOTS = ('ate_m', 'rpe_translation_m', 'rpe_rotation_deg')  # of sums of squares


class Shares:
    """Sums and weights by figure and frame: a figure is the sum over its weight, or the root.

    Args:
        frames: of the sequence.
    """

    def __init__(self, frames: int) -> None:
        self._frames = frames
        self._of: dict[str, NDArray[np.float64]] = {}

    def add(self, name: str, frame: ArrayLike, total: ArrayLike, weight: ArrayLike) -> None:
        """Add to frames what they have to say on a figure; the same frame may come again."""
        known = self._of.setdefault(name, np.zeros((2, self._frames)))
        np.add.at(known[0], frame, total)
        np.add.at(known[1], frame, weight)

    def blocks(self) -> Blocks:
        """Sums and weights of about sqrt(n) stretches of sqrt(n) frames.

        The errors of frames that follow each other are alike; those of long stretches are nearly
        independent, and with the root both their length and their number grow with the sequence.
        """
        parts = np.array_split(np.arange(self._frames), max(1, isqrt(self._frames)))
        starts = [int(part[0]) for part in parts]
        out = {}
        for name, known in self._of.items():
            total, weight = np.add.reduceat(known, starts, axis=1).tolist()
            out[name] = {'sum': total, 'weight': weight}
        return out


def figure(name: str, total: float, weight: float) -> float:
    """The figure that sums make; NaN without weight."""
    if not weight:
        return float('nan')
    ratio = total / weight
    return ratio**0.5 if name.rsplit('.', 1)[-1] in ROOTS else ratio
