"""Images, clouds and paths that are put on the wire in one copy are what rclpy would send."""

import numpy as np
import pytest
from rclpy.serialization import deserialize_message, serialize_message
from scipy.spatial.transform import Rotation

from page4d_ros.geometry.camera import PinholeCamera
from page4d_ros.geometry.poses import transform
from page4d_ros.messages import encode
from page4d_ros.perception.clouds import POINT
from page4d_ros.ros import wire
from page4d_ros.ros.compat import RosMessages
from page4d_ros.ros.wire import WireMessages, serialized

RNG = np.random.default_rng(0)
TURNS, SHIFTS = Rotation.random(5, random_state=0).as_matrix(), RNG.normal(size=(5, 3))
PLAIN, WIRE = RosMessages(), WireMessages()


def image(shape, kind):
    values = RNG.integers(0, 200, shape).astype(kind)
    return lambda make: encode.image(make, encode.header(make, 1_500_000_001, 'camera'), values)


def cloud(count):
    points = np.zeros(count, POINT)
    points['x'] = RNG.normal(size=count)
    return lambda make: encode.cloud(make, encode.header(make, 7, 'a_frame'), points)


def camera_info(make):
    camera = PinholeCamera(518, 392, 400.0, 401.0, 258.5, 195.5)
    return encode.camera_info(make, encode.header(make, 7, 'camera'), camera)


@pytest.mark.parametrize(
    'message',
    [
        camera_info,
        image((3, 5), np.uint8),
        image((2, 7, 3), np.uint8),
        image((5, 3), np.uint16),
        image((4, 4), np.float32),
        image((0, 0), np.uint8),
        cloud(0),
        cloud(1),
        cloud(13),
    ],
)
def test_bytes_are_what_rclpy_would_send(message):
    plain, sent = message(PLAIN), message(WIRE)
    assert isinstance(sent, bytes)
    assert len(sent) == len(serialize_message(plain))  # what is in their gaps is anything
    assert deserialize_message(sent, type(plain)) == plain


def path(count, frame):
    def build(make):
        head = encode.header(make, 1_500_000_001, frame)
        poses = [transform(r, t) for r, t in zip(TURNS, SHIFTS, strict=True)][:count]
        stamped = [encode.pose_stamped(make, head, encode.pose(make, T)) for T in poses]
        return encode.path(make, head, [make.element(each) for each in stamped])

    return build


@pytest.mark.parametrize('frame', ['', 'odom', 'odom2', 'a', 'map__', 'robot_1/odom'])
@pytest.mark.parametrize('count', [0, 1, 2, 5])
def test_a_path_is_what_rclpy_would_send(count, frame):
    plain, sent = path(count, frame)(PLAIN), serialized(path(count, frame)(WIRE))
    assert len(sent) == len(serialize_message(plain))
    assert deserialize_message(sent, type(plain)) == plain


def test_other_messages_stay_messages():
    camera = WIRE('std_msgs/msg/Header', stamp=encode.stamp(WIRE, 3), frame_id='a')
    assert camera == PLAIN('std_msgs/msg/Header', stamp=encode.stamp(PLAIN, 3), frame_id='a')


def test_a_middleware_that_pads_gets_whole_messages(monkeypatch):
    def padded(message, serialize=wire.serialize_message):
        data = serialize(message)
        return data + bytes(-len(data) % 16)

    probes = wire._after_data, wire._adjoin
    for probe in probes:
        probe.cache_clear()
    monkeypatch.setattr(wire, 'serialize_message', padded)
    try:
        for message in (image((3, 5), np.uint8), path(3, 'odom')):
            assert message(WIRE) == message(PLAIN)
    finally:
        for probe in probes:
            probe.cache_clear()
