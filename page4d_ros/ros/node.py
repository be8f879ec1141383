"""The lifecycle node: parameters, transitions, services, diagnostics."""

from __future__ import annotations

import faulthandler
import os
import sys
import threading
from typing import TYPE_CHECKING, Any

import rclpy
from rcl_interfaces.msg import SetParametersResult
from rclpy.clock import Clock, ClockType
from rclpy.exceptions import ParameterException
from rclpy.lifecycle import TransitionCallbackReturn

from page4d_ros.errors import ConfigError, Page4dError, RosError
from page4d_ros.ros import parameters, services, signals
from page4d_ros.ros.compat import Reporter, TransformBroadcaster
from page4d_ros.ros.diagnostics import ERROR, OK, diagnostic_status, verdict
from page4d_ros.ros.guard import GuardedExecutor, GuardedNode, RCLError, guarded_transition
from page4d_ros.ros.session import Session
from page4d_ros.ros.values import values

if TYPE_CHECKING:
    from collections.abc import Callable

    from diagnostic_msgs.msg import DiagnosticStatus

    from page4d_ros.config import Config
    from page4d_ros.perception.pipeline import Perception

NO_HARDWARE = 'none'  # as long as no camera is listened to
NAMESAKES = 30.0  # seconds between warnings of a second node of one name
PATIENCE = 1.0  # seconds to wait after a signal for a forward pass or for loading
HUNG = (
    8.0  # seconds after a signal until the shutdown counts as hung; `ros2 launch` kills after 10
)


class Page4dNode(GuardedNode):
    """Lifecycle node that turns images into pose, depth, mask and clouds.

    configure loads the network, activate subscribes, deactivate stops, cleanup frees the device.

    Args:
        build: makes the perception from the settings; raises Page4dError. None for the
            configured network.
        **kwargs: passed on to rclpy's node.
    """

    def __init__(self, build: Callable[[Config], Perception] | None = None, **kwargs: Any):
        super().__init__('page4d', **kwargs)
        self._build = build or self._configured
        self.config = parameters.declare(self)
        self.session: Session | None = None
        self.active = False
        self.loading = False
        self._refusal = ''  # why the last transition failed
        self._broadcaster = TransformBroadcaster(self)
        for complaint in parameters.complaints(self):
            self.get_logger().warning(f'parameter ignored: {complaint}')
        self.add_on_set_parameters_callback(self._on_parameters)
        services.offer(self)
        self._reporter = Reporter(self, 'perception', self._report)
        # steady: a stopped /clock must not silence what would tell
        self.create_timer(1.0, self._on_second, clock=Clock(clock_type=ClockType.STEADY_TIME))

    # -- lifecycle ---------------------------------------------------------------------------

    @guarded_transition
    def on_configure(self, state: Any) -> TransitionCallbackReturn:
        """Load the network and create the publishers."""
        self.loading = True
        self._refusal = ''
        try:
            self.config = parameters.read(self)
            perception = self._build(self.config)
        except Page4dError as error:
            self._refuse(f'cannot configure: {error}')
            return TransitionCallbackReturn.FAILURE
        except Exception as error:  # out of memory is the likely one
            self.caught(error, 'configure')
            self._refusal = f'cannot configure: {type(error).__name__}: {error}'
            return TransitionCallbackReturn.FAILURE
        finally:
            self.loading = False
        self.session = Session(self, self.config, perception, self._broadcaster)
        engine = perception.engine
        self.get_logger().info(f'{engine.name} on {engine.runs_on}')
        if engine.caution:
            self.get_logger().warning(engine.caution)
        return super().on_configure(state)

    def _refuse(self, reason: str) -> None:
        self._refusal = reason
        self.get_logger().error(reason)

    def _configured(self, config: Config) -> Perception:
        """Perception with the configured network, which is imported only now."""
        from page4d_ros.perception.build import build_perception

        return build_perception(config, say=self.get_logger().info)

    @guarded_transition
    def on_activate(self, state: Any) -> TransitionCallbackReturn:
        """Subscribe and start to work."""
        result = super().on_activate(state)
        self._refusal = ''
        try:
            self.session.start()
        except ConfigError as error:
            self._refuse(f'cannot activate: {error}')
            super().on_deactivate(state)
            return TransitionCallbackReturn.FAILURE
        self.active = True
        return result

    @guarded_transition
    def on_deactivate(self, state: Any) -> TransitionCallbackReturn:
        """Stop working; the trajectory is kept, a forward pass that still runs is void."""
        self.active = False
        self.session.stop()
        return super().on_deactivate(state)

    @guarded_transition
    def on_cleanup(self, state: Any) -> TransitionCallbackReturn:
        """Free the network and the publishers."""
        if not self.session.stop():
            self.get_logger().error('cannot clean up: the last forward pass is still running')
            return TransitionCallbackReturn.FAILURE
        self._drop_session()
        return super().on_cleanup(state)

    @guarded_transition
    def on_shutdown(self, state: Any) -> TransitionCallbackReturn:
        """End from any state."""
        self._drop_session()
        return super().on_shutdown(state)

    @guarded_transition
    def on_error(self, state: Any) -> TransitionCallbackReturn:
        """Free everything, so that configure may be tried again."""
        self._drop_session()
        return super().on_error(state)

    def _drop_session(self) -> None:
        self.active = False
        self._refusal = ''
        if self.session is not None:
            session, self.session = self.session, None
            session.close()

    def autostart(self) -> None:
        """Configure and activate, as ``node.autostart`` asks."""
        if self.trigger_configure() == TransitionCallbackReturn.SUCCESS:
            self.trigger_activate()

    def say_what_it_waits_for(self) -> None:
        """Tell who starts a lifecycle node by hand how it goes on."""
        name = self.get_fully_qualified_name()
        self.get_logger().info(
            f'unconfigured: waiting for a lifecycle manager, or for `ros2 lifecycle set {name} '
            f'configure` and `ros2 lifecycle set {name} activate`; with `-p node.autostart:=true` '
            'it starts by itself'
        )

    # -- parameters --------------------------------------------------------------------------

    def _on_parameters(self, changes: list[Any]) -> SetParametersResult:
        try:
            self.config = parameters.changed(
                self.config, changes, configured=self.session is not None
            )
        except ConfigError as error:
            return SetParametersResult(successful=False, reason=str(error))
        if self.session is not None:
            self.session.configure(self.config)
        return SetParametersResult(successful=True)

    # -- once a second -----------------------------------------------------------------------

    def _on_second(self) -> None:
        self._warn_of_namesakes()
        if self.session is not None and self.active:
            self.session.watch_inputs()
            self.session.publish_idle_status()
            self.session.read_mounts()

    def _report(self) -> DiagnosticStatus:
        """Status for /diagnostics."""
        session, errors = self.session, {'errors in callbacks': self.callback_errors}
        if session is None or not self.active:
            level = ERROR if self._refusal else OK
            text = self._refusal or ('inactive' if session else 'unconfigured')
            return diagnostic_status(level, text, NO_HARDWARE, errors)
        level, text = verdict(
            session.health,
            self.config.diagnostics,
            caution=session.perception.engine.caution,
            place_known=session.place_known,
            findings=session.findings,
        )
        if session.paused:
            level, text = OK, 'paused'
        return diagnostic_status(level, text, session.hardware, values(session) | errors)

    def _warn_of_namesakes(self) -> None:
        """Tell of a second node of this name: both answer its services and send its outputs."""
        own = self.get_name(), self.get_namespace()
        if self.get_node_names_and_namespaces().count(own) > 1:
            self.get_logger().warning(
                f'another node is called {self.get_fully_qualified_name()}: stop or rename one',
                throttle_duration_sec=NAMESAKES,
            )


