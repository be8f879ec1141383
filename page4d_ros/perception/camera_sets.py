"""Frames of several cameras, joined into sets of one time.

The policy is that of Autoware's point cloud concatenation: a collector for each reference time,
an offset for each camera, a tolerance, and a timeout after which the set goes on without whoever
is missing. Waiting is shorter here where waiting is of no use: for a camera that is silent, slower
than the others, always too late, or usually there at once.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from page4d_ros.perception.types import FrameSet
from page4d_ros.units import NS_PER_S

if TYPE_CHECKING:
    from page4d_ros.config import Config
    from page4d_ros.perception.types import Frame

RECENT = 20  # frames of a camera that tell its period and how late it is
USUAL = 0.9  # quantile of their lateness
SLACK = 0.01  # seconds beyond twice the usual lateness
START = 1.0  # seconds in which cameras that never came are waited for
SILENT = 3.5  # intervals after which a camera is not waited for
DUE = 0.8  # periods after its last frame from which the next one is expected
MOST_OPEN = 8  # sets that wait at the same time
REMEMBERED = 64  # closed sets, which tell how late a frame is
JUMP_NS = NS_PER_S  # a frame that is older than the last set by more comes from another clock


@dataclass
class CameraCounts:
    """Counters of one camera.

    Attributes:
        received: frames that came.
        late: of these, those that came after their set had gone on.
        missing: sets that went on without this camera, though it should have had a frame.
        out_of_tolerance: frames that belong to no time of the other cameras.
    """

    received: int = 0
    late: int = 0
    missing: int = 0
    out_of_tolerance: int = 0


@dataclass
class _Camera:
    counts: CameraCounts = field(default_factory=CameraCounts)
    last_ns: int | None = None  # newest stamp, by the first camera's clock
    arrived: float | None = None
    steps_ns: deque[int] = field(default_factory=lambda: deque(maxlen=RECENT))
    intervals: deque[float] = field(default_factory=lambda: deque(maxlen=RECENT))
    lateness: deque[float] = field(default_factory=lambda: deque(maxlen=RECENT))
    behind: bool = False  # the newest frame is older than the last set by a jump

    @property
    def period_ns(self) -> float:
        """Usual time from stamp to stamp; 0 while unknown."""
        return float(np.median(self.steps_ns)) if self.steps_ns else 0.0

    @property
    def interval(self) -> float:
        """Usual seconds from arrival to arrival; `START` while unknown.

        A recording that is played slowly has longer ones than its stamps.
        """
        return float(np.median(self.intervals)) if self.intervals else START

    @property
    def usual(self) -> float:
        """Usual seconds from the begin of a set to this camera's frame."""
        return float(np.quantile(self.lateness, USUAL)) if self.lateness else 0.0


@dataclass(eq=False)
class _Collector:
    stamp_ns: int  # of its first frame, by the first camera's clock
    opened: float
    frames: dict[int, Frame] = field(default_factory=dict)  # by view


