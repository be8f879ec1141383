"""Base class of sinks that turn estimates into messages."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any

from page4d_ros.messages.outputs import Outputs
from page4d_ros.messages.status import status
from page4d_ros.messages.topics import STATUS_TOPIC

if TYPE_CHECKING:
    import threading

    from numpy.typing import NDArray

    from page4d_ros.config import Config
    from page4d_ros.errors import FrameError
    from page4d_ros.messages.factory import MessageFactory
    from page4d_ros.perception.base_frame import BaseFrame
    from page4d_ros.perception.intake import Restart
    from page4d_ros.perception.pipeline import Perception
    from page4d_ros.perception.runner import Counts
    from page4d_ros.perception.types import Estimate


class MessageSink(ABC):
    """`Sink` of a `FrameRunner` whose subclasses send messages.

    Args:
        config: all settings.
        make: factory of the message classes.
        base_frame: the runner's.
        perception: its engine is named in the status, its rig places the cameras.
    """

    def __init__(
        self, config: Config, make: MessageFactory, base_frame: BaseFrame, perception: Perception
    ) -> None:
        self.config = config
        self.make = make
        self.base_frame = base_frame
        self.engine = perception.engine
        self.outputs = Outputs(config, make, base_frame, perception.rig)

    @abstractmethod
    def wanted(self, name: str) -> bool:
        """True if the output should be computed."""

    @abstractmethod
    def send(self, name: str, stamp_ns: int, message: Any) -> None:
        """Send one message; that of ``/tf`` is a TransformStamped."""

    def age(self, stamp_ns: int) -> float:  # noqa: ARG002
        """Age of a stamp in seconds; 0 offline."""
        return 0.0

    def begin(self, restart: Restart, config: Config) -> None:
        """Pass restart and settings on to the outputs."""
        self.config = self.outputs.config = config
        self.outputs.restart(restart)

    def find_mount(self, frame_id: str, stopping: threading.Event) -> NDArray | None:  # noqa: ARG002
        """Return None: the mount, if known, was given to `FrameRunner.mount` at the start."""
        return None

    def publish(self, estimate: Estimate) -> None:
        """Send every wanted message of an estimate, pose first."""
        for name, message in self.outputs.messages(estimate, self.wanted):
            self.send(name, estimate.frame.stamp_ns, message)
        self.outputs.gather(estimate)

    def report(self, estimate: Estimate, counts: Counts) -> None:
        """Send the status of an estimate."""
        stamp_ns = estimate.frame.stamp_ns
        message = status(
            self.make,
            estimate,
            self.config,
            self.engine,
            self.base_frame,
            counts,
            frame_age=self.age(stamp_ns),
        )
        self.send(STATUS_TOPIC, stamp_ns, message)

    @abstractmethod
    def refused(self, error: FrameError, counts: Counts) -> None:
        """Report a frame that cannot be read."""
