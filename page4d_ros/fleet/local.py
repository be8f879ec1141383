"""Front end without Ray: one process beside this one, which may crash without harm."""

from __future__ import annotations

import contextlib
import faulthandler
import os
import signal
import sys
import tempfile
import threading
from multiprocessing import get_context
from multiprocessing.connection import wait
from pathlib import Path
from typing import TYPE_CHECKING

from page4d_ros.fleet.settings import CRASH, MEMORY, Failure, Outcome
from page4d_ros.process import prepare

if TYPE_CHECKING:
    from multiprocessing.connection import Connection

    from page4d_ros.fleet.settings import Job, Task

MOST_LOG = 20_000  # bytes of what a process said before it died
ENDING = 5.0  # seconds that a process has to end by itself


class LocalPool:
    """A `Pool` of one process, started anew when it dies.

    Args:
        job: settings of the run.
    """

    size = 1

    def __init__(self, job: Job) -> None:
        self._job = job
        self._context = get_context('spawn')  # a fork would share the state of torch and OpenCV
        self._said = Path(tempfile.mkstemp(prefix='page4d-', suffix='.log')[1])
        self._task: Task | None = None
        self._process = self._pipe = self._lifeline = None

    @property
    def free(self) -> int:
        """Tasks that can be submitted now."""
        return 0 if self._task else 1

    @property
    def busy(self) -> int:
        """Tasks that are being done."""
        return 1 if self._task else 0

    def submit(self, task: Task) -> None:
        """Begin a task."""
        if self._process is None:
            self._start()
        self._task = task
        with contextlib.suppress(BrokenPipeError):  # died meanwhile: `wait` says so
            self._pipe.send(task)

    def wait(self, seconds: float) -> list[Outcome]:
        """Outcomes that come within so many seconds."""
        if self._task is None:
            return []
        ready = wait([self._pipe, self._process.sentinel], seconds)
        if self._pipe in ready:
            with contextlib.suppress(EOFError, ConnectionResetError):
                outcome = self._pipe.recv()
                self._task = None
                return [outcome]
        if not ready:
            return []
        self._process.join()
        outcome, self._task = Outcome(self._task, self._crash(self._process.exitcode)), None
        self._forget()
        return [outcome]

    def _start(self) -> None:
        self._said.write_bytes(b'')
        self._pipe, theirs = self._context.Pipe()
        reader, self._lifeline = self._context.Pipe(duplex=False)
        arguments = self._job, theirs, reader, str(self._said)
        self._process = self._context.Process(target=_serve, args=arguments, daemon=True)
        self._process.start()
        theirs.close()
        reader.close()

    def _crash(self, code: int) -> Failure:
        log = self._said.read_bytes()[-MOST_LOG:].decode('utf-8', 'replace')
        if code == -signal.SIGKILL:
            reason = 'the worker was killed; most often for want of memory'
            return Failure(MEMORY, reason, log)
        named = signal.Signals(-code).name if code < 0 else f'exit code {code}'
        return Failure(CRASH, f'the interpreter of the worker died ({named})', log)

    def _forget(self) -> None:
        for end in (self._pipe, self._lifeline):
            if end is not None:
                end.close()
        self._process = self._pipe = self._lifeline = None

    def close(self) -> None:
        """End the process, whatever it does."""
        process = self._process
        self._forget()
        if process is not None:
            process.join(ENDING)
            process.kill()
            process.join()
        self._task = None
        self._said.unlink(missing_ok=True)


def _serve(job: Job, tasks: Connection, lifeline: Connection, said: str) -> None:
    """Loop of the process: tasks in, outcomes out, until the other end closes."""
    prepare()
    from page4d_ros.fleet.worker import Worker  # brings NumPy and torch

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the one who asks
    file = os.open(said, os.O_WRONLY | os.O_APPEND)
    os.dup2(file, sys.stderr.fileno())
    faulthandler.enable()
    threading.Thread(target=_end_with, args=(lifeline,), daemon=True).start()
    worker = Worker(job, 'local')
    with contextlib.suppress(EOFError, BrokenPipeError):
        while True:
            tasks.send(worker.do(tasks.recv()))


def _end_with(lifeline: Connection) -> None:
    """End this process with the one that holds the other end."""
    with contextlib.suppress(EOFError, OSError):
        lifeline.recv()
    os._exit(1)
