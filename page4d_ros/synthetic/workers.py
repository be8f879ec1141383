"""Parallel work in processes that end with their parent."""

from __future__ import annotations

import os
import signal
import threading
from collections import deque
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing import get_context
from typing import TYPE_CHECKING, TypeVar

import cv2

from page4d_ros.errors import SceneError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from multiprocessing.connection import Connection

Task = TypeVar('Task')
Result = TypeVar('Result')

AHEAD = 4  # calls per process that are submitted ahead of the result in turn


def in_parallel(
    work: Callable[[Task], Result], tasks: Sequence[Task], processes: int
) -> Iterator[Result]:
    """Call a function for every task in one of several processes.

    Args:
        work: function at module level.
        tasks: arguments, one per call.
        processes: number of parallel calls.

    Yields:
        Results in the order of the tasks. Closing the iterator terminates the processes, and so
        does any error, Ctrl-C, or the end of this process.

    Raises:
        SceneError: a process died. Exceptions of `work` are raised unchanged.
    """
    if not tasks:
        return
    context = get_context('spawn')  # a fork would share resources of OpenGL and OpenCV
    lifeline, held = context.Pipe(duplex=False)
    pool = ProcessPoolExecutor(min(processes, len(tasks)), context, _prepare, (lifeline,))
    try:
        waiting = deque()
        for task in tasks:
            with _interrupts_blocked():
                waiting.append(pool.submit(work, task))
            if len(waiting) > AHEAD * processes:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
        pool.shutdown()
    except BrokenProcessPool as error:
        raise SceneError(
            'a process that renders died, perhaps for want of memory; run it again, with fewer '
            'processes, to go on'
        ) from error
    finally:
        held.close()
        pool.shutdown(cancel_futures=True)
        lifeline.close()


@contextmanager
def _interrupts_blocked() -> Iterator[None]:
    """Context in which started processes inherit a blocked Ctrl-C; the parent handles it."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _prepare(lifeline: Connection) -> None:
    os.environ.setdefault('LP_NUM_THREADS', '0')  # one core per renderer
    cv2.setNumThreads(1)
    threading.Thread(target=_follow, args=(lifeline,), daemon=True).start()


def _follow(lifeline: Connection) -> None:
    """End this process as soon as the parent closes or loses its end of the pipe."""
    lifeline.poll(None)
    os._exit(1)
