"""Stand-ins for packages of a ROS distribution that the PyPI wheels do not have.

cv_bridge, diagnostic_updater, tf2_ros and tf_transformations are used where they are installed.
Where they are not, a few lines here do the same; the tests compare both where both exist.
"""

from __future__ import annotations

import array
import importlib
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np
from rclpy.clock import Clock, ClockType
from rclpy.logging import get_logger
from rclpy.qos import DurabilityPolicy, QoSProfile
from rclpy.time import Time

from page4d_ros.errors import FrameError
from page4d_ros.geometry import poses
from page4d_ros.messages.decode import stamp_ns
from page4d_ros.messages.factory import MessageFactory
from page4d_ros.messages.topics import DIAGNOSTICS_TOPIC
from page4d_ros.messages.transforms import TransformBuffer, is_rigid
from page4d_ros.units import NS_PER_S

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray
    from rclpy.node import Node

STEADY = ClockType.STEADY_TIME
THROTTLE = 5.0  # seconds between log lines of one kind
DYNAMIC_QOS = QoSProfile(depth=100)
MOST_SENT = 1000  # transforms that are remembered
STATIC_QOS = QoSProfile(depth=100, durability=DurabilityPolicy.TRANSIENT_LOCAL)
TYPECODES = {np.dtype(np.uint8): 'B', np.dtype(np.float64): 'd', np.dtype(np.float32): 'f'}


@cache
def optional(module: str) -> Any | None:
    """Return the module, or None where it is not installed or does not load."""
    try:
        return importlib.import_module(module)
    except ImportError:
        return None
    except Exception as error:  # built for another NumPy, for example
        get_logger('page4d').warning(f'{module} is installed and does not load: {error}')
        return None


def message_class(name: str) -> type:
    """Class of ``package/msg/Name``, or of a service."""
    package, kind, leaf = name.split('/')
    return getattr(importlib.import_module(f'{package}.{kind}'), leaf)


