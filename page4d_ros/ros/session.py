"""Perception on a node from configure to cleanup: subscriptions in, a `NodeSink` out."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from rclpy.clock import Clock, ClockType, JumpThreshold
from rclpy.duration import Duration

from page4d_ros.errors import ConfigError, FrameError
from page4d_ros.messages.decode import depth_metres, stamp_ns
from page4d_ros.messages.status import PAUSED, WAITING, knows_place
from page4d_ros.messages.topics import of_camera
from page4d_ros.perception.intake import Restart
from page4d_ros.perception.runner import FrameRunner
from page4d_ros.ros.cameras import Cameras
from page4d_ros.ros.compat import THROTTLE, TransformListener, cv_bridge_reader
from page4d_ros.ros.diagnostics import SILENCE, Health
from page4d_ros.ros.inputs import CameraInput, ImageSubscription, subscribe
from page4d_ros.ros.mounting import MountBroadcaster
from page4d_ros.ros.pulse import Pulse
from page4d_ros.ros.rivals import Rivals
from page4d_ros.ros.sink import NodeSink
from page4d_ros.ros.worker import IDLE, Worker
from page4d_ros.units import NS_PER_S

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from rclpy.lifecycle import LifecycleNode

    from page4d_ros.config import Config
    from page4d_ros.messages.decode import FrameReader
    from page4d_ros.perception.intake import Taken
    from page4d_ros.perception.pipeline import Perception
    from page4d_ros.perception.types import Estimate, FrameSet
    from page4d_ros.ros.compat import TransformBroadcaster

FOLLOWING = 0.2  # seconds between beats, and looks at the publishers of images
LOST_IMAGES = 30.0  # seconds between warnings of images that are lost on their way


class Session:
    """One configured perception on a node.

    Attributes:
        inputs: subscriptions of each camera; none while inactive.
    """

    def __init__(
        self,
        node: LifecycleNode,
        config: Config,
        perception: Perception,
        broadcaster: TransformBroadcaster,
    ) -> None:
        self.node = node
        self.perception = perception
        self.sink = NodeSink(node, config, perception, broadcaster)
        self.runner = FrameRunner(
            config, perception, self.sink.base_frame, self.sink, self._process
        )
        self.pulse = Pulse()
        self.intake = self.runner.intake
        self.cameras = Cameras(config, cv_bridge_reader())
        self.paused = False
        self.inputs: list[CameraInput] = []
        self._scale_depth: ImageSubscription | None = None
        self._scale_odometry: Any = None
        self._rivals: Rivals | None = None
        self._broadcaster = broadcaster
        self._follower: Any = None  # beats, and looks for other publishers
        self._alarm: Any = None  # rings when a set of frames need not wait any longer
        self._worker: Worker | None = None
        self._jump: Any = None

    @property
    def config(self) -> Config:
        """Present settings."""
        return self.runner.config

    @property
    def reader(self) -> FrameReader:
        """Reader of the first camera's messages."""
        return self.cameras.readers[0]

    @property
    def health(self) -> Health:
        """Times of images and estimates since `start`."""
        return self.sink.health

    # -- lifecycle ---------------------------------------------------------------------------

    def start(self) -> None:
        """Subscribe and begin to work.

        Raises:
            ConfigError: a forward pass from before the last stop is still running.
        """
        if self._worker is not None and not self._worker.stop(0.0):
            raise ConfigError('the last forward pass is still running; try again')
        self.sink.health = Health()
        self.pulse.beat()
        self.intake.pause(paused=self.paused)
        if not self.sink.base_frame.egocentric:
            self.sink.listener = TransformListener(self.node)
            if self.config.frames.publish_mount:
                self.sink.mount = MountBroadcaster(self.node, self.sink.listener)
        self._subscribe_all()
        self._rivals = Rivals(self.node, self._broadcaster, self._published_frames, self._advice())
        self._jump = self.node.get_clock().create_jump_callback(
            JumpThreshold(
                min_forward=None, min_backward=Duration(nanoseconds=-1), on_clock_change=False
            ),
            post_callback=lambda _jump: self._time_jumped(),
        )
        self._worker = Worker(self.runner, self._failed)
        self._worker.start()

    def stop(self, timeout: float = 5.0) -> bool:
        """Let the worker end and unsubscribe; False if it is still inside a forward pass."""
        done = self._worker is None or self._worker.stop(timeout)
        if done:
            self._worker = None
        self._unsubscribe_all()
        if self._rivals is not None:
            self._rivals.destroy()
            self._rivals = None
        for source in (self.sink.listener, self.sink.mount):
            if source is not None:
                source.destroy()
        self.sink.listener = self.sink.mount = None
        if self._jump is not None:
            self._jump.unregister()
            self._jump = None
        self.intake.restart(Restart.WINDOW)
        self.cameras.forget()
        return done

    def close(self) -> None:
        """Stop, and give back publishers and device.

        A forward pass that is still running keeps the device until it ends.
        """
        if not self.stop():
            self.node.get_logger().warning(
                'the last forward pass is still running; it frees the device when it ends'
            )
        with self.runner.publishing:
            self.sink.destroy()
        if self._worker is None:
            self.perception.engine.free()
        else:
            self._worker.at_end(self.perception.engine.free)

    # -- input -------------------------------------------------------------------------------

    def _subscribe_all(self) -> None:
        node, depth = self.node, self.config.input.queue_depth
        compressed = self.config.input.transport == 'compressed'
        kind, topic = ('CompressedImage', 'image/compressed') if compressed else ('Image', 'image')
        for view, reader in enumerate(self.cameras.readers):
            topics = of_camera('camera_info', reader.name), of_camera(topic, reader.name)
            calls = reader.camera_info, partial(self._on_image, view)
            camera = CameraInput(node, f'sensor_msgs/msg/{kind}', topics, calls, depth)
            self.inputs.append(camera)
        # steady: a stopped /clock must not hold frames back
        steady = Clock(clock_type=ClockType.STEADY_TIME)
        self._follower = node.create_timer(FOLLOWING, self._on_beat, clock=steady)
        self._alarm = node.create_timer(IDLE, self._on_alarm, clock=steady)
        self._alarm.cancel()
        if self.config.scale.mode == 'depth':
            kind, call = 'sensor_msgs/msg/Image', self._on_scale_depth
            self._scale_depth = ImageSubscription(node, kind, 'scale/depth', call, depth)
        if self.config.scale.mode == 'odometry':
            kind, call = 'nav_msgs/msg/Odometry', self._on_scale_odometry
            self._scale_odometry = subscribe(node, kind, 'scale/odom', call, 100)

    def _unsubscribe_all(self) -> None:
        for source in (*self.inputs, self._scale_depth):
            if source is not None:
                source.destroy()
        self.inputs.clear()
        if self._scale_odometry is not None:
            self.node.destroy_subscription(self._scale_odometry)
        for timer in (self._alarm, self._follower):
            if timer is not None:
                self.node.destroy_timer(timer)
        self._scale_depth = self._scale_odometry = self._alarm = self._follower = None

    def _on_beat(self) -> None:
        if stopped := self.pulse.silence:
            self._go_on(stopped)
        self.pulse.beat()  # after it, because until then the worker's result is void
        for camera in self.inputs:
            camera.images.follow()
        if self._scale_depth is not None:
            self._scale_depth.follow()
        if self._rivals is not None:
            self._rivals.check()
        if self.sink.mount is not None:
            self.sink.mount.check()

    def _published_frames(self) -> tuple[str, str] | None:
        """Parent and child of the transform that is published; None if there is none, or yet."""
        frames, camera = self.config.frames, self.cameras.frame_ids.get(0)
        if not frames.publish_tf or camera is None:
            return None
        pair = frames.odom, self.sink.base_frame.child(camera)
        return pair[::-1] if frames.invert_tf else pair

    def _advice(self) -> str:
        if self.sink.base_frame.egocentric:
            return "Set frames.base to the robot's base frame, or frames.publish_tf to false"
        return 'Set frames.publish_tf to false, frames.invert_tf to true, or end the other one'

    def _go_on(self, stopped: float) -> None:
        """Drop what waited while the process was stopped."""
        self.node.get_logger().warning(
            f'the process was stopped for {stopped:.0f} s: images that waited are dropped'
        )
        self.cameras.forget()
        self.intake.restart(Restart.WINDOW)
        for camera in self.inputs:
            camera.images.renew()

    def _process(self, taken: Taken) -> Estimate:
        """Estimate a taken frame, which is void if the process was stopped meanwhile."""
        estimate = self.perception.process(taken.frames)
        if self.pulse.silence:
            self.intake.restart(Restart.WINDOW)
        return estimate

    def _on_image(self, view: int, message: Any) -> None:
        """Check and store; the worker does the rest."""
        if self.pulse.silence:  # it waited while the process was stopped
            self.intake.refuse('late')
            return
        reader = self.cameras.readers[view]
        self.health.saw_image()
        compressed = self.config.input.transport == 'compressed'
        try:
            frame = (reader.compressed if compressed else reader.image)(message)
        except FrameError as error:
            self.runner.refuse(error)
            return
        limit = self.config.input.max_latency
        if limit and self.sink.age(frame.stamp_ns) > limit:
            self.intake.refuse('latency')
            return
        for warning in reader.take_warnings():
            self.node.get_logger().warning(warning)
        for frames in self.cameras.add(frame):
            self._offer(frames)
        self._set_alarm()

    def _offer(self, frames: FrameSet) -> None:
        reason = self.runner.offer(frames)
        if reason in {'duplicate', 'late'}:
            self.node.get_logger().warning(
                f'image with {"the same" if reason == "duplicate" else "an older"} stamp as the '
                f'one before: dropped ({self.intake.dropped[reason]} so far)',
                throttle_duration_sec=THROTTLE,
            )

    def _on_alarm(self) -> None:
        """Let sets go on without the cameras that are missing."""
        for frames in self.cameras.due():
            self._offer(frames)
        self._set_alarm()

    def _set_alarm(self) -> None:
        seconds = self.cameras.patience()
        if self._alarm is None:  # stopped since this callback was called
            return
        if seconds is None:
            self._alarm.cancel()
        else:
            self._alarm.timer_period_ns = max(1, round(seconds * NS_PER_S))
            self._alarm.reset()

    def _time_jumped(self) -> None:
        self.cameras.forget()
        self.intake.time_jumped()

    def read_mounts(self) -> None:
        """Read from tf again where each camera sits on the base, or on the first camera."""
        listener, frames = self.sink.listener, self.cameras.frame_ids
        base = self.config.frames.base or frames.get(0)
        if listener is None or not base or len(self.cameras.readers) == 1:
            return
        for view, frame_id in list(frames.items()):
            T_base_camera = listener.lookup(base, frame_id)
            if T_base_camera is not None:
                self.perception.rig.mount(view, T_base_camera)

    def _on_scale_depth(self, message: Any) -> None:
        try:
            self.perception.scale.feed_depth(stamp_ns(message.header), depth_metres(message))
        except FrameError as error:
            self.node.get_logger().error(f'scale/depth: {error}', throttle_duration_sec=THROTTLE)

    def _on_scale_odometry(self, message: Any) -> None:
        at = message.pose.pose.position
        self.perception.scale.feed_position(stamp_ns(message.header), (at.x, at.y, at.z))

    def _failed(self, error: BaseException, trace: str) -> None:
        """Report an error in the worker that is not the frame's fault."""
        if not self.node.context.ok():  # what meets the end of ROS is no error
            return
        self.health.error = f'{type(error).__name__}: {error}'
        self.node.get_logger().error(
            f'frame dropped: {self.health.error}\n{trace}', throttle_duration_sec=THROTTLE
        )

    # -- services and parameters -------------------------------------------------------------

    def configure(self, config: Config) -> None:
        """Use changed settings from the next frame on."""
        self.runner.configure(config)

    def pause(self, *, paused: bool) -> None:
        """Refuse images, or take them again; nothing taken before is published after this."""
        with self.runner.publishing:
            self.paused = paused
            self.cameras.forget()
            self.intake.pause(paused=paused)
        self.publish_idle_status()

    def reset(self) -> None:
        """Begin again at identity; nothing taken before is published after this."""
        self.runner.reset()

    def reset_window(self) -> None:
        """Begin a new window at the present pose; nothing taken before is published after this."""
        with self.runner.publishing:
            self.intake.restart(Restart.WINDOW)

    def place(self, T_odom_child: NDArray) -> None:
        """Move the trajectory so that the child frame is at (4, 4) now; forget what it was."""
        with self.runner.publishing:
            self.runner.place(T_odom_child)
            self.sink.outputs.forget_trajectory()

    def publish_idle_status(self) -> None:
        """Publish the state while there are no estimates to do it."""
        idle = self.paused or not self.runner.processed or self.health.silence() > SILENCE
        if self._worker is not None and idle:
            state = PAUSED if self.paused else WAITING
            self.sink.publish_idle_status(state, self.runner.counts)

    def watch_inputs(self) -> None:
        """Say what images do not come, or are lost on their way; to be called once a second."""
        warn = self.node.get_logger().warning
        for camera in self.inputs:
            camera.count()
            if not self.paused and camera.loss():
                warn(camera.loss(), throttle_duration_sec=LOST_IMAGES)
        if self.paused or self.health.silence() < THROTTLE:
            return
        for camera in self.inputs:
            warn(camera.absence(self.health.silence()), throttle_duration_sec=THROTTLE)

    @property
    def findings(self) -> list[str]:
        """Warnings about single cameras of a rig."""
        rig = self.perception.rig
        misfit = rig.misfit  # once: the worker changes it
        unscaled = rig.reason if self.config.scale.mode == 'rig' else ''
        return [
            *self.cameras.silent(),
            *(loss for camera in self.inputs if (loss := camera.loss())),
            *([str(misfit)] if misfit else []),
            *([f'no scale from the rig: {unscaled}'] if unscaled else []),
        ]

    @property
    def place_known(self) -> bool:
        """False if the last pose is by corners because the network disagrees with them."""
        last = self.sink.last_status
        return last is None or knows_place(last)

    @property
    def hardware(self) -> str:
        """Optical frames of the cameras, or the topics of images of which none has come."""
        frames = self.cameras.frame_ids
        named = [frames.get(view, camera.images.topic) for view, camera in enumerate(self.inputs)]
        return ' '.join(named)
