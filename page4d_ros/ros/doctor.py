"""Checks of a ROS 2 installation, and a watch over a camera's topics."""

from __future__ import annotations

import os
import time
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

import numpy as np
import rclpy
from rclpy.exceptions import InvalidTopicNameException
from rclpy.qos import ReliabilityPolicy
from rclpy.utilities import get_rmw_implementation_identifier
from rclpy.validate_topic_name import validate_topic_name

from page4d_ros.doctor.camera import Seen
from page4d_ros.doctor.result import ERROR, WARN, Check, Finding, ok
from page4d_ros.errors import FrameError, Page4dError
from page4d_ros.messages.decode import calibration, stamp_ns
from page4d_ros.messages.topics import IMAGE, MOVING_BODY, SERVICES, STATUS
from page4d_ros.ros import signals, transport
from page4d_ros.ros.cameras import Cameras
from page4d_ros.ros.compat import TransformListener, cv_bridge_reader, message_class, optional
from page4d_ros.ros.inputs import ImageSubscription, subscribe

if TYPE_CHECKING:
    from rclpy.node import Node

    from page4d_ros.config import Config

COMPRESSED = 'sensor_msgs/msg/CompressedImage'
OPTIONAL = {
    'cv_bridge': 'encodings beyond the common ones',
    'tf2_ros': 'tf by the common library',
    'vision_msgs': 'the topic bodies',
    'visualization_msgs': 'the topic markers',
}
DISCOVERY = 10.0  # seconds until publishers on this machine are known, at most
STEP = 0.05


def checks() -> list[Check]:
    """Checks of the installation."""
    return [
        Check('rclpy', _rclpy),
        Check('interfaces', _interfaces, ('rclpy',)),
        Check('ROS packages', _packages, ('rclpy',)),
        Check('middleware', _middleware, ('rclpy',)),
    ]


def _rclpy() -> Finding:
    distribution = os.environ.get('ROS_DISTRO', '')
    try:
        found = version('ros-rclpy')
    except PackageNotFoundError:
        found = ''
    text = f'{distribution or "unknown distribution"}, {found or rclpy.__file__}'
    if distribution:
        return ok(text)
    return WARN, text, 'source /opt/ros/<distribution>/setup.bash, or .ws/env.sh'


def _interfaces() -> Finding:
    own = [service.type for service in SERVICES]
    try:
        for kind in (STATUS, MOVING_BODY, *own):
            message_class(kind)
    except (ImportError, AttributeError) as error:
        return (
            ERROR,
            f'messages of this package are not there: {error}',
            'build it with colcon and source install/setup.bash (README.md, "On a robot")',
        )
    return ok(f'{STATUS} and the others')


def _packages() -> Finding:
    present, broken = [], []
    for name in OPTIONAL:
        module = optional(name)
        if module is not None:
            present.append(name)
        elif _installed(name):
            broken.append(name)
    absent = [f'{n} (for {what})' for n, what in OPTIONAL.items() if n not in {*present, *broken}]
    text = f'{", ".join(present) or "none"}; not installed: {", ".join(absent) or "none"}'
    if broken:
        return (
            WARN,
            f'{", ".join(broken)} is installed and does not load beside NumPy {np.__version__}',
            "pip install 'numpy<2': a distribution's packages are built for it",
        )
    return ok(text)


def _installed(name: str) -> bool:
    from importlib.util import find_spec

    return find_spec(name) is not None


def _middleware() -> Finding:
    name, room = get_rmw_implementation_identifier(), transport.room()
    domain = os.environ.get('ROS_DOMAIN_ID', '0')
    text = f'{name}, domain {domain}, {room >> 20} MiB of shared memory free'
    if not name.startswith(transport.FAST_DDS):
        return ok(text)
    if transport.chosen():
        return ok(f'{text}, with a profile of your own')
    if room < transport.ROOM:
        return (
            WARN,
            f'{text}: too little for whole images',
            'start the container with --ipc=host or --shm-size=1g (docs/transport.md)',
        )
    return ok(f'{text}, the profile of this package')


