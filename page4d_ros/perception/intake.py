"""Buffer of one frame set between cameras that do not wait and a slower worker."""

from __future__ import annotations

import enum
import threading
from collections import Counter
from typing import TYPE_CHECKING, NamedTuple

from page4d_ros.units import NS_PER_S

if TYPE_CHECKING:
    from page4d_ros.config import Config
    from page4d_ros.perception.types import FrameKey, FrameSet


class Restart(enum.IntEnum):
    """State that must be forgotten before the next frames are processed."""

    NONE = 0
    WINDOW = 1  # the window; the trajectory goes on from the last pose
    POSE = 2  # everything: the trajectory begins again at identity


class Taken(NamedTuple):
    """A frame set handed to the worker, and the generation its result belongs to."""

    frames: FrameSet
    generation: int
    restart: Restart


class Intake:
    """Keeps the newest frame set only, checks the stamps, and numbers the generations.

    A frame is known by its stamp and its view: equal stamps of two cameras are two frames. Order,
    gaps and the stride are those of the sets' reference stamps.

    The last stamp outlives every restart, so that none is published twice.

    A result counts only while `generation` is still the one it was taken under: reset, pause
    and jumps in time advance it and so void what is in flight. All methods are thread safe.

    Attributes:
        received: frame sets offered or refused.
        dropped: frame sets that will never be processed, by reason.
        generation: number of the present run.
    """

    def __init__(self, config: Config) -> None:
        self.config = config
        self.received = 0
        self.dropped: Counter[str] = Counter()
        self.generation = 0
        self._condition = threading.Condition()
        self._waiting: FrameSet | None = None
        self._restart = Restart.NONE
        self._last_ns: int | None = None  # reference stamp of the last set that was accepted
        self._last_keys: set[FrameKey] = set()  # frames accepted at that time
        self._accepted = 0
        self._suspect_ns: int | None = None
        self._clock_jumped = False  # so that the next older set is of the new time
        self._open = True

    def offer(self, frames: FrameSet) -> str | None:
        """Store the set if it is the next one; never blocks.

        Returns:
            None if stored, otherwise the reason why not: ``duplicate`` (has a frame that came
            before), ``late`` (older than the last set), ``stride`` (skipped by
            ``window.stride``, not counted as a drop) or ``paused``.
        """
        with self._condition:
            self.received += 1
            reason = self._check(frames)
            if reason:
                if reason != 'stride':
                    self.dropped[reason] += 1
                return reason
            if self._waiting is not None:
                self.dropped['stale'] += 1
            self._waiting = frames
            self._condition.notify()
            return None

    def _check(self, frames: FrameSet) -> str | None:
        if not self._open:
            return 'paused'
        if not self._last_keys.isdisjoint(frames.keys):
            return 'duplicate'
        if self._last_ns is not None:
            step = frames.stamp_ns - self._last_ns
            limit = self.config.window.max_gap * NS_PER_S
            if step < 0 and not self._is_jump(frames.stamp_ns, -step, limit):
                return 'late'
            if step < 0 and not self._clock_jumped:
                self._begin(self._after_jump())
            elif limit and step > limit:
                self._begin(Restart.WINDOW)
        if frames.stamp_ns != self._last_ns:
            self._last_ns = frames.stamp_ns
            self._last_keys.clear()
            self._accepted += 1
        self._last_keys.update(frames.keys)
        self._suspect_ns, self._clock_jumped = None, False
        return 'stride' if (self._accepted - 1) % self.config.window.stride else None

    def _is_jump(self, stamp_ns: int, back_ns: int, limit: float) -> bool:
        """True if the clock went back: two sets in order, far back; all others are only late."""
        if self._clock_jumped:
            return True
        if back_ns <= max(limit, NS_PER_S):
            return False
        again = self._suspect_ns is not None and stamp_ns > self._suspect_ns
        self._suspect_ns = stamp_ns
        return again

    def _after_jump(self) -> Restart:
        reset = self.config.odometry.reset_on_time_jump
        return Restart.POSE if reset else Restart.WINDOW

    def _begin(self, restart: Restart) -> None:
        self.generation += 1
        if self._waiting is not None:
            self.dropped['void'] += 1
        self._restart = max(self._restart, restart)
        self._waiting = self._suspect_ns = None
        self._accepted = 0

    def restart(self, restart: Restart) -> None:
        """Void everything in flight and begin a new generation."""
        with self._condition:
            self._begin(restart)

    def time_jumped(self) -> None:
        """Begin a new generation because the clock went back (a bag loops)."""
        with self._condition:
            self._begin(self._after_jump())
            self._clock_jumped = True

    def pause(self, *, paused: bool) -> None:
        """Refuse frames while paused; the window is cleared at both ends of a pause."""
        with self._condition:
            self._open = not paused
            self._begin(Restart.WINDOW)

    def refuse(self, reason: str) -> None:
        """Count a frame that came and is not offered, because it is malformed or too old."""
        with self._condition:
            self.received += 1
            self.dropped[reason] += 1

    def drop(self, reason: str) -> None:
        """Count a frame set that was taken and gave no estimate."""
        with self._condition:
            self.dropped[reason] += 1

    def take(self, timeout: float | None = None) -> Taken | None:
        """Newest frame set, or None if none comes within `timeout` seconds or on `wake`."""
        with self._condition:
            if self._waiting is None:
                self._condition.wait(timeout)
            if self._waiting is None:
                return None
            frames, self._waiting = self._waiting, None
            restart, self._restart = self._restart, Restart.NONE
            return Taken(frames, self.generation, restart)

    def wake(self) -> None:
        """Let a waiting `take` return."""
        with self._condition:
            self._condition.notify_all()
