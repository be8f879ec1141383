"""The thread that turns the newest frame into published messages."""

from __future__ import annotations

import threading
import time
import traceback
from typing import TYPE_CHECKING

from page4d_ros.errors import FrameError
from page4d_ros.perception.intake import Restart

if TYPE_CHECKING:
    from collections.abc import Callable

    from page4d_ros.perception.intake import Intake, Taken
    from page4d_ros.perception.pipeline import Perception
    from page4d_ros.perception.types import Estimate

IDLE = 0.2


class Worker:
    """Takes the newest frame, runs the perception, and publishes if the result still counts.

    Args:
        intake: where frames come from.
        perception: used by this thread only.
        before: called with what was taken, before it is processed.
        publish: called with each estimate that still counts.
        report: called with (text, exception trace or ''), when a frame fails.
    """

    def __init__(
        self,
        intake: Intake,
        perception: Perception,
        before: Callable[[Taken], None],
        publish: Callable[[Estimate], None],
        report: Callable[[str, str], None],
    ) -> None:
        self._intake = intake
        self._perception = perception
        self._before = before
        self._publish = publish
        self._report = report
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
            self._before(taken)
            estimate = self._perception.process(taken.frame)
            if estimate is None:
                self._intake.drop('still')
            elif self.stopping.is_set() or taken.generation != self._intake.generation:
                self._intake.drop('void')
            else:
                self._publish(estimate)
        except FrameError as error:
            self._intake.drop('malformed')
            self._report(str(error), '')
        except Exception as error:
            if self.stopping.is_set():
                return
            self._intake.drop('failed')
            self._perception.restart(Restart.WINDOW)
            self._report(f'{type(error).__name__}: {error}', traceback.format_exc())
            time.sleep(IDLE)
