"""Notices others that publish the transform of the node's frame: in tf a frame has one parent."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from page4d_ros.ros.compat import DYNAMIC_QOS, STATIC_QOS, message_class

if TYPE_CHECKING:
    from collections.abc import Callable

    from rclpy.node import Node

    from page4d_ros.ros.compat import TransformBroadcaster

WATCH = 30.0  # seconds that tf is watched, after the frame is known; it costs time per message


class Rivals:
    """Watches tf for a while, and warns once of another transform of the frame that is published.

    Args:
        node: subscribes and warns.
        broadcaster: knows what the node itself has sent.
        frames: returns parent and child that the node publishes; None while they are not known,
            or not published.
        advice: what to do about it.
    """

    def __init__(
        self,
        node: Node,
        broadcaster: TransformBroadcaster,
        frames: Callable[[], tuple[str, str] | None],
        advice: str,
    ) -> None:
        self._node = node
        self._broadcaster = broadcaster
        self._frames = frames
        self._advice = advice
        self._parents: dict[str, str] = {}  # by child, of transforms that others have sent
        self._until: float | None = None
        message = message_class('tf2_msgs/msg/TFMessage')
        self._subscriptions = [
            node.create_subscription(message, '/tf', self._take, DYNAMIC_QOS),
            node.create_subscription(message, '/tf_static', self._take, STATIC_QOS),
        ]

    def _take(self, message: Any) -> None:
        for item in message.transforms:
            if not self._broadcaster.has_sent(item):
                self._parents[item.child_frame_id.lstrip('/')] = item.header.frame_id.lstrip('/')

    def check(self) -> None:
        """Warn if there is a rival; stop watching then, or when the time is over."""
        frames = self._frames() if self._subscriptions else None
        if frames is None:
            return
        parent, child = frames
        rival = self._parents.get(child)
        if rival is not None:
            another = f'another publisher of {parent!r} to' if rival == parent else 'a parent of'
            named = '' if rival == parent else f', {rival!r}, beside our {parent!r}'
            self._node.get_logger().warning(
                f'tf has {another} {child!r}{named}: look-ups will fail or jump. {self._advice}'
            )
        if self._until is None:
            self._until = time.monotonic() + WATCH
        if rival is not None or time.monotonic() > self._until:
            self.destroy()

    def destroy(self) -> None:
        """Stop watching."""
        for subscription in self._subscriptions:
            self._node.destroy_subscription(subscription)
        self._subscriptions = []
        self._parents.clear()
