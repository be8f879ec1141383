"""The gate between a camera that does not wait and a worker that takes its time."""

from __future__ import annotations

import enum
import threading
from collections import Counter
from typing import TYPE_CHECKING, NamedTuple

from page4d_ros.units import NS_PER_S

if TYPE_CHECKING:
    from page4d_ros.config import Config
    from page4d_ros.perception.types import Frame


class Restart(enum.IntEnum):
    """What the worker must forget before it takes the next frame."""

    NONE = 0
    WINDOW = 1  # the window; the pose goes on from the last one
    POSE = 2  # everything: identity pose


class Taken(NamedTuple):
    """A frame handed to the worker, and the generation its result belongs to."""

    frame: Frame
    generation: int
    restart: Restart


class Intake:
    """Keeps the newest frame only, watches the stamps, and numbers the generations.

    A result counts only while `generation` is still the one it was taken under: reset, pause
    and jumps in time advance it and so void what is in flight. All methods are thread safe.

    Attributes:
        received: frames offered.
        dropped: frames that will never be processed, by reason.
        generation: number of the present run.
    """

    def __init__(self, config: Config) -> None:
        self.config = config
        self.received = 0
        self.dropped: Counter[str] = Counter()
        self.generation = 0
        self.last_stamp_ns: int | None = None
        self._condition = threading.Condition()
        self._slot: Frame | None = None
        self._restart = Restart.NONE
        self._accepted = 0
        self._suspect_ns: int | None = None
        self._open = True

    def offer(self, frame: Frame) -> str | None:
        """Store the frame if it is the next one; never blocks.

        Returns:
            None if stored, otherwise the reason why not: ``duplicate`` (equal stamp), ``late``
            (a straggler), ``stride`` (not this one's turn, not counted as a drop) or ``paused``.
        """
        with self._condition:
            self.received += 1
            reason = self._refuse(frame)
            if reason:
                if reason != 'stride':
                    self.dropped[reason] += 1
                return reason
            if self._slot is not None:
                self.dropped['stale'] += 1
            self._slot = frame
            self._condition.notify()
            return None

    def _refuse(self, frame: Frame) -> str | None:
        if not self._open:
            return 'paused'
        last = self.last_stamp_ns
        if last is not None:
            step = frame.stamp_ns - last
            limit = self.config.window.max_gap * NS_PER_S
            if step == 0:
                return 'duplicate'
            if step < 0 and not self._is_jump(frame.stamp_ns, -step, limit):
                return 'late'
            if step < 0:
                self._begin(self._after_jump())
            elif limit and step > limit:
                self._begin(Restart.WINDOW)
        self.last_stamp_ns, self._suspect_ns = frame.stamp_ns, None
        self._accepted += 1
        return 'stride' if (self._accepted - 1) % self.config.window.stride else None

    def _is_jump(self, stamp_ns: int, back_ns: int, limit: float) -> bool:
        """One frame slightly too old is a straggler, two in order are a clock that went back."""
        again = self._suspect_ns is not None and stamp_ns > self._suspect_ns
        self._suspect_ns = stamp_ns
        return again or back_ns > max(limit, NS_PER_S)

    def _after_jump(self) -> Restart:
        reset = self.config.odometry.reset_on_time_jump
        return Restart.POSE if reset else Restart.WINDOW

    def _begin(self, restart: Restart) -> None:
        self.generation += 1
        if self._slot is not None:
            self.dropped['void'] += 1
        self._restart = max(self._restart, restart)
        self._slot, self.last_stamp_ns, self._suspect_ns, self._accepted = None, None, None, 0

    def restart(self, restart: Restart) -> None:
        """Void everything in flight and begin a new generation."""
        with self._condition:
            self._begin(restart)

    def time_jumped(self) -> None:
        """Tell that the clock itself went back (a bag loops)."""
        self.restart(self._after_jump())

    def pause(self, *, paused: bool) -> None:
        """Refuse frames while paused; the window is cleared both ways."""
        with self._condition:
            self._open = not paused
            self._begin(Restart.WINDOW)

    def refuse(self, reason: str) -> None:
        """Count a frame that came and is not offered, because it is malformed or too old."""
        with self._condition:
            self.received += 1
            self.dropped[reason] += 1

    def drop(self, reason: str) -> None:
        """Count a frame that never became one."""
        with self._condition:
            self.dropped[reason] += 1

    def take(self, timeout: float | None = None) -> Taken | None:
        """Newest frame, or None if none comes within `timeout` seconds or on `wake`."""
        with self._condition:
            if self._slot is None:
                self._condition.wait(timeout)
            if self._slot is None:
                return None
            frame, self._slot = self._slot, None
            restart, self._restart = self._restart, Restart.NONE
            return Taken(frame, self.generation, restart)

    def wake(self) -> None:
        """Let a waiting `take` return."""
        with self._condition:
            self._condition.notify_all()
