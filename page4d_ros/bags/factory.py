"""Messages of the library rosbags, for machines without ROS."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np
from rosbags.typesys import Stores, get_types_from_msg, get_typestore

from page4d_ros.messages.factory import MessageFactory
from page4d_ros.messages.topics import MOVING_BODY, STATUS
from page4d_ros.share import share_file

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from rosbags.typesys.store import Typestore


@cache
def typestore() -> Typestore:
    """Message types of ROS 2 Jazzy, and our own."""
    store = get_typestore(Stores.ROS2_JAZZY)
    for kind in (MOVING_BODY, STATUS):
        text = share_file(f'msg/{kind.rsplit("/", 1)[1]}.msg').read_text(encoding='utf-8')
        store.register(get_types_from_msg(text, kind))
    return store


@cache
def noetic() -> Typestore:
    """Message types of ROS 1 Noetic, with that of tf."""
    store = get_typestore(Stores.ROS1_NOETIC)
    kind = 'tf2_msgs/msg/TFMessage'
    store.register(get_types_from_msg('geometry_msgs/TransformStamped[] transforms', kind))
    return store


class BagMessages(MessageFactory):
    """Makes the messages that `BagWriter` writes."""

    def __init__(self) -> None:
        self._types = typestore().types

    def __call__(self, kind: str, /, **fields: Any) -> Any:
        """Message ``package/msg/Name`` with every field given."""
        return self._types[kind](**fields)

    def sequence(self, values: NDArray) -> NDArray:
        """Contiguous array; nothing is copied."""
        return np.ascontiguousarray(values)

    def fixed(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Array of float64."""
        return np.asarray(values, np.float64)
