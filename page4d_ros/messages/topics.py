"""Table of the topics that the node publishes."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

IMAGE = 'sensor_msgs/msg/Image'
CAMERA_INFO = 'sensor_msgs/msg/CameraInfo'
POINT_CLOUD = 'sensor_msgs/msg/PointCloud2'
STATUS = 'page4d_ros/msg/PerceptionStatus'
MOVING_BODY = 'page4d_ros/msg/MovingBody'
LASER_SCAN = 'sensor_msgs/msg/LaserScan'
MARKERS = 'visualization_msgs/msg/MarkerArray'
DETECTIONS = 'vision_msgs/msg/Detection3DArray'


@dataclass(frozen=True)
class Topic:
    """An output; all are reliable (REP 2003).

    Attributes:
        name: relative to the node's namespace, or ``~/`` for private.
        type: message type.
        depth: queue length.
        gated: only while subscribed, if ``publish.only_if_subscribed``.
        per_camera: of each camera of a rig.
        needs_base: only with ``frames.base``.
    """

    name: str
    type: str
    depth: int = 2
    gated: bool = True
    per_camera: bool = True
    needs_base: bool = False


STATUS_TOPIC = '~/status'
DIAGNOSTICS_TOPIC = '/diagnostics'

OUTPUTS = (
    Topic('odom', 'nav_msgs/msg/Odometry', depth=10, gated=False, per_camera=False),
    Topic('path', 'nav_msgs/msg/Path', depth=1, per_camera=False),
    Topic('depth/image', IMAGE),
    Topic('depth/camera_info', CAMERA_INFO),
    Topic('depth/static', IMAGE),
    Topic('rgb/image', IMAGE),
    Topic('rgb/camera_info', CAMERA_INFO),
    Topic('mask/image', IMAGE),
    Topic('mask/camera_info', CAMERA_INFO),
    Topic('mask/probability', IMAGE),
    Topic('mask/overlay', IMAGE),
    Topic('confidence/image', IMAGE),
    Topic('scan', LASER_SCAN, needs_base=True),
    Topic('points/static', POINT_CLOUD, depth=1),
    Topic('points/dynamic', POINT_CLOUD, depth=1),
    Topic(STATUS_TOPIC, STATUS, depth=1, gated=False, per_camera=False),
)

# published as all others are; recorded only where they are asked for by name
ON_REQUEST = (
    Topic('points/organized', POINT_CLOUD, depth=1),
    Topic('depth/colormap', IMAGE),
)
OPTIONAL = (
    Topic('bodies', DETECTIONS, depth=1, per_camera=False),
    Topic('markers', MARKERS, depth=1, per_camera=False),
)  # where their types are installed


@dataclass(frozen=True)
class Service:
    """A service of the node.

    Attributes:
        name: private to the node.
        type: service type.
        text: effect.
    """

    name: str
    type: str
    text: str


TRIGGER = 'std_srvs/srv/Trigger'
SERVICES = (
    Service('reset', TRIGGER, 'empty window, identity pose'),
    Service('reset_window', TRIGGER, 'empty window, the pose goes on from where it is'),
    Service(
        'set_pose',
        'page4d_ros/srv/SetPose',
        'the base is at this pose in odom from now on; window and twist go on, path and cloud '
        'begin anew',
    ),
    Service('pause', 'std_srvs/srv/SetBool', 'no images are taken'),
    Service('save_trajectory', TRIGGER, 'the path as .tum and .kitti (with .times)'),
    Service('save_cloud', TRIGGER, 'the static points along the path as .ply and .pcd'),
)


def outputs(
    cameras: Sequence[str], topics: Iterable[Topic] = OUTPUTS, *, base: bool = True
) -> list[Topic]:
    """Topics of a node with these cameras; those of one camera without a name where empty.

    Args:
        cameras: names.
        topics: those of one camera.
        base: True if there is a base frame.
    """
    return [
        replace(topic, name=of_camera(topic.name, camera))
        for topic in topics
        if base or not topic.needs_base
        for camera in (cameras if cameras and topic.per_camera else [''])
    ]


def of_camera(name: str, camera: str) -> str:
    """Name of a camera's topic; a camera without a name has none of its own."""
    return f'{camera}/{name}' if camera else name
