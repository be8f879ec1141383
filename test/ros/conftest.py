"""A real ROS 2 graph for the tests: rclpy and DDS on this machine only, in a domain of its own."""

import importlib.util
import os
import signal

import pytest
from graph import Graph

from page4d_ros.ros.demo import graph_environment

os.environ |= graph_environment() | {'ROS_PYTHON_CHECK_FIELDS': '1'}

NEEDED = ('rclpy', 'sensor_msgs.msg', 'nav_msgs.msg', 'tf2_msgs.msg', 'page4d_ros.msg')


def missing():
    """Name of the first ROS module that is not there, or None."""
    parents = (name.split('.')[0] for name in NEEDED)
    absent = [p for p in parents if importlib.util.find_spec(p) is None]
    absent += [n for n in NEEDED if not absent and importlib.util.find_spec(n) is None]
    return next(iter(absent), None)


def pytest_collection_modifyitems(items):
    absent = missing()
    if absent:
        reason = (
            f'{absent} is not installed: source a ROS 2 workspace with page4d_ros, or make test'
        )
        for item in items:
            if '/test/ros/' in str(item.path):
                item.add_marker(pytest.mark.skip(reason=reason))


@pytest.fixture
def graph():
    graph = Graph()
    yield graph
    graph.close()


@pytest.fixture(params=[signal.SIGINT, signal.SIGTERM], ids=lambda sent: sent.name)
def sent(request):
    """A signal that asks a process to end."""
    return request.param
