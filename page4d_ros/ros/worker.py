"""The thread that turns the newest frame into published messages."""

from __future__ import annotations

import threading
import time
import traceback
from typing import TYPE_CHECKING, Protocol

from page4d_ros.errors import FrameError
from page4d_ros.perception.intake import Restart

if TYPE_CHECKING:
    from page4d_ros.perception.intake import Intake, Taken
    from page4d_ros.perception.pipeline import Perception
    from page4d_ros.perception.types import Estimate

IDLE = 0.2


class Listener(Protocol):
    """Whom the worker tells; all methods are called in its thread."""

    publishing: threading.Lock  # held while an estimate that still counts is published

    def alive(self) -> bool:
        """Whether there still is anybody to publish to."""

    def before(self, taken: Taken) -> None:
        """Take note of what comes next."""

    def ready(self, estimate: Estimate) -> None:
        """Prepare for publishing; may wait."""

    def publish(self, estimate: Estimate) -> None:
        """Publish; called with `publishing` held."""

    def failed(self, text: str, trace: str = '') -> None:
        """Report a frame that gave no estimate."""


class Worker:
    """Takes the newest frame, runs the perception, and publishes if the result still counts.

    Args:
        intake: where frames come from.
        perception: used by this thread only.
        listener: is told.
    """

    def __init__(self, intake: Intake, perception: Perception, listener: Listener) -> None:
        self._intake = intake
        self._perception = perception
        self._listener = listener
        self.stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name='page4d-worker', daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self, timeout: float) -> bool:
        """Ask the thread to end and wait; False if a forward pass is still running."""
        self.stopping.set()
        self._intake.wake()
        if self._thread.is_alive():
            self._thread.join(timeout)
        return not self._thread.is_alive()

    def _run(self) -> None:
        while not self.stopping.is_set():
            taken = self._intake.take(IDLE)
            if taken is not None:
                self._handle(taken)

    def _handle(self, taken: Taken) -> None:
        """Process one frame; whatever goes wrong with it, the next one gets its chance."""
        try:
            self._perception.restart(taken.restart)
            self._listener.before(taken)
            estimate = self._perception.process(taken.frames)
            self._listener.ready(estimate)
            with self._listener.publishing:
                if self.stopping.is_set() or taken.generation != self._intake.generation:
                    self._intake.drop('void')
                else:
                    self._listener.publish(estimate)
        except FrameError as error:
            self._intake.drop('malformed')
            self._listener.failed(str(error))
        except Exception as error:
            if self.stopping.is_set() or not self._listener.alive():
                return
            self._intake.drop('failed')
            self._perception.restart(Restart.WINDOW)
            self._listener.failed(f'{type(error).__name__}: {error}', traceback.format_exc())
            time.sleep(IDLE)
