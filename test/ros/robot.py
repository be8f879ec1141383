"""The node under test on a real graph, behind a camera, with an engine that is exact."""

import pytest
from fakes import CAMERA, OracleEngine, picture

pytest.importorskip('rclpy', reason='rclpy is not installed')
pytest.importorskip('page4d_ros.msg', reason='the workspace is not built')

from geometry_msgs.msg import TransformStamped
from rclpy.lifecycle import TransitionCallbackReturn
from rclpy.parameter import Parameter
from rclpy.qos import DurabilityPolicy, QoSProfile
from sensor_msgs.msg import CameraInfo, Image
from tf2_msgs.msg import TFMessage

from page4d_ros.geometry.poses import R_BODY_OPTICAL, transform
from page4d_ros.messages import encode
from page4d_ros.msg import PerceptionStatus
from page4d_ros.perception.pipeline import Perception
from page4d_ros.ros.compat import RosMessages
from page4d_ros.ros.node import Page4dNode
from page4d_ros.units import NS_PER_S

MAKE = RosMessages()
MOUNT = transform(R_BODY_OPTICAL, (0.2, 0.0, 1.2))
STEP = NS_PER_S // 10
START = 1_700_000_000 * NS_PER_S + 999_999_999
DEFAULTS = {
    'window.stride': 1,
    'window.size': 3,
    'frames.tf_timeout': 0.0,
    'points.rate': 0.0,
    'mask.source': 'head',
    'mask.min_area': 0,
    'mask.dilate': 0,
    'odometry.estimator': 'network',  # pictures here do not show the motion
}


def truthful(**kwargs):
    return OracleEngine(size=DEFAULTS['window.size'], seed=None, **kwargs)


class Robot:
    """The node under test, and a camera in front of it."""

    def __init__(self, graph, engine=None, activate=True, **values):
        import rclpy

        self.graph = graph
        self.engine = engine or truthful()
        self.engine.dynamic_patch = (1, 2)
        settings = DEFAULTS | {k.replace('__', '.'): v for k, v in values.items()}
        self.node = graph.add(
            Page4dNode(
                build=lambda config: Perception(config, self.engine),
                context=graph.context,
                parameter_overrides=[Parameter(k, value=v) for k, v in settings.items()],
            )
        )
        qos = QoSProfile(depth=100)
        self.images = graph.node.create_publisher(Image, 'image', qos)
        self.infos = graph.node.create_publisher(CameraInfo, 'camera_info', qos)
        latched = QoSProfile(depth=10, durability=DurabilityPolicy.TRANSIENT_LOCAL)
        self.static = graph.node.create_publisher(TFMessage, '/tf_static', latched)
        self.all_status = graph.listen(PerceptionStatus, 'page4d/status')
        assert rclpy.ok(context=graph.context)
        # the subscription follows the publishers that are known when it is made
        graph.until(lambda: self.node.count_publishers('image') > 0, what='the publisher')
        if activate:
            assert self.node.trigger_configure() == TransitionCallbackReturn.SUCCESS
            assert self.node.trigger_activate() == TransitionCallbackReturn.SUCCESS
            graph.until(lambda: self.images.get_subscription_count() > 0, what='subscription')
            graph.until(lambda: self.infos.get_subscription_count() > 0, what='subscription')
            status_topic = self.node.session.sink.publishers['~/status']
            graph.until(lambda: status_topic.get_subscription_count() > 0, what='status listener')

    @property
    def status(self):
        """Status messages that belong to an estimate."""
        idle = (PerceptionStatus.WAITING, PerceptionStatus.PAUSED)
        return [s for s in self.all_status if s.state not in idle]

    def mount(self):
        head = encode.header(MAKE, 0, 'base_link')
        item = encode.transform_stamped(MAKE, head, 'camera', encode.pose(MAKE, MOUNT))
        assert isinstance(item, TransformStamped)
        self.static.publish(TFMessage(transforms=[item]))
        listener = self.node.session.sink.listener
        self.graph.until(lambda: listener.lookup('base_link', 'camera') is not None, what='tf')

    def calibrate(self, camera=CAMERA):
        message = encode.camera_info(MAKE, encode.header(MAKE, 0, 'camera'), camera)
        self.infos.publish(message)
        session = self.node.session
        self.graph.until(lambda: session.reader.calibration is not None, what='calibration')

    def image(self, stamp_ns, array=None, frame_id='camera'):
        array = picture(stamp_ns) if array is None else array
        return encode.image(MAKE, encode.header(MAKE, stamp_ns, frame_id), array)

    def show(self, stamp_ns, **kwargs):
        """Publish one image and wait for its estimate."""
        self.images.publish(self.image(stamp_ns, **kwargs))
        self.wait_for(stamp_ns)

    def wait_for(self, stamp_ns):
        self.graph.until(
            lambda: any(stamp_of(s) == stamp_ns for s in self.status), what=f'estimate {stamp_ns}'
        )

    def dropped(self, reason):
        return self.node.session.intake.dropped[reason]


def stamp_of(message):
    return message.header.stamp.sec * NS_PER_S + message.header.stamp.nanosec
