"""Parameters, lifecycle, scale sources and diagnostics of the node on a real graph."""

import time
from functools import partial

import numpy as np
import pytest
from fakes import CAMERA, OracleEngine, pose_at
from robot import MAKE, START, STEP, Robot, truthful

pytest.importorskip('rclpy', reason='rclpy is not installed')
pytest.importorskip('page4d_ros.msg', reason='the workspace is not built')

from diagnostic_msgs.msg import DiagnosticArray
from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState
from nav_msgs.msg import Odometry
from rcl_interfaces.msg import Log
from rcl_interfaces.srv import SetParameters
from rclpy.lifecycle import TransitionCallbackReturn
from rclpy.parameter import Parameter
from sensor_msgs.msg import Image

from page4d_ros.errors import CheckpointError
from page4d_ros.messages import encode
from page4d_ros.msg import PerceptionStatus
from page4d_ros.perception.pipeline import Perception
from page4d_ros.ros import parameters
from page4d_ros.ros.diagnostics import ERROR
from page4d_ros.ros.node import Page4dNode
from page4d_ros.units import NS_PER_S


def test_parameters_change_at_run_time_only_where_they_may(graph):
    masks = graph.listen(Image, 'mask/image')
    robot = Robot(graph)
    robot.show(START)

    def change(name, value):
        request = SetParameters.Request(
            parameters=[Parameter(name, value=value).to_parameter_msg()]
        )
        return graph.call(SetParameters, 'page4d/set_parameters', request).results[0]

    assert change('mask.threshold', 0.95).successful
    robot.show(START + STEP)
    graph.until(lambda: len(masks) == 2)
    assert [bool(np.any(m.data)) for m in masks] == [True, False]
    refused = change('window.size', 5)
    assert not refused.successful
    assert 'fixed while the node is configured' in refused.reason
    assert not change('mask.threshold', 7.0).successful
    assert 'expected float' in change('mask.threshold', 'high').reason
    assert change('points.rate', 5).successful


def test_every_parameter_is_described(graph):
    from page4d_ros.config import Config

    robot = Robot(graph, activate=False)
    for name, leaf in Config.leaves().items():
        described = robot.node.describe_parameter(name)
        assert described.description == leaf.doc


def test_a_wrong_checkpoint_fails_configure_and_the_node_lives(graph):
    def refuse(_config):
        raise CheckpointError('weights.pt: no such file')

    node = graph.add(Page4dNode(build=refuse, context=graph.context))
    assert node.trigger_configure() == TransitionCallbackReturn.FAILURE
    node._build = lambda config: Perception(config, OracleEngine())
    assert node.trigger_configure() == TransitionCallbackReturn.SUCCESS


def test_the_whole_lifecycle_twice(graph):
    robot = Robot(graph)
    for i in range(2):
        robot.show(START + i * STEP)
        assert robot.node.trigger_deactivate() == TransitionCallbackReturn.SUCCESS
        assert robot.node.trigger_cleanup() == TransitionCallbackReturn.SUCCESS
        assert robot.node.session is None
        assert robot.node.trigger_configure() == TransitionCallbackReturn.SUCCESS
        assert robot.node.trigger_activate() == TransitionCallbackReturn.SUCCESS
        graph.until(lambda: robot.images.get_subscription_count() == 1)
        status = robot.node.session.sink.publishers['~/status']
        graph.until(lambda p=status: p.get_subscription_count() == 1)


def test_transitions_that_the_state_does_not_have_are_refused(graph):
    """Every transition from every state: the node answers, and lives."""
    robot = Robot(graph, activate=False)
    wanted = {'configure': 1, 'cleanup': 2, 'activate': 3, 'deactivate': 4}
    road = ('configure', 'activate', 'deactivate', 'cleanup')
    allowed = ({'configure'}, {'cleanup', 'activate'}, {'deactivate'}, {'cleanup', 'activate'})

    def ask(name):
        request = ChangeState.Request(transition=Transition(id=wanted[name]))
        return graph.call(ChangeState, 'page4d/change_state', request).success

    for step, possible in zip(road, allowed, strict=True):
        for name in sorted(wanted.keys() - possible):
            assert not ask(name), f'{name} before {step}'
        assert ask(step)
    assert robot.node.session is None


def test_egocentric_mode_needs_no_tf(graph):
    odometry = graph.listen(Odometry, 'odom')
    robot = Robot(graph, frames__base='')
    robot.show(START)
    graph.until(lambda: odometry)
    assert odometry[0].child_frame_id == 'camera'
    q = odometry[0].pose.pose.orientation
    np.testing.assert_allclose([q.x, q.y, q.z, q.w], [-0.5, 0.5, -0.5, 0.5], atol=1e-9)


def test_scale_from_a_depth_camera(graph):
    robot = Robot(graph, scale__mode='depth')
    publisher = graph.node.create_publisher(Image, 'scale/depth', 10)
    graph.until(lambda: publisher.get_subscription_count() > 0)
    T = pose_at(START / NS_PER_S)
    depth = 2.0 * robot.engine.depth(T, CAMERA).astype(np.float32)
    publisher.publish(robot.image(START, array=depth))
    graph.until(lambda: robot.node.session.perception.scale._depths, what='depth')
    robot.calibrate()
    robot.show(START)
    assert robot.status[-1].metric
    assert abs(robot.status[-1].scale - 2.0) < 0.05


