"""Images and clouds, put on the wire without rclpy's copies of their bytes."""

from __future__ import annotations

import array
import struct
from functools import cache
from typing import Any

import numpy as np
from rclpy.serialization import serialize_message

from page4d_ros.ros.compat import RosMessages, message_class

PROBE = bytes(range(0xD0, 0xE0))


class WireMessages(RosMessages):
    """Makes rclpy's messages; those with a field ``data`` of bytes are serialized already.

    rclpy copies such bytes into its message, into that of the middleware and into the serialized
    one. Here the message is serialized without them, and they are put in between. Publishers of
    rclpy take the bytes as they take a message.
    """

    def __call__(self, kind: str, /, **fields: Any) -> Any:
        """Message ``package/msg/Name`` with every field given, or its CDR serialization."""
        data = fields.get('data')
        if not isinstance(data, np.ndarray):
            return super().__call__(kind, **fields)
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


def serialized(message: Any) -> bytes:
    """What goes over the wire."""
    return message if isinstance(message, bytes) else serialize_message(message)
