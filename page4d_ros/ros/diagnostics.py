"""Health of the node for /diagnostics (REP 107)."""

from __future__ import annotations

import time
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from diagnostic_msgs.msg import DiagnosticStatus, KeyValue

from page4d_ros.config import DiagnosticsConfig
from page4d_ros.messages.status import UNKNOWN_PLACE

if TYPE_CHECKING:
    from collections.abc import Sequence

SILENCE = 5.0  # seconds without an image, or without an estimate while images come
FAR_AGE = 3600.0
OK, WARN, ERROR = DiagnosticStatus.OK, DiagnosticStatus.WARN, DiagnosticStatus.ERROR


@dataclass
class Health:
    """Times of images and estimates, in seconds of the steady clock, and the last error.

    Attributes:
        started: begin of the present activation.
        began: when images began to come, without a longer silence since.
        age: seconds from acquisition to publishing of the newest estimate.
        error: last failure of the worker; "" since the estimate that followed it.
        refusal: reason why the last image was refused; likewise.
        lost_since: begin of the present run of estimates without a pose; None with one.
    """

    started: float = field(default_factory=time.monotonic)
    first_image: float | None = None
    last_image: float | None = None
    last_estimate: float | None = None
    began: float = 0.0
    estimates: deque[float] = field(default_factory=lambda: deque(maxlen=100))
    age: float = 0.0
    error: str = ''
    refusal: str = ''
    lost_since: float | None = None

    def saw_image(self) -> None:
        """Note an image."""
        now = time.monotonic()
        if self.last_image is None or now - self.last_image > SILENCE:
            self.began = now
        self.last_image = now
        self.first_image = self.first_image or self.last_image

    def estimated(self, age: float, *, lost: bool = False) -> None:
        """Note an estimate of a frame `age` seconds old; lost is one without a pose."""
        self.last_estimate = time.monotonic()
        self.estimates.append(self.last_estimate)
        self.age = age
        self.error = self.refusal = ''
        self.lost_since = (self.lost_since or self.last_estimate) if lost else None

    def rate(self) -> float:
        """Estimates per second, over the last five seconds."""
        now = time.monotonic()
        return sum(now - moment < SILENCE for moment in list(self.estimates)) / SILENCE

    def silence(self) -> float:
        """Seconds since the last image, or since the start."""
        return time.monotonic() - (self.last_image or self.started)

    def lost(self) -> float:
        """Seconds for which no frame had a pose; 0.0 if the last one has."""
        return 0.0 if self.lost_since is None else time.monotonic() - self.lost_since

    def stall(self) -> float:
        """Seconds for which images have come and no estimate has; 0.0 if none come."""
        if self.silence() > SILENCE:
            return 0.0
        return time.monotonic() - max(self.last_estimate or 0.0, self.began)


def verdict(
    health: Health,
    limits: DiagnosticsConfig,
    *,
    caution: str,
    place_known: bool,
    findings: Sequence[str] = (),
) -> tuple[bytes, str]:
    """Worst level, and the findings of that level as text.

    Args:
        health: times and errors.
        limits: at which levels change.
        caution: warning about the weights; "" for none.
        place_known: False if the network disagrees with the corners that the poses are from.
        findings: warnings about single cameras.
    """
    silence, age, rate, stall = health.silence(), health.age, health.rate(), health.stall()
    stuck = 0 < limits.max_stall < stall
    waiting = health.last_estimate is None
    settled = not waiting and time.monotonic() - health.started > SILENCE
    conditions = (
        (bool(health.error), ERROR, health.error),
        (stuck, ERROR, f'images arrive, but no estimate for {stall:.0f} s'),
        (0 < limits.max_silence < silence, ERROR, f'no image for {silence:.0f} s'),
        (
            health.lost() > SILENCE,
            ERROR,
            f'no pose for {health.lost():.0f} s: every frame is lost',
        ),
        (stuck and bool(health.refusal), ERROR, health.refusal),
        (bool(health.refusal), WARN, health.refusal),
        (health.lost_since is not None, WARN, 'the last frame is lost'),
        (silence > SILENCE, WARN, f'no image for {silence:.0f} s'),
        (
            abs(age) > FAR_AGE,
            WARN,
            'stamps are far from the node clock: use_sim_time not set, or a bag recorded late?',
        ),
        (limits.max_latency < age <= FAR_AGE, WARN, f'frames are {age:.2f} s old when published'),
        (settled and rate < limits.min_rate, WARN, f'{rate:.2f} estimates per second'),
        (bool(caution), WARN, caution),
        (not place_known, WARN, UNKNOWN_PLACE),
        *((True, WARN, finding) for finding in findings),
        (waiting, OK, 'waiting for the first estimate'),
    )
    found = [(level, text) for true, level, text in conditions if true] or [(OK, 'running')]
    worst = max(level for level, _ in found)
    return worst, '; '.join(text for level, text in found if level == worst)


def diagnostic_status(level: bytes, text: str, hardware: str, values: dict) -> DiagnosticStatus:
    """Status without a name, of a camera (`hardware`)."""
    pairs = [KeyValue(key=str(key), value=str(value)) for key, value in values.items()]
    return DiagnosticStatus(level=level, message=text, hardware_id=hardware, values=pairs)