def watch(config: Config, image_topic: str, info_topic: str, seconds: float) -> Seen:
    """Watch a camera's topics.

    Args:
        config: the node's settings.
        image_topic: of Image or CompressedImage messages.
        info_topic: of their calibration; "" for the one beside them.
        seconds: to count messages.

    Returns:
        What was seen.

    Raises:
        Page4dError: a name is no name of a topic.
    """
    for topic in filter(None, (image_topic, info_topic)):
        _check_name(topic)
    with signals.ros([]):
        node = rclpy.create_node('page4d_doctor')
        try:
            return _Watch(node, config, image_topic, info_topic, seconds).seen()
        finally:
            node.destroy_node()
    raise Page4dError('interrupted')


def _check_name(topic: str) -> None:
    try:
        validate_topic_name(topic)
    except InvalidTopicNameException as error:
        raise Page4dError(f'{topic!r} is no name of a topic: {error}') from error


class _Watch:
    def __init__(
        self, node: Node, config: Config, image_topic: str, info_topic: str, seconds: float
    ) -> None:
        self._node = node
        topic = node.resolve_topic_name(image_topic)
        beside = topic.removesuffix('/compressed').rpartition('/')[0] + '/camera_info'
        info = node.resolve_topic_name(info_topic or beside)
        self._seen = Seen(
            topic, info, seconds, base=config.frames.base, rectifies=config.input.rectify
        )
        self._reader = Cameras(config, cv_bridge_reader()).readers[0]
        self._newest: Any = None

    def seen(self) -> Seen:
        """Watch, and say what was seen."""
        seen, node = self._seen, self._node
        listener = TransformListener(node)
        self._spin(DISCOVERY, lambda: bool(self._publishers()))
        publishers = self._publishers()
        seen.types = [info.topic_type for info in publishers]
        reliable = ReliabilityPolicy.RELIABLE
        seen.reliable = [info.qos_profile.reliability == reliable for info in publishers]
        seen.others = self._image_topics()
        if publishers:
            self._count(COMPRESSED if seen.types[0] == COMPRESSED else IMAGE)
            self._judge(listener)
        return seen

    def _publishers(self) -> list[Any]:
        return self._node.get_publishers_info_by_topic(self._seen.topic)

    def _image_topics(self) -> list[str]:
        kinds = {IMAGE, COMPRESSED}
        known = self._node.get_topic_names_and_types()
        return [name for name, types in known if kinds & set(types)]

    def _count(self, kind: str) -> None:
        seen = self._seen
        info_kind = 'sensor_msgs/msg/CameraInfo'
        subscribe(self._node, info_kind, seen.info_topic, self._on_info, 10)
        ImageSubscription(self._node, kind, seen.topic, self._on_image, 5)
        self._spin(DISCOVERY, lambda: self._newest is not None)
        seen.stamps.clear()
        seen.ages.clear()
        seen.infos = 0
        self._spin(seen.seconds)

    def _on_image(self, message: Any) -> None:
        stamp = stamp_ns(message.header)
        self._seen.stamps.append(stamp)
        self._seen.ages.append((self._node.get_clock().now().nanoseconds - stamp) * 1e-9)
        self._newest = message

    def _on_info(self, message: Any) -> None:
        self._seen.infos += 1
        try:
            self._seen.calibration, self._seen.info_refusal = calibration(message), ''
        except FrameError as error:
            self._seen.info_refusal = str(error)

    def _judge(self, listener: TransformListener) -> None:
        seen, message = self._seen, self._newest
        if message is None:
            return
        compressed = seen.types[0] == COMPRESSED
        seen.encoding = message.format if compressed else message.encoding
        try:
            frame = (self._reader.compressed if compressed else self._reader.image)(message)
            seen.frame_id = frame.frame_id
            height, width = frame.decode().shape[:2]
            seen.size = width, height
        except FrameError as error:
            seen.refusal = str(error)
        if seen.base and seen.frame_id:
            seen.mounted = listener.lookup(seen.base, seen.frame_id) is not None

    def _spin(self, seconds: float, done: Any = lambda: False) -> None:
        until = time.monotonic() + seconds
        while rclpy.ok() and not done() and time.monotonic() < until:
            rclpy.spin_once(self._node, timeout_sec=STEP)
