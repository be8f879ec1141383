"""Subscriptions to cameras: as reliable as their publishers, and aware of images that are lost."""

from __future__ import annotations

import time
from collections import deque
from typing import TYPE_CHECKING, Any

from rcl_interfaces.msg import ParameterDescriptor
from rclpy.exceptions import ParameterAlreadyDeclaredException
from rclpy.qos import QoSPolicyKind, QoSProfile, ReliabilityPolicy
from rclpy.qos_overriding_options import QoSOverridingOptions

from page4d_ros.errors import ConfigError
from page4d_ros.ros.compat import message_class
from page4d_ros.ros.qos import subscription_events
from page4d_ros.ros.transport import advice

if TYPE_CHECKING:
    from collections.abc import Callable

    from rclpy.node import Node

AS_PUBLISHED = 'as_published'
BEST_EFFORT, RELIABLE = ReliabilityPolicy.BEST_EFFORT, ReliabilityPolicy.RELIABLE
RELIABILITIES = {'best_effort': BEST_EFFORT, 'reliable': RELIABLE}
COMPRESSED = '/compressed'
SPAN = 5  # seconds over which rates are taken
LEAST_RATE = 2.0  # camera_info per second; slower ones say nothing
LOSS = 0.6  # of the camera_info: fewer images than these are a loss


def subscribe(node: Node, kind: str, topic: str, callback: Callable, depth: int) -> Any:
    """Subscribe with the QoS of sensor data, which matches every publisher."""
    return node.create_subscription(
        message_class(kind),
        topic,
        callback,
        QoSProfile(depth=depth, reliability=BEST_EFFORT),
        qos_overriding_options=QoSOverridingOptions.with_default_policies(),
        event_callbacks=subscription_events(node, topic),
    )


class ImageSubscription:
    """Subscription to large messages that is reliable if all publishers of its topic are.

    Best effort matches every publisher, but loses most messages that are larger than the shared
    memory of Fast DDS. ``qos_overrides.<topic>.subscription.reliability`` decides instead.

    Raises:
        ConfigError: that parameter has a value that is no reliability.
    """

    def __init__(self, node: Node, kind: str, topic: str, callback: Callable, depth: int) -> None:
        self._node = node
        self._arguments = message_class(kind), topic, callback
        self._depth = depth
        self._topic = topic
        self._fixed = self._asked()
        self._subscription = self._subscribe(self._fixed or self._offered() or BEST_EFFORT)

    @property
    def topic(self) -> str:
        """Resolved name."""
        return self._subscription.topic_name

    @property
    def reliability(self) -> ReliabilityPolicy:
        """Present one."""
        return self._subscription.qos_profile.reliability

    def publishers(self) -> int:
        """Count the publishers of the topic."""
        return self._node.count_publishers(self._topic)

    def other_transport(self) -> str:
        """Advice to subscribe to the same images in the other transport; "" where none are."""
        raw = self.topic.removesuffix(COMPRESSED)
        other, value = (raw, 'raw') if raw != self.topic else (raw + COMPRESSED, 'compressed')
        if self.publishers() or not self._node.count_publishers(other):
            return ''
        return f', but {other} is published: set input.transport to {value}'

    def follow(self) -> None:
        """Subscribe again if publishers have come that offer something else."""
        wanted = self._fixed or self._offered() or self.reliability
        if wanted != self.reliability:
            self._renew(wanted)

    def renew(self) -> None:
        """Subscribe again, and so forget the messages that wait."""
        self._renew(self.reliability)

    def _renew(self, reliability: ReliabilityPolicy) -> None:
        self.destroy()
        self._subscription = self._subscribe(reliability)

    def destroy(self) -> None:
        """Unsubscribe."""
        self._node.destroy_subscription(self._subscription)

    def _offered(self) -> ReliabilityPolicy | None:
        """Reliability that all publishers offer; None without any."""
        infos = self._node.get_publishers_info_by_topic(self._topic)
        offered = {info.qos_profile.reliability for info in infos}
        return (RELIABLE if offered == {RELIABLE} else BEST_EFFORT) if offered else None

    def _asked(self) -> ReliabilityPolicy | None:
        """Reliability that the user has fixed; rclpy's own override would also fix the default."""
        name = f'qos_overrides.{self._node.resolve_topic_name(self._topic)}'
        name += '.subscription.reliability'
        text = ParameterDescriptor(
            description='reliability of the subscription; as_published: reliable if all are',
            additional_constraints=f'one of: {AS_PUBLISHED}, {", ".join(RELIABILITIES)}',
            read_only=True,
        )
        try:
            value = self._node.declare_parameter(name, AS_PUBLISHED, text).value
        except ParameterAlreadyDeclaredException:  # active before
            value = self._node.get_parameter(name).value
        if value not in {AS_PUBLISHED, *RELIABILITIES}:
            raise ConfigError(f'{name}: {value!r} is not one of {text.additional_constraints[8:]}')
        return RELIABILITIES.get(value)

    def _subscribe(self, reliability: ReliabilityPolicy) -> Any:
        return self._node.create_subscription(
            *self._arguments,
            QoSProfile(depth=self._depth, reliability=reliability),
            qos_overriding_options=QoSOverridingOptions(
                (QoSPolicyKind.HISTORY, QoSPolicyKind.DEPTH)
            ),
            event_callbacks=subscription_events(self._node, self._topic),
        )


