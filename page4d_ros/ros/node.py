"""The lifecycle node: parameters, transitions, services, diagnostics."""

from __future__ import annotations

import os
import sys
import threading
import traceback
from typing import TYPE_CHECKING, Any

from diagnostic_msgs.msg import DiagnosticArray
from rcl_interfaces.msg import SetParametersResult
from rclpy.clock import Clock, ClockType
from rclpy.exceptions import ParameterException
from rclpy.executors import SingleThreadedExecutor
from rclpy.impl.implementation_singleton import rclpy_implementation
from rclpy.lifecycle import LifecycleNode, TransitionCallbackReturn
from std_srvs.srv import SetBool, Trigger

from page4d_ros.errors import ConfigError, Page4dError
from page4d_ros.messages.topics import DIAGNOSTICS_TOPIC
from page4d_ros.ros import parameters, signals
from page4d_ros.ros.compat import TransformBroadcaster
from page4d_ros.ros.diagnostics import OK, diagnostic_array, verdict
from page4d_ros.ros.session import Session

if TYPE_CHECKING:
    from collections.abc import Callable

    from page4d_ros.config import Config
    from page4d_ros.perception.pipeline import Perception

SHUTDOWN_TIMEOUT = 1.0
RCLError = rclpy_implementation.RCLError


def default_build(config: Config) -> Perception:
    """Perception with the configured checkpoint; imports the network only now."""
    from page4d_ros.perception.build import build_perception

    return build_perception(config)


