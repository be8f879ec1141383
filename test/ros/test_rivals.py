"""Others that publish the transform of the node's frame are noticed, and said once."""

import pytest
from robot import MAKE, START, STEP, Robot

pytest.importorskip('rclpy', reason='rclpy is not installed')
pytest.importorskip('page4d_ros.msg', reason='the workspace is not built')

from rcl_interfaces.msg import Log
from tf2_msgs.msg import TFMessage

from page4d_ros.messages import encode


def transform_of(stamp_ns, parent, child):
    head = encode.header(MAKE, stamp_ns, parent)
    at = MAKE('geometry_msgs/msg/Pose')
    return TFMessage(transforms=[encode.transform_stamped(MAKE, head, child, at)])


def said(log):
    return [message.msg for message in log if message.msg.startswith('tf has ')]


def moving(graph, parent, child):
    """Publish a transform on /tf, once, when somebody listens."""
    publisher = graph.node.create_publisher(TFMessage, '/tf', 100)
    graph.until(lambda: publisher.get_subscription_count() > 1, what='tf listeners')
    publisher.publish(transform_of(START - STEP // 2, parent, child))


def test_a_camera_in_a_tree_of_its_own_has_a_parent_already(graph):
    log = graph.listen(Log, '/rosout')
    robot = Robot(graph, frames__base='')
    robot.static.publish(transform_of(0, 'camera_link', 'camera'))
    for i in range(4):
        robot.show(START + i * STEP)
    graph.until(lambda: said(log), what='the warning')
    assert "a parent of 'camera', 'camera_link', beside our 'odom'" in said(log)[0]
    assert "frames.base to the robot's base" in said(log)[0]


@pytest.mark.parametrize(
    ('parent', 'text'),
    [
        ('odom', "tf has another publisher of 'odom' to 'base_link'"),
        ('wheels', "tf has a parent of 'base_link', 'wheels', beside our 'odom'"),
    ],
)
def test_wheel_odometry_is_a_rival(graph, parent, text):
    log = graph.listen(Log, '/rosout')
    robot = Robot(graph)
    robot.mount()
    moving(graph, parent, 'base_link')
    for i in range(4):
        robot.show(START + i * STEP)
    graph.until(lambda: said(log), what='the warning')
    assert text in said(log)[0]
    robot.node.session._rivals.check()  # which watches no longer
    assert len(said(log)) == 1


@pytest.mark.parametrize('inverted', [False, True])
def test_what_the_node_sends_itself_is_none(graph, inverted):
    log = graph.listen(Log, '/rosout')
    got = graph.listen(TFMessage, '/tf')
    robot = Robot(graph, frames__invert_tf=inverted)
    robot.mount()
    for i in range(4):
        robot.show(START + i * STEP)
    graph.until(lambda: len(got) == 4, what='tf')
    robot.node.session._rivals.check()
    assert not said(log)
    assert not robot.node.session._rivals._parents.keys() & {'odom', 'base_link'}
