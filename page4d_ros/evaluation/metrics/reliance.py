"""Evidence that poses rely on along a sequence, and what that costs."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from page4d_ros.evaluation.metrics.masks import at_network
from page4d_ros.evaluation.result import Measured, Unknown
from page4d_ros.perception.types import NOTHING, RELIANCE

if TYPE_CHECKING:
    from page4d_ros.evaluation.result import Output


NOT_ASKED = Unknown('corners are not used, so that trust is not measured')


class Reliance:
    """Trust in the network and what poses rely on, as ``reliance``.

    Args:
        cpu: name of the CPU time among the seconds of an estimate.
    """

    def __init__(self, cpu: str) -> None:
        self.cpu = cpu
        self._trust: list[float] = []
        self._relies: list[str] = []
        self._seconds: list[float] = []

    def add(self, output: Output) -> None:
        """Take in the next frame."""
        if output.estimate is None:
            return
        odometry = output.estimate.odometry
        self._trust.append(odometry.network_trust)
        self._relies.append(odometry.relies_on)
        self._seconds.append(output.estimate.seconds.get(self.cpu, np.nan))

    def result(self) -> Measured:
        """Medians of trust and CPU time; shares of `RELIANCE`."""
        if not self._trust:
            return Measured({'reliance': Unknown('the method says nothing of itself')})
        shares = {name: self._relies.count(name) / len(self._relies) for name in RELIANCE}
        tree = {
            'network_trust': float(np.median(self._trust)) if any(self._trust) else NOT_ASKED,
            'relies_on': shares,
            'lost': shares[NOTHING],
            'cpu_ms': 1e3 * float(np.median(self._seconds)),
        }
        return Measured({'reliance': tree})


class FalseMotion:
    """Share of static pixels in the mask, over all frames, as ``false_motion``.

    With a margin (``mask.dilate``), pixels beside a body that moves count.
    """

    def __init__(self) -> None:
        self._false = self._static = 0

    def add(self, output: Output) -> None:
        """Take in the next frame."""
        if output.frame.mask is None:
            return
        static = ~at_network(output.frame.mask, output.estimate.transform)
        self._false += int((static & (output.estimate.mask > 0)).sum())
        self._static += int(static.sum())

    def result(self) -> Measured:
        """The share."""
        known = self._false / self._static if self._static else Unknown('has no masks')
        return Measured({'false_motion': known})
