"""`MessageSink` that publishes on the ROS graph and looks up the camera's pose on the base."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from rclpy.qos import QoSProfile
from rclpy.qos_overriding_options import QoSOverridingOptions

from page4d_ros.messages.sink import MessageSink
from page4d_ros.messages.status import LOST, idle_status
from page4d_ros.messages.topics import ON_REQUEST, OPTIONAL, OUTPUTS, STATUS_TOPIC, outputs
from page4d_ros.perception.base_frame import BaseFrame
from page4d_ros.perception.intake import Restart
from page4d_ros.ros.compat import THROTTLE, message_class, optional
from page4d_ros.ros.diagnostics import Health
from page4d_ros.ros.pulse import Pulse
from page4d_ros.ros.qos import publisher_events
from page4d_ros.ros.wire import WireMessages

if TYPE_CHECKING:
    import threading

    from numpy.typing import NDArray
    from rclpy.lifecycle import LifecycleNode

    from page4d_ros.config import Config
    from page4d_ros.errors import FrameError
    from page4d_ros.perception.pipeline import Perception
    from page4d_ros.perception.runner import Counts
    from page4d_ros.perception.types import Estimate
    from page4d_ros.ros.compat import TransformBroadcaster, TransformListener
    from page4d_ros.ros.mounting import MountBroadcaster

POLL = 0.02


class NodeSink(MessageSink):
    """Publishes the messages of estimates.

    Args:
        node: publishes.
        config: all settings.
        perception: its engine is named in the status, its rig places the cameras.
        broadcaster: sends to /tf.

    Attributes:
        health: times of images and estimates, for diagnostics.
        listener: reads tf; None while inactive, or without a base frame.
        mount: sends the camera's place on the base where tf has none; None where not asked.
        last_status: status of the newest estimate; None before the first.
    """

    def __init__(
        self,
        node: LifecycleNode,
        config: Config,
        perception: Perception,
        broadcaster: TransformBroadcaster,
    ) -> None:
        super().__init__(config, WireMessages(), BaseFrame(config.frames), perception)
        self.health = Health()
        self.listener: TransformListener | None = None
        self.mount: MountBroadcaster | None = None
        self.last_status: Any = None
        self._node = node
        self._tf = broadcaster
        self._assumed = False
        self._pulse = Pulse()  # beats with each estimate
        installed = [t for t in OPTIONAL if optional(t.type.partition('/')[0])]
        every = (*OUTPUTS, *ON_REQUEST, *installed)
        topics = outputs(config.cameras, every, base=bool(config.frames.base))
        self.publishers = {topic.name: self._publisher(topic) for topic in topics}
        self._gated = {topic.name for topic in topics if topic.gated}

    def _publisher(self, topic: Any) -> Any:
        return self._node.create_lifecycle_publisher(
            message_class(topic.type),
            topic.name,
            QoSProfile(depth=topic.depth),
            qos_overriding_options=QoSOverridingOptions.with_default_policies(),
            event_callbacks=publisher_events(self._node, topic.name),
        )

    def destroy(self) -> None:
        """Give the publishers back."""
        for publisher in self.publishers.values():
            self._node.destroy_lifecycle_publisher(publisher)
        self.publishers.clear()

    # -- called by the runner ----------------------------------------------------------------

    def wanted(self, name: str) -> bool:
        """True if the output is published: always, or only while subscribed, as configured."""
        if name not in self.publishers:
            return False
        if name in self._gated and self.config.publish.only_if_subscribed:
            return self.publishers[name].get_subscription_count() > 0
        return True

    def publish(self, estimate: Estimate) -> None:
        """Publish an estimate; the rest of it is dropped if the process is stopped meanwhile."""
        self._pulse.beat()
        super().publish(estimate)

    def send(self, name: str, _stamp_ns: int, message: Any) -> None:
        """Publish a message, or broadcast a transform."""
        if name == STATUS_TOPIC:
            self.last_status = message
        if self._pulse.silence:
            return
        if name == '/tf':
            self._tf.send(message)
            return
        self.publishers[name].publish(message)

    def age(self, stamp_ns: int) -> float:
        """Seconds since a stamp, by the node's clock."""
        return (self._node.get_clock().now().nanoseconds - stamp_ns) * 1e-9

    def begin(self, restart: Restart, config: Config) -> None:
        """Pass restart and settings on, and log a restart."""
        super().begin(restart, config)
        if restart is not Restart.NONE and self.last_status is not None:
            self._node.get_logger().info('the window starts again')

    def find_mount(self, frame_id: str, stopping: threading.Event) -> NDArray | None:
        """Look tf up; before the first pose wait for it, ``frames.tf_timeout`` at most.

        While the node itself sends the mount, tf has no other.
        """
        listener, mount = self.listener, self.mount
        if listener is None or (mount is not None and mount.sends and not mount.contested):
            return None  # no longer active; nobody else says
        T_base_camera = self._await_mount(listener, frame_id, stopping)
        if stopping.is_set():
            return None
        if T_base_camera is not None and self._assumed:
            base = self.config.frames.base
            self._node.get_logger().info(f'now tf has {base!r} to {frame_id!r}: using it')
        if T_base_camera is None and (mount is None or not mount.contested):
            self._assume(mount, frame_id)
        return T_base_camera

    def _await_mount(
        self, listener: TransformListener, frame_id: str, stopping: threading.Event
    ) -> NDArray | None:
        """Return what tf says now; wait for it if nothing else is known."""
        frames = self.config.frames
        until = self.health.first_image + (0.0 if frames.mount else frames.tf_timeout)
        T_base_camera = listener.lookup(frames.base, frame_id)
        while T_base_camera is None and time.monotonic() < until and not stopping.wait(POLL):
            T_base_camera = listener.lookup(frames.base, frame_id)
        return T_base_camera

    def _assume(self, mount: MountBroadcaster | None, frame_id: str) -> None:
        """Send the assumed mount, and say so once."""
        frames, sent = self.config.frames, ''
        if mount is not None:
            sent = mount.send(frames.base, frame_id, self.base_frame.T_child_camera)
        if self._assumed:
            return
        self._assumed = True
        how = f'sent as {frames.base!r} to {sent!r} on /tf_static' if sent else 'not sent on tf'
        if frames.mount:
            self._node.get_logger().info(f'the camera sits as frames.mount says: {how}')
            return
        self._node.get_logger().warning(
            f'no transform from {frames.base!r} to {frame_id!r} on tf: assuming that the camera '
            f'looks forward from the base origin, {how}; publish it, or set frames.mount, or '
            'frames.base to "" to track the camera itself'
        )

    def report(self, estimate: Estimate, counts: Counts) -> None:
        """Publish the status."""
        super().report(estimate, counts)
        self.health.estimated(self.last_status.frame_age, lost=self.last_status.state == LOST)

    def refused(self, error: FrameError, counts: Counts) -> None:
        """Log a frame that cannot be read, and keep the reason for the diagnostics."""
        self.health.refusal = str(error)
        self._node.get_logger().error(
            f'frame dropped: {error} ({counts.dropped} dropped so far)',
            throttle_duration_sec=THROTTLE,
        )

    # -- without an estimate -----------------------------------------------------------------

    def publish_idle_status(self, state: int, counts: Counts) -> None:
        """Publish the state while there is no estimate."""
        now = self._node.get_clock().now().nanoseconds
        message = idle_status(self.make, now, state, self.config, self.engine, counts)
        self.publishers[STATUS_TOPIC].publish(message)
