"""Host loop: frames in, estimates to a sink; the same for node, replay and benchmark."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, NamedTuple, Protocol

from page4d_ros.errors import FrameError
from page4d_ros.perception.intake import Intake, Restart

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from page4d_ros.config import Config
    from page4d_ros.perception.base_frame import BaseFrame
    from page4d_ros.perception.intake import Taken
    from page4d_ros.perception.pipeline import Perception
    from page4d_ros.perception.types import Estimate, FrameSet


class Counts(NamedTuple):
    """Counters since the start.

    Attributes:
        received: frames that came.
        processed: frames whose estimate was published.
        dropped: frames that never will be, for whatever reason.
    """

    received: int
    processed: int
    dropped: int


class Sink(Protocol):
    """Receiver of estimates, called by the thread that runs the loop."""

    def begin(self, restart: Restart, config: Config) -> None:
        """Prepare for the next frame: what is forgotten before it, and the present settings."""

    def find_mount(self, frame_id: str, stopping: threading.Event) -> NDArray | None:
        """T_base_camera (4, 4) of an optical frame, or None while it is unknown.

        Called after each estimate until it is known. May wait, until `stopping` is set.
        """

    def publish(self, estimate: Estimate) -> None:
        """Publish an estimate."""

    def report(self, estimate: Estimate, counts: Counts) -> None:
        """Publish the status that follows an estimate; its ``seconds`` are complete now."""

    def refused(self, error: FrameError, counts: Counts) -> None:
        """Report a frame that cannot be read; also called by the thread that offers frames."""


class FrameRunner:
    """Drives intake, perception, base frame, sink and counters.

    `offer`, `refuse`, `reset`, `place`, `configure` and `stop` may be called by any thread, and so
    may `feed_depth` and `feed_position` of the perception's scale; all else belongs to the thread
    of `step`.

    Args:
        config: all settings; the perception's.
        perception: estimates frames.
        base_frame: moves with each published estimate.
        sink: receives estimates.
        process: estimates a taken frame, or returns None to hold it back for a later `deliver`;
            the perception's where not given.

    Attributes:
        intake: holds the newest frame.
        processed: estimates published.
        publishing: lock held while an estimate is published, so that a reset or a pause that
            takes it is followed by no older estimate.
        stopping: set once the host ends; results are void from then on.
    """

    def __init__(
        self,
        config: Config,
        perception: Perception,
        base_frame: BaseFrame,
        sink: Sink,
        process: Callable[[Taken], Estimate | None] | None = None,
    ) -> None:
        self.config = self._configured = config
        self.perception = perception
        self.base_frame = base_frame
        perception.scale.up = base_frame.up
        self.sink = sink
        self.intake = Intake(config)
        self.processed = 0
        self._frame_id: str | None = None  # whose mount is used
        self._placed: NDArray | None = None  # since the last frame was taken
        self.publishing = threading.Lock()
        self.stopping = threading.Event()
        self._due = Restart.NONE  # of a restart that failed on the way
        self._process = process or (lambda taken: perception.process(taken.frames))

    @property
    def counts(self) -> Counts:
        """Present counters."""
        dropped = dict(self.intake.dropped)  # a copy: other threads count
        return Counts(self.intake.received, self.processed, sum(dropped.values()))

    def configure(self, config: Config) -> None:
        """Use changed settings from the next frame on."""
        self.config = self.intake.config = config

    def mount(self, T_base_camera: NDArray, T_world_camera: NDArray | None = None) -> None:
        """Set the camera's pose on the base, see `BaseFrame.mount`."""
        self.base_frame.mount(T_base_camera, T_world_camera)
        self.perception.scale.up = self.base_frame.up

    def reset(self) -> None:
        """Begin again at identity; nothing taken before is published after this."""
        with self.publishing:
            self._placed = None
            self.intake.restart(Restart.POSE)

    def place(self, T_odom_child: NDArray) -> None:
        """Let the child frame be at (4, 4) now; the caller holds `publishing`.

        Also after a `reset` that no frame has followed yet.
        """
        self.base_frame.place(T_odom_child)
        self._placed = T_odom_child

    def offer(self, frames: FrameSet) -> str | None:
        """Offer a frame set; returns the reason if it is refused, see `Intake.offer`."""
        return self.intake.offer(frames)

    def refuse(self, error: FrameError) -> None:
        """Count a frame that came and cannot be read."""
        self.intake.refuse('malformed')
        self.sink.refused(error, self.counts)

    def step(self, timeout: float = 0.0) -> bool:
        """Process the newest frame; False if none came within `timeout` seconds.

        Raises:
            Exception: whatever perception or sink raise, other than `FrameError`; call `recover`
                before the next step.
        """
        taken = self.intake.take(timeout)
        if taken is None:
            return False
        self._begin(taken.restart)
        try:
            estimate = self._process(taken)
        except FrameError as error:
            self.intake.drop('malformed')
            self.sink.refused(error, self.counts)
        else:
            if estimate is not None:
                self.deliver(estimate, taken.generation)
        return True

    def _begin(self, restart: Restart) -> None:
        """Forget what a restart says, and take over changed settings."""
        config = self.config
        restart = self._due = max(restart, self._due)
        self.perception.restart(restart)
        if config is not self._configured:
            self.perception.configure(config)
            self._configured = config
        with self.publishing:
            placed, self._placed = self._placed, None
            if restart is Restart.POSE:
                self.base_frame.restart()
                if placed is not None:
                    self.base_frame.place(placed)
            self.sink.begin(restart, config)
        self._due = Restart.NONE

    def deliver(self, estimate: Estimate, generation: int | None = None) -> None:
        """Publish an estimate, unless its generation has passed: a void result is only counted."""
        lost, T_world_camera = estimate.odometry.lost, estimate.odometry.T_world_camera
        if not lost:
            self._find_mount(estimate.pose_frame, T_world_camera)
        with self.publishing:
            if self.stopping.is_set() or generation not in {None, self.intake.generation}:
                self.intake.drop('void')
                return
            start = time.perf_counter()
            if not lost:
                self.base_frame.advance(T_world_camera)
            self.sink.publish(estimate)
            estimate.seconds['publish'] = time.perf_counter() - start
            self.processed += 1
            self.sink.report(estimate, self.counts)

    def _find_mount(self, frame_id: str, T_world_camera: NDArray) -> None:
        """Look for the mount of an optical frame until it is known; another frame has another."""
        if self._frame_id not in {None, frame_id}:
            self.base_frame.forget_mount(T_world_camera)
        self._frame_id = frame_id
        if not self.base_frame.mounted:
            T_base_camera = self.sink.find_mount(frame_id, self.stopping)
            if T_base_camera is not None:
                self.mount(T_base_camera, T_world_camera)

    def recover(self) -> None:
        """Count a frame that failed in `step`, and begin a new window."""
        self.intake.drop('failed')
        self.perception.restart(Restart.WINDOW)

    def stop(self) -> None:
        """Let a waiting `step` return; results are void until `stopping` is cleared."""
        self.stopping.set()
        self.intake.wake()
