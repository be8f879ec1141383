"""A lifecycle node that survives what its callbacks throw.

rclpy's executors raise the exception of a callback to whoever spins, which ends the process. So
each callback is wrapped where rclpy creates its subscription, service or timer: also those of
rclpy itself (/clock, parameters, lifecycle) and of tf2_ros.
"""

from __future__ import annotations

import functools
import traceback
from typing import TYPE_CHECKING, Any

from rcl_interfaces.msg import SetParametersResult
from rcl_interfaces.srv import SetParameters, SetParametersAtomically
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.impl.implementation_singleton import rclpy_implementation
from rclpy.lifecycle import LifecycleNode, TransitionCallbackReturn
from rosgraph_msgs.msg import Clock

from page4d_ros.errors import printable
from page4d_ros.ros import parameters
from page4d_ros.ros.compat import THROTTLE
from page4d_ros.units import NS_PER_S

if TYPE_CHECKING:
    from collections.abc import Callable

RCLError = rclpy_implementation.RCLError


class GuardedNode(LifecycleNode):
    """Logs and counts the exceptions of all its callbacks, and goes on.

    A service that fails answers ``success=False`` with the text of the exception.

    Attributes:
        callback_errors: exceptions so far.
    """

    callback_errors = 0

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        # the lifecycle's services are made without `create_service`
        for service in self.services:
            if service.srv_name.endswith('/change_state'):
                service.callback = self._answers_refused_transitions(service.callback)
            self._guard_service(service)

    def caught(self, error: Exception, where: str) -> None:
        """Log and count an exception; one that meets the end of ROS is no error."""
        if not self.context.ok():
            return
        self.callback_errors += 1
        self.get_logger().error(
            f'error in {where}: {type(error).__name__}: {error}\n{traceback.format_exc()}',
            throttle_duration_sec=THROTTLE,
        )

    # -- where rclpy creates what has callbacks ----------------------------------------------

    def create_subscription(
        self, msg_type: Any, topic: str, callback: Callable, *args: Any, **kwargs: Any
    ) -> Any:
        """Subscribe with a guarded callback."""
        if msg_type is Clock:
            callback = self._checks_clock(callback)
        guarded = self._guarded(callback, f'the callback of {topic}')
        return super().create_subscription(msg_type, topic, guarded, *args, **kwargs)

    def create_timer(self, period: float, callback: Callable, *args: Any, **kwargs: Any) -> Any:
        """Make a timer with a guarded callback."""
        return super().create_timer(period, self._guarded(callback, 'a timer'), *args, **kwargs)

    def create_service(self, *args: Any, **kwargs: Any) -> Any:
        """Offer a service with a guarded callback."""
        service = super().create_service(*args, **kwargs)
        if service.srv_type in {SetParameters, SetParametersAtomically}:
            service.callback = parameters.checks_types(service.callback)
        self._guard_service(service)
        return service

    # -- guards ------------------------------------------------------------------------------

    def _guarded(self, callback: Callable, where: str) -> Callable:
        @functools.wraps(callback)  # rclpy looks at the signature
        def run(*args: Any) -> Any:
            try:
                return callback(*args)
            except Exception as error:
                self.caught(error, where)
                return None

        return run

    def _guard_service(self, service: Any) -> None:
        callback = service.callback
        if getattr(callback, 'guarded', False):
            return

        def answer(request: Any, response: Any) -> Any:
            try:
                return callback(request, response)
            except Exception as error:
                self.caught(error, f'the service {service.srv_name}')
                return _failure(service.srv_type.Response(), request, str(error))

        answer.guarded = True
        service.callback = answer

    def _checks_clock(self, callback: Callable) -> Callable:
        """Refuse a time that ROS cannot represent; rclpy raises for it, now or when it is read."""

        def take(message: Any) -> None:
            time = message.clock
            if time.sec < 0 or time.nanosec >= NS_PER_S:
                self.get_logger().warning(
                    f'/clock: {time.sec} s and {time.nanosec} ns is no time; ignored',
                    throttle_duration_sec=THROTTLE,
                )
                return
            callback(message)

        return take

    def _answers_refused_transitions(self, callback: Callable) -> Callable:
        """Answer a transition that the present state does not have.

        Up to Jazzy (rclpy 7.1) the service raises RCLError instead, see
        https://github.com/ros2/rclpy/issues/1209; fixed in Kilted.
        """

        def change(request: Any, response: Any) -> Any:
            try:
                return callback(request, response)
            except RCLError as error:
                asked = request.transition.label or request.transition.id
                self.get_logger().warning(printable(f'transition {asked} is refused: {error}'))
                response.success = False
                return response

        return change


class GuardedExecutor(SingleThreadedExecutor):
    """Goes on where rclpy itself fails: a message that is no CDR, or no memory to take one."""

    def spin_once(self, timeout_sec: float | None = None) -> None:
        """Execute one callback; what rclpy raises on the way is logged and counted."""
        try:
            super().spin_once(timeout_sec)
        except ExternalShutdownException:
            raise
        except Exception as error:
            self._caught(error)

    def _make_handler(self, entity: Any, node: Any, take: Callable, *rest: Any) -> Any:
        """Let rclpy give an entity back that could not be taken.

        If taking a message raises, as it does without memory, rclpy forgets that the callback
        group is free, and no callback of the node is ever called again.
        """

        def take_or_tell(found: Any) -> Any:
            try:
                return take(found)
            except Exception as error:
                self._caught(error)
                return None

        return super()._make_handler(entity, node, take_or_tell, *rest)

    def _caught(self, error: Exception) -> None:
        for node in self.get_nodes():
            node.caught(error, 'the executor')


def guarded_transition(method: Callable) -> Callable:
    """Log and count what a transition's callback throws; rclpy would only go to on_error."""

    @functools.wraps(method)
    def run(node: GuardedNode, state: Any) -> TransitionCallbackReturn:
        try:
            return method(node, state)
        except Exception as error:
            node.caught(error, method.__name__)
            return TransitionCallbackReturn.ERROR

    return run


def _failure(response: Any, request: Any, reason: str) -> Any:
    """Fill a response in so that it says no, as far as its type can."""
    refused = SetParametersResult(successful=False, reason=reason)
    if hasattr(response, 'success'):
        response.success = False
    if hasattr(response, 'message'):
        response.message = reason
    if hasattr(response, 'results'):
        response.results = [refused for _ in request.parameters]
    if isinstance(getattr(response, 'result', None), SetParametersResult):
        response.result = refused
    return response
