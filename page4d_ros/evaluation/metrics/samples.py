"""Pixels of a whole sequence, in memory that does not grow with it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

OF_FRAME = 2_000  # pixels
MOST = 400_000


def some(prediction: NDArray, truth: NDArray) -> NDArray:
    """About `OF_FRAME` of a frame's pixels (n,), evenly, (2, m)."""
    step = max(1, truth.size // OF_FRAME)
    return np.stack([prediction[::step], truth[::step]])


class Samples:
    """Some pixels of every frame, evenly; whenever there are too many, half of them go.

    Args:
        most: pixels that are kept.
    """

    def __init__(self, most: int = MOST) -> None:
        self._most, self._share, self._count = most, 1, 0
        self._parts: list[NDArray] = []

    def add(self, prediction: NDArray, truth: NDArray) -> None:
        """Keep some of the pixels (n,) of a frame."""
        self._parts.append(some(prediction, truth)[:, :: self._share].astype(np.float32))
        self._count += self._parts[-1].shape[1]
        while self._count > self._most:
            self._parts = [self.pixels()[:, ::2].copy()]
            self._share, self._count = 2 * self._share, self._parts[0].shape[1]

    def pixels(self) -> NDArray[np.float32]:
        """Predictions and truths, (2, n)."""
        return np.hstack(self._parts)
