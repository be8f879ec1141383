"""Plays a recording on the ROS graph: rosbag1, rosbag2 and MCAP, with /clock."""

from __future__ import annotations

import contextlib
import time
from typing import TYPE_CHECKING, Any

import rclpy
from rclpy.clock import Clock, ClockType
from rclpy.duration import Duration
from rclpy.qos import DurabilityPolicy, QoSProfile
from rosgraph_msgs.msg import Clock as ClockMessage

from page4d_ros.bags.reader import open_bag
from page4d_ros.errors import BagError
from page4d_ros.messages import encode
from page4d_ros.ros import signals
from page4d_ros.ros.compat import RosMessages, message_class
from page4d_ros.units import NS_PER_S

if TYPE_CHECKING:
    from collections.abc import Callable, Collection
    from pathlib import Path

    from rclpy.node import Node

IMAGES = ('sensor_msgs/msg/Image', 'sensor_msgs/msg/CompressedImage')
CLOCK_HZ = 100.0
GRACE = 1.0


class Player:
    """Publishes what a bag holds, in its order and at its pace.

    Args:
        node: publishes.
        path: the recording.
        rate: speed, 1 is real time.
        topics: only these; all where empty.

    Raises:
        BagError: the recording cannot be read, or there is nothing in it to play.
    """

    def __init__(
        self, node: Node, path: Path, rate: float = 1.0, topics: Collection[str] = ()
    ) -> None:
        self.node = node
        self._topics = set(topics)
        self.rate = rate
        self._make = RosMessages()
        self._clock = node.create_publisher(ClockMessage, '/clock', 10)
        self._steady = Clock(clock_type=ClockType.STEADY_TIME)
        self.bag = open_bag(path)
        self.publishers = {}
        for connection in self.bag.connections:
            self._advertise(connection)
        if not self.publishers:
            self.bag.close()
            topics = ', '.join(sorted({c.topic for c in self.bag.connections}))
            raise BagError(
                f'{path}: none of its topics is wanted and of an installed type; it has {topics}'
            )

    def _advertise(self, connection: Any) -> None:
        if connection.topic in self.publishers or connection.topic == '/clock':
            return
        if self._topics and connection.topic not in self._topics:
            return
        try:
            kind = message_class(connection.msgtype)
        except (ImportError, AttributeError):
            self.node.get_logger().warning(
                f'{connection.topic}: {connection.msgtype} is not installed, not played'
            )
            return
        profile = QoSProfile(depth=100)
        if connection.topic == '/tf_static':
            profile.durability = DurabilityPolicy.TRANSIENT_LOCAL
        self.publishers[connection.topic] = self.node.create_publisher(
            kind, connection.topic, profile
        )

    def tick(self, stamp_ns: int) -> None:
        """Publish /clock."""
        self._clock.publish(ClockMessage(clock=encode.stamp(self._make, stamp_ns)))

    def wait_for_subscriber(self, timeout: float) -> None:
        """Hold /clock at the beginning until somebody listens to an image.

        Raises:
            BagError: nobody does within `timeout` seconds.
        """
        recorded = sorted({c.topic for c in self.bag.connections if c.msgtype in IMAGES})
        images = [topic for topic in recorded if topic in self.publishers]
        if not images:
            there = f'; it has images on {", ".join(recorded)}' if recorded else ', and no others'
            wanted = f' on {", ".join(sorted(self._topics))}' if self._topics else ''
            raise BagError(f'{self.bag.path}: no images{wanted}{there}')
        until = time.monotonic() + timeout
        while not any(self.publishers[topic].get_subscription_count() for topic in images):
            if time.monotonic() > until:
                raise BagError(
                    f'nobody subscribed to {", ".join(images)} within {timeout:.0f} s; is the '
                    'node active, and is its image topic remapped?'
                )
            self._hold(1 / CLOCK_HZ)
        # discovery is not one event: let the other subscriptions and their listeners match, too
        settled = time.monotonic() + GRACE
        while time.monotonic() < settled:
            self._hold(1 / CLOCK_HZ)

    def _hold(self, seconds: float) -> None:
        self.tick(self.bag.start_time)
        rclpy.spin_once(self.node, timeout_sec=seconds)

    def play(self, progress: Callable[[float], None] = lambda _fraction: None) -> int:
        """Publish everything once; returns the number of messages."""
        count = 0
        first = self.bag.start_time
        length = max(self.bag.end_time - first, 1)
        began = time.monotonic()
        latest = first
        for topic, stamp_ns, data in self.bag.serialized():
            latest = max(latest, stamp_ns)  # a salvaged recording may be out of order
            self._sleep_until(began, first, latest)
            publisher = self.publishers.get(topic)
            if publisher is not None:
                publisher.publish(data)
                count += 1
            progress((latest - first) / length)
        self._drain()
        return count

    def _sleep_until(self, began: float, first_ns: int, stamp_ns: int) -> None:
        """Wait for a message's turn while /clock runs."""
        while True:
            now_ns = first_ns + int((time.monotonic() - began) * self.rate * NS_PER_S)
            self.tick(min(now_ns, stamp_ns))
            left = (stamp_ns - now_ns) / NS_PER_S / self.rate
            if left <= 0:
                return
            self._steady.sleep_for(Duration(seconds=min(left, 1 / CLOCK_HZ)))

    def _drain(self) -> None:
        """Let the last messages arrive before the publishers vanish."""
        for publisher in self.publishers.values():
            publisher.wait_for_all_acked(Duration(seconds=GRACE))

    def close(self) -> None:
        """Close the recording."""
        self.bag.close()


def play(
    path: Path,
    *,
    rate: float,
    loops: int,
    wait: float,
    topics: Collection[str],
    say: Callable[[str], None],
) -> None:
    """Play a recording; a loop makes /clock and the stamps jump back, as ``ros2 bag play -l``.

    Args:
        path: the recording.
        rate: speed, 1 is real time.
        loops: how often.
        wait: seconds to wait for a subscriber of an image topic; 0 starts at once.
        topics: only these; all where empty.
        say: receives one line at the end.

    Raises:
        BagError: the recording cannot be played.
    """
    with signals.ros():
        node = rclpy.create_node('page4d_player')
        with contextlib.closing(Player(node, path, rate, topics)) as player:
            if wait:
                player.wait_for_subscriber(wait)
            count = sum(player.play() for _ in range(loops))
        say(f'played {count} messages of {path}')
