"""What stands in for packages without wheels, against the packages where they are installed."""

import time

import numpy as np
import pytest
from fakes import PlainMessages
from scipy.spatial.transform import Rotation

pytest.importorskip('rclpy', reason='rclpy is not installed')

import rclpy
from diagnostic_msgs.msg import DiagnosticArray
from rclpy.parameter import Parameter
from tf2_msgs.msg import TFMessage

from page4d_ros.geometry import poses
from page4d_ros.messages import encode
from page4d_ros.messages.decode import image_reader
from page4d_ros.messages.transforms import TransformBuffer
from page4d_ros.perception.clouds import POINT
from page4d_ros.ros import compat
from page4d_ros.units import NS_PER_S

MAKE = compat.RosMessages()
HEAD = encode.header(MAKE, 1_700_000_000 * NS_PER_S + 999_999_999, 'camera')


def needs(module):
    found = compat.optional(module)
    if found is None:
        pytest.skip(f'{module} is not installed: there is nothing to compare with')
    return found


def random_transforms(n):
    rng = np.random.default_rng(0)
    R = Rotation.random(n, random_state=rng).as_matrix()
    return poses.transform(R, rng.normal(size=(n, 3)))


def points(n=100):
    rng = np.random.default_rng(0)
    out = np.zeros(n, POINT)
    for name in POINT.names:
        out[name] = rng.normal(size=n)
    return out


def test_tf_transformations_agrees():
    needs('tf_transformations')
    for T in random_transforms(50):
        ours, theirs = poses.quaternion(T), MAKE.quaternion(T)
        assert theirs[3] >= 0
        np.testing.assert_allclose(ours, theirs, atol=1e-9)


def test_sensor_msgs_py_makes_the_same_cloud():
    library = needs('sensor_msgs_py.point_cloud2')
    theirs = library.create_cloud(HEAD, encode.point_fields(MAKE), points())
    theirs.is_dense = True  # create_cloud always says False
    assert encode.cloud(MAKE, HEAD, points()) == theirs


def test_sensor_msgs_py_reads_our_cloud():
    library = needs('sensor_msgs_py.point_cloud2')
    read = library.read_points(encode.cloud(MAKE, HEAD, points()))
    for name in POINT.names:
        np.testing.assert_array_equal(read[name], points()[name])


@pytest.mark.parametrize('pattern', ['rggb', 'bggr', 'gbrg', 'grbg'])
def test_cv_bridge_agrees_on_bayer(pattern):
    needs('cv_bridge')
    message = encode.image(
        MAKE, HEAD, np.random.default_rng(0).integers(0, 256, (20, 24), dtype=np.uint8)
    )
    message.encoding = f'bayer_{pattern}8'
    np.testing.assert_array_equal(image_reader(message)(), compat.cv_bridge_reader()(message))


def test_cv_bridge_serves_encodings_that_we_do_not_know():
    needs('cv_bridge')
    array = np.random.default_rng(0).integers(0, 2**16, (20, 24, 3), dtype=np.uint16)
    message = encode.image(MAKE, HEAD, array[..., 0])
    message.encoding, message.step = 'rgb16', 24 * 6
    message.data = MAKE.sequence(array.reshape(-1).view(np.uint8))
    image = image_reader(message, compat.cv_bridge_reader())()
    assert image.shape == (20, 24, 3)
    assert image.dtype == np.uint8


def chain(make):
    """map -> odom -> base -> camera and base -> lidar."""
    frames = [('map', 'odom'), ('odom', 'base'), ('base', '/camera'), ('base', 'lidar')]
    return [
        encode.transform_stamped(
            make, encode.header(make, NS_PER_S, parent), child, encode.pose(make, T)
        )
        for (parent, child), T in zip(frames, random_transforms(4), strict=True)
    ]