def run(args: list[str] | None = None) -> int:
    """Run the node until a signal; returns 0 then, and 1 for bad parameters.

    Raises:
        RosError: ROS does not start, or makes no node.
    """
    node: Page4dNode | None = None

    def leave() -> None:
        _leave_in_time(lambda: node is None or node.loading)

    with signals.ros(args, leave):
        try:
            node = Page4dNode()
        except (ConfigError, ParameterException) as error:
            print(f'page4d_node: {error}', file=sys.stderr)
            return 1
        except RCLError as error:
            if not rclpy.ok():  # because of a signal
                raise
            raise RosError(f'ROS makes no node: {" ".join(str(error).split())}') from error
        if node.config.node.autostart:
            node.autostart()
        else:
            node.say_what_it_waits_for()
        executor = GuardedExecutor()
        executor.add_node(node)
        executor.spin()
    session = node and node.session  # no node if the signal came while it was made
    if session is not None and not session.stop(PATIENCE):
        print('page4d_node: ended by a signal during a forward pass', file=sys.stderr)
        _exit()  # the interpreter's own end would pull torch from under that thread
    return 0


def _leave_in_time(loading: Callable[[], bool]) -> None:
    """Make the process end after a signal, whatever it does.

    Loading a network is abandoned after `PATIENCE` with exit code 0: nothing is lost. If anything
    else hangs for `HUNG`, faulthandler writes the stacks of all threads to stderr; the exit code
    is 1 then.

    Args:
        loading: True while a network is being loaded.
    """
    timer = threading.Timer(PATIENCE, lambda: loading() and _exit())
    timer.daemon = True
    timer.start()
    faulthandler.dump_traceback_later(HUNG, exit=True)


def _exit() -> None:
    sys.stderr.flush()
    sys.stdout.flush()
    os._exit(0)
