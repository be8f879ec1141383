"""Error of tracked corners, measured while they are used."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

FIRST = 0.08  # in pixels of the tracker's image
LEAST, MOST = 0.04, 0.4
RATE = 0.05  # share of a new measurement in the long run
PATIENCE = 3  # frames that do not fit, after which the noise is doubted
QUANTILE = 0.4  # of the errors that is measured; less than half, because the rest may be wrong
LENGTH = (-2 * np.log(1 - QUANTILE)) ** 0.5  # of that error, in standard deviations (Rayleigh)


class CornerNoise:
    """Standard deviation of tracked corners, which grows with blur and noise.

    Attributes:
        sigma: in pixels of the tracker's image.
    """

    def __init__(self) -> None:
        self.sigma = FIRST
        self._focal = 1.0
        self._count = self._wrong = 0

    def normalised(self, focal: float) -> float:
        """The same in normalised image coordinates.

        Args:
            focal: length in pixels of the tracker's image; 0 for no image takes the last one.
        """
        self._focal = focal or self._focal
        return self.sigma / self._focal

    def learn(self, error: NDArray[np.float64], *, right: bool) -> None:
        """Take in the reprojection errors of a frame.

        Args:
            error: (N,) in the present standard deviations; NaN where not seen.
            right: True if most of them fit, so that the pose is right; the first such frames
                count more.
        """
        self._count += right
        self._wrong = 0 if right else self._wrong + 1
        if 0 < self._wrong <= PATIENCE:
            return
        rate = max(RATE, 1 / (self._count + 1)) if right else RATE
        measured = float(np.nanquantile(error, QUANTILE)) / LENGTH * self.sigma
        self.sigma += rate * (min(max(measured, LEAST), MOST) - self.sigma)
