"""Settings of a run over a fleet, the tasks it is cut into, and what comes of them."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

from page4d_ros import __version__

if TYPE_CHECKING:
    from page4d_ros.config import Config
    from page4d_ros.fleet.recordings import Recording

FORMAT = 1  # of results; a new one makes all anew
# settings that say where the work is done, and not what comes out
ELSEWHERE = ('model.device', 'model.threads')
# kinds of failure
BROKEN, MEMORY, CRASH, TRANSFER, ERROR = 'recording', 'memory', 'crash', 'transfer', 'error'
FEWEST_FRAMES = 2  # of a window that is halved for want of memory
LEAST_WIDTH = 56  # of the network's input, likewise


@dataclass(frozen=True)
class Job:
    """Settings of a run, the same for all its recordings.

    Attributes:
        config: of the perception.
        weights: digest of ``model.checkpoint``.
        destination: address that receives the results.
        run: name of this run.
        topics: outputs to write; all where empty.
        opening: further options of `open_source`.
        labels: also write training shards.
        part_seconds: length of the parts of long recordings; 0 never splits. Whole minutes.
        overlap: seconds of a part that lie in the one before.
    """

    config: Config
    weights: str
    destination: str
    run: str
    topics: tuple[str, ...] = ()
    opening: dict[str, Any] = field(default_factory=dict)
    labels: bool = False
    part_seconds: float = 1800.0
    overlap: float = 20.0

    def key(self, recording: Recording, content: str = '') -> str:
        """Key of a result: equal only if everything that it depends on is.

        Args:
            recording: its address, size and state count.
            content: digest of its bytes, which counts instead where given.
        """
        what = content or [recording.address, recording.size, recording.state]
        return hashlib.sha256(json.dumps([what, self._digest]).encode()).hexdigest()[:40]

    @cached_property
    def _digest(self) -> str:
        """Digest of all but the recording that a result depends on."""
        values = {name: self.config.value(name) for name in self.config.leaves()}
        for name in ELSEWHERE:
            values.pop(name)
        parts = [
            FORMAT,
            __version__,
            values,
            self.weights,
            sorted(self.topics),
            sorted(self.opening.items()),
            self.labels,
            [self.part_seconds, self.overlap],
        ]
        text = json.dumps(parts, sort_keys=True, default=str)
        return hashlib.sha256(text.encode()).hexdigest()

    def reduced(self, halvings: int) -> tuple[Config, str]:
        """Settings for less memory: windows, then the network's input, halved so many times.

        Returns:
            The settings, and what was changed in words; "" for nothing.
        """
        size, width = self.config.window.size, self.config.model.resolution
        changed: dict[str, int] = {}
        for _ in range(halvings):
            if size // 2 >= FEWEST_FRAMES:
                size //= 2
                changed['window.size'] = size
            elif width // 2 >= LEAST_WIDTH:
                width = width // 2 // 14 * 14
                changed['model.resolution'] = width
        said = ', '.join(f'{n} {self.config.value(n)} -> {v}' for n, v in changed.items())
        return self.config.with_values(changed), said


@dataclass(frozen=True, slots=True)
class Task:
    """Work for one worker: a recording, a part of it, or the stitching of its parts.

    Attributes:
        recording: the recording; key: of its result.
        part: index of the part; None for the whole.
        parts: number of parts; 0 as long as nobody has looked how long it is.
        tries: how often it has failed.
        halvings: how often for want of memory.
    """

    recording: Recording
    key: str
    part: int | None = None
    parts: int = 0
    tries: int = 0
    halvings: int = 0

    @property
    def stitches(self) -> bool:
        """True if all parts are there, and are to be put together."""
        return self.part is None and self.parts > 0

    @property
    def folder(self) -> str:
        """Name of the folder of the result."""
        whole = f'{self.recording.name}-{self.key[:10]}'
        return whole if self.part is None else f'{whole}-part{self.part:03d}'

    @property
    def manifest(self) -> str:
        """Name of the manifest: the key, and the part where there is one."""
        return self.key if self.part is None else f'{self.key}.{self.part:03d}'

    def again(self, failure: Failure) -> Task:
        """The same task for another try."""
        short = failure.kind == MEMORY
        return replace(self, tries=self.tries + 1, halvings=self.halvings + short)


@dataclass(frozen=True)
class Failure:
    """Reason why a try failed: its kind, one line, and the log of the worker."""

    kind: str
    reason: str
    log: str = ''


@dataclass(frozen=True)
class Outcome:
    """End of a try.

    Attributes:
        task: the task.
        failure: None if it went well.
        parts: number of parts that the recording is to be split into; 0 if it is done.
        video_seconds: length of what was estimated.
        reduced: settings that were halved, in words.
        worker: who did it.
    """

    task: Task
    failure: Failure | None = None
    parts: int = 0
    video_seconds: float = 0.0
    reduced: str = ''
    worker: str = ''
