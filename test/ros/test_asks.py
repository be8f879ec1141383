"""Behaviour that users of neighbouring nodes ask for, where no other test holds it."""

import pytest
from robot import START, STEP, Robot, stamp_of

pytest.importorskip('rclpy', reason='rclpy is not installed')
pytest.importorskip('page4d_ros.srv', reason='the workspace is not built')

from nav_msgs.msg import Odometry, Path
from sensor_msgs.msg import Image

from page4d_ros.doctor.result import WARN
from page4d_ros.ros import compat, doctor


def test_frames_older_than_asked_for_are_dropped_on_arrival(graph):
    robot = Robot(graph, input__max_latency=60.0)
    robot.images.publish(robot.image(START))
    graph.until(lambda: robot.dropped('latency') == 1, what='the drop')
    now = graph.node.get_clock().now().nanoseconds
    robot.show(now)
    assert robot.status[-1].processed == 1
    assert robot.status[-1].dropped == 1
    assert 0 <= robot.status[-1].frame_age < 60


def test_outputs_may_be_computed_for_nobody(graph):
    robot = Robot(graph, publish__only_if_subscribed=False)
    sink = robot.node.session.sink
    assert all(sink.wanted(name) for name in sink.publishers)
    robot.show(START)
    assert not robot.node.session.health.error


def test_each_output_has_a_gate_of_its_own(graph):
    images = graph.listen(Image, 'mask/image')
    robot = Robot(graph)
    robot.show(START)
    graph.until(lambda: images, what='the mask')
    sink = robot.node.session.sink
    wanted = {name for name in sink.publishers if sink.wanted(name)}
    assert wanted == {'odom', '~/status', 'mask/image'}


def test_the_path_is_bounded(graph):
    paths = graph.listen(Path, 'path')
    robot = Robot(graph, path__max_poses=3)
    for i in range(5):
        robot.show(START + i * STEP)
    graph.until(lambda: len(paths) == 5, what='paths')
    assert [len(message.poses) for message in paths] == [1, 2, 3, 3, 3]
    assert stamp_of(paths[-1].poses[0]) == START + 2 * STEP


def test_the_pose_is_sent_before_images_and_clouds(graph):
    robot = Robot(graph, publish__only_if_subscribed=False)
    sent, sink = [], robot.node.session.sink
    send = sink.send

    def note(name, stamp_ns, message):
        sent.append(name)
        send(name, stamp_ns, message)

    sink.send = note
    odometry = graph.listen(Odometry, 'odom')
    robot.show(START)
    graph.until(lambda: odometry, what='odometry')
    assert sent[:2] == ['/tf', 'odom']
    assert sent.index('points/static') > sent.index('depth/image') > sent.index('odom')
    assert sent[-1] == '~/status'


@pytest.mark.parametrize('error', ['ImportError("x")', 'AttributeError("_ARRAY_API not found")'])
def test_a_package_that_is_built_for_another_numpy_costs_only_itself(tmp_path, monkeypatch, error):
    name = f'broken_{len(error)}'
    (tmp_path / f'{name}.py').write_text(f'raise {error}')
    monkeypatch.syspath_prepend(tmp_path)
    assert compat.optional(name) is None
    monkeypatch.setattr(doctor, 'OPTIONAL', {name: 'nothing'})
    (check,) = (c for c in doctor.checks() if c.name == 'ROS packages')
    level, text, advice = check.find()
    assert level == WARN
    assert f'{name} is installed and does not load' in text
    assert 'numpy<2' in advice
