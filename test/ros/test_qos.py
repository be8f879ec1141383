"""Subscribers and publishers whose QoS does not fit the node's are named, with a remedy."""

import pytest
from robot import START, Robot

pytest.importorskip('rclpy', reason='rclpy is not installed')
pytest.importorskip('page4d_ros.msg', reason='the workspace is not built')

from rcl_interfaces.msg import Log
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import Image

from page4d_ros.ros.qos import deaf, starved

BEST_EFFORT = QoSProfile(depth=5, reliability=ReliabilityPolicy.BEST_EFFORT)
RELIABLE = QoSProfile(depth=5)
LATCHED = QoSProfile(depth=5, durability=DurabilityPolicy.TRANSIENT_LOCAL)


def warned(graph, logs, text):
    def found():
        return any(text in log.msg for log in logs)

    graph.until(found, what=text)
    return next(log.msg for log in logs if text in log.msg)


def test_a_subscriber_that_asks_for_too_much_is_named(graph):
    logs = graph.listen(Log, '/rosout')
    override = {'qos_overrides./mask/image.publisher.reliability': 'best_effort'}
    robot = Robot(graph, **override)
    graph.node.create_subscription(Image, 'depth/image', print, LATCHED)
    assert warned(graph, logs, 'nothing of /depth/image') == (
        '/tester gets nothing of /depth/image: it asks for transient_local messages, and they are '
        'volatile; set its durability there to volatile'
    )
    graph.node.create_subscription(Image, 'mask/image', print, RELIABLE)
    assert warned(graph, logs, 'nothing of /mask/image').endswith(
        'it asks for reliable messages, and they are best_effort; set its reliability there to '
        'best_effort, or qos_overrides./mask/image.publisher.reliability here to reliable'
    )
    graph.node.create_subscription(Image, 'rgb/image', print, BEST_EFFORT)
    robot.show(START)
    assert not any('nothing of /rgb/image' in log.msg for log in logs)


def test_a_publisher_that_offers_too_little_is_named(graph):
    logs = graph.listen(Log, '/rosout')
    Robot(graph, **{'qos_overrides./image.subscription.reliability': 'reliable'})
    graph.node.create_publisher(Image, 'image', BEST_EFFORT)
    assert warned(graph, logs, '/image of /tester') == (
        '/image of /tester does not arrive: reliable messages are asked for, and they are '
        'best_effort; set its reliability there to reliable, or '
        'qos_overrides./image.subscription.reliability here to best_effort'
    )


def test_several_policies_are_one_sentence():
    both = {
        'reliability': ('best_effort', 'reliable'),
        'durability': ('volatile', 'transient_local'),
    }
    assert starved('/map', '/scan', both) == (
        '/map gets nothing of /scan: it asks for reliable and transient_local messages, and they '
        'are best_effort and volatile; set its reliability there to best_effort and its '
        'durability there to volatile'
    )
    assert 'does not arrive' in deaf('/camera', '/image', both)
