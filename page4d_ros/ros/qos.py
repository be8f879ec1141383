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
    from collections.abc import Callable
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
    return PublisherEventCallbacks(incompatible_qos=_warning(node, topic, publishes=True))


def subscription_events(node: Node, topic: str) -> SubscriptionEventCallbacks:
    """Events of a subscription: publishers that offer less than it asks for are warned of.

    Args:
        node: subscribes, and logs.
        topic: as it is given to the subscription.
    """
    return SubscriptionEventCallbacks(incompatible_qos=_warning(node, topic, publishes=False))


def _warning(node: Node, topic: str, *, publishes: bool) -> Callable[[Any], None]:
    """Callback that warns of all ends of a topic that do not fit a node's own."""
    node = weakref.proxy(node)  # it holds the events

    def warn(_event: Any) -> None:
        name, own = node.resolve_topic_name(topic), node.get_fully_qualified_name()
        offers = node.get_publishers_info_by_topic(name)
        requests = node.get_subscriptions_info_by_topic(name)
        ours, theirs = (offers, requests) if publishes else (requests, offers)
        mine = next((each.qos_profile for each in ours if full_name(each) == own), None)
        if mine is None:  # destroyed meanwhile
            return
        for each in theirs:
            ends = (mine, each.qos_profile) if publishes else (each.qos_profile, mine)
            if misfits := _misfits(*ends):
                sentence = starved if publishes else deaf
                node.get_logger().warning(sentence(full_name(each), name, misfits))

    return warn


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
