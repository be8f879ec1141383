"""Small recordings with ground truth on chosen topics; content as in `layouts`."""

import numpy as np
from layouts import COUNT, SIZE, K, depth, picture, pose

from page4d_ros.bags import ground_truth
from page4d_ros.bags.writer import BagWriter
from page4d_ros.geometry.camera import PinholeCamera
from page4d_ros.geometry.poses import inverse, transform
from page4d_ros.messages import encode
from page4d_ros.perception.base_frame import FORWARD

START_NS, STEP_NS = 1_600_000_000_999_999_999, 100_000_000
T_base_camera = transform(FORWARD[:3, :3], (0.2, 0.0, 1.2))
CAMERA = PinholeCamera.from_matrix(K, SIZE[1], SIZE[0])


def stamps(count=COUNT):
    return [START_NS + index * STEP_NS for index in range(count)]


def moving(index):
    mask = np.zeros(SIZE, bool)
    mask[10:20, 5 + index : 20 + index] = True
    return mask


def write_bag(
    folder,
    name='drive',
    *,
    count=COUNT,
    poses='odom',
    odom=ground_truth.ODOMETRY,
    truths=('depth', 'mask'),
    shift_ns=0,
    image=ground_truth.IMAGE,
    calibrated=True,
    units=1.0,
    extra=lambda writer, make, head, index: None,
):
    """Write a rosbag2 folder below `folder`; `shift_ns` is of depth and masks, and of poses."""
    path = folder / name
    with BagWriter(path) as writer:
        make = writer.make
        ground_truth.write_mount(writer, START_NS, T_base_camera)
        for index, stamp in enumerate(stamps(count)):
            head = encode.header(make, stamp, ground_truth.CAMERA)
            late = encode.header(make, stamp + shift_ns, ground_truth.CAMERA)
            if calibrated:
                info = encode.camera_info(make, head, CAMERA)
                writer.write(ground_truth.CAMERA_INFO, stamp, info)
            if image:
                writer.write(image, stamp, encode.image(make, head, picture(index)))
            if 'depth' in truths:
                message = ground_truth.depth(make, late, depth(index) * units)
                writer.write(ground_truth.DEPTH, stamp, message)
            if 'mask' in truths:
                writer.write(
                    ground_truth.MASK, stamp, ground_truth.mask(make, late, moving(index))
                )
            write_pose(writer, poses, odom, stamp + shift_ns, pose(index))
            extra(writer, make, head, index)
    return path


def write_pose(writer, kind, topic, stamp, T_world_camera):
    make = writer.make
    head = encode.header(make, stamp, 'world')
    T_world_base = T_world_camera @ inverse(T_base_camera)
    if kind == 'odom':
        at = encode.pose(make, T_world_base)
        message = encode.odometry(make, head, 'base_link', at, np.zeros(6), np.ones((2, 6, 6)))
        writer.write(topic, stamp, message)
    elif kind == 'pose':
        writer.write(
            topic, stamp, encode.pose_stamped(make, head, encode.pose(make, T_world_camera))
        )
    elif kind == 'tf':
        # world -> odom -> base_link, both moving
        T_world_odom = transform(np.eye(3), (1.0, 2.0, 3.0))
        odom = encode.header(make, stamp, 'odom')
        first = encode.transform_stamped(make, head, 'odom', encode.pose(make, T_world_odom))
        second = encode.transform_stamped(
            make, odom, 'base_link', encode.pose(make, inverse(T_world_odom) @ T_world_base)
        )
        writer.write_transform(topic, stamp, first)
        writer.write_transform(topic, stamp, second)
