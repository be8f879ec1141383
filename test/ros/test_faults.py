"""Messages and requests that ended the node: it refuses them, says so, and goes on."""

import os
import threading
from pathlib import Path

import numpy as np
import pytest
from diagnostic_msgs.msg import DiagnosticArray
from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState
from nav_msgs.msg import Odometry
from rcl_interfaces.msg import Log, ParameterValue
from rcl_interfaces.msg import Parameter as ParameterMessage
from rcl_interfaces.srv import SetParameters, SetParametersAtomically
from rclpy.lifecycle import LifecycleNode
from rclpy.parameter import Parameter
from rclpy.qos import QoSProfile
from robot import MAKE, MOUNT, START, STEP, Robot, stamp_of, truthful
from rosgraph_msgs.msg import Clock
from std_msgs.msg import Empty
from std_srvs.srv import SetBool, Trigger
from tf2_msgs.msg import TFMessage

from page4d_ros.errors import BagError
from page4d_ros.geometry.poses import R_BODY_OPTICAL, transform
from page4d_ros.messages import encode
from page4d_ros.ros.compat import TransformBroadcaster
from page4d_ros.ros.guard import GuardedExecutor, GuardedNode
from page4d_ros.ros.recorder import record
from page4d_ros.units import NS_PER_S

BROKEN_BEFORE = ('humble', 'iron', 'jazzy')  # https://github.com/ros2/rclpy/issues/1209


def transform_of(parent, child, *, rotation=(0.0, 0.0, 0.0, 1.0), translation=(0.0, 0.0, 0.0)):
    item = encode.transform_stamped(
        MAKE, encode.header(MAKE, 0, parent), child, encode.pose(MAKE, MOUNT)
    )
    for axis, value in zip('xyzw', rotation, strict=True):
        setattr(item.transform.rotation, axis, value)
    for axis, value in zip('xyz', translation, strict=True):
        setattr(item.transform.translation, axis, value)
    return TFMessage(transforms=[item])


def heard(log, text):
    return lambda: any(text in message.msg for message in log)


def diagnosed(got, text='errors in callbacks'):
    """Newest value of a diagnostic; None before the first."""
    if not got:
        return None
    return next(pair.value for pair in got[-1].status[0].values if pair.key == text)


@pytest.mark.parametrize('topic', ['/tf', '/tf_static'])
@pytest.mark.parametrize(
    'bad',
    [
        {'rotation': (float('nan'),) * 4},
        {'rotation': (0.0, 0.0, 0.0, 1e-200)},
        {'rotation': (0.0, 0.0, 0.0, 0.0)},
        {'rotation': (float('inf'), 0.0, 0.0, 1.0)},
        {'translation': (float('nan'), 0.0, 0.0)},
    ],
    ids=['nan', '1e-200', 'null', 'inf', 'nan translation'],
)
def test_a_broken_transform_is_refused_by_name(graph, topic, bad):
    """Whoever publishes it, and between whichever frames."""
    log = graph.listen(Log, '/rosout')
    robot = Robot(graph)
    publisher = robot.static if topic == '/tf_static' else None
    if publisher is None:
        publisher = graph.node.create_publisher(TFMessage, '/tf', 100)
        graph.until(lambda: publisher.get_subscription_count() > 0, what='tf listener')
    publisher.publish(transform_of('somebody', 'elses', **bad))
    graph.until(heard(log, "'somebody' to 'elses'"), what='the warning')
    robot.mount()
    robot.show(START)
    assert robot.node.session.sink.base_frame.mounted
    assert robot.node.callback_errors == 0


@pytest.mark.parametrize('bad', [(-1, 0), (-(2**31), 2**32 - 1), (2**31 - 1, 2**32 - 1)], ids=str)
def test_a_clock_that_cannot_be_is_refused(graph, bad):
    log, diagnostics = graph.listen(Log, '/rosout'), graph.listen(DiagnosticArray, '/diagnostics')
    robot = Robot(graph, use_sim_time=True)
    clock = graph.node.create_publisher(Clock, '/clock', 10)
    graph.until(lambda: clock.get_subscription_count() > 0, what='clock listener')
    message = Clock()
    message.clock.sec, message.clock.nanosec = bad
    clock.publish(message)
    graph.until(heard(log, '/clock'), what='the warning')
    count = len(diagnostics)
    graph.until(lambda: len(diagnostics) > count + 1, what='diagnostics afterwards')
    clock.publish(Clock(clock=encode.stamp(MAKE, START)))
    graph.until(lambda: robot.node.get_clock().now().nanoseconds == START, what='a good clock')
    robot.show(START)
    assert robot.node.callback_errors == 0


def asked(name, kind):
    return ParameterMessage(name=name, value=ParameterValue(type=kind))


