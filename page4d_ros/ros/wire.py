"""Serialization of images, clouds and paths without rclpy's copies of their contents."""

from __future__ import annotations

import array
import struct
from functools import cache
from typing import Any

import numpy as np
from rclpy.serialization import deserialize_message, serialize_message

from page4d_ros.ros.compat import RosMessages, message_class

PROBE = bytes(range(0xD0, 0xE0))
ENCAPSULATION = 4  # bytes before a serialized message
WITH_DATA = {'sensor_msgs/msg/Image', 'sensor_msgs/msg/PointCloud2'}
CALIBRATION = 'sensor_msgs/msg/CameraInfo'


class Element(bytes):
    """A PoseStamped as it is serialized where it follows another one.

    Attributes:
        message: the PoseStamped.
    """

    message: Any


class WireMessages(RosMessages):
    """Makes rclpy's messages, and serializes images, their camera_info, clouds and paths.

    rclpy copies the bytes of a field ``data`` into its message, into that of the middleware and
    into the serialized one, and does the same with every pose of a path, each time. Here such a
    message is serialized without them, and they are put in between. Publishers of rclpy take the
    bytes as they take a message.
    """

    def __call__(self, kind: str, /, **fields: Any) -> Any:
        """Message ``package/msg/Name`` with every field given, or its CDR serialization."""
        if kind in WITH_DATA:
            return self._with_data(kind, fields)
        if isinstance(fields.get('data'), np.ndarray):  # part of another message
            fields['data'] = super().sequence(fields['data'])
        if fields.get('poses') and isinstance(fields['poses'][0], Element):
            return self._with_poses(kind, fields)
        message = super().__call__(kind, **fields)
        # it is sent on several topics
        return serialize_message(message) if kind == CALIBRATION else message

    def element(self, pose_stamped: Any) -> Any:
        """A PoseStamped that is serialized already, unless the middleware pads it."""
        if not _adjoin(pose_stamped.header.frame_id):
            return pose_stamped
        element = Element(serialize_message(pose_stamped)[ENCAPSULATION:])
        element.message = pose_stamped
        return element

    def _with_poses(self, kind: str, fields: dict[str, Any]) -> bytes:
        first, *others = fields['poses']
        empty = serialize_message(super().__call__(kind, **fields | {'poses': []}))
        one = serialize_message(super().__call__(kind, **fields | {'poses': [first.message]}))
        count = struct.pack('=I', 1 + len(others))
        return b''.join((empty[:-4], count, one[len(empty) :], *others))

    def _with_data(self, kind: str, fields: dict[str, Any]) -> Any:
        data = fields['data']
        after = _after_data(kind)
        if after is None:
            return super().__call__(kind, **fields | {'data': super().sequence(data)})
        empty = serialize_message(super().__call__(kind, **fields | {'data': array.array('B')}))
        end = len(empty) - after
        return b''.join((empty[: end - 4], struct.pack('=I', len(data)), data, empty[end:]))

    def sequence(self, values: Any) -> Any:
        """Bytes as they are, everything else as an array.array."""
        return values if values.dtype == np.uint8 else super().sequence(values)


@cache
def _after_data(kind: str) -> int | None:
    """Bytes that follow the field `data`; None where the middleware pads them."""
    found = set()
    for size in range(8, len(PROBE)):
        data = PROBE[:size]
        message = message_class(kind)(data=array.array('B', data))
        found.add(len(serialize_message(message).partition(data)[2]))
    return found.pop() if len(found) == 1 else None


@cache
def _adjoin(frame_id: str) -> bool:
    """True if a path's poses are serialized as each is alone, without padding between them."""
    pose = message_class('geometry_msgs/msg/PoseStamped')()
    pose.header.frame_id = frame_id
    path = message_class('nav_msgs/msg/Path')
    one, three = (path(header=pose.header, poses=[pose] * count) for count in (1, 3))
    whole, others = serialize_message(three), 2 * serialize_message(pose)[ENCAPSULATION:]
    begin = whole[: -len(others)]
    if len(begin) != len(serialize_message(one)):
        return False
    # not byte by byte, because what is in the gaps is anything
    return deserialize_message(begin + others, path) == three


def serialized(message: Any) -> bytes:
    """CDR serialization of a message, which may be serialized already."""
    return message if isinstance(message, bytes) else serialize_message(message)