def test_transform_buffer_walks_the_tree():
    buffer = TransformBuffer()
    buffer.store(PlainMessages()('tf2_msgs/msg/TFMessage', transforms=chain(PlainMessages())))
    T = random_transforms(4)
    np.testing.assert_allclose(buffer.lookup('base', 'camera'), T[2], atol=1e-12)
    np.testing.assert_allclose(buffer.lookup('camera', 'base'), poses.inverse(T[2]), atol=1e-12)
    np.testing.assert_allclose(buffer.lookup('map', 'camera'), T[0] @ T[1] @ T[2], atol=1e-12)
    np.testing.assert_allclose(
        buffer.lookup('lidar', 'camera'), poses.inverse(T[3]) @ T[2], atol=1e-12
    )
    assert buffer.lookup('base', 'nowhere') is None
    np.testing.assert_array_equal(buffer.lookup('x', 'x'), np.eye(4))


def test_transform_buffer_survives_a_loop():
    buffer = TransformBuffer()
    make = PlainMessages()
    loop = [('a', 'b'), ('b', 'a')]
    items = [
        encode.transform_stamped(
            make, encode.header(make, NS_PER_S, p), c, encode.pose(make, np.eye(4))
        )
        for p, c in loop
    ]
    buffer.store(make('tf2_msgs/msg/TFMessage', transforms=items))
    assert buffer.lookup('a', 'c') is None
    assert buffer.lookup('a', 'b') is not None


def test_the_listener_finds_static_transforms(graph):
    listener = compat.TransformListener(graph.node)
    publisher = graph.node.create_publisher(TFMessage, '/tf_static', compat.STATIC_QOS)
    publisher.publish(TFMessage(transforms=chain(MAKE)))
    graph.until(lambda: listener.lookup('map', 'lidar') is not None)
    T = random_transforms(4)
    np.testing.assert_allclose(listener.lookup('map', 'lidar'), T[0] @ T[1] @ T[3], atol=1e-9)
    assert listener.lookup('map', 'nowhere') is None
    listener.destroy()


def test_the_broadcaster_is_heard(graph):
    got = graph.listen(TFMessage, '/tf')
    broadcaster = compat.TransformBroadcaster(graph.node)
    graph.until(lambda: graph.node.count_subscribers('/tf') > 0)
    item = chain(MAKE)[1]
    for _ in range(20):
        broadcaster.send(item)
        time.sleep(0.05)
        if got:
            break
    assert got[0].transforms[0] == item


def test_filling_a_message_copies_at_once():
    array = np.random.default_rng(0).integers(0, 256, (480, 640, 3), dtype=np.uint8)
    message = encode.image(MAKE, HEAD, array)
    assert message.data.tobytes() == array.tobytes()
    assert message.step == 1920


def reported(graph, heard, name):
    """Status that a reporter publishes for a node of this name, on its second call."""
    levels = iter([compat.message_class(STATUS)(level=level) for level in (b'\x01', b'\x02')])

    def status():
        out = next(levels, last)
        out.message, out.hardware_id = 'no image', 'camera_optical'
        out.values = [compat.message_class(PAIR)(key='scale', value='1.5')]
        return out

    last = compat.message_class(STATUS)(level=b'\x02')
    node = graph.add(rclpy.create_node(name, namespace='robot1', context=graph.context))
    # a clock that stands still silences nobody
    node.set_parameters([Parameter('use_sim_time', value=True)])
    compat.Reporter(node, 'perception', status)

    def of_node():
        return [s for m in heard for s in m.status if name in s.name and s.level == b'\x02']

    graph.until(of_node, what='the report')
    return of_node()[-1]


STATUS, PAIR = 'diagnostic_msgs/msg/DiagnosticStatus', 'diagnostic_msgs/msg/KeyValue'


def test_our_reports_are_as_diagnostic_updater_makes_them(graph, monkeypatch):
    heard = graph.listen(DiagnosticArray, '/diagnostics')
    with monkeypatch.context() as patch:
        patch.setattr(compat, 'optional', lambda _name: None)
        ours = reported(graph, heard, 'plain')
    assert (ours.name, ours.hardware_id) == ('robot1/plain: perception', 'camera_optical')
    assert (ours.message, ours.values[0].key) == ('no image', 'scale')
    needs('diagnostic_updater')
    theirs = reported(graph, heard, 'theirs')
    assert theirs.name in {'robot1/theirs: perception', 'theirs: perception'}  # Humble's
    theirs.name = ours.name
    assert theirs == ours