@pytest.mark.parametrize('kind', [0, 99])
@pytest.mark.parametrize('name', ['mask.threshold', 'nobody.knows', 'use_sim_time'])
def test_a_parameter_of_no_type_is_refused(graph, name, kind):
    """0 is PARAMETER_NOT_SET, which undeclares; 99 does not exist."""
    robot = Robot(graph)
    before = robot.node.config
    good = Parameter('mask.threshold', value=0.7).to_parameter_msg()
    request = SetParameters.Request(parameters=[asked(name, kind), good])
    results = graph.call(SetParameters, 'page4d/set_parameters', request).results
    assert not results[0].successful
    assert results[0].reason
    assert len(results) == 2
    whole = SetParametersAtomically.Request(parameters=[good, asked(name, kind)])
    answer = graph.call(SetParametersAtomically, 'page4d/set_parameters_atomically', whole)
    assert not answer.result.successful
    assert answer.result.reason
    robot.show(START)
    if kind == 99:
        assert f'{name}: there is no parameter type 99' in results[0].reason
        assert robot.node.config == before
    assert robot.node.has_parameter('mask.threshold')
    assert robot.node.callback_errors == 0


@pytest.mark.parametrize('folder', ['~no_such_user/x', '/proc/nothing', 'a\0b'])
def test_a_folder_that_cannot_be_is_named(graph, folder):
    robot = Robot(graph, path__folder=folder)
    robot.show(START)
    answer = graph.call(Trigger, 'page4d/save_trajectory', Trigger.Request())
    assert not answer.success
    assert folder.split('\0')[0].removesuffix('/x') in answer.message
    robot.show(START + STEP)
    assert robot.node.callback_errors == 0


def test_whatever_a_callback_throws_is_logged_and_counted(graph):
    log, diagnostics = graph.listen(Log, '/rosout'), graph.listen(DiagnosticArray, '/diagnostics')
    robot = Robot(graph)
    node = robot.node

    def fail(*_):
        raise RuntimeError('something of ours is broken')

    node.create_subscription(Empty, 'anything', fail, 10)
    publisher = graph.node.create_publisher(Empty, 'anything', 10)
    graph.until(lambda: publisher.get_subscription_count() > 0)
    publisher.publish(Empty())
    graph.until(heard(log, 'something of ours is broken'), what='the log')
    graph.until(heard(log, 'in fail'), what='the trace in the log')
    timer = node.create_timer(0.01, fail)
    graph.until(lambda: node.callback_errors > 2, what='two errors of the timer')
    timer.cancel()
    robot.show(START)
    expected = str(node.callback_errors)
    graph.until(lambda: diagnosed(diagnostics) == expected, what='the diagnostics')


def test_bytes_that_are_no_message_do_not_end_the_executor(graph):
    node = GuardedNode('guarded', context=graph.context)
    executor, got = GuardedExecutor(context=graph.context), []
    executor.add_node(node)
    node.create_subscription(TFMessage, '/tf', got.append, 10)
    publisher = graph.node.create_publisher(TFMessage, '/tf', QoSProfile(depth=10))

    def spun(condition):
        executor.spin_once(0.05)
        return condition()

    graph.until(lambda: spun(lambda: publisher.get_subscription_count() > 0), what='discovery')
    publisher.publish(b'\0\1\0\0' + b'\xff' * 40)
    publisher.publish(transform_of('somebody', 'elses'))
    graph.until(lambda: spun(lambda: got), what='the good message')
    executor.wait_for_ready_callbacks = lambda *_, **__: (_ for _ in ()).throw(MemoryError())
    before = node.callback_errors
    executor.spin_once(0.05)
    assert node.callback_errors == before + 1
    executor.shutdown()
    node.destroy_node()


def test_a_message_that_cannot_be_taken_does_not_silence_the_node(graph):
    """rclpy leaves the callback group taken, so that no callback is ever called again."""
    node = GuardedNode('guarded', context=graph.context)
    executor, got = GuardedExecutor(context=graph.context), []
    executor.add_node(node)
    node.create_subscription(TFMessage, '/tf', got.append, 10)
    take, failed = executor._take_subscription, []

    def failing(subscription):
        if not failed and '/tf' in subscription.topic_name:
            failed.append(subscription)
            raise MemoryError('for a message')
        return take(subscription)

    executor._take_subscription = failing
    publisher = graph.node.create_publisher(TFMessage, '/tf', QoSProfile(depth=10))

    def spun(condition):
        executor.spin_once(0.05)
        return condition()

    graph.until(lambda: spun(lambda: publisher.get_subscription_count() > 0), what='discovery')
    publisher.publish(transform_of('somebody', 'elses'))
    graph.until(lambda: spun(lambda: got), what='the message')
    assert failed
    assert node.callback_errors == 1
    executor.shutdown()
    node.destroy_node()


