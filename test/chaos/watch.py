"""Listener to everything that the node publishes, which finds what is wrong with it."""

import math
import threading
import time
from collections import Counter

import numpy as np
from diagnostic_msgs.msg import DiagnosticArray
from nav_msgs.msg import Odometry, Path
from rcl_interfaces.msg import Log
from sensor_msgs.msg import CameraInfo, Image, LaserScan, PointCloud2
from tf2_msgs.msg import TFMessage

from page4d_ros.messages.topics import OUTPUTS
from page4d_ros.msg import PerceptionStatus
from page4d_ros.perception.clouds import POINT
from page4d_ros.ros.compat import message_class
from page4d_ros.units import NS_PER_S

STALE = 5.0  # seconds from an image to its outputs; more is wrong
JUMP_NS = NS_PER_S  # stamps that go back by less have no excuse
IDLE = PerceptionStatus.WAITING, PerceptionStatus.PAUSED
ELSEWHERE = {'/tf': TFMessage, '/diagnostics': DiagnosticArray, '/rosout': Log}
ODOM, BASE = 'odom', 'base_link'


def stamp_of(header):
    return header.stamp.sec * NS_PER_S + header.stamp.nanosec


def finite(*values):
    return all(math.isfinite(value) for value in values)


def pose_problem(pose, what):
    p, q = pose.position, pose.orientation
    if not finite(p.x, p.y, p.z, q.x, q.y, q.z, q.w):
        return [f'{what} is not finite']
    norm = math.hypot(q.x, q.y, q.z, q.w)
    return [] if abs(norm - 1) < 1e-3 else [f'{what} has a quaternion of length {norm:.3g}']


class Watch:
    """Checks every output as it comes.

    Attributes:
        sent: stamp -> when its image was sent, see `Camera.sent`.
        jumps: True while stamps may begin again.
        problems: what was wrong, and how often, since `clear`.
        lines: log lines and diagnostics since `clear`.
        history: those since the node was started.
        pose_of: when the image of the newest odometry was sent; 0.0 before the first.
        status: the newest status of an estimate; None before the first.
        counts: messages by topic.
    """

    def __init__(self, graph, namespace, sent):
        self.sent = sent
        self.jumps = False
        self.problems = Counter()
        self.lines = []
        self.history = set()
        self.pose_of = 0.0
        self.status = None
        self.counts = Counter()
        self._last = {}
        self._lock = threading.Lock()
        checks = {
            Odometry: self.odometry,
            Path: self.path,
            Image: self.image,
            CameraInfo: self.camera_info,
            LaserScan: self.scan,
            PointCloud2: self.cloud,
            PerceptionStatus: self.state,
            TFMessage: self.transforms,
            DiagnosticArray: self.diagnostics,
            Log: self.log,
        }
        topics = {topic.name: message_class(topic.type) for topic in OUTPUTS}
        for topic, kind in (topics | ELSEWHERE).items():
            name = topic.replace('~', 'page4d')
            name = name if topic.startswith('/') else f'{namespace}/{name}'
            take = self._checked(topic, checks[kind])
            graph.node.create_subscription(kind, name, take, 100)
        self._place = f'{namespace.strip("/")}/page4d'

    def clear(self):
        """Forget the problems and the lines."""
        with self._lock:
            self.problems.clear()
            self.lines.clear()

    def said(self, text, *, ever=False):
        """True if a line holds the text, since `clear` or ever since the node was started."""
        return any(text in line for line in list(self.history if ever else self.lines))

    def _note(self, line):
        self.lines.append(line)
        self.history.add(line)

    def _checked(self, topic, check):
        def take(message):
            self.counts[topic] += 1
            with self._lock:
                self.problems.update(f'{topic}: {text}' for text in check(topic, message) or ())

        return take

    # -- checks, which return what is wrong ----------------------------------------------------

    def order(self, topic, header):
        """Stamps rise, are those of images, and are not of long ago."""
        stamp, last, now = stamp_of(header), self._last.get(topic), time.monotonic()
        self._last[topic] = stamp
        found = []
        if last is not None and stamp <= last:
            if last == stamp:
                found.append('a stamp repeats')
            elif not (self.jumps and self._began_again(last, stamp)):
                found.append('stamps go back')
        sent = self.sent.get(stamp)
        if sent is None:
            found.append('a stamp of no image')
        elif now - sent > STALE:
            found.append(f'stale by more than {STALE:.0f} s')
        return found

    def _began_again(self, last, stamp):
        """True if images went back by `JUMP_NS` between those of two stamps.

        The newest of them before that may have given no output.
        """
        since, until = self.sent.get(last, 0.0), self.sent.get(stamp, 0.0)
        sent = [each for each, when in list(self.sent.items()) if since <= when <= until]
        return max(sent, default=stamp) - stamp > JUMP_NS

    def odometry(self, topic, message):
        found = self.order(topic, message.header)
        covariances = *message.pose.covariance, *message.twist.covariance
        v, w = message.twist.twist.linear, message.twist.twist.angular
        if not finite(*covariances, v.x, v.y, v.z, w.x, w.y, w.z):
            found.append('covariance or twist is not finite')
        found += pose_problem(message.pose.pose, 'the pose')
        self.pose_of = max(self.pose_of, self.sent.get(stamp_of(message.header), 0.0))
        return found

    def path(self, topic, message):
        poses = message.poses[-1:]
        return [text for item in poses for text in pose_problem(item.pose, 'the newest pose')]

    def transforms(self, topic, message):
        found = []
        for item in message.transforms:
            if (item.header.frame_id, item.child_frame_id) != (ODOM, BASE):
                continue
            found += self.order(topic, item.header)
            t, q = item.transform.translation, item.transform.rotation
            if not finite(t.x, t.y, t.z, q.x, q.y, q.z, q.w):
                found.append('the transform is not finite')
        return found

    def image(self, topic, message):
        found = self.order(topic, message.header)
        if len(message.data) != message.step * message.height or not message.width:
            found.append('sizes contradict each other')
        elif message.encoding == '32FC1':
            values = np.frombuffer(message.data, np.float32)
            if np.isinf(values).any() or (values < 0).any():
                found.append('infinite or negative values')
        return found

    def camera_info(self, topic, message):
        found = self.order(topic, message.header)
        if not finite(*message.k, *message.d, *message.r, *message.p) or message.k[0] <= 0:
            found.append('intrinsics that no camera has')
        return found

    def scan(self, topic, message):
        found = self.order(topic, message.header)
        angles = message.angle_min, message.angle_max, message.angle_increment, message.range_max
        if not finite(*angles) or any(r < 0 for r in message.ranges):
            found.append('angles or ranges that no scanner has')
        return found

    def cloud(self, topic, message):
        found = self.order(topic, message.header)
        if len(message.data) != message.row_step * message.height:
            return [*found, 'sizes contradict each other']
        points = np.frombuffer(message.data, POINT)
        if message.is_dense and not all(np.isfinite(points[axis]).all() for axis in 'xyz'):
            found.append('is_dense, and points are not finite')
        return found

    def state(self, topic, message):
        if message.state in IDLE:
            return []
        self.status = message
        found = self.order(topic, message.header)
        if not finite(message.scale, message.frame_age, message.network_trust):
            found.append('numbers that are not finite')
        return found

    def diagnostics(self, topic, message):
        for item in message.status:
            if self._place in item.name:
                self._note(item.message)

    def log(self, topic, message):
        if message.name == self._place.replace('/', '.'):
            self._note(message.msg)
