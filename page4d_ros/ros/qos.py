"""Ends of a topic whose QoS does not fit: who they are, and how to change it, in one sentence."""

from __future__ import annotations

import weakref
from typing import TYPE_CHECKING

from rclpy.qos import DurabilityPolicy, QoSCompatibility, ReliabilityPolicy, qos_check_compatible

try:
    from rclpy.event_handler import PublisherEventCallbacks, SubscriptionEventCallbacks
except ImportError:  # Humble
    from rclpy.qos_event import PublisherEventCallbacks, SubscriptionEventCallbacks

if TYPE_CHECKING:
    from typing import Any

    from rclpy.node import Node
    from rclpy.qos import QoSProfile
    from rclpy.topic_endpoint_info import TopicEndpointInfo


def full_name(endpoint: TopicEndpointInfo) -> str:
    """Name of the node of an endpoint, with its namespace."""
    return f'{endpoint.node_namespace.rstrip("/")}/{endpoint.node_name}'


def publisher_events(node: Node, topic: str) -> PublisherEventCallbacks:
    """Events of a publisher: subscriptions that ask for more than it offers are warned of.

    Args:
        node: publishes, and logs.
        topic: as it is given to the publisher.
    """
    node = weakref.proxy(node)  # it holds the events

    def warn(_event: Any) -> None:
        name = node.resolve_topic_name(topic)
        ours = [each for each in node.get_publishers_info_by_topic(name) if _is(node, each)]
        for mine in ours[:1]:
            for theirs in node.get_subscriptions_info_by_topic(name):
                if misfits := _misfits(mine.qos_profile, theirs.qos_profile):
                    node.get_logger().warning(starved(full_name(theirs), name, misfits))

    return PublisherEventCallbacks(incompatible_qos=warn)


def subscription_events(node: Node, topic: str) -> SubscriptionEventCallbacks:
    """Events of a subscription: publishers that offer less than it asks for are warned of.

    Args:
        node: subscribes, and logs.
        topic: as it is given to the subscription.
    """
    node = weakref.proxy(node)

    def warn(_event: Any) -> None:
        name = node.resolve_topic_name(topic)
        ours = [each for each in node.get_subscriptions_info_by_topic(name) if _is(node, each)]
        for mine in ours[:1]:
            for theirs in node.get_publishers_info_by_topic(name):
                if misfits := _misfits(theirs.qos_profile, mine.qos_profile):
                    node.get_logger().warning(deaf(full_name(theirs), name, misfits))

    return SubscriptionEventCallbacks(incompatible_qos=warn)


def starved(subscriber: str, topic: str, misfits: dict[str, tuple[str, str]]) -> str:
    """Sentence about a subscriber of ours that gets nothing."""
    changes = [f'its {policy} there to {offered}' for policy, (offered, _) in misfits.items()]
    return (
        f'{subscriber} gets nothing of {topic}: it asks for {_listed(misfits, 1)} messages, and '
        f'they are {_listed(misfits, 0)}; set {" and ".join(changes)}'
        + _or_here(misfits, f'qos_overrides.{topic}.publisher.reliability', 'reliable')
    )


def deaf(publisher: str, topic: str, misfits: dict[str, tuple[str, str]]) -> str:
    """Sentence about a publisher that we get nothing of."""
    changes = [f'its {policy} there to {asked}' for policy, (_, asked) in misfits.items()]
    return (
        f'{topic} of {publisher} does not arrive: {_listed(misfits, 1)} messages are asked for, '
        f'and they are {_listed(misfits, 0)}; set {" and ".join(changes)}'
        + _or_here(misfits, f'qos_overrides.{topic}.subscription.reliability', 'best_effort')
    )


def _or_here(misfits: dict[str, tuple[str, str]], parameter: str, value: str) -> str:
    """Remedy at this end, where the reliability alone does not fit: all else has no parameter."""
    return f', or {parameter} here to {value}' if misfits.keys() == {'reliability'} else ''


def _misfits(offered: QoSProfile, asked: QoSProfile) -> dict[str, tuple[str, str]]:
    """Values offered and asked for, by policy, where the first is less; none if they fit."""
    if qos_check_compatible(offered, asked)[0] != QoSCompatibility.ERROR:
        return {}
    found = {}
    if asked.reliability == ReliabilityPolicy.RELIABLE != offered.reliability:
        found['reliability'] = offered.reliability, asked.reliability
    if asked.durability == DurabilityPolicy.TRANSIENT_LOCAL != offered.durability:
        found['durability'] = offered.durability, asked.durability
    named = {policy: (a.name.lower(), b.name.lower()) for policy, (a, b) in found.items()}
    return named or {'deadline or liveliness': ('looser', 'stricter')}


def _listed(misfits: dict[str, tuple[str, str]], which: int) -> str:
    return ' and '.join(values[which] for values in misfits.values())


def _is(node: Node, endpoint: TopicEndpointInfo) -> bool:
    return full_name(endpoint) == node.get_fully_qualified_name()
