"""Level of a node's newest diagnostics, for health checks of containers."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import rclpy
from diagnostic_msgs.msg import DiagnosticArray

from page4d_ros.errors import Page4dError
from page4d_ros.messages.topics import DIAGNOSTICS_TOPIC
from page4d_ros.ros import signals
from page4d_ros.ros.diagnostics import ERROR

if TYPE_CHECKING:
    from rclpy.node import Node

STEP = 0.05


def health(node_name: str, patience: float) -> tuple[bool, str]:
    """Wait for the next diagnostics of a node.

    Args:
        node_name: fully qualified, such as ``/page4d``.
        patience: seconds to wait; the node sends once a second.

    Returns:
        False if their level is ERROR or STALE, and their text.

    Raises:
        Page4dError: none came.
    """
    begins = f'{node_name.strip("/")}:'
    found: list[Any] = []

    def take(message: Any) -> None:
        found.extend(status for status in message.status if status.name.startswith(begins))

    with signals.ros([]):
        node = rclpy.create_node('page4d_health')
        node.create_subscription(DiagnosticArray, DIAGNOSTICS_TOPIC, take, 10)
        _wait(node, found, patience)
    if not found:
        raise Page4dError(
            f'no diagnostics of {node_name} came within {patience:g} s; does it run, in this '
            'ROS_DOMAIN_ID?'
        )
    worst = max(found, key=lambda status: status.level)
    return worst.level < ERROR, worst.message


def _wait(node: Node, found: list[Any], patience: float) -> None:
    until = time.monotonic() + patience
    while rclpy.ok() and not found and time.monotonic() < until:
        rclpy.spin_once(node, timeout_sec=STEP)
