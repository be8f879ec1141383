"""Pulse of the process: tells that it was stopped, or its machine suspended, and goes on."""

from __future__ import annotations

import time

STOPPED = 3.0  # seconds without a beat: the process was stopped


def _now() -> float:
    """Seconds of a clock that also runs while the machine is suspended, where there is one."""
    return time.clock_gettime(getattr(time, 'CLOCK_BOOTTIME', time.CLOCK_MONOTONIC))


class Pulse:
    """Beats many times per second, by the executor; whoever computes looks for the last beat."""

    def __init__(self) -> None:
        self.now = _now
        self._last = self.now()

    @property
    def silence(self) -> float:
        """Seconds since the last beat if the process was stopped since then, otherwise 0.0."""
        seconds = self.now() - self._last
        return seconds if seconds > STOPPED else 0.0

    def beat(self) -> None:
        """Beat, and so end the silence."""
        self._last = self.now()
