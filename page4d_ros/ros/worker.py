"""Thread that runs the host loop while the node is active."""

from __future__ import annotations

import threading
import traceback
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from page4d_ros.perception.runner import FrameRunner

IDLE = 0.2


class Worker:
    """Steps a `FrameRunner` in a thread; a failure costs one frame and a new window.

    Args:
        runner: is stepped by this thread only.
        failed: called in this thread with an error that is not the frame's fault.
    """

    def __init__(self, runner: FrameRunner, failed: Callable[[BaseException, str], None]) -> None:
        self._runner = runner
        self._failed = failed
        self._thread = threading.Thread(target=self._run, name='page4d-worker', daemon=True)
        self._ending = threading.Lock()
        self._ended = False
        self._at_end: Callable[[], None] | None = None

    def start(self) -> None:
        """Begin."""
        self._runner.stopping.clear()
        self._thread.start()

    def stop(self, timeout: float) -> bool:
        """Ask the thread to end and wait; False if a forward pass is still running."""
        self._runner.stop()
        if self._thread.is_alive():
            self._thread.join(timeout)
        return not self._thread.is_alive()

    def at_end(self, call: Callable[[], None]) -> None:
        """Call a function once the thread has ended, at once if it has."""
        with self._ending:
            if not self._ended:
                self._at_end = call
                return
        call()

    def _run(self) -> None:
        while not self._runner.stopping.is_set():
            self._step()
        with self._ending:
            self._ended = True
        if self._at_end is not None:
            self._at_end()

    def _step(self) -> None:
        try:
            self._runner.step(IDLE)
        except BaseException as error:  # signals reach the main thread only
            self._survive(error)

    def _survive(self, error: BaseException) -> None:
        tell = (lambda _: None) if self._runner.stopping.is_set() else self._tell
        tell(error)
        try:
            self._runner.recover()
        except BaseException as another:  # a device that is gone cannot be cleared either
            tell(another)
        self._runner.stopping.wait(IDLE)

    def _tell(self, error: BaseException) -> None:
        try:
            self._failed(error, traceback.format_exc())
        except BaseException:  # a log that fails must not end the thread
            traceback.print_exc()
