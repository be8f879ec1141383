"""Where nobody tells tf where the camera sits, the node does, until somebody tells."""

import numpy as np
import pytest
from robot import MAKE, MOUNT, START, STEP, Robot
from scipy.spatial.transform import Rotation

pytest.importorskip('rclpy', reason='rclpy is not installed')
pytest.importorskip('page4d_ros.msg', reason='the workspace is not built')

from rcl_interfaces.msg import Log
from tf2_msgs.msg import TFMessage

from page4d_ros.geometry import poses
from page4d_ros.geometry.poses import R_BODY_OPTICAL
from page4d_ros.messages import encode
from page4d_ros.perception.base_frame import FORWARD
from page4d_ros.ros.compat import STATIC_QOS, TransformListener

LINK = poses.transform(Rotation.from_euler('z', 0.3).as_matrix(), (0.01, 0.02, 0.03))
PITCHED = [0.1, 0.2, 1.1, 0.4, 0.3, -0.1]


def transform_of(parent, child, T):
    head = encode.header(MAKE, 0, parent)
    return TFMessage(
        transforms=[encode.transform_stamped(MAKE, head, child, encode.pose(MAKE, T))]
    )


def said(log, text):
    return [message.msg for message in log if text in message.msg]


class Consumer:
    """Somebody who needs a cloud in the base frame."""

    def __init__(self, graph):
        self.graph = graph
        self.listener = TransformListener(graph.node)

    def mount(self, child='camera'):
        self.graph.until(lambda: self.listener.lookup('base_link', child) is not None, what='tf')
        return self.listener.lookup('base_link', child)


def test_the_assumed_mount_is_sent_and_said_once(graph):
    log = graph.listen(Log, '/rosout')
    robot = Robot(graph)
    for i in range(3):
        robot.show(START + i * STEP)
    late = Consumer(graph)  # who joins later hears it as well
    np.testing.assert_allclose(late.mount(), FORWARD, atol=1e-12)
    graph.until(lambda: said(log, 'assuming that the camera'), what='the warning')
    (warning,) = said(log, 'assuming that the camera')
    assert "sent as 'base_link' to 'camera' on /tf_static" in warning
    assert not robot.node.session.sink.base_frame.mounted


def test_it_is_not_sent_if_told_not_to(graph):
    log = graph.listen(Log, '/rosout')
    static = graph.listen(TFMessage, '/tf_static', durability=STATIC_QOS.durability)
    robot = Robot(graph, frames__publish_mount=False)
    robot.show(START)
    graph.until(lambda: said(log, 'not sent on tf'), what='the warning')
    assert not static


def test_a_given_mount_is_used_and_sent(graph):
    odometry = TransformListener(graph.node)
    robot = Robot(graph, frames__mount=PITCHED, frames__tf_timeout=60.0)
    robot.show(START)  # which does not wait for tf
    R = Rotation.from_euler('ZYX', PITCHED[3:]).as_matrix() @ R_BODY_OPTICAL
    given = poses.transform(R, PITCHED[:3])
    np.testing.assert_allclose(Consumer(graph).mount(), given, atol=1e-12)
    graph.until(lambda: odometry.lookup('odom', 'base_link') is not None, what='tf')
    np.testing.assert_allclose(odometry.lookup('odom', 'base_link'), np.eye(4), atol=1e-9)
    up = robot.node.session.perception.scale.up
    np.testing.assert_allclose(up, R.T @ (0, 0, 1), atol=1e-12)


def test_what_tf_has_is_not_contradicted(graph):
    robot = Robot(graph, frames__mount=PITCHED)
    robot.mount()
    robot.show(START)
    assert robot.node.session.sink.base_frame.mounted
    np.testing.assert_allclose(Consumer(graph).mount(), MOUNT, atol=1e-12)
    assert not robot.node.session.sink.mount.sends


def test_the_tree_of_a_driver_is_hung_up_by_its_root(graph):
    """As realsense's and others' do: camera_link to the optical frame, and nothing above."""
    robot = Robot(graph)
    robot.static.publish(transform_of('camera_link', 'camera', LINK))
    listener = robot.node.session.sink.listener
    graph.until(lambda: listener.lookup('camera_link', 'camera') is not None, what='tf')
    robot.show(START)
    consumer = Consumer(graph)
    np.testing.assert_allclose(consumer.mount(), FORWARD, atol=1e-12)
    expected = FORWARD @ poses.inverse(LINK)
    np.testing.assert_allclose(consumer.mount('camera_link'), expected, atol=1e-12)


@pytest.mark.parametrize('values', [{}, {'frames__mount': PITCHED}], ids=['assumed', 'given'])
def test_it_is_withdrawn_when_others_tell(graph, values):
    log = graph.listen(Log, '/rosout')
    robot = Robot(graph, **values)
    robot.show(START)
    robot.static.publish(transform_of('base_link', 'camera', MOUNT))
    mount = robot.node.session.sink.mount
    graph.until(lambda: not mount.sends, what='the end of it')
    robot.show(START + STEP)
    base_frame = robot.node.session.sink.base_frame
    np.testing.assert_allclose(base_frame.T_child_camera, MOUNT, atol=1e-12)
    assert base_frame.mounted
    np.testing.assert_allclose(Consumer(graph).mount(), MOUNT, atol=1e-12)
    graph.until(lambda: said(log, 'withdrawn') and said(log, 'using it'), what='the notes')


def test_what_is_no_transform_withdraws_nothing(graph):
    log = graph.listen(Log, '/rosout')
    robot = Robot(graph)
    robot.show(START)
    broken = transform_of('base_link', 'camera', MOUNT)
    broken.transforms[0].transform.rotation.w = float('nan')
    robot.static.publish(broken)
    graph.until(lambda: said(log, 'is no transform'), what='the warning')
    robot.show(START + STEP)
    assert robot.node.session.sink.mount.sends
    np.testing.assert_allclose(Consumer(graph).mount(), FORWARD, atol=1e-12)
