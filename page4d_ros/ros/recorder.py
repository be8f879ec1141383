"""Records what the node publishes, for machines without ``ros2 bag record``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import rclpy
from rclpy.parameter import Parameter
from rclpy.qos import DurabilityPolicy, QoSProfile

from page4d_ros.bags.writer import BagWriter
from page4d_ros.errors import BagError
from page4d_ros.messages.topics import DIAGNOSTICS_TOPIC, ON_REQUEST, OPTIONAL, OUTPUTS, outputs
from page4d_ros.ros import signals
from page4d_ros.ros.compat import message_class, optional

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from pathlib import Path

    from page4d_ros.messages.topics import Topic

DEPTH = 100
TF = 'tf2_msgs/msg/TFMessage'
STATIC = '/tf_static'


def recorded_topics(
    node_name: str, cameras: Sequence[str] = (), topics: Iterable[Topic] = OUTPUTS
) -> Iterator[tuple[str, str]]:
    """(topic, type) of every output of a node with this fully qualified name and these cameras.

    Args:
        node_name: fully qualified.
        cameras: names of its cameras.
        topics: outputs of one camera.
    """
    namespace = node_name.rpartition('/')[0]
    for topic in outputs(cameras, topics):
        relative = topic.name.replace('~', node_name) if '~' in topic.name else None
        yield relative or f'{namespace}/{topic.name}', topic.type
    yield '/tf', TF
    yield STATIC, TF
    yield DIAGNOSTICS_TOPIC, 'diagnostic_msgs/msg/DiagnosticArray'


def record(
    path: Path,
    *,
    node_name: str,
    force: bool,
    sim_time: bool,
    topics: Sequence[str] = (),
    cameras: Sequence[str] = (),
    say: Callable[[str], None],
) -> None:
    """Write every output of the node until interrupted; log times are the clock's.

    Args:
        path: folder to make.
        node_name: fully qualified name of the node, such as ``/page4d``.
        force: replace an existing folder.
        sim_time: take the log times from /clock.
        topics: only these, in the namespace of the node or absolute; empty for the usual ones.
        cameras: names of the node's cameras; empty for one without a name.
        say: receives one line at the end.

    Raises:
        BagError: the folder cannot be written, the node has no such output, or nothing came.
    """
    usual = dict(recorded_topics(node_name, cameras))
    installed = [t for t in OPTIONAL if optional(t.type.partition('/')[0])]
    possible = usual | dict(recorded_topics(node_name, cameras, (*ON_REQUEST, *installed)))
    namespace = node_name.rpartition('/')[0]
    wanted = [t.replace('~', node_name) if '~' in t else t for t in topics]
    wanted = [t if t.startswith('/') else f'{namespace}/{t}' for t in wanted] or list(usual)
    if unknown := [topic for topic in wanted if topic not in possible]:
        raise BagError(f'no output {unknown[0]}; there are {", ".join(possible)}')
    count, latched = 0, []
    override = Parameter('use_sim_time', value=sim_time)
    with signals.ros(), BagWriter(path, force=force) as writer:
        node = rclpy.create_node('page4d_recorder', parameter_overrides=[override])

        def subscribe(topic: str, kind: str) -> None:
            def write(data: bytes) -> None:
                nonlocal count
                now = node.get_clock().now().nanoseconds
                if now == 0:  # before the first /clock: only what is sent once is kept
                    latched.extend([data] if topic == STATIC else [])
                    return
                while latched:
                    writer.write_serialized(STATIC, TF, now, latched.pop(0))
                count += 1
                writer.write_serialized(topic, kind, now, data)

            profile: Any = QoSProfile(depth=DEPTH)
            if topic == STATIC:
                profile.durability = DurabilityPolicy.TRANSIENT_LOCAL
            node.create_subscription(message_class(kind), topic, write, profile, raw=True)

        for topic in wanted:
            subscribe(topic, possible[topic])
        rclpy.spin(node)
    if not count:
        raise BagError(f'{path}: nothing came on {", ".join(wanted)}; is {node_name} active?')
    say(f'recorded {count} messages in {path}')
