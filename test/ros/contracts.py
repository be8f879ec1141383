"""Consumers that are not installed here, as far as their subscriptions go.

Each subscribes with the types, QoS and synchronisation that its source has, to the topics that our
launch or parameter file gives it, and tells what it could not use. QoS and checks were read in
rtabmap_ros (MsgConversion.cpp, CoreWrapper.cpp), isaac_ros_nvblox (image_conversions.cpp),
octomap_server (octomap_server.cpp), navigation2 (obstacle_layer.cpp, observation_buffer.cpp) and
robot_localization (ros_filter.cpp).
"""

import numpy as np
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from robot import stamp_of
from tf2_msgs.msg import TFMessage

from page4d_ros.geometry import poses
from page4d_ros.messages.transforms import TransformBuffer

RELIABLE, BEST_EFFORT = ReliabilityPolicy.RELIABLE, ReliabilityPolicy.BEST_EFFORT
LOST = 9999.0  # covariance with which rtabmap's odometry says so
RGB = {'mono8', 'mono16', 'rgb8', 'bgr8', 'rgba8', 'bgra8'}
DEPTH = {'32FC1': 4, '16UC1': 2, 'mono16': 2}
FLOAT32 = 7


class Tf:
    """Looks transforms up as tf2 does, at a stamp at which one was sent."""

    def __init__(self, graph):
        self.moving = graph.listen(TFMessage, '/tf')
        self.static = graph.listen(
            TFMessage, '/tf_static', durability=DurabilityPolicy.TRANSIENT_LOCAL
        )

    def at(self, target, source, stamp_ns):
        """T_target_source, or None."""
        buffer = TransformBuffer()
        for message in self.static:
            buffer.store(message)
        for message in self.moving:
            if stamp_of(message.transforms[0]) == stamp_ns:
                buffer.store(message)
        return buffer.lookup(target, source)


class Subscriptions:
    """Messages by topic, as the consumer names it, and by stamp.

    Args:
        graph: of the test.
        kinds: message class by topic of the consumer.
        remapped: our topic, by topic of the consumer.
        **qos: of the subscriptions.
    """

    def __init__(self, graph, kinds, remapped, **qos):
        self.received = {name: {} for name in kinds}
        for name, kind in kinds.items():
            graph.node.create_subscription(
                kind, remapped[name], self._keep(name), QoSProfile(**({'depth': 10} | qos))
            )

    def _keep(self, name):
        def keep(message):
            self.received[name][stamp_of(message)] = message

        return keep

    def synchronised(self):
        """Messages of each stamp at which all came, oldest first: ExactTime."""
        common = set.intersection(*(set(each) for each in self.received.values()))
        stamps = sorted(common)
        return [{name: each[s] for name, each in self.received.items()} for s in stamps]


def image(message, encodings):
    """Pixels (h, w) or (h, w, c) of an image, or a complaint."""
    if message.encoding not in encodings:
        return f'encoding {message.encoding}'
    if message.step * message.height != len(message.data) or message.is_bigendian:
        return 'step, height and data do not agree'
    kinds = {'32FC1': np.float32, '16UC1': np.uint16, 'mono16': np.uint16}
    array = np.frombuffer(message.data, kinds.get(message.encoding, np.uint8))
    if array.size % (message.height * message.width):
        return 'step, height and data do not agree'
    return array.reshape(message.height, message.width, -1).squeeze()


def calibration(info, picture):
    """Complaints about the calibration beside an image."""
    out = []
    if (info.width, info.height) != (picture.width, picture.height):
        out.append('camera_info is of another size')
    if info.header.frame_id != picture.header.frame_id:
        out.append('camera_info is of another frame')
    if info.k[0] <= 0 or info.k[4] <= 0 or info.p[0] <= 0 or info.p[5] <= 0:
        out.append('uncalibrated')
    if np.any(info.d) or not np.array_equal(info.r, np.eye(3).ravel()):
        out.append('not rectified')
    if not (0 < info.k[2] < info.width and 0 < info.k[5] < info.height):
        out.append('principal point outside of the image')
    return out