class CameraSets:
    """Collects the frames of a rig's cameras; to be used by one thread.

    Sets leave in order of time, and each one with more than half of the cameras that are alive and
    punctual, or with half of them and the first of these. Frames of smaller sets, and frames that
    come after their set has gone on, are kept, the newest of each camera: the next set that has no
    frame of that camera takes it along under its own stamp, but never as its reference.

    Args:
        config: all settings; ``cameras`` and ``rig`` are used.

    Attributes:
        counts: counters by name of the camera.
    """

    def __init__(self, config: Config) -> None:
        self._config = config.rig
        offsets = config.rig.offsets or (0.0,) * len(config.cameras)
        self._offsets_ns = [round(seconds * NS_PER_S) for seconds in offsets]
        self._tolerance_ns = round(config.rig.tolerance * NS_PER_S)
        self._cameras = [_Camera() for _ in config.cameras]
        named = zip(config.cameras, self._cameras, strict=True)
        self.counts = {name: camera.counts for name, camera in named}
        self.forget()

    def forget(self) -> None:
        """Forget all frames; counters and what is known of each camera stay."""
        self._open: list[_Collector] = []  # by time
        self._closed: deque[_Collector] = deque(maxlen=REMEMBERED)
        self._spare: dict[int, Frame] = {}  # by view; those that missed their set
        self._released_ns: int | None = None
        self._began: float | None = None
        for camera in self._cameras:
            camera.last_ns, camera.behind = None, False

    def add(self, frame: Frame, now: float) -> list[FrameSet]:
        """Take a frame.

        Args:
            frame: its `view` is the index of its camera.
            now: time of its arrival in seconds of a clock that never goes back.

        Returns:
            Sets that are complete now.
        """
        camera = self._cameras[frame.view]
        stamp_ns = frame.stamp_ns - self._offsets_ns[frame.view]
        camera.counts.received += 1
        if camera.arrived is not None:
            camera.intervals.append(now - camera.arrived)
        camera.arrived = now
        camera.behind = self._released_ns is not None and stamp_ns < self._released_ns - JUMP_NS
        if camera.behind:
            if not all(c.behind for c in self._cameras if self._alive(c, now)):
                camera.counts.out_of_tolerance += 1
                return []
            self.forget()  # the clock of all of them went back
        if camera.last_ns is not None and stamp_ns <= camera.last_ns:
            camera.counts.late += 1
            return []
        if camera.last_ns is not None:
            camera.steps_ns.append(stamp_ns - camera.last_ns)
        camera.last_ns = stamp_ns
        if self._began is None:
            self._began = now
        self._collect(frame, stamp_ns, now)
        return self.due(now)

    def _collect(self, frame: Frame, stamp_ns: int, now: float) -> None:
        """Put a frame into its set, a new one if there is none."""
        camera, view = self._cameras[frame.view], frame.view
        found = self._nearest([*self._closed, *self._open], view, stamp_ns)
        if found is not None:
            camera.lateness.append(now - found.opened)
        elif self._released_ns is None or stamp_ns > self._released_ns:
            found = _Collector(stamp_ns, now)
            camera.lateness.append(0.0)
            self._open.append(found)
            self._open.sort(key=lambda each: each.stamp_ns)
        else:
            camera.counts.out_of_tolerance += 1
            self._spare[view] = frame
            return
        found.frames[view] = frame
        if found not in self._open:
            camera.counts.late += 1
            self._spare[view] = frame

    def _nearest(self, among: list[_Collector], view: int, stamp_ns: int) -> _Collector | None:
        """Set of about that time that has no frame of the camera yet."""
        fitting = [
            each
            for each in among
            if view not in each.frames and abs(each.stamp_ns - stamp_ns) <= self._tolerance_ns
        ]
        return min(fitting, key=lambda each: abs(each.stamp_ns - stamp_ns), default=None)

    def due(self, now: float) -> list[FrameSet]:
        """Sets that wait for nobody any more at a time, oldest first."""
        out = []
        while self._open:
            first = self._open[0]
            if len(self._open) <= MOST_OPEN and now < self._until(first, now):
                break
            self._open.pop(0)
            self._closed.append(first)
            if self._carries(first, now):
                out.append(self._release(first, now))
            else:
                for view, frame in first.frames.items():
                    self._cameras[view].counts.out_of_tolerance += 1
                    self._spare[view] = frame
        return out

    def next_due(self, now: float) -> float | None:
        """Time at which `due` has something to give, if no frame comes; None for never."""
        return self._until(self._open[0], now) if self._open else None

    def _until(self, collector: _Collector, now: float) -> float:
        """Time until which a set waits."""
        patience = [
            self._patience(camera)
            for view, camera in enumerate(self._cameras)
            if view not in collector.frames and self._expected(camera, collector.stamp_ns, now)
        ]
        return collector.opened + max(patience, default=0.0)

    def _patience(self, camera: _Camera) -> float:
        """Seconds that a set waits for a camera."""
        if not camera.lateness:
            return self._config.timeout
        return min(self._config.timeout, 2 * camera.usual + SLACK)

    def _expected(self, camera: _Camera, stamp_ns: int, now: float) -> bool:
        """True if a frame of about that time may still come in time."""
        if not (self._alive(camera, now) and self._punctual(camera)):
            return False
        return camera.last_ns is None or self._has_frame_at(camera, stamp_ns)

    def _has_frame_at(self, camera: _Camera, stamp_ns: int) -> bool:
        """True if the next frame of a camera is from about that time or before."""
        return stamp_ns - camera.last_ns >= DUE * camera.period_ns

    def _alive(self, camera: _Camera, now: float) -> bool:
        """True if a camera is not silent."""
        if camera.arrived is None:
            return self._began is None or now - self._began < START
        return now - camera.arrived < SILENT * camera.interval

    def _punctual(self, camera: _Camera) -> bool:
        """True if waiting for a camera is of any use."""
        return camera.usual <= self._config.timeout

    def _carries(self, collector: _Collector, now: float) -> bool:
        """True if enough cameras share a set, so that no wrong clock can lead the others."""
        counted = [
            view
            for view, camera in enumerate(self._cameras)
            if camera.arrived is not None and self._alive(camera, now) and self._punctual(camera)
        ]
        twice = 2 * sum(view in counted for view in collector.frames)
        half = twice == len(counted) and (not counted or counted[0] in collector.frames)
        return twice > len(counted) or half

    def _release(self, collector: _Collector, now: float) -> FrameSet:
        """Set for the perception, with frames that were spared; counts those that are missing."""
        frames = dict(collector.frames)
        for view, camera in enumerate(self._cameras):
            silent = camera.last_ns is None or not self._alive(camera, now)
            if view not in frames:
                camera.counts.missing += silent or self._has_frame_at(camera, collector.stamp_ns)
            spare = self._spare.pop(view, None)
            if spare is not None and view not in frames and view > min(frames):
                frames[view] = spare
        self._released_ns = collector.stamp_ns
        return FrameSet(collector.stamp_ns, tuple(frames[view] for view in sorted(frames)))
