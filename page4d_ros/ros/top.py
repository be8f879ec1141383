"""Listens to the status topics of all nodes of a graph, for the dashboard."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import rclpy
from rclpy.node import Node
from rclpy.qos import QoSProfile, ReliabilityPolicy

from page4d_ros.dashboard import NodeState
from page4d_ros.errors import Page4dError
from page4d_ros.messages.topics import STATUS, STATUS_TOPIC
from page4d_ros.ros import signals
from page4d_ros.ros.compat import message_class
from page4d_ros.ros.qos import full_name

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

SUFFIX = STATUS_TOPIC.removeprefix('~')
ODOMETRY = 'nav_msgs/msg/Odometry'
LOOKING = 1.0  # seconds between looks for further nodes
SETTLE = 1.0  # seconds for the status of further nodes, once one has answered
PLACING = 5.0  # seconds at most for a pose of each node that tracks
BEST_EFFORT = QoSProfile(depth=10, reliability=ReliabilityPolicy.BEST_EFFORT)


class Listener:
    """State of each node that publishes a status.

    Args:
        node: subscribes.
        names: of nodes, fully qualified; empty for all.

    Attributes:
        nodes: their states by name.
    """

    def __init__(self, node: Node, names: Collection[str]) -> None:
        self.nodes: dict[str, NodeState] = {}
        self._node = node
        self._names = {f'/{name.lstrip("/")}' for name in names}
        self._with_odometry: set[str] = set()
        node.create_timer(LOOKING, self.look)
        self.look()

    def look(self) -> None:
        """Subscribe to nodes that have come."""
        for topic, kinds in self._node.get_topic_names_and_types():
            name = topic.removesuffix(SUFFIX)
            known = self._names and name not in self._names
            if STATUS not in kinds or name == topic or known:
                continue
            if name not in self.nodes:
                self._subscribe(STATUS, topic, self._state(name).saw_status)
            if name not in self._with_odometry:
                self._follow_odometry(name)

    def answered(self) -> bool:
        """True if there is a node, and each has sent a status."""
        found = [node.status is not None for node in self.nodes.values()]
        return all(found) and len(found) >= max(1, len(self._names))

    def placed(self) -> bool:
        """True if each node that tracks has sent a pose."""
        tracking = [node for node in self.nodes.values() if node.tracks()]
        return all(node.positions for node in tracking)

    def _state(self, name: str) -> NodeState:
        return self.nodes.setdefault(name, NodeState(name))

    def _follow_odometry(self, name: str) -> None:
        """Subscribe to the odometry that a node publishes, wherever that is remapped to."""
        for topic, kinds in self._node.get_topic_names_and_types():
            if ODOMETRY not in kinds:
                continue
            publishers = self._node.get_publishers_info_by_topic(topic)
            # by their names, as the graph lists the topics of one node of a name only
            if any(full_name(publisher) == name for publisher in publishers):
                self._with_odometry.add(name)
                state = self._state(name)
                self._subscribe(ODOMETRY, topic, lambda m, s=state: s.saw_pose(m.pose.pose))

    def _subscribe(self, kind: str, topic: str, call: Callable[[Any], None]) -> None:
        self._node.create_subscription(message_class(kind), topic, call, BEST_EFFORT)


def listen(
    names: Collection[str],
    *,
    patience: float,
    once: bool,
    interval: float,
    show: Callable[[Collection[NodeState]], None],
) -> None:
    """Show the states of nodes until a signal, or once.

    Args:
        names: of nodes, fully qualified; empty for all.
        patience: seconds to wait for the first answer.
        once: show them once, when all that are there have answered.
        interval: seconds between two times.
        show: takes the states.

    Raises:
        Page4dError: no node answers.
    """
    with signals.ros([]):
        node = rclpy.create_node('page4d_top')
        listener = Listener(node, names)
        _spin(node, patience, listener.answered)
        if rclpy.ok() and not any(state.status for state in listener.nodes.values()):
            whom = ', '.join(names) or 'any page4d node'
            raise Page4dError(
                f'no status of {whom} came within {patience:g} s; is it configured, and in this '
                'ROS_DOMAIN_ID?'
            )
        if once:
            _spin(node, SETTLE, lambda: False)
            _spin(node, PLACING, listener.placed)
            show(listener.nodes.values())
            return
        while rclpy.ok():
            show(listener.nodes.values())
            _spin(node, interval, lambda: False)


def _spin(node: Node, seconds: float, done: Callable[[], bool]) -> None:
    until = time.monotonic() + seconds
    while rclpy.ok() and not done() and (left := until - time.monotonic()) > 0:
        rclpy.spin_once(node, timeout_sec=min(left, 0.05))