def of_rtabmap(frame, tf, parameters):
    """CommonDataSubscriber with depth, then CoreWrapper::process."""
    odom, rgb, depth = frame['odom'], frame['rgb/image'], frame['depth/image']
    out = calibration(frame['rgb/camera_info'], rgb)
    out += [f'rgb: {c}' for c in [image(rgb, RGB)] if isinstance(c, str)]
    metres = image(depth, DEPTH)
    if isinstance(metres, str):
        out.append(f'depth: {metres}')
    if rgb.width % depth.width or rgb.height % depth.height:
        out.append('sizes of rgb and depth are in no integer ratio')
    if odom.child_frame_id != parameters['frame_id']:
        out.append(f'odometry is of {odom.child_frame_id}')
    for name, covariance in (('pose', odom.pose.covariance), ('twist', odom.twist.covariance)):
        if not all(0 < covariance[7 * i] < LOST for i in range(6)):
            out.append(f'{name} covariance')
    stamp = stamp_of(rgb)
    if tf.at(parameters['frame_id'], rgb.header.frame_id, stamp) is None:
        out.append('no tf from the robot to the camera')
    if tf.at(odom.header.frame_id, rgb.header.frame_id, stamp) is None:
        out.append('no tf at the stamp')
    return out


def of_nvblox(frame, tf, parameters):
    """The synchronisers of depth and colour, then the conversions."""
    out = []
    for kind, encodings in (('depth', DEPTH), ('color', {'rgb8', 'bgra8'}), ('mask', {'mono8'})):
        if f'camera_0/{kind}/image' not in frame:
            continue
        picture, info = frame[f'camera_0/{kind}/image'], frame[f'camera_0/{kind}/camera_info']
        pixels = image(picture, encodings)
        out += [f'{kind}: {complaint}' for complaint in calibration(info, picture)]
        if isinstance(pixels, str):
            out.append(f'{kind}: {pixels}')
        elif kind == 'mask' and set(np.unique(pixels)) - {0, 255}:
            out.append('mask: other values than 0 and 255')
        if tf.at(parameters['global_frame'], picture.header.frame_id, stamp_of(picture)) is None:
            out.append(f'{kind}: no tf at the stamp')
    return out


def points(cloud):
    """(n, 3) points of a cloud, or a complaint."""
    at = {field.name: field for field in cloud.fields}
    if any(n not in at or at[n].datatype != FLOAT32 or at[n].count != 1 for n in 'xyz'):
        return 'no x, y, z as float32'
    if cloud.is_bigendian or cloud.row_step * cloud.height != len(cloud.data):
        return 'steps and data do not agree'
    kind = np.dtype(
        {
            'names': list('xyz'),
            'formats': ['<f4'] * 3,
            'offsets': [at[n].offset for n in 'xyz'],
            'itemsize': cloud.point_step,
        }
    )
    read = np.frombuffer(cloud.data, kind)
    return np.stack([read[n] for n in 'xyz'], -1).astype(float)


def in_frame(cloud, tf, frame):
    """Points and origin of the sensor in a frame at the cloud's stamp, or a complaint."""
    found = points(cloud)
    T = tf.at(frame, cloud.header.frame_id, stamp_of(cloud))
    if isinstance(found, str):
        return found
    if T is None:
        return 'no tf at the stamp'
    if cloud.is_dense and not np.isfinite(found).all():
        return 'is_dense, and NaN'
    return found @ T[:3, :3].T + T[:3, 3], T[:3, 3]


def of_cloud(cloud, tf, frame):
    """OctomapServer::insertCloudCallback and ObservationBuffer::bufferCloud."""
    found = in_frame(cloud, tf, frame)
    if isinstance(found, str):
        return [found]
    reach = np.linalg.norm(found[0] - found[1], axis=1)
    out = [] if cloud.header.frame_id != frame else ['rays would start at the origin of the map']
    return out + (['no points'] if not len(reach) else [])


def of_robot_localization(odom, parameters):
    """RosFilter::odometryCallback: frames, and variances of what odom0_config takes."""
    out = []
    if odom.header.frame_id != parameters['odom_frame']:
        out.append(f'poses are in {odom.header.frame_id}')
    if odom.child_frame_id != parameters['base_link_frame']:
        out.append(f'velocities are of {odom.child_frame_id}')
    for i, used in enumerate(parameters['odom0_config'][:12]):
        covariance = (odom.pose if i < 6 else odom.twist).covariance
        if used and not 0 < covariance[7 * (i % 6)] < LOST:
            out.append(f'variance {i}')
    C = np.reshape(odom.twist.covariance, (6, 6))
    if not np.allclose(C, C.T) or np.linalg.eigvalsh(C).min() <= 0:
        out.append('covariance is none')
    return out


def moved(T_a_b, found):
    """Points (n, 3) of frame b in frame a."""
    return found @ T_a_b[:3, :3].T + T_a_b[:3, 3]


def inverse_moved(T_a_b, found):
    """Points (n, 3) of frame a in frame b."""
    return moved(poses.inverse(T_a_b), found)
