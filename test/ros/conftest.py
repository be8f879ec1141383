"""A real ROS 2 graph for the tests: rclpy and DDS on this machine only, in a domain of its own."""

import contextlib
import gc
import importlib.util
import os
import signal
import threading
import time

import pytest

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


class Graph:
    """An executor in a thread, a node for the test itself, and patience."""

    def __init__(self):
        import rclpy
        from rclpy.context import Context
        from rclpy.executors import SingleThreadedExecutor

        self.context = Context()
        rclpy.init(context=self.context)
        self.executor = SingleThreadedExecutor(context=self.context)
        self.nodes = []
        self.node = self.add(rclpy.create_node('tester', context=self.context))
        self.received = {}
        self._thread = threading.Thread(target=self._spin, daemon=True)
        self._thread.start()

    def _spin(self):
        from rclpy.executors import ExternalShutdownException

        with contextlib.suppress(ExternalShutdownException):
            self.executor.spin()

    def add(self, node):
        self.executor.add_node(node)
        self.nodes.append(node)
        return node

    def listen(self, kind, topic, **qos):
        from rclpy.qos import QoSProfile

        got = self.received.setdefault(topic, [])
        profile = QoSProfile(**({'depth': 200} | qos))
        self.node.create_subscription(kind, topic, got.append, profile)
        return got

    @staticmethod
    def until(condition, timeout=20.0, what='the condition'):
        end = time.monotonic() + timeout
        while time.monotonic() < end:
            if condition():
                return
            time.sleep(0.01)
        raise AssertionError(f'{what} did not come true within {timeout} s')

    def call(self, kind, name, request, timeout=20.0):
        """Call a service that may be called twice: an answer is lost while discovery goes on."""
        client = self.node.create_client(kind, name)
        assert client.wait_for_service(timeout), name
        end = time.monotonic() + timeout
        while time.monotonic() < end:
            future = client.call_async(request)
            with contextlib.suppress(AssertionError):
                self.until(future.done, 3.0, name)
                return future.result()
        raise AssertionError(f'{name} did not answer within {timeout} s')

    def close(self):
        import rclpy

        for node in self.nodes:
            session = getattr(node, 'session', None)
            if session is not None:
                session.stop()
        rclpy.try_shutdown(context=self.context)
        self._thread.join(5)
        self.executor.shutdown()
        self.node = node = session = None  # whoever holds a node keeps its part of DDS
        while self.nodes:
            self.nodes.pop().destroy_node()
        gc.collect()  # DDS hangs at times, if it ends while the next test's nodes appear


@pytest.fixture
def graph():
    graph = Graph()
    yield graph
    graph.close()


@pytest.fixture(params=[signal.SIGINT, signal.SIGTERM], ids=lambda sent: sent.name)
def sent(request):
    """A signal that asks a process to end."""
    return request.param