def test_scale_from_a_wheel_odometry(graph):
    robot = Robot(graph, scale__mode='odometry', odometry__estimator='network')
    publisher = graph.node.create_publisher(Odometry, 'scale/odom', 100)
    graph.until(lambda: publisher.get_subscription_count() > 0)
    for i in range(6):
        message = Odometry()
        message.header = encode.header(MAKE, START + i * STEP, 'wheel_odom')
        at = 3.0 * pose_at((START + i * STEP) / NS_PER_S)[:3, 3]
        message.pose.pose.position.x, message.pose.pose.position.y = float(at[0]), float(at[1])
        message.pose.pose.position.z = float(at[2])
        publisher.publish(message)
        time.sleep(0.02)
    positions = robot.node.session.perception.scale._positions
    graph.until(lambda: len(positions) == 6, what='positions')
    for i in range(6):
        robot.show(START + i * STEP)
    assert robot.dropped('failed') == 0
    assert robot.status[-1].metric
    assert abs(robot.status[-1].scale - 3.0) < 0.1


def test_deactivate_during_a_long_forward_pass(graph, monkeypatch):
    robot = Robot(graph, engine=truthful(delay=2.0))
    session = robot.node.session  # whose patience is less than the pass
    monkeypatch.setattr(session, 'stop', partial(session.stop, timeout=0.5))
    robot.images.publish(robot.image(START))
    graph.until(lambda: robot.engine.sets, what='the step to begin')
    assert robot.node.trigger_deactivate() == TransitionCallbackReturn.SUCCESS
    assert robot.node.trigger_activate() == TransitionCallbackReturn.FAILURE
    graph.until(lambda: robot.engine.steps == 1, what='the pass to end')
    time.sleep(0.5)
    robot.engine.delay = 0.0
    assert robot.node.trigger_activate() == TransitionCallbackReturn.SUCCESS
    assert not robot.status
    graph.until(lambda: robot.all_status, what='a status while waiting')
    assert robot.all_status[-1].state == PerceptionStatus.WAITING


def test_an_unexpected_error_while_configuring_is_reported(graph):
    def explode(_config):
        raise RuntimeError('out of memory')

    node = graph.add(Page4dNode(build=explode, context=graph.context))
    assert node.trigger_configure() == TransitionCallbackReturn.FAILURE


def test_diagnostics_name_the_state(graph):
    from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus

    got = graph.listen(DiagnosticArray, '/diagnostics')
    robot = Robot(graph)
    robot.engine.caution = 'weights are untrained'
    robot.show(START)
    graph.until(lambda: any('untrained' in m.status[0].message for m in got))
    last = next(m.status[0] for m in got if 'untrained' in m.status[0].message)
    assert last.level == DiagnosticStatus.WARN
    values = {v.key: v.value for v in last.values}
    assert {'checkpoint', 'device', 'backend', 'scale', 'metric', 'forward [ms]'} <= values.keys()
    assert values['window'] == '1 of 3'
    assert float(values['memory of the process [MiB]']) > 10
    assert last.name == 'page4d: perception'
    assert last.hardware_id == 'camera'  # the optical frame


def test_diagnostics_name_the_topic_of_a_camera_that_has_not_come(graph):
    got = graph.listen(DiagnosticArray, '/diagnostics')
    node = Robot(graph, activate=False).node
    graph.until(lambda: any(m.status[0].hardware_id == 'none' for m in got))
    node.trigger_configure()
    node.trigger_activate()
    graph.until(lambda: any(m.status[0].hardware_id == '/image' for m in got))


def test_a_dead_camera_is_no_tracking(graph):
    robot = Robot(graph)
    robot.show(START)
    assert robot.all_status[-1].state != PerceptionStatus.WAITING
    robot.node.session.health.last_image -= 6  # seconds
    graph.until(lambda: robot.all_status[-1].state == PerceptionStatus.WAITING, what='waiting')


def test_an_unconfigured_node_says_what_it_waits_for(graph):
    log = graph.listen(Log, '/rosout')
    robot = Robot(graph, activate=False)
    robot.node.say_what_it_waits_for()
    graph.until(lambda: any('ros2 lifecycle set /page4d configure' in m.msg for m in log))


def test_diagnostics_warn_of_a_place_that_the_weights_do_not_know(graph):
    from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus

    got = graph.listen(DiagnosticArray, '/diagnostics')
    robot = Robot(graph)
    robot.show(START)
    last = robot.node.session.sink.last_status
    assert not warnings_of_the_place(got)
    last.relies_on, last.network_trust = 'points', 0.25
    graph.until(lambda: warnings_of_the_place(got), what='a warning')
    status = warnings_of_the_place(got)[-1]
    assert status.level == DiagnosticStatus.WARN
    values = {v.key: v.value for v in status.values}
    assert (values['network trust'], values['pose relies on']) == ('0.25', 'points')
    last.network_trust = 0.75
    got.clear()
    graph.until(lambda: got, what='diagnostics')
    graph.until(lambda: not warnings_of_the_place(got[-1:]), what='no warning')


def warnings_of_the_place(got):
    return [m.status[0] for m in got if 'do not know this place' in m.status[0].message]


def test_a_failed_configure_is_an_error_in_the_diagnostics(graph):
    heard = graph.listen(DiagnosticArray, '/diagnostics')

    def build(_config):
        raise CheckpointError('weights.pt is not there')

    node = graph.add(Page4dNode(build=build, context=graph.context))
    assert node.trigger_configure() == TransitionCallbackReturn.FAILURE
    reason = 'cannot configure: weights.pt is not there'
    graph.until(
        lambda: any((m.status[0].level, m.status[0].message) == (ERROR, reason) for m in heard)
    )


def test_parameters_that_do_not_exist_are_named(graph):
    given = {'mask.treshold': 0.4, 'qos_overrides./odom.publisher.depth': 3}
    robot = Robot(graph, activate=False, **given)
    (complaint,) = parameters.complaints(robot.node)
    assert complaint == "unknown setting 'mask.treshold'; did you mean mask.threshold?"
