"""Trust in the network: errors of its poses and depths, lately, against tracked points."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

UNKNOWN = np.array([0.012, 0.02, 0.1])  # errors assumed before any is measured
LEAST = np.array([0.003, 0.005, 0.03])  # errors that are never believed to be smaller
MOST = np.array([0.5, 1.0, 2.0])
HALF = np.array([0.03, 0.06, 0.25])  # errors at which each takes half of the trust
TRUSTED = 0.3  # trust from which on the network alone gives a pose, and its mask hides corners
RISE, FALL = 0.3, 0.1  # share of a new measurement, for the worse and for the better
WRONG = 3.0  # times the usual error, beyond which a window is wrong altogether
RATE = 0.2  # weight of the newest window in the share of right ones
MOSTLY = 0.4  # share of right windows, from which on wrong ones say nothing of the others
RECORD = 10  # right windows that a network has to show for that


class Trust:
    """Root mean square errors of the network's right windows, with a memory of about a second.

    They are the standard deviations of what it says. Windows that are wrong altogether, because
    the network took a moving object for the scene, are counted apart, as long as most are right.

    Attributes:
        share: of right windows.
        turn: rad, between the newest camera and an earlier one of the window.
        shift: in depths of the scene, likewise.
        depth: of the logarithm of depth, after one scale for each frame.
    """

    def __init__(self) -> None:
        self._variance = UNKNOWN**2
        self.share = 1.0
        self._right = 0

    def add(self, turn: float, shift: float, depth: float, *, doubted: bool = False) -> None:
        """Take in the errors of one window.

        Args:
            turn: NaN where it could not be measured, like the others.
            shift: likewise.
            depth: likewise.
            doubted: True if the window disagrees with the windows before; its poses say nothing
                of the others.
        """
        errors = np.array([turn, shift, depth])
        wrong = (errors > WRONG * self._errors).any()
        if not np.isnan(errors).all():
            self.share += RATE * ((not wrong) - self.share)
            self._right += not wrong
        if wrong and self.share > MOSTLY and self._right >= RECORD:
            return
        if doubted:
            errors[:2] = np.nan
        new = np.clip(errors, LEAST, MOST) ** 2
        rate = np.where(new > self._variance, RISE, FALL)
        change = rate * (np.minimum(new, 9 * self._variance) - self._variance)
        self._variance = self._variance + np.nan_to_num(change)

    @property
    def _errors(self) -> NDArray[np.float64]:
        return np.sqrt(self._variance)

    @property
    def turn(self) -> float:
        """Error of rotation."""
        return float(self._errors[0])

    @property
    def shift(self) -> float:
        """Error of translation."""
        return float(self._errors[1])

    @property
    def depth(self) -> float:
        """Error of depth."""
        return float(self._errors[2])

    @property
    def value(self) -> float:
        """0, if the network says nothing of use, to 1."""
        return float(self.share / (1 + self._variance / HALF**2).prod())
