"""Images and clouds that are put on the wire in one copy are what rclpy would send."""

import numpy as np
import pytest
from rclpy.serialization import deserialize_message, serialize_message

from page4d_ros.messages import encode
from page4d_ros.perception.clouds import POINT
from page4d_ros.ros import wire
from page4d_ros.ros.compat import RosMessages
from page4d_ros.ros.wire import WireMessages

RNG = np.random.default_rng(0)
PLAIN, WIRE = RosMessages(), WireMessages()


def image(shape, kind):
    values = RNG.integers(0, 200, shape).astype(kind)
    return lambda make: encode.image(make, encode.header(make, 1_500_000_001, 'camera'), values)


def cloud(count):
    points = np.zeros(count, POINT)
    points['x'] = RNG.normal(size=count)
    return lambda make: encode.cloud(make, encode.header(make, 7, 'a_frame'), points)


@pytest.mark.parametrize(
    'message',
    [
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


def test_other_messages_stay_messages():
    camera = WIRE('std_msgs/msg/Header', stamp=encode.stamp(WIRE, 3), frame_id='a')
    assert camera == PLAIN('std_msgs/msg/Header', stamp=encode.stamp(PLAIN, 3), frame_id='a')


def test_a_middleware_that_pads_gets_whole_messages(monkeypatch):
    def padded(message, serialize=wire.serialize_message):
        data = serialize(message)
        return data + bytes(-len(data) % 4)

    wire._after_data.cache_clear()
    monkeypatch.setattr(wire, 'serialize_message', padded)
    try:
        message = image((3, 5), np.uint8)
        assert message(WIRE) == message(PLAIN)
    finally:
        wire._after_data.cache_clear()