class Page4dNode(LifecycleNode):
    """Camera in; pose, depth, mask and clouds out.

    configure loads the network, activate subscribes, deactivate stops, cleanup frees the device.

    Args:
        build: makes the perception from the settings; raises Page4dError.
        **kwargs: passed on to rclpy's node.
    """

    def __init__(self, build: Callable[[Config], Perception] = default_build, **kwargs: Any):
        super().__init__('page4d', **kwargs)
        self._build = build
        self.config = parameters.declare(self)
        self.session: Session | None = None
        self.active = False
        self._broadcaster = TransformBroadcaster(self)
        self.add_on_set_parameters_callback(self._on_parameters)
        self.create_service(Trigger, '~/reset', self._on_reset)
        self.create_service(SetBool, '~/pause', self._on_pause)
        self.create_service(Trigger, '~/save_trajectory', self._on_save_trajectory)
        self._diagnostics = self.create_publisher(DiagnosticArray, DIAGNOSTICS_TOPIC, 10)
        # steady: a stopped /clock must not silence the one topic that would tell
        steady = Clock(clock_type=ClockType.STEADY_TIME)
        self.create_timer(1.0, self._on_second, clock=steady)

    # -- lifecycle ---------------------------------------------------------------------------

    def on_configure(self, state: Any) -> TransitionCallbackReturn:
        """Load the network and create the publishers."""
        try:
            self.config = parameters.read(self)
            perception = self._build(self.config)
        except Page4dError as error:
            self.get_logger().error(f'cannot configure: {error}')
            return TransitionCallbackReturn.FAILURE
        except Exception as error:  # rclpy would swallow it; out of memory is the likely one
            self.get_logger().error(traceback.format_exc())
            self.get_logger().error(f'cannot configure: {type(error).__name__}: {error}')
            return TransitionCallbackReturn.FAILURE
        self.session = Session(self, self.config, perception, self._broadcaster)
        engine = perception.engine
        self.get_logger().info(f'{engine.name} on {engine.device}')
        if engine.caution:
            self.get_logger().warning(engine.caution)
        return super().on_configure(state)

    def on_activate(self, state: Any) -> TransitionCallbackReturn:
        """Subscribe and start to work."""
        result = super().on_activate(state)
        try:
            self.session.start()
        except ConfigError as error:
            self.get_logger().error(f'cannot activate: {error}')
            super().on_deactivate(state)
            return TransitionCallbackReturn.FAILURE
        self.active = True
        return result

    def on_deactivate(self, state: Any) -> TransitionCallbackReturn:
        """Stop working; the trajectory is kept, a forward pass that still runs is void."""
        self.active = False
        self.session.stop()
        return super().on_deactivate(state)

    def on_cleanup(self, state: Any) -> TransitionCallbackReturn:
        """Free the network and the publishers."""
        if not self.session.stop():
            self.get_logger().error('cannot clean up: the last forward pass is still running')
            return TransitionCallbackReturn.FAILURE
        self._drop_session()
        return super().on_cleanup(state)

    def on_shutdown(self, state: Any) -> TransitionCallbackReturn:
        """End from any state."""
        self._drop_session()
        return super().on_shutdown(state)

    def on_error(self, state: Any) -> TransitionCallbackReturn:
        """Free everything, so that configure may be tried again."""
        self._drop_session()
        return super().on_error(state)

    def _drop_session(self) -> None:
        self.active = False
        if self.session is not None:
            self.session.stop()
            self.session.destroy()
            self.session.perception.engine.free()
            self.session = None

    def _LifecycleNodeMixin__on_change_state(self, request: Any, response: Any) -> Any:
        """Refuse a transition that the present state does not have; rclpy would end the node."""
        try:
            return super()._LifecycleNodeMixin__on_change_state(request, response)
        except RCLError as error:
            asked = request.transition.label or request.transition.id
            self.get_logger().warning(f'transition {asked} is refused: {error}')
            response.success = False
            return response

    def autostart(self) -> None:
        """Configure and activate, as ``node.autostart`` asks."""
        if self.trigger_configure() == TransitionCallbackReturn.SUCCESS:
            self.trigger_activate()

    # -- parameters and services -------------------------------------------------------------

    def _on_parameters(self, changes: list[Any]) -> SetParametersResult:
        try:
            self.config = parameters.changed(
                self.config, changes, configured=self.session is not None
            )
        except ConfigError as error:
            return SetParametersResult(successful=False, reason=str(error))
        if self.session is not None:
            self.session.config = self.session.intake.config = self.config
        return SetParametersResult(successful=True)

    def _on_reset(self, _request: Any, response: Any) -> Any:
        response.success = self.active
        response.message = 'the next pose is identity' if self.active else 'not active'
        if self.active:
            self.session.reset()
        return response

    def _on_pause(self, request: Any, response: Any) -> Any:
        response.success = self.session is not None
        response.message = 'not configured'
        if self.session is not None:
            self.session.pause(paused=request.data)
            response.message = 'paused' if request.data else 'running'
        return response

    def _on_save_trajectory(self, _request: Any, response: Any) -> Any:
        if self.session is None:
            response.message = 'not configured'
            return response
        try:
            path, count = self.session.save_trajectory()
            response.message = f'{path}: the newest {count} poses (path.max_poses)'
            response.success = True
        except Page4dError as error:
            response.message = str(error)
        return response

    # -- once a second -----------------------------------------------------------------------

    def _on_second(self) -> None:
        stamp = self.get_clock().now().to_msg()
        name = f'{self.get_fully_qualified_name().lstrip("/")}: perception'
        if self.session is None or not self.active:
            state = 'inactive' if self.session else 'unconfigured'
            self._diagnostics.publish(diagnostic_array(stamp, name, OK, state, {}))
            return
        session = self.session
        session.warn_if_silent()
        session.publish_idle_status()
        level, text = verdict(
            session.health, self.config.diagnostics, caution=session.perception.engine.caution
        )
        if session.paused:
            level, text = OK, 'paused'
        self._diagnostics.publish(diagnostic_array(stamp, name, level, text, session.values()))


def run(args: list[str] | None = None) -> int:
    """Run the node until it is told to stop; the exit code is 0 then, 1 for bad parameters."""
    node: Page4dNode | None = None
    with signals.ros(args, _leave_in_time):
        try:
            node = Page4dNode()
        except (ConfigError, ParameterException) as error:
            print(f'page4d_node: {error}', file=sys.stderr)
            return 1
        if node.config.node.autostart:
            node.autostart()
        executor = SingleThreadedExecutor()
        executor.add_node(node)
        executor.spin()
    if node is not None and node.session is not None:
        node.session.stop()
    return 0


def _leave_in_time() -> None:
    """End soon, whatever the node does: a forward pass on a CPU can take many seconds."""
    timer = threading.Timer(SHUTDOWN_TIMEOUT, os._exit, [0])
    timer.daemon = True
    timer.start()
