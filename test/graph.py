"""A ROS 2 graph for tests: a node of their own, an executor in a thread, and patience."""

import contextlib
import gc
import threading
import time
import weakref


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
        self._thread.join(30)
        self.executor.shutdown()
        self.node = node = session = None  # whoever holds a node keeps its part of DDS
        left = [weakref.ref(each) for each in self.nodes]
        while self.nodes:
            self.nodes.pop().destroy_node()
        gc.collect()  # DDS hangs at times, if it ends while the next test's nodes appear
        end = time.monotonic() + 10.0
        while any(each() for each in left) and time.monotonic() < end:
            time.sleep(0.05)  # a thread that ends late
            gc.collect()
