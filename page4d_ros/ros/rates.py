"""Processes of the benchmark of transport: a VGA camera, and a listener to the node's outputs."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import rclpy
from rclpy.qos import QoSProfile, ReliabilityPolicy

from page4d_ros.messages import encode
from page4d_ros.messages.topics import CAMERA_INFO, IMAGE, POINT_CLOUD, STATUS
from page4d_ros.ros import signals
from page4d_ros.ros.compat import RosMessages, message_class

if TYPE_CHECKING:
    from collections.abc import Callable

RATE = 30.0
SIZE = 480, 640
LOADING, SETTLE, SPAN = 120.0, 5.0, 10.0  # seconds before and of a measurement
RELIABILITY = {
    'reliable': ReliabilityPolicy.RELIABLE,
    'best_effort': ReliabilityPolicy.BEST_EFFORT,
}
STATUS_TOPIC = '/page4d/status'
OUTPUTS = {
    'odom': 'nav_msgs/msg/Odometry',
    'rgb/image': IMAGE,
    'depth/image': IMAGE,
    'mask/image': IMAGE,
    'points/static': POINT_CLOUD,
}


def show(reliability: str) -> None:
    """Publish images of noise and their calibration at `RATE` until a signal."""
    make = RosMessages()
    with signals.ros():
        node = rclpy.create_node('camera')
        qos = QoSProfile(depth=5, reliability=RELIABILITY[reliability])
        images = node.create_publisher(message_class(IMAGE), 'image', qos)
        infos = node.create_publisher(message_class(CAMERA_INFO), 'camera_info', qos)
        noise = np.random.default_rng(0).integers(0, 256, (*SIZE, 3), np.uint8)

        def publish() -> None:
            head = encode.header(make, node.get_clock().now().nanoseconds, 'camera')
            infos.publish(message_class(CAMERA_INFO)(header=head))
            images.publish(encode.image(make, head, noise))

        node.create_timer(1 / RATE, publish)
        rclpy.spin(node)


def listen(reliability: str, path: str) -> None:
    """Count the node's outputs for `SPAN` seconds, write the figures, and wait for a signal."""
    with signals.ros():
        node = rclpy.create_node('listener')
        counts: dict[str, int] = dict.fromkeys(OUTPUTS, 0)
        status: list[Any] = []
        for topic, kind in OUTPUTS.items():
            qos = QoSProfile(depth=10, reliability=RELIABILITY[reliability])
            count = _counter(counts, topic)
            node.create_subscription(message_class(kind), topic, count, qos, raw=True)
        node.create_subscription(message_class(STATUS), STATUS_TOPIC, status.append, 100)
        _spin(node, lambda: bool(status) and status[-1].processed > 0, LOADING)
        _spin(node, lambda: False, SETTLE)
        first, begin, before = status[-1], time.monotonic(), dict(counts)
        _spin(node, lambda: False, SPAN)
        last, seconds = status[-1], time.monotonic() - begin
        estimates = last.processed - first.processed
        figures = {
            'images_per_second': (last.received - first.received) / seconds,
            'estimates_per_second': estimates / seconds,
            'arrived': {topic: (counts[topic] - before[topic]) / estimates for topic in OUTPUTS},
        }
        part = Path(f'{path}.part')
        part.write_text(json.dumps(figures))
        part.replace(path)
        rclpy.spin(node)


def _counter(counts: dict[str, int], topic: str) -> Callable[[Any], None]:
    def count(_message: Any) -> None:
        counts[topic] += 1

    return count


def _spin(node: Any, done: Callable[[], bool], seconds: float) -> None:
    until = time.monotonic() + seconds
    while not done() and time.monotonic() < until:
        rclpy.spin_once(node, timeout_sec=0.05)


if __name__ == '__main__':
    {'show': show, 'listen': listen}[sys.argv[1]](*sys.argv[2:])
