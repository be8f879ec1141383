"""Sends where the camera sits on the base, while tf tells it nowhere."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

from page4d_ros.geometry.poses import inverse
from page4d_ros.messages import encode
from page4d_ros.messages.transforms import is_rigid
from page4d_ros.ros.compat import STATIC_QOS, RosMessages, message_class

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from rclpy.node import Node

    from page4d_ros.ros.compat import TransformListener

TF_MESSAGE = 'tf2_msgs/msg/TFMessage'


class MountBroadcaster:
    """Latched transform from the base to the tree of the camera, until others send one.

    In tf a frame has one parent. A driver that sends transforms from its ``camera_link`` to the
    optical frame, but not from the base to ``camera_link``, gets that one. `send` is for the
    worker's thread; all else is for the executor's.

    Args:
        node: publishes, and listens to what others send.
        listener: looks up transforms.
    """

    def __init__(self, node: Node, listener: TransformListener) -> None:
        self._node = node
        self._listener = listener
        self._make = RosMessages()
        self._lock = threading.Lock()  # of the publisher
        self._parents: dict[str, str] = {}  # by child, of transforms that others have sent
        self._sent: dict[str, Any] = {}  # by child
        message = message_class(TF_MESSAGE)
        self._publisher = node.create_publisher(message, '/tf_static', STATIC_QOS)
        self._subscription = node.create_subscription(
            message, '/tf_static', self._take, STATIC_QOS
        )

    def _take(self, message: Any) -> None:
        for item in message.transforms:
            child = item.child_frame_id.lstrip('/')
            q, p = item.transform.rotation, item.transform.translation
            sound = is_rigid((q.x, q.y, q.z, q.w), (p.x, p.y, p.z))
            if sound and item != self._sent.get(child):
                self._parents[child] = item.header.frame_id.lstrip('/')

    def root(self, frame: str) -> str:
        """Frame above which others have sent no static transform."""
        passed = {frame}
        while (parent := self._parents.get(frame)) is not None and parent not in passed:
            passed.add(parent)
            frame = parent
        return frame

    @property
    def contested(self) -> bool:
        """True if others send a parent of a frame that got one here."""
        return bool(self._sent.keys() & self._parents.keys())

    @property
    def sends(self) -> bool:
        """True while a mount is sent."""
        return bool(self._sent) and self._publisher is not None

    def send(self, base: str, frame: str, T_base_camera: NDArray) -> str:
        """Send where the camera's optical frame sits, (4, 4); returns the child of what is sent.

        Nothing is sent, and "" returned, if the base is itself in the camera's tree.
        """
        root = self.root(frame)
        T_root_camera = self._listener.lookup(root, frame)
        if T_root_camera is None or self.root(base) == root:
            return ''
        stamp_ns = self._node.get_clock().now().nanoseconds
        head = encode.header(self._make, stamp_ns, base)
        at = encode.pose(self._make, T_base_camera @ inverse(T_root_camera))
        with self._lock:
            if self._publisher is None:
                return ''
            self._sent[root] = encode.transform_stamped(self._make, head, root, at)
            mounts = list(self._sent.values())
            self._publisher.publish(message_class(TF_MESSAGE)(transforms=mounts))
        return root

    def check(self) -> None:
        """Withdraw what was sent if others know better; who joins later will not hear it."""
        if self._publisher is not None and self.contested:
            self._stop()
            children = ', '.join(map(repr, self._sent.keys() & self._parents.keys()))
            self._node.get_logger().info(
                f'others send a transform to {children} now: the assumed one is withdrawn'
            )

    def _stop(self) -> None:
        with self._lock:
            self._node.destroy_publisher(self._publisher)
            self._publisher = None

    def destroy(self) -> None:
        """Stop sending and listening."""
        if self._publisher is not None:
            self._stop()
        self._node.destroy_subscription(self._subscription)
