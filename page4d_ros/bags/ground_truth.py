"""Topics and frames of recordings that know the truth, and their images.

Ground truth never counts as the camera's images. Depth and mask are PNG images of the form that
image_transport calls ``compressed``: depth in millimetres as 16 bit (0 is unknown), masks of 0
(static) and 255 (dynamic).
"""

from __future__ import annotations

from struct import Struct
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from page4d_ros.errors import FrameError
from page4d_ros.geometry.poses import inverse, twist
from page4d_ros.messages import encode

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from page4d_ros.bags.writer import BagWriter
    from page4d_ros.messages.factory import MessageFactory

NAMESPACE, CAMERA_NAMESPACE = '/ground_truth/', '/camera/'
IMAGE, IMAGE_COMPRESSED = '/camera/image', '/camera/image/compressed'
CAMERA_INFO = '/camera/camera_info'
ODOMETRY = '/ground_truth/odom'
DEPTH = '/ground_truth/depth/compressed'
DEPTH_INFO = '/ground_truth/camera_info'
MASK = '/ground_truth/mask/compressed'
TF_STATIC = '/tf_static'

WORLD, BASE, CAMERA = 'world', 'base_link', 'camera_optical_frame'
DEPTH_FORMAT, MASK_FORMAT = '16UC1; png compressed ', 'mono8; png compressed '
JPEG_FORMAT = 'rgb8; jpeg compressed bgr8'
JPEG_QUALITY = 90
TRANSPORT, PARAMETERS = 'compressedDepth', Struct('<iff')
VARIANCE = 1e-9  # zero would mean unknown


def of_camera(topic: str, name: str) -> str:
    """Topic of a camera of a rig, such as ``/left/image``; for "" that of the only camera."""
    if not name:
        return topic
    before = NAMESPACE if topic.startswith(NAMESPACE) else '/'
    return f'{before}{name}/{topic.removeprefix(NAMESPACE).removeprefix(CAMERA_NAMESPACE)}'


def frame_of(name: str) -> str:
    """Optical frame of a camera of a rig; for "" that of the only camera."""
    return f'{name}_optical_frame' if name else CAMERA


def compressed(make: MessageFactory, head: Any, form: str, data: NDArray[np.uint8]) -> Any:
    """sensor_msgs/CompressedImage of an encoded image (n,)."""
    return make(
        'sensor_msgs/msg/CompressedImage', header=head, format=form, data=make.sequence(data)
    )


def jpeg(make: MessageFactory, head: Any, rgb: NDArray[np.uint8]) -> Any:
    """sensor_msgs/CompressedImage of an image (H, W, 3)."""
    options = [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY]
    _, data = cv2.imencode('.jpg', rgb[..., ::-1], options)
    return compressed(make, head, JPEG_FORMAT, data)


def depth(make: MessageFactory, head: Any, metres: NDArray) -> Any:
    """Message on `DEPTH` of a depth image (H, W); what is not a number of millimetres is 0."""
    millimetres = np.rint(np.nan_to_num(metres, nan=0.0, posinf=0.0, neginf=0.0) * 1e3)
    millimetres[(millimetres < 0) | (millimetres > np.iinfo(np.uint16).max)] = 0
    _, data = cv2.imencode('.png', millimetres.astype(np.uint16))
    return compressed(make, head, DEPTH_FORMAT, data)


def mask(make: MessageFactory, head: Any, moving: NDArray[np.bool_]) -> Any:
    """Message on `MASK` of what moves (H, W)."""
    _, data = cv2.imencode('.png', np.where(moving, 255, 0).astype(np.uint8))
    return compressed(make, head, MASK_FORMAT, data)


def read_depth(message: Any) -> NDArray[np.float32]:
    """Depth (H, W) in metres, NaN where unknown.

    Args:
        message: on `DEPTH`, or of compressed_depth_image_transport, which puts its parameters
            before the PNG and quantises the inverse of what was 32FC1.

    Raises:
        FrameError: the data cannot be decoded.
    """
    a = b = 0.0
    if TRANSPORT in message.format:
        if len(message.data) < PARAMETERS.size:
            raise FrameError(f'image of format {message.format!r} cannot be decoded')
        _, a, b = PARAMETERS.unpack(bytes(message.data[: PARAMETERS.size]))
    values = _read_png(message).astype(np.float32)
    known = values > 0
    if a:
        over = values - np.float32(b)
        nothing = np.full_like(values, np.nan)
        return np.divide(np.float32(a), over, out=nothing, where=known & (over > 0))
    return np.where(known, values * np.float32(1e-3), np.float32(np.nan))


def read_mask(message: Any) -> NDArray[np.bool_]:
    """Mask (H, W) of a message on `MASK`, True where something moves.

    Raises:
        FrameError: the data cannot be decoded.
    """
    return _read_png(message) > 0


def _read_png(message: Any) -> NDArray:
    data = np.frombuffer(message.data, np.uint8)
    data = data[PARAMETERS.size :] if TRANSPORT in message.format else data
    image = cv2.imdecode(data, cv2.IMREAD_UNCHANGED) if len(data) else None
    if image is None or image.ndim != 2:
        raise FrameError(f'image of format {message.format!r} cannot be decoded as one channel')
    return image


def write_mount(
    writer: BagWriter, stamp_ns: int, T_base_camera: NDArray, frame_id: str = CAMERA
) -> None:
    """Write where a camera (optical frame) sits on the base, (4, 4), to /tf_static."""
    head = encode.header(writer.make, stamp_ns, BASE)
    mount = encode.transform_stamped(
        writer.make, head, frame_id, encode.pose(writer.make, T_base_camera)
    )
    writer.write_transform(TF_STATIC, stamp_ns, mount)


class GroundTruthOdometry:
    """Writes the true poses of the base in the world, with the velocity between them."""

    def __init__(self, writer: BagWriter, T_base_camera: NDArray) -> None:
        self._writer = writer
        self._T_camera_base = inverse(T_base_camera)
        self._last: tuple[int, NDArray] | None = None

    def write(self, stamp_ns: int, T_world_camera: NDArray) -> None:
        """Write the pose of the camera's optical frame, (4, 4), as one of the base."""
        make = self._writer.make
        T_world_base = T_world_camera @ self._T_camera_base
        velocity = np.zeros(6)
        if self._last is not None and stamp_ns > self._last[0]:
            seconds = (stamp_ns - self._last[0]) * 1e-9
            velocity = twist(self._last[1], T_world_base, seconds)
        self._last = stamp_ns, T_world_base
        head = encode.header(make, stamp_ns, WORLD)
        pose, covariance = encode.pose(make, T_world_base), VARIANCE * np.eye(6)
        covariances = np.array([covariance, covariance])
        message = encode.odometry(make, head, BASE, pose, velocity, covariances)
        self._writer.write(ODOMETRY, stamp_ns, message)
