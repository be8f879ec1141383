"""Work spread over processes that never outlive the one that wants it."""

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

AHEAD = 4  # calls for each process that are done or ordered before their turn


def in_parallel(
    work: Callable[[Task], Result], tasks: Sequence[Task], processes: int
) -> Iterator[Result]:
    """Do every task in one of several processes.

    Args:
        work: function of a module.
        tasks: its arguments, one call each.
        processes: how many calls run side by side.

    Yields:
        Results in the order of the tasks. Closing the iterator ends the processes in the midst
        of their work, and so does any error, Ctrl-C, or the death of this process.

    Raises:
        SceneError: a process died; what `work` raises is raised as it is.
    """
    if not tasks:
        return
    context = get_context('spawn')  # a fork would share what OpenGL and OpenCV hold
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
    """Processes that start in here never see Ctrl-C: it is for the one that starts them."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _prepare(lifeline: Connection) -> None:
    os.environ.setdefault('LP_NUM_THREADS', '0')  # a core for each renderer, not all for each
    cv2.setNumThreads(1)
    threading.Thread(target=_follow, args=(lifeline,), daemon=True).start()


def _follow(lifeline: Connection) -> None:
    """End as soon as nobody holds the other end."""
    lifeline.poll(None)
    os._exit(1)
