"""Rates of arrival: images of a VGA camera at the node, and its outputs at a subscriber."""

from __future__ import annotations

import json
import sys
import time
from itertools import product
from typing import TYPE_CHECKING, Any

import numpy as np
import rclpy
from rclpy.qos import QoSProfile, ReliabilityPolicy

from page4d_ros.messages import encode
from page4d_ros.messages.topics import CAMERA_INFO, IMAGE, POINT_CLOUD, STATUS
from page4d_ros.ros import signals
from page4d_ros.ros.compat import RosMessages, message_class
from page4d_ros.ros.demo import graph_environment, running
from page4d_ros.ros.transport import TRANSPORTS

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

RATE = 30.0
SIZE = 480, 640
SETTLE, SPAN = 5.0, 10.0  # seconds before and of a measurement
LOADING = 120.0
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
DEFAULT_SEGMENT = {TRANSPORTS: 'DEFAULT'}  # as every process without our profile
PARAMETERS = {
    'model.checkpoint': 'page4d-small',
    'node.autostart': True,
    'window.stride': 1,
    'frames.tf_timeout': 0.0,
    'points.rate': 0.0,
}


def run_transport(
    output: Path, parameters: dict[str, object], say: Callable[[str], None]
) -> list[dict[str, Any]]:
    """Measure all combinations of reliability and shared memory, each with its own processes.

    Args:
        output: folder of the logs.
        parameters: of the node, over `PARAMETERS`.
        say: receives the name of each case.

    Returns:
        For each: its name, images per second that the node receives, estimates per second, and
        the share of each output's messages that arrive at a subscriber.
    """
    rows = []
    for camera, following, profile in product(RELIABILITY, (False, True), (False, True)):
        subscription = 'as_published' if following else 'best_effort'
        name = f'{camera} camera, {subscription} node, {"profile" if profile else "default"}'
        say(name)
        folder = output / name.replace(', ', '-').replace(' ', '_')
        folder.mkdir(parents=True)
        override = {'qos_overrides./image.subscription.reliability': subscription}
        figures = _measure(folder, camera, PARAMETERS | parameters | override, profile=profile)
        row = {'name': name, 'camera': camera, 'node': subscription, 'profile': profile}
        rows.append(row | figures)
    return rows


def _measure(
    logs: Path, camera: str, parameters: dict[str, object], *, profile: bool
) -> dict[str, Any]:
    environment = graph_environment() | ({} if profile else DEFAULT_SEGMENT)
    node = [sys.executable, '-m', 'page4d_ros.ros.main', '--ros-args']
    for key, value in parameters.items():
        node += ['-p', f'{key}:={str(value).lower() if isinstance(value, bool) else value}']
    here = [sys.executable, '-m', __name__]
    result = logs / 'listener.json'
    with (
        running(node, logs / 'node.log', environment),
        running([*here, 'show', camera], logs / 'camera.log', environment),
        running([*here, 'listen', camera, str(result)], logs / 'listener.log', environment),
    ):
        until = time.monotonic() + LOADING + SETTLE + SPAN
        while not result.exists() and time.monotonic() < until:
            time.sleep(0.2)
    return json.loads(result.read_text())


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
    from pathlib import Path

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