def test_tf_neither_repeats_nor_goes_back_whatever_was_reset(graph):
    sent = []
    broadcaster = TransformBroadcaster(graph.node)
    broadcaster._send = lambda item: sent.append(item.header.stamp.sec)
    for sec in (10, 10, 11, 10, 12, 1, 2):
        head = encode.header(MAKE, sec * NS_PER_S, 'odom')
        broadcaster.send(encode.transform_stamped(MAKE, head, 'base', encode.pose(MAKE, MOUNT)))
    assert sent == [10, 11, 12, 1, 2]  # the last two are of a recording that begins again


def test_reset_between_duplicates_sends_no_stamp_twice(graph):
    got = graph.listen(TFMessage, '/tf')
    robot = Robot(graph)
    robot.show(START)
    assert graph.call(Trigger, 'page4d/reset', Trigger.Request()).success
    robot.images.publish(robot.image(START))
    robot.show(START + STEP)
    graph.until(lambda: len(got) >= 2, what='tf')
    stamps = [item.transforms[0].header.stamp for item in got]
    times = [stamp.sec * NS_PER_S + stamp.nanosec for stamp in stamps]
    assert times == sorted(set(times))


def test_a_service_that_fails_answers_with_the_reason(graph):
    robot = Robot(graph)
    robot.node.session.pause = robot.node.session.reset = lambda **_: 1 / 0
    for kind, name in ((SetBool, 'page4d/pause'), (Trigger, 'page4d/reset')):
        answer = graph.call(kind, name, kind.Request())
        assert not answer.success
        assert answer.message == 'division by zero'
    robot.node.add_on_set_parameters_callback(lambda _: 1 / 0)
    good = Parameter('mask.threshold', value=0.7).to_parameter_msg()
    request = SetParameters.Request(parameters=[good])
    (result,) = graph.call(SetParameters, 'page4d/set_parameters', request).results
    assert (result.successful, result.reason) == (False, 'division by zero')
    assert robot.node.callback_errors >= 3
    robot.show(START)


def test_a_transition_that_fails_is_logged(graph):
    log = graph.listen(Log, '/rosout')
    robot = Robot(graph)
    robot.node.session.stop = lambda: 1 / 0
    request = ChangeState.Request(transition=Transition(id=Transition.TRANSITION_DEACTIVATE))
    assert not graph.call(ChangeState, 'page4d/change_state', request).success
    graph.until(heard(log, 'error in on_deactivate: ZeroDivisionError'), what='the log')


def test_a_device_is_freed_only_when_the_last_pass_has_ended(graph):
    robot = Robot(graph, engine=truthful(delay=0.0))
    begun, end, freed = threading.Event(), threading.Event(), []
    working = robot.engine.step

    def step(*args, **kwargs):
        begun.set()
        assert end.wait(60)
        assert not freed
        return working(*args, **kwargs)

    robot.engine.step = step
    robot.engine.free = lambda: freed.append(end.is_set())
    session = robot.node.session
    session.stop = lambda stop=session.stop: stop(0.1)
    robot.images.publish(robot.image(START))
    assert begun.wait(60)
    request = ChangeState.Request(transition=Transition(id=Transition.TRANSITION_ACTIVE_SHUTDOWN))
    assert graph.call(ChangeState, 'page4d/change_state', request).success
    assert robot.node.session is None
    assert not freed
    end.set()
    graph.until(lambda: freed == [True], what='the device to be freed')
    assert not robot.status


@pytest.mark.xfail(
    condition=os.environ.get('ROS_DISTRO') in BROKEN_BEFORE,
    reason='https://github.com/ros2/rclpy/issues/1209, fixed in Kilted',
    strict=True,
)
def test_rclpy_itself_answers_a_transition_that_is_refused(graph):
    """Where this passes on every distribution, `GuardedNode` need not do it any more."""
    node = graph.add(LifecycleNode('plain', context=graph.context))
    (service,) = (s for s in node.services if s.srv_name.endswith('/change_state'))
    request = ChangeState.Request(transition=Transition(id=Transition.TRANSITION_CLEANUP))
    assert not service.callback(request, ChangeState.Response()).success


def test_a_full_disk_leaves_no_trajectory_that_looks_whole(graph, tmp_path, monkeypatch):
    robot = Robot(graph, path__folder=str(tmp_path))
    robot.show(START)

    def full(path, *_, **__):
        path.touch()
        raise OSError(28, 'No space left on device')

    with monkeypatch.context() as disk:
        disk.setattr(Path, 'write_bytes', full)
        answer = graph.call(Trigger, 'page4d/save_trajectory', Trigger.Request())
    assert not answer.success
    assert 'No space left' in answer.message
    assert not list(tmp_path.iterdir())
    assert graph.call(Trigger, 'page4d/save_trajectory', Trigger.Request()).success
    assert {path.suffix for path in tmp_path.iterdir()} == {'.tum', '.kitti', '.times'}


