"""Encoding of messages: arrays and poses to sensor_msgs, nav_msgs, geometry_msgs, tf2_msgs.

Every function takes the `MessageFactory` first and fills each field once.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np

from page4d_ros.geometry.poses import transform
from page4d_ros.perception.clouds import POINT
from page4d_ros.perception.moving_bodies import in_axes
from page4d_ros.units import NS_PER_S

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

    from page4d_ros.geometry.camera import PinholeCamera
    from page4d_ros.messages.factory import MessageFactory
    from page4d_ros.perception.types import MovingBody

LOST = 9999.0 * np.array([np.eye(6), np.eye(6)])  # covariances of pose and velocity
FLOAT32 = 7  # sensor_msgs/PointField.FLOAT32
ENCODING_OF = {
    (np.dtype(np.uint8), 2): 'mono8',
    (np.dtype(np.uint8), 3): 'rgb8',
    (np.dtype(np.uint16), 2): '16UC1',
    (np.dtype(np.float32), 2): '32FC1',
}


def stamp(make: MessageFactory, stamp_ns: int) -> Any:
    """builtin_interfaces/Time, exact to the nanosecond."""
    sec, nanosec = divmod(stamp_ns, NS_PER_S)
    return make('builtin_interfaces/msg/Time', sec=int(sec), nanosec=int(nanosec))


def header(make: MessageFactory, stamp_ns: int, frame_id: str) -> Any:
    """std_msgs/Header."""
    return make('std_msgs/msg/Header', stamp=stamp(make, stamp_ns), frame_id=frame_id)


def image(make: MessageFactory, head: Any, array: NDArray) -> Any:
    """sensor_msgs/Image of (H, W[, 3]); the encoding follows from type and shape."""
    array = np.ascontiguousarray(array)
    return make(
        'sensor_msgs/msg/Image',
        header=head,
        height=array.shape[0],
        width=array.shape[1],
        encoding=ENCODING_OF[array.dtype, array.ndim],
        is_bigendian=0,
        step=array.strides[0],
        data=make.sequence(array.reshape(-1).view(np.uint8)),
    )


def camera_info(make: MessageFactory, head: Any, camera: PinholeCamera) -> Any:
    """sensor_msgs/CameraInfo of a pinhole: D = 0, R = I, P = [K|0]."""
    P = np.hstack([camera.K, np.zeros((3, 1))])
    roi = make(
        'sensor_msgs/msg/RegionOfInterest',
        x_offset=0,
        y_offset=0,
        height=0,
        width=0,
        do_rectify=False,
    )
    return make(
        'sensor_msgs/msg/CameraInfo',
        header=head,
        height=camera.height,
        width=camera.width,
        distortion_model='plumb_bob',
        d=make.sequence(np.zeros(5)),
        k=make.fixed(camera.K.reshape(-1)),
        r=make.fixed(np.eye(3).reshape(-1)),
        p=make.fixed(P.reshape(-1)),
        binning_x=0,
        binning_y=0,
        roi=roi,
    )


@lru_cache(maxsize=4)
def point_fields(make: MessageFactory) -> list[Any]:
    """sensor_msgs/PointField of each field of `POINT`."""
    return [
        make(
            'sensor_msgs/msg/PointField',
            name=name,
            offset=int(POINT.fields[name][1]),
            datatype=FLOAT32,
            count=1,
        )
        for name in POINT.names
    ]


def cloud(make: MessageFactory, head: Any, points: NDArray) -> Any:
    """sensor_msgs/PointCloud2 of a `POINT` array.

    Args:
        make: message factory.
        head: stamp and optical frame.
        points: (n,), whose cloud has height 1 and is dense; or (h, w), which may hold NaN.
    """
    height, width = np.atleast_2d(points).shape
    return make(
        'sensor_msgs/msg/PointCloud2',
        header=head,
        height=height,
        width=width,
        fields=point_fields(make),
        is_bigendian=False,
        point_step=POINT.itemsize,
        row_step=POINT.itemsize * width,
        data=make.sequence(np.ascontiguousarray(points).reshape(-1).view(np.uint8)),
        is_dense=points.ndim == 1,
    )


def laser_scan(
    make: MessageFactory, head: Any, ranges: NDArray, start: float, step: float, max_range: float
) -> Any:
    """sensor_msgs/LaserScan of ranges (n,), all of one time.

    Args:
        make: message factory.
        head: stamp and the frame, whose z axis the bearings turn about.
        ranges: metres; see REP 117 for what is not finite.
        start: first bearing in rad.
        step: between bearings, in rad.
        max_range: longest range that is measured, in metres.
    """
    return make(
        'sensor_msgs/msg/LaserScan',
        header=head,
        angle_min=start,
        angle_max=start + step * (len(ranges) - 1),
        angle_increment=step,
        time_increment=0.0,
        scan_time=0.0,
        range_min=0.0,
        range_max=max_range,
        ranges=make.sequence(ranges),
        intensities=make.sequence(np.zeros(0, np.float32)),
    )


def vector(make: MessageFactory, kind: str, values: NDArray) -> Any:
    """geometry_msgs/Point or Vector3, by its kind, of three numbers."""
    x, y, z = (float(value) for value in values)
    return make(f'geometry_msgs/msg/{kind}', x=x, y=y, z=z)


def _quaternion(make: MessageFactory, xyzw: NDArray) -> Any:
    x, y, z, w = (float(value) for value in xyzw)
    return make('geometry_msgs/msg/Quaternion', x=x, y=y, z=z, w=w)


def pose(make: MessageFactory, T: NDArray) -> Any:
    """geometry_msgs/Pose of a transform (4, 4)."""
    return make(
        'geometry_msgs/msg/Pose',
        position=vector(make, 'Point', T[:3, 3]),
        orientation=_quaternion(make, make.quaternion(T)),
    )


def null_pose(make: MessageFactory) -> Any:
    """Pose of a lost frame as rtabmap marks it: a quaternion of zeros."""
    return make(
        'geometry_msgs/msg/Pose',
        position=vector(make, 'Point', np.zeros(3)),
        orientation=_quaternion(make, np.zeros(4)),
    )


def pose_stamped(make: MessageFactory, head: Any, at: Any) -> Any:
    """geometry_msgs/PoseStamped of a geometry_msgs/Pose."""
    return make('geometry_msgs/msg/PoseStamped', header=head, pose=at)


def path(make: MessageFactory, head: Any, poses: list[Any]) -> Any:
    """nav_msgs/Path of PoseStamped messages."""
    return make('nav_msgs/msg/Path', header=head, poses=poses)


def odometry(
    make: MessageFactory, head: Any, child: str, at: Any, velocity: NDArray, covariances: NDArray
) -> Any:
    """nav_msgs/Odometry.

    Args:
        make: message factory.
        head: stamp and the frame of the pose.
        child: the frame of the twist.
        at: geometry_msgs/Pose.
        velocity: (6,) linear and angular, in the child's axes.
        covariances: (2, 6, 6) of x, y, z and rotation about x, y, z (REP 103): that of the pose in
            the axes of the header's frame, that of the velocity in the child's.
    """
    of_pose, of_velocity = covariances.reshape(2, -1)
    twist = make(
        'geometry_msgs/msg/Twist',
        linear=vector(make, 'Vector3', velocity[:3]),
        angular=vector(make, 'Vector3', velocity[3:]),
    )
    return make(
        'nav_msgs/msg/Odometry',
        header=head,
        child_frame_id=child,
        pose=make('geometry_msgs/msg/PoseWithCovariance', pose=at, covariance=make.fixed(of_pose)),
        twist=make(
            'geometry_msgs/msg/TwistWithCovariance',
            twist=twist,
            covariance=make.fixed(of_velocity),
        ),
    )


def transform_stamped(make: MessageFactory, head: Any, child: str, at: Any) -> Any:
    """geometry_msgs/TransformStamped of the child's geometry_msgs/Pose in the header's frame."""
    return make(
        'geometry_msgs/msg/TransformStamped',
        header=head,
        child_frame_id=child,
        transform=make(
            'geometry_msgs/msg/Transform',
            translation=make(
                'geometry_msgs/msg/Vector3', x=at.position.x, y=at.position.y, z=at.position.z
            ),
            rotation=at.orientation,
        ),
    )


def moving_body(make: MessageFactory, body: MovingBody, T_odom_world: NDArray) -> Any:
    """page4d_ros/MovingBody in the odom frame."""
    centre, size, velocity = in_axes(body, T_odom_world)
    return make(
        'page4d_ros/msg/MovingBody',
        number=body.number,
        position=vector(make, 'Point', centre),
        size=vector(make, 'Vector3', size),
        velocity=vector(make, 'Vector3', velocity),
        probability=body.probability,
    )


def detections(
    make: MessageFactory, head: Any, bodies: Iterable[MovingBody], T_odom_world: NDArray
) -> Any:
    """vision_msgs/Detection3DArray in the odom frame; the class is "moving", the id the number."""
    out = []
    for body in bodies:
        centre, size, _ = in_axes(body, T_odom_world)
        pose_ = pose(make, transform(np.eye(3), centre))
        box = make(
            'vision_msgs/msg/BoundingBox3D', center=pose_, size=vector(make, 'Vector3', size)
        )
        hypothesis = make(
            'vision_msgs/msg/ObjectHypothesis', class_id='moving', score=body.probability
        )
        result = make(
            'vision_msgs/msg/ObjectHypothesisWithPose',
            hypothesis=hypothesis,
            pose=make(
                'geometry_msgs/msg/PoseWithCovariance',
                pose=pose_,
                covariance=make.fixed(np.zeros(36)),
            ),
        )
        out.append(
            make(
                'vision_msgs/msg/Detection3D',
                header=head,
                results=[result],
                bbox=box,
                id=str(body.number),
            )
        )
    return make('vision_msgs/msg/Detection3DArray', header=head, detections=out)
