"""Worker of a fleet: takes tasks, one by one, and keeps the network between them."""

from __future__ import annotations

import os
import platform
import socket
import time
import traceback
from dataclasses import asdict, fields
from typing import TYPE_CHECKING, Any

from page4d_ros import __version__
from page4d_ros.errors import BagError, DeviceMemoryError, FleetError, Page4dError, printable
from page4d_ros.fleet.annotate import Annotation, TooLongError, annotate
from page4d_ros.fleet.places import local_copy
from page4d_ros.fleet.settings import BROKEN, ERROR, MEMORY, TRANSFER, Failure, Outcome
from page4d_ros.fleet.stitch import stitch
from page4d_ros.fleet.store import PARTS, Store
from page4d_ros.perception import build

if TYPE_CHECKING:
    from page4d_ros.config import Config
    from page4d_ros.fleet.settings import Job, Task
    from page4d_ros.perception.pipeline import Perception

MOST_LOG = 20_000  # characters that a failure keeps


class Worker:
    """Annotates recordings one after the other; a failure is an outcome, not an exception.

    Args:
        job: settings of the run.
        name: of the worker, for the outcomes.
    """

    def __init__(self, job: Job, name: str = '') -> None:
        self.job = job
        self.name = f'{name} on {socket.gethostname()}, process {os.getpid()}'.strip()
        self._store = Store(job.destination)
        self._kept: tuple[Config, Perception] | None = None
        self._log: list[str] = []
        self._copy = ''  # path of the recording on this machine, for messages

    def prepare(self) -> None:
        """Load the network, so that the first task does not wait for it."""
        self._perception(self.job.config)

    def do(self, task: Task) -> Outcome:
        """Do a task, and publish its result."""
        self._log, self._copy = [], task.recording.address
        try:
            return self._stitched(task) if task.stitches else self._annotated(task)
        except TooLongError as found:
            return Outcome(task, parts=found.parts, worker=self.name)
        except Exception as error:  # of any library, on a recording that nobody has seen
            self._log.append(traceback.format_exc())
            log = '\n'.join(self._log)[-MOST_LOG:]
            address = task.recording.address
            reason = printable(_reason(error)).replace(self._copy, address)
            failure = Failure(_kind(error), reason.removeprefix(f'{address}: '), log)
            return Outcome(task, failure, worker=self.name)

    def _annotated(self, task: Task) -> Outcome:
        config, reduced = self.job.reduced(task.halvings)
        start = time.time()
        with (
            local_copy(task.recording.address) as path,
            self._store.scratch(self.job.run) as scratch,
        ):
            self._copy, output = str(path), scratch / task.folder
            found = annotate(
                path,
                output,
                self.job,
                config=config,
                perception=self._perception(config),
                part=task.part,
                parts=task.parts,
                warn=self._log.append,
            )
            facts = self._facts(task, found, reduced, time.time() - start)
            self._store.publish(output, task.manifest, facts, part=task.part is not None)
        return Outcome(task, None, 0, found.figures['seconds'], reduced, self.name)

    def _stitched(self, task: Task) -> Outcome:
        start = time.time()
        known = [self._store.read(PARTS, f'{task.key}.{index:03d}') for index in range(task.parts)]
        with self._store.scratch(self.job.run) as scratch:
            folders = [scratch / f'{index:03d}' for index in range(task.parts)]
            for folder, part in zip(folders, known, strict=True):
                self._store.fetch(part['output'], folder)
            output = scratch / task.folder
            found = stitch(folders, [_annotation(part) for part in known], output)
            reduced = '; '.join(
                dict.fromkeys(part['reduced'] for part in known if part['reduced'])
            )
            work = sum(part['work_seconds'] for part in known) + time.time() - start
            facts = self._facts(task, found, reduced, work)
            self._store.publish(output, task.manifest, facts)
        self._store.drop_parts(task.key, task.parts)
        return Outcome(task, reduced=reduced, worker=self.name)

    def _perception(self, config: Config) -> Perception:
        """Perception without memory; the network is loaded anew only for other settings."""
        if self._kept is not None and self._kept[0] == config:
            return build.renewed(self._kept[1])
        if self._kept is not None:
            self._kept[1].engine.free()
            self._kept = None
        self._kept = config, build.build_perception(config, wait=True, say=self._log.append)
        return self._kept[1]

    def _facts(
        self, task: Task, found: Annotation, reduced: str, seconds: float
    ) -> dict[str, Any]:
        """Content of a manifest."""
        return {
            'recording': task.recording.address,
            'size': task.recording.size,
            'finished': time.time(),
            'work_seconds': seconds,
            'run': self.job.run,
            'worker': self.name,
            'version': __version__,
            'python': platform.python_version(),
            'parts': task.parts,
            'tries': task.tries + 1,
            'reduced': reduced,
            **asdict(found),
        }


def _annotation(manifest: dict[str, Any]) -> Annotation:
    return Annotation(**{item.name: manifest[item.name] for item in fields(Annotation)})


def _kind(error: Exception) -> str:
    if isinstance(error, DeviceMemoryError | MemoryError):
        return MEMORY
    if isinstance(error, BagError):
        return BROKEN
    if isinstance(error, FleetError | OSError):
        return TRANSFER
    return ERROR


def _reason(error: Exception) -> str:
    if isinstance(error, Page4dError):
        return str(error)
    return f'{type(error).__name__}: {" ".join(str(error).split())[:500]}'