@pytest.mark.parametrize('topics', [['/nobody/has/this'], ['odometry']])
def test_a_topic_that_the_node_does_not_have_is_not_recorded_in_vain(tmp_path, topics):
    with pytest.raises(BagError, match='there are /odom, '):
        record(
            tmp_path / 'bag',
            node_name='/page4d',
            force=False,
            sim_time=False,
            topics=topics,
            say=print,
        )
    assert not (tmp_path / 'bag').exists()


def test_images_of_another_camera_use_its_own_mount(graph):
    log, odometry = graph.listen(Log, '/rosout'), graph.listen(Odometry, '/odom')
    robot = Robot(graph)
    robot.mount()
    other = transform(R_BODY_OPTICAL, (-1.0, 0.0, 0.5))
    item = encode.transform_stamped(
        MAKE, encode.header(MAKE, 0, 'base_link'), 'rear', encode.pose(MAKE, other)
    )
    robot.static.publish(TFMessage(transforms=[item]))
    listener = robot.node.session.sink.listener
    graph.until(lambda: listener.lookup('base_link', 'rear') is not None, what='the second mount')
    base = robot.node.session.sink.base_frame
    robot.show(START)
    np.testing.assert_allclose(base.T_child_camera, MOUNT, atol=1e-9)
    robot.show(START + STEP, frame_id='rear')
    np.testing.assert_allclose(base.T_child_camera, other, atol=1e-9)
    graph.until(heard(log, "images of 'rear' after those of 'camera'"), what='the warning')
    robot.show(START + 2 * STEP, frame_id='nowhere')
    assert not base.mounted
    graph.until(lambda: len(odometry) == 3, what='odometry')


def test_a_second_node_of_one_name_is_told_of(graph):
    log = graph.listen(Log, '/rosout')
    Robot(graph)
    graph.add(LifecycleNode('page4d', context=graph.context))
    graph.until(heard(log, 'another node is called /page4d'), what='the warning')


def test_what_waited_while_the_process_was_stopped_is_not_published(graph):
    """In the worker, in its hands, and on its way to it."""
    log = graph.listen(Log, '/rosout')
    robot = Robot(graph)
    session, step = robot.node.session, robot.engine.step
    robot.show(START)
    begun, end = threading.Event(), threading.Event()

    def waiting(*args, **kwargs):
        begun.set()
        assert end.wait(60)
        return step(*args, **kwargs)

    robot.engine.step = waiting
    robot.images.publish(robot.image(START + STEP))
    assert begun.wait(60)
    subscription = session.inputs[0].images._subscription
    session.pulse.now = lambda now=session.pulse.now: now() + 20
    end.set()
    graph.until(heard(log, 'the process was stopped for 20 s'), what='the log')
    graph.until(lambda: robot.dropped('void') == 1, what='the void frame')
    assert session.inputs[0].images._subscription is not subscription
    graph.until(lambda: robot.images.get_subscription_count() == 1, what='subscription')
    robot.engine.step = step
    robot.show(START + 2 * STEP)
    assert START + STEP not in [stamp_of(status) for status in robot.status]


def test_an_image_that_waited_while_the_process_was_stopped_is_late(graph):
    robot = Robot(graph)
    session = robot.node.session
    session._follower.cancel()  # which beats otherwise
    session.pulse.now = lambda now=session.pulse.now: now() + 20
    session._on_image(0, robot.image(START))
    assert robot.dropped('late') == 1
    session.pulse.beat()
    robot.show(START + STEP)


def test_the_rest_of_an_estimate_is_dropped_if_the_process_was_stopped_meanwhile(graph):
    odometry, tf = graph.listen(Odometry, '/odom'), graph.listen(TFMessage, '/tf')
    robot = Robot(graph)
    sink = robot.node.session.sink
    send, now = sink.send, sink._pulse.now

    def stopped(name, *args):
        send(name, *args)
        if name == '/tf':
            sink._pulse.now = lambda: now() + 20

    sink.send = stopped
    robot.images.publish(robot.image(START))
    graph.until(lambda: len(tf) == 1, what='tf')
    graph.until(lambda: robot.node.session.runner.processed == 1, what='the end of the estimate')
    sink.send = send
    robot.show(START + STEP)
    assert [stamp_of(message) for message in odometry] == [START + STEP]
    assert START not in [stamp_of(status) for status in robot.status]