class CameraInput:
    """Subscriptions to one camera's calibration and images.

    Args:
        node: subscribes.
        kind: message type of the images.
        topics: of camera_info and of the images.
        callbacks: for these.
        depth: messages kept.
    """

    def __init__(
        self,
        node: Node,
        kind: str,
        topics: tuple[str, str],
        callbacks: tuple[Callable, Callable],
        depth: int,
    ) -> None:
        self._node = node
        self._seen = [0, 0]  # camera_info, images
        self._counts: deque[tuple[float, int, int]] = deque(maxlen=SPAN + 1)
        info, image = (self._counted(i, callback) for i, callback in enumerate(callbacks))
        # first, because rclpy serves what waits in the order of creation
        self._infos = subscribe(node, 'sensor_msgs/msg/CameraInfo', topics[0], info, depth)
        self.images = ImageSubscription(node, kind, topics[1], image, depth)

    def destroy(self) -> None:
        """Unsubscribe."""
        self._node.destroy_subscription(self._infos)
        self.images.destroy()

    def _counted(self, index: int, callback: Callable) -> Callable:
        def take(message: Any) -> None:
            self._seen[index] += 1
            callback(message)

        return take

    def count(self) -> None:
        """Note how much has arrived; to be called once a second."""
        self._counts.append((time.monotonic(), *self._seen))

    def rates(self) -> tuple[float, float]:
        """Calibrations and images per second, over the last five seconds; 0 before."""
        if len(self._counts) <= SPAN:
            return 0.0, 0.0
        (begin, *before), (end, *after) = self._counts[0], self._counts[-1]
        infos, images = ((b - a) / (end - begin) for a, b in zip(before, after, strict=True))
        return infos, images

    def absence(self, seconds: float) -> str:
        """Finding that no image has come for so long, and the remedy where one is known."""
        images = self.images
        return self.stuck() or (
            f'no image for {seconds:.0f} s on {images.topic} '
            f'({images.reliability.name.lower()}, {images.publishers()} publishers)'
            f'{images.other_transport()}'
        )

    def stuck(self) -> str:
        """Finding that only small messages of a camera arrive, and the remedy; "" otherwise.

        Fast DDS of a process may send no large message any more after one of its readers was
        stopped for seconds; new subscriptions, and new publishers there, do not help.
        """
        infos, images = self.rates()
        if infos < LEAST_RATE or images or not self.images.publishers():
            return ''
        return f'no image on {self.images.topic}, though camera_info comes: restart the camera'

    def loss(self) -> str:
        """Finding that images are lost on their way, and the remedy; "" if they are not."""
        infos, images = self.rates()
        if infos < LEAST_RATE or not 0 < images < LOSS * infos:
            return ''
        return (
            f'{images:.0f} images/s arrive on {self.images.topic} beside {infos:.0f} '
            f'camera_info/s, the others are lost on the way: {advice()}'
        )
