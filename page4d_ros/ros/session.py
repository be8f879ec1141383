"""What exists between configure and cleanup: publishers, subscriptions, worker."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rclpy.clock import JumpThreshold
from rclpy.duration import Duration
from rclpy.qos import QoSProfile, ReliabilityPolicy
from rclpy.qos_overriding_options import QoSOverridingOptions

from page4d_ros.errors import ConfigError, FrameError, Page4dError
from page4d_ros.messages.decode import FrameReader, depth_metres, stamp_ns
from page4d_ros.messages.outputs import Outputs
from page4d_ros.messages.status import PAUSED, WAITING, idle_status, status
from page4d_ros.messages.topics import OPTIONAL, OUTPUTS, STATUS_TOPIC
from page4d_ros.messages.trajectory import trajectory_line
from page4d_ros.perception.base_frame import BaseFrame
from page4d_ros.perception.intake import Intake, Restart
from page4d_ros.perception.types import FrameSet
from page4d_ros.ros.compat import (
    TransformBroadcaster,
    TransformListener,
    cloud,
    cv_bridge_reader,
    message_class,
    optional,
)
from page4d_ros.ros.diagnostics import Health
from page4d_ros.ros.wire import WireMessages
from page4d_ros.ros.worker import Worker

if TYPE_CHECKING:
    from rclpy.lifecycle import LifecycleNode

    from page4d_ros.config import Config
    from page4d_ros.perception.intake import Taken
    from page4d_ros.perception.pipeline import Perception
    from page4d_ros.perception.types import Estimate

THROTTLE = 5.0
POLL = 0.02


def best_effort(depth: int) -> QoSProfile:
    """QoS of sensor data: it also matches reliable publishers."""
    return QoSProfile(depth=depth, reliability=ReliabilityPolicy.BEST_EFFORT)


class Session:
    """One configured perception on a node."""

    def __init__(
        self,
        node: LifecycleNode,
        config: Config,
        perception: Perception,
        broadcaster: TransformBroadcaster,
    ) -> None:
        self.node = node
        self.publishing = threading.Lock()
        self.config = config
        self.perception = perception
        self.health = Health()
        self.processed = 0
        self.make = WireMessages()
        self.body = BaseFrame(config.frames)
        self.outputs = Outputs(config, self.make, self.body, cloud)
        self.intake = Intake(config)
        self.reader = FrameReader(
            rectify=config.input.rectify,
            frame_id=config.frames.camera,
            fallback=cv_bridge_reader(),
        )
        self.paused = False
        installed = [t for t in OPTIONAL if optional(t.type.partition('/')[0])]
        topics = [*OUTPUTS, *installed]
        self._publishers = {topic.name: self._publisher(topic) for topic in topics}
        self._gated = {topic.name for topic in topics if topic.gated}
        self._tf = broadcaster
        self._last_status: Any = None
        self._subscriptions: list[Any] = []
        self._images: Any = None
        self._listener: TransformListener | None = None
        self._worker: Worker | None = None
        self._jump: Any = None

    def _publisher(self, topic: Any) -> Any:
        return self.node.create_lifecycle_publisher(
            message_class(topic.type),
            topic.name,
            QoSProfile(depth=topic.depth),
            qos_overriding_options=QoSOverridingOptions.with_default_policies(),
        )

    # -- lifecycle ---------------------------------------------------------------------------

    def start(self) -> None:
        """Subscribe and begin to work.

        Raises:
            ConfigError: a forward pass from before the last stop is still running.
        """
        if self._worker is not None and not self._worker.stop(0.0):
            raise ConfigError('the last forward pass is still running; try again')
        self.health = Health()
        self.intake.pause(paused=self.paused)
        self._listener = None if self.body.egocentric else TransformListener(self.node)
        self._subscribe_all()
        self._jump = self.node.get_clock().create_jump_callback(
            JumpThreshold(
                min_forward=None, min_backward=Duration(nanoseconds=-1), on_clock_change=False
            ),
            post_callback=lambda _jump: self.intake.time_jumped(),
        )
        self._worker = Worker(self.intake, self.perception, self)
        self._worker.start()

    def stop(self, timeout: float = 5.0) -> bool:
        """Let the worker end and unsubscribe; False if it is still inside a forward pass."""
        done = self._worker is None or self._worker.stop(timeout)
        if done:
            self._worker = None
        for subscription in self._subscriptions:
            self.node.destroy_subscription(subscription)
        self._subscriptions.clear()
        if self._listener is not None:
            self._listener.destroy()
            self._listener = None
        if self._jump is not None:
            self._jump.unregister()
            self._jump = None
        self.intake.restart(Restart.WINDOW)
        return done

    def destroy(self) -> None:
        """Give the publishers back."""
        for publisher in self._publishers.values():
            self.node.destroy_lifecycle_publisher(publisher)
        self._publishers.clear()

    # -- input -------------------------------------------------------------------------------

    def _subscribe_all(self) -> None:
        compressed = self.config.input.transport == 'compressed'
        kind, topic = ('CompressedImage', 'image/compressed') if compressed else ('Image', 'image')
        depth = self.config.input.queue_depth
        # first, because rclpy serves what waits in the order of creation
        self._subscribe(
            'sensor_msgs/msg/CameraInfo', 'camera_info', self.reader.camera_info, depth
        )
        self._images = self._subscribe(f'sensor_msgs/msg/{kind}', topic, self._on_image, depth)
        if self.config.scale.mode == 'depth':
            self._subscribe('sensor_msgs/msg/Image', 'scale/depth', self._on_scale_depth, depth)
        if self.config.scale.mode == 'odometry':
            self._subscribe('nav_msgs/msg/Odometry', 'scale/odom', self._on_scale_odometry, 100)

    def _subscribe(self, kind: str, topic: str, callback: Any, depth: int) -> Any:
        subscription = self.node.create_subscription(
            message_class(kind),
            topic,
            callback,
            best_effort(depth),
            qos_overriding_options=QoSOverridingOptions.with_default_policies(),
        )
        self._subscriptions.append(subscription)
        return subscription

    def _on_image(self, message: Any) -> None:
        """Check and store; the worker does the rest."""
        self.health.saw_image()
        compressed = self.config.input.transport == 'compressed'
        try:
            frame = (self.reader.compressed if compressed else self.reader.image)(message)
        except FrameError as error:
            self.intake.refuse('malformed')
            self.failed(str(error))
            return
        limit = self.config.input.max_latency
        if limit and self._age(frame.stamp_ns) > limit:
            self.intake.refuse('latency')
            return
        for warning in self.reader.take_warnings():
            self.node.get_logger().warning(warning)
        reason = self.intake.offer(FrameSet.of(frame))
        if reason in {'duplicate', 'late'}:
            self.node.get_logger().warning(
                f'image with {"the same" if reason == "duplicate" else "an older"} stamp as the '
                f'one before: dropped ({self.intake.dropped[reason]} so far)',
                throttle_duration_sec=THROTTLE,
            )

    def _on_scale_depth(self, message: Any) -> None:
        try:
            self.perception.scale.feed_depth(stamp_ns(message.header), depth_metres(message))
        except FrameError as error:
            self.failed(f'scale/depth: {error}')

    def _on_scale_odometry(self, message: Any) -> None:
        at = message.pose.pose.position
        self.perception.scale.feed_position(stamp_ns(message.header), (at.x, at.y, at.z))

    # -- worker thread -----------------------------------------------------------------------

    def alive(self) -> bool:
        """Whether ROS still runs."""
        return self.node.context.ok()

    def before(self, taken: Taken) -> None:
        """Take over what changed since the last frame."""
        self.outputs.restart(taken.restart)
        if taken.restart is not Restart.NONE and self.processed:
            self.node.get_logger().info('the window starts again')
        if self.perception.config is not self.config:
            self.perception.configure(self.config)
            self.outputs.config = self.config

    def publish(self, estimate: Estimate) -> None:
        """Publish all that is wanted of one estimate, pose first."""
        start = time.perf_counter()
        for name, message in self.outputs.messages(estimate, self._wanted):
            if name == '/tf':
                self._tf.send(message)
            else:
                self._publishers[name].publish(message)
        estimate.seconds['publish'] = time.perf_counter() - start
        self.processed += 1
        age = self._age(estimate.frame.stamp_ns)
        self.health.estimated(age)
        self._last_status = status(
            self.make,
            estimate,
            self.config,
            self.perception.engine,
            self.body,
            received=self.intake.received,
            processed=self.processed,
            dropped=sum(self.intake.dropped.values()),
            frame_age=age,
        )
        self._publishers[STATUS_TOPIC].publish(self._last_status)

    def ready(self, estimate: Estimate) -> None:
        """Find out where the camera sits on the base; wait for it before the first pose."""
        if self.body.mounted or estimate.odometry.lost:
            return
        frames, camera = self.config.frames, estimate.frame.frame_id
        until = self.health.first_image + frames.tf_timeout
        T_base_camera = self._listener.lookup(frames.base, camera)
        while T_base_camera is None and time.monotonic() < until:
            if self._worker.stopping.wait(POLL):
                return
            T_base_camera = self._listener.lookup(frames.base, camera)
        if T_base_camera is not None:
            if self.processed:
                self.node.get_logger().info(f'now tf has {frames.base!r} to {camera!r}: using it')
            self.body.mount(T_base_camera, estimate.odometry.T_world_camera)
            self.perception.scale.up = self.body.up
        elif self.processed == 0:
            self.node.get_logger().warning(
                f'no transform from {frames.base!r} to {camera!r} on tf: assuming that the '
                'camera looks forward from the base origin; publish it, or set frames.base to "" '
                'to track the camera itself'
            )

    def _wanted(self, name: str) -> bool:
        if name not in self._publishers:
            return False
        if name in self._gated and self.config.publish.only_if_subscribed:
            return self._publishers[name].get_subscription_count() > 0
        return True

    def failed(self, text: str, trace: str = '') -> None:
        """Report a frame that gave no estimate; a trace means that it is not the frame's fault."""
        if trace:
            self.health.error = text
            self.node.get_logger().error(trace, throttle_duration_sec=THROTTLE)
        self.node.get_logger().error(
            f'frame dropped: {text} ({sum(self.intake.dropped.values())} dropped so far)',
            throttle_duration_sec=THROTTLE,
        )

    # -- questions from outside --------------------------------------------------------------

    def _age(self, frame_ns: int) -> float:
        """Seconds since a stamp, by the node's clock."""
        return (self.node.get_clock().now().nanoseconds - frame_ns) * 1e-9

    def pause(self, *, paused: bool) -> None:
        """Refuse images, or take them again; nothing taken before is published after this."""
        with self.publishing:
            self.paused = paused
            self.intake.pause(paused=paused)
        self.publish_idle_status()

    def reset(self) -> None:
        """Begin again at identity; nothing taken before is published after this."""
        with self.publishing:
            self.intake.restart(Restart.POSE)

    def save_trajectory(self) -> tuple[Path, int]:
        """Write the path's poses of the camera's optical frame in TUM's format.

        Returns:
            The file, and how many poses it holds: the newest ``path.max_poses``.

        Raises:
            Page4dError: there is no pose yet, or the file cannot be written.
        """
        with self.publishing:
            poses = self.outputs.trajectory()
        if not poses:
            raise Page4dError('there is no pose yet')
        home = os.environ.get('ROS_HOME') or '~/.ros'
        folder = Path(self.config.path.folder or home).expanduser()
        name = self.node.get_fully_qualified_name().strip('/').replace('/', '_')
        path = folder / f'{name}_{poses[-1][0]}.tum'
        text = ''.join(trajectory_line(*pose) for pose in poses)
        try:
            folder.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding='utf-8')
        except OSError as error:
            raise Page4dError(f'{path}: cannot be written: {error.strerror}') from error
        return path, len(poses)

    def publish_idle_status(self) -> None:
        """Tell the state while there are no estimates that would."""
        if self._worker is not None and (self.paused or not self.processed):
            now = self.node.get_clock().now().nanoseconds
            message = idle_status(
                self.make,
                now,
                PAUSED if self.paused else WAITING,
                self.config,
                self.perception.engine,
                received=self.intake.received,
                processed=self.processed,
                dropped=sum(self.intake.dropped.values()),
            )
            self._publishers[STATUS_TOPIC].publish(message)

    def warn_if_silent(self) -> None:
        """Say what exactly is waited for when no image comes."""
        if self.paused or not self._subscriptions or self.health.silence() < THROTTLE:
            return
        topic = self._images.topic_name
        publishers = self.node.count_publishers(topic)
        reliability = self._images.qos_profile.reliability.name.lower()
        self.node.get_logger().warning(
            f'no image for {self.health.silence():.0f} s on {topic} ({reliability}, '
            f'{publishers} publishers)',
            throttle_duration_sec=THROTTLE,
        )

    def values(self) -> dict[str, Any]:
        """Key and value pairs for diagnostics."""
        last = self._last_status
        counts = {f'dropped {reason}': n for reason, n in sorted(self.intake.dropped.items())}
        return {
            'checkpoint': self.perception.engine.name,
            'device': self.perception.engine.device,
            'images received': self.intake.received,
            'estimates': self.processed,
            'estimates per second': f'{self.health.rate():.2f}',
            'frame age [s]': f'{self.health.age:.3f}',
            'scale': f'{last.scale:.4f}' if last else 'unknown',
            'metric': bool(last and last.metric),
            'scale from': last.scale_state if last else 'unknown',
            **counts,
        }
