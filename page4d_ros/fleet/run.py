"""Loop over a fleet: which tasks are open, who does them, and what becomes of failures."""

from __future__ import annotations

import contextlib
import random
import time
from collections import Counter, deque
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, NamedTuple, Protocol

from page4d_ros.fleet.recordings import MISSING, content, list_recordings
from page4d_ros.fleet.settings import MEMORY, Outcome, Task
from page4d_ros.fleet.store import MANIFESTS, PARTS, QUARANTINE, RUNS, Store

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from page4d_ros.fleet.settings import Failure, Job

BEAT = 5.0  # seconds between two notes of progress
PATIENCE = 0.5  # seconds that outcomes are waited for at a time


class Pool(Protocol):
    """Workers; each takes one task at a time.

    Attributes:
        size: number of workers.
        free: tasks that can be submitted now; busy: those that are being done.
    """

    size: int
    free: int
    busy: int

    def submit(self, task: Task) -> None:
        """Begin a task; only where there is a free worker."""

    def wait(self, seconds: float) -> list[Outcome]:
        """Outcomes that come within so many seconds; that of a worker that died, too."""

    def close(self) -> None:
        """End all workers, whatever they do."""


class Quarantined(NamedTuple):
    """A recording that is given up: its address, the kind of failure, and one line."""

    recording: str
    kind: str
    reason: str


@dataclass
class Progress:
    """State of a run, as others can read it.

    Attributes:
        run: its name; began: time; beat: time of this state.
        ended: True after the last task.
        recordings: number of those that were listed.
        before: how many of them were done before.
        done: done by this run; elsewhere: meanwhile by another run.
        size: bytes of all that this run has to do; size_done: of those that are done or given up.
        video_seconds: length of what was estimated.
        failures: tries that failed, by kind.
        quarantined: recordings that were given up.
        reduced: recordings whose settings were halved for want of memory.
        busy, workers: workers that have a task, and all.
    """

    run: str
    began: float = field(default_factory=time.time)
    beat: float = 0.0
    ended: bool = False
    recordings: int = 0
    before: int = 0
    done: int = 0
    elsewhere: int = 0
    size: int = 0
    size_done: int = 0
    video_seconds: float = 0.0
    failures: dict[str, int] = field(default_factory=dict)
    quarantined: int = 0
    reduced: int = 0
    busy: int = 0
    workers: int = 0

    @property
    def elapsed(self) -> float:
        """Seconds since the run began."""
        return max(1e-9, (self.beat or time.time()) - self.began)

    @property
    def hours(self) -> float:
        """Hours of video that were estimated."""
        return self.video_seconds / 3600

    @property
    def share(self) -> float:
        """Share of the work that is done, by bytes."""
        return self.size_done / self.size if self.size else 1.0

    @property
    def seconds_left(self) -> float | None:
        """Seconds that the rest will take, if it goes on like this; None where unknown."""
        return self.elapsed * (1 / self.share - 1) if self.share else None


@dataclass
class Found:
    """Result of a listing: what is open, and what was done or given up before."""

    tasks: list[Task] = field(default_factory=list)
    recordings: int = 0
    before: int = 0
    given_up: list[str] = field(default_factory=list)  # keys


def find_tasks(
    sources: Iterable[str], job: Job, store: Store, *, verify: bool = False, retry: bool = False
) -> Found:
    """List recordings, and see which results are missing.

    Args:
        sources: see `list_recordings`; what lies in the destination is left out.
        job: settings that results depend on.
        store: destination.
        verify: recordings are told apart by their bytes, not by size and time.
        retry: try again what was given up.

    Raises:
        FleetError: a source is not there.
        OSError: sources or destination cannot be read.
    """
    done, given_up = store.keys(MANIFESTS), store.keys(QUARANTINE)
    found, known = Found(), set()
    for recording in list_recordings(sources, without=store.place.address):
        there = verify and recording.state != MISSING
        key = job.key(recording, content(recording.address) if there else '')
        if key in known:
            continue
        known.add(key)
        found.recordings += 1
        if key in done:
            found.before += 1
        elif key in given_up and not retry:
            found.given_up.append(key)
        else:
            found.tasks.append(Task(recording, key))
    return found