class RosMessages(MessageFactory):
    """Makes rclpy's messages."""

    def __init__(self) -> None:
        self._class = cache(message_class)

    def __call__(self, kind: str, /, **fields: Any) -> Any:
        """Message ``package/msg/Name`` with every field given."""
        return self._class(kind)(**fields)

    def sequence(self, values: NDArray) -> array.array:
        """Copy once; anything but an array.array is checked element by element on Humble."""
        out = array.array(TYPECODES[values.dtype])
        out.frombytes(memoryview(np.ascontiguousarray(values)).cast('B'))
        return out

    def fixed(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Arrays of fixed size are NumPy's in rclpy, too."""
        return np.asarray(values, np.float64)

    def quaternion(self, T: NDArray) -> NDArray[np.float64]:
        """Unit quaternion xyzw, w >= 0, of a transform (4, 4)."""
        library = optional('tf_transformations')
        if library is None:
            return poses.quaternion(T)
        xyzw = np.asarray(library.quaternion_from_matrix(T), np.float64)
        return xyzw if xyzw[3] >= 0 else -xyzw


def cv_bridge_reader() -> Callable[[Any], NDArray] | None:
    """Reader for encodings that `messages.decode` does not know; None without cv_bridge."""
    library = optional('cv_bridge')
    if library is None:
        return None

    def read(message: Any) -> NDArray:
        try:
            return library.CvBridge().imgmsg_to_cv2(message, 'rgb8')
        except (library.CvBridgeError, AttributeError, KeyError, TypeError, ValueError) as error:
            raise FrameError(f'encoding {message.encoding!r}: cv_bridge says {error}') from error

    return read


class TransformListener:
    """Looks up transforms, by tf2_ros or a `TransformBuffer` fed from /tf and /tf_static."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self._tf2 = optional('tf2_ros')
        if self._tf2 is not None:
            self._buffer = self._tf2.Buffer()
            self._listener = self._tf2.TransformListener(self._buffer, node)
            return
        self._buffer = TransformBuffer()
        message = message_class('tf2_msgs/msg/TFMessage')
        self._subscriptions = [
            node.create_subscription(message, '/tf', self._store, DYNAMIC_QOS),
            node.create_subscription(message, '/tf_static', self._store, STATIC_QOS),
        ]

    def _store(self, message: Any) -> None:
        for text in self._buffer.store(message):
            self._node.get_logger().warning(
                f'tf: {text} is no transform; ignored', throttle_duration_sec=THROTTLE
            )

    def lookup(self, target: str, source: str) -> NDArray | None:
        """Latest T_target_source (4, 4), or None while the frames are not connected."""
        if self._tf2 is None:
            return self._buffer.lookup(target, source)
        try:
            found = self._buffer.lookup_transform(target, source, Time()).transform
        except self._tf2.TransformException:
            return None
        q, p = found.rotation, found.translation
        if not is_rigid((q.x, q.y, q.z, q.w), (p.x, p.y, p.z)):  # tf2 takes infinite numbers
            return None
        return poses.from_quaternion((q.x, q.y, q.z, q.w), (p.x, p.y, p.z))

    def destroy(self) -> None:
        """Stop listening."""
        if self._tf2 is not None:
            self._listener.unregister()
            return
        for subscription in self._subscriptions:
            self._node.destroy_subscription(subscription)


class TransformBroadcaster:
    """Sends transforms on /tf, by tf2_ros or a publisher of the same QoS.

    It lives as long as the node, and so knows the last stamps whatever was reset meanwhile.
    """

    def __init__(self, node: Node) -> None:
        self._last_ns: dict[str, int] = {}  # by child frame
        self._sent: dict[tuple[str, str, int], None] = {}  # the newest, oldest first
        library = optional('tf2_ros')
        if library is not None:
            self._send = library.TransformBroadcaster(node).sendTransform
            return
        message = message_class('tf2_msgs/msg/TFMessage')
        publisher = node.create_publisher(message, '/tf', DYNAMIC_QOS)
        self._send = lambda item: publisher.publish(message(transforms=[item]))

    def send(self, item: Any) -> None:
        """Send a transform, unless its stamp repeats or is a little older than the last.

        One that is much older is of a new time: a recording that begins again.
        """
        now, last = stamp_ns(item.header), self._last_ns.get(item.child_frame_id)
        if last is None or not 0 <= last - now <= NS_PER_S:
            self._last_ns[item.child_frame_id] = now
            self._sent[_identity(item)] = None
            if len(self._sent) > MOST_SENT:
                del self._sent[next(iter(self._sent))]
            self._send(item)

    def has_sent(self, item: Any) -> bool:
        """True for a transform that was sent lately, by its frames and stamp; for any thread."""
        return _identity(item) in self._sent


def _identity(item: Any) -> tuple[str, str, int]:
    return item.header.frame_id, item.child_frame_id, stamp_ns(item.header)


class Reporter:
    """Publishes one status on /diagnostics (REP 107), by diagnostic_updater or a publisher.

    Args:
        node: publishes, once a second or as ``diagnostic_updater.period`` says.
        task: name of the status, behind that of the node.
        status: returns a DiagnosticStatus without a name.
    """

    def __init__(self, node: Node, task: str, status: Callable[[], Any]) -> None:
        self._node = node
        self._status = status
        name = node.get_fully_qualified_name().lstrip('/')
        library = optional('diagnostic_updater')
        if library is None:
            self._name, period, call = f'{name}: {task}', 1.0, self._publish
            kind = message_class('diagnostic_msgs/msg/DiagnosticArray')
            self._publisher = node.create_publisher(kind, DIAGNOSTICS_TOPIC, 10)
        else:
            self._updater = library.Updater(node)
            self._updater.node_name = name  # Humble's names nodes without their namespace
            self._updater.add(task, self._fill)
            period, call = self._updater.period, self._updater.force_update
            node.destroy_timer(self._updater.timer)
        # steady: a stopped /clock must not silence the one topic that would tell
        self._timer = node.create_timer(period, call, clock=Clock(clock_type=STEADY))

    def _fill(self, wrapper: Any) -> Any:
        status = self._status()
        self._updater.setHardwareID(status.hardware_id)
        wrapper.hardware_id = status.hardware_id
        wrapper.summary(status.level, status.message)
        wrapper.values = status.values
        return wrapper

    def _publish(self) -> None:
        status = self._status()
        status.name = self._name
        array = message_class('diagnostic_msgs/msg/DiagnosticArray')(status=[status])
        array.header.stamp = self._node.get_clock().now().to_msg()
        self._publisher.publish(array)