class Run:
    """A run over the open tasks of a fleet.

    Args:
        job: settings.
        store: destination.
        pool: workers.
        found: open tasks; its list is emptied.
        tries: how often a recording may fail.
        seen: called with the progress, often.
        said: takes a line about each failure.
    """

    def __init__(
        self,
        job: Job,
        store: Store,
        pool: Pool,
        found: Found,
        *,
        tries: int = 3,
        seen: Callable[[Progress], None] = lambda _progress: None,
        said: Callable[[str], None] = lambda _text: None,
    ) -> None:
        self._job, self._store, self._pool = job, store, pool
        self._tries, self._seen, self._said = tries, seen, said
        # two runs at one time seldom take the same recording in the same moment
        random.Random(job.run).shuffle(found.tasks)  # noqa: S311
        self._queue = deque(found.tasks)
        self._missing: dict[str, set[int]] = {}  # parts, by the key of the recording
        self._failures: Counter[str] = Counter()
        self._written = 0.0  # time of the last note of progress
        size = sum(task.recording.size for task in found.tasks)
        found.tasks.clear()
        self.progress = Progress(
            job.run, recordings=found.recordings, before=found.before, size=size, workers=pool.size
        )
        self.progress.quarantined = len(found.given_up)
        self.given_up: list[str] = found.given_up

    def all(self, stopped: Callable[[], bool] = lambda: False) -> bool:
        """Do all tasks, or until `stopped`; True if none is left."""
        whole = False
        try:
            while (self._queue or self._pool.busy) and not stopped():
                self._feed()
                for outcome in self._pool.wait(PATIENCE):
                    self._take(outcome)
                self._beat()
            whole = not self._queue and not self._pool.busy
        finally:
            self._pool.close()
            self._store.tidy(self._job.run)
            self.progress.ended = True
            self._beat(now=True)
        return whole

    def _feed(self) -> None:
        while self._queue and self._pool.free:
            task = self._queue.popleft()
            if self._store.has(task.key):
                self._done_elsewhere(task)
            else:
                self._pool.submit(task)

    def _done_elsewhere(self, task: Task) -> None:
        """Drop a task, and the others of its recording: another run was first."""
        self._queue = deque(other for other in self._queue if other.key != task.key)
        self._missing.pop(task.key, None)
        self.progress.elsewhere += 1
        self.progress.size_done += task.recording.size

    def _take(self, outcome: Outcome) -> None:
        task, progress = outcome.task, self.progress
        progress.video_seconds += outcome.video_seconds
        if outcome.failure is not None:
            self._failed(task, outcome.failure)
        elif outcome.parts:
            self._split(task, outcome.parts)
        elif task.part is not None:
            self._part_done(task)
        else:
            progress.done += 1
            progress.size_done += task.recording.size
            progress.reduced += bool(outcome.reduced)
            self._store.remove(QUARANTINE, task.key)
        if outcome.reduced and task.part is None:
            self._said(f'{task.recording.address}: {outcome.reduced}, for want of memory')

    def _split(self, task: Task, parts: int) -> None:
        """Queue the parts of a recording that are not there yet; first, as they take longest."""
        there = self._store.keys(PARTS)
        new = [replace(task, part=index, parts=parts, tries=0) for index in range(parts)]
        new = [part for part in new if part.manifest not in there]
        self._missing[task.key] = {part.part for part in new}
        self._queue.extendleft(reversed(new))
        if not new:
            self._queue.appendleft(replace(task, parts=parts, tries=0))

    def _part_done(self, task: Task) -> None:
        missing = self._missing.get(task.key, set())
        missing.discard(task.part)
        if not missing and self._missing.pop(task.key, None) is not None:
            self._queue.appendleft(replace(task, part=None, tries=0))

    def _failed(self, task: Task, failure: Failure) -> None:
        """Queue a task for another try, behind all others, or give its recording up."""
        self._failures[failure.kind] += 1
        again = task.again(failure)
        left = self._tries - again.tries
        what = task.recording.address
        what += f', part {task.part}' if task.part is not None else ''
        halved = self._job.reduced(again.halvings)[1] if failure.kind == MEMORY and left else ''
        rest = f'; {left} tries left' if left > 0 else '; given up'
        self._said(f'{what}: {failure.reason}{rest}{f", with {halved}" if halved else ""}')
        if left > 0:
            self._queue.append(again)
            return
        self._queue = deque(other for other in self._queue if other.key != task.key)
        self._missing.pop(task.key, None)
        self._give_up(again, failure)

    def _give_up(self, task: Task, failure: Failure) -> None:
        if task.key in self.given_up:  # by another part that was under way
            return
        facts = {
            'recording': task.recording.address,
            'key': task.key,
            'run': self._job.run,
            'time': time.time(),
            'tries': task.tries,
            **asdict(failure),
        }
        self._store.write_json(QUARANTINE, task.key, facts)
        self.given_up.append(task.key)
        self.progress.quarantined += 1
        self.progress.size_done += task.recording.size

    def _beat(self, *, now: bool = False) -> None:
        progress = self.progress
        progress.beat, progress.busy = time.time(), self._pool.busy
        progress.failures = dict(self._failures)
        self._seen(progress)
        if now or progress.beat - self._written > BEAT:
            self._written = progress.beat
            with contextlib.suppress(OSError):  # the next one will do
                self._store.write_json(RUNS, progress.run, asdict(progress))


def quarantined(store: Store, keys: Iterable[str]) -> list[Quarantined]:
    """Facts of recordings that were given up."""
    out = []
    for key in keys:
        with contextlib.suppress(FileNotFoundError):
            facts = store.read(QUARANTINE, key)
            out.append(Quarantined(facts['recording'], facts['kind'], facts['reason']))
    return sorted(out)
