"""Decoding of messages: images and calibrations, checked before anything computes with them."""

from __future__ import annotations

import struct
from functools import partial
from io import BytesIO
from typing import TYPE_CHECKING, Any, NamedTuple

import cv2
import numpy as np
from PIL import Image

from page4d_ros.errors import FrameError
from page4d_ros.geometry.camera_calibration import CameraCalibration
from page4d_ros.perception.types import Frame
from page4d_ros.units import NS_PER_S

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from page4d_ros.geometry.camera import PinholeCamera

MAX_SIDE = 16_384
MAX_PIXELS = 1 << 26  # of a compressed image: a small message may say any size
FOCAL = 1e-3, 1e3  # focal lengths in units of the longer side of the image
CENTRE = 100.0  # distance of the principal point, likewise
NO_ROTATION = 1e-2  # deviation of R R^T from the identity
DEFAULT_FRAME = 'camera_optical_frame'
# What Pillow raises for a broken header, beside its own errors, which are of these kinds.
BROKEN_IMAGE = (
    OSError,
    ValueError,
    SyntaxError,
    ArithmeticError,
    LookupError,
    TypeError,
    struct.error,
    Image.DecompressionBombError,
)
DISTORTIONS = (0, 4, 5, 8, 12, 14)  # lengths that OpenCV knows


class Encoding(NamedTuple):
    """Layout of one sensor_msgs encoding: bytes per pixel and how to make it RGB."""

    channels: int
    to_rgb: Callable[[NDArray], NDArray]
    dtype: type = np.uint8


def _convert(code: int) -> Callable[[NDArray], NDArray]:
    def convert(image: NDArray) -> NDArray:
        try:
            return cv2.cvtColor(image, code)
        except cv2.error as error:
            height, width = image.shape[:2]
            raise FrameError(
                f'{width}x{height} pixels cannot be converted: {error.err}'
            ) from error

    return convert


_grey = _convert(cv2.COLOR_GRAY2RGB)
_bgr = _convert(cv2.COLOR_BGR2RGB)  # not image[..., ::-1], whose readers would copy it slowly


def _grey16(image: NDArray) -> NDArray:
    return _grey((image >> 8).astype(np.uint8))


# OpenCV names a Bayer pattern by its second row and column, ROS by its first.
ENCODINGS = {
    'rgb8': Encoding(3, lambda image: image),
    'bgr8': Encoding(3, _bgr),
    'rgba8': Encoding(4, _convert(cv2.COLOR_RGBA2RGB)),
    'bgra8': Encoding(4, _convert(cv2.COLOR_BGRA2RGB)),
    '8UC1': Encoding(1, _grey),
    '8UC3': Encoding(3, _bgr),
    'mono8': Encoding(1, _grey),
    'mono16': Encoding(1, _grey16, np.uint16),
    'bayer_rggb8': Encoding(1, _convert(cv2.COLOR_BayerBG2RGB)),
    'bayer_bggr8': Encoding(1, _convert(cv2.COLOR_BayerRG2RGB)),
    'bayer_gbrg8': Encoding(1, _convert(cv2.COLOR_BayerGR2RGB)),
    'bayer_grbg8': Encoding(1, _convert(cv2.COLOR_BayerGB2RGB)),
    'yuv422': Encoding(2, _convert(cv2.COLOR_YUV2RGB_UYVY)),
    'uyvy': Encoding(2, _convert(cv2.COLOR_YUV2RGB_UYVY)),
    'yuv422_yuy2': Encoding(2, _convert(cv2.COLOR_YUV2RGB_YUY2)),
    'yuyv': Encoding(2, _convert(cv2.COLOR_YUV2RGB_YUY2)),
}


def stamp_ns(header: Any) -> int:
    """Integer nanoseconds of a header's stamp."""
    return int(header.stamp.sec) * NS_PER_S + int(header.stamp.nanosec)


def check_stamp(stamp: Any) -> None:
    """Refuse a stamp that ROS cannot represent; outputs would carry another one.

    Raises:
        FrameError: negative seconds, or a second or more of nanoseconds.
    """
    if stamp.sec < 0 or stamp.nanosec >= NS_PER_S:
        raise FrameError(f'a stamp of {stamp.sec} s and {stamp.nanosec} ns is no time')


def pixels(message: Any, *, channels: int, dtype: type) -> NDArray:
    """View (height, width[, channels]) into a sensor_msgs/Image, honouring step and endianness.

    Raises:
        FrameError: the sizes in the message contradict each other or its data.
    """
    height, width, step = int(message.height), int(message.width), int(message.step)
    dtype = np.dtype(dtype).newbyteorder('>' if message.is_bigendian else '<')
    row = width * channels * dtype.itemsize
    if not (0 < height <= MAX_SIDE and 0 < width <= MAX_SIDE):
        raise FrameError(f'image of {width}x{height} pixels')
    if step < row:
        raise FrameError(
            f'image step {step} is shorter than a row: {width} pixels of {message.encoding} '
            f'take {row} bytes'
        )
    data = np.frombuffer(message.data, np.uint8)
    if len(data) < step * (height - 1) + row:
        raise FrameError(f'image data is cut off: {len(data)} of {step * height} bytes')
    shape = (height, width) if channels == 1 else (height, width, channels)
    strides = (step, channels * dtype.itemsize, dtype.itemsize)[: len(shape)]
    return np.ndarray(shape, dtype, data, strides=strides)


def image_reader(
    message: Any, fallback: Callable[[Any], NDArray] | None = None
) -> Callable[[], NDArray[np.uint8]]:
    """Check a sensor_msgs/Image; return a function that converts it to RGB (H, W, 3) uint8.

    Args:
        message: the image.
        fallback: converts encodings that are not in `ENCODINGS` (cv_bridge, where installed).

    Raises:
        FrameError: unknown encoding, or sizes that contradict each other or the data.
    """
    encoding = ENCODINGS.get(message.encoding)
    if not message.width or not message.height:
        raise FrameError(f'image of {message.width}x{message.height} pixels')
    if encoding is None:
        if fallback is not None:
            return partial(fallback, message)
        raise FrameError(
            f'encoding {message.encoding!r} is not supported; use one of {", ".join(ENCODINGS)}, '
            'or install cv_bridge'
        )
    return partial(
        encoding.to_rgb, pixels(message, channels=encoding.channels, dtype=encoding.dtype)
    )


def compressed_to_rgb(message: Any) -> NDArray:
    """RGB image (H, W, 3) uint8 of a sensor_msgs/CompressedImage (JPEG, PNG …).

    Raises:
        FrameError: the data cannot be decoded, or has more than `MAX_PIXELS`.
    """
    data = np.frombuffer(message.data, np.uint8)
    try:
        with Image.open(BytesIO(data)) as header:  # reads no pixels
            width, height = header.size
        if width * height > MAX_PIXELS:
            raise FrameError(f'compressed image of {width}x{height} pixels; {MAX_PIXELS} may be')
        image = cv2.imdecode(data, cv2.IMREAD_COLOR)
    except (*BROKEN_IMAGE, cv2.error):
        image = None
    if image is None:
        raise FrameError(
            f'compressed image ({message.format!r}, {len(data)} bytes) cannot be decoded'
        )
    return _bgr(image)


def depth_metres(message: Any) -> NDArray[np.float32]:
    """Depth image (H, W) in metres, NaN where invalid (REP 118).

    Raises:
        FrameError: neither 32FC1 nor 16UC1, or malformed.
    """
    if message.encoding == '32FC1':
        depth = pixels(message, channels=1, dtype=np.float32).astype(np.float32)
    elif message.encoding in {'16UC1', 'mono16'}:
        depth = pixels(message, channels=1, dtype=np.uint16).astype(np.float32) * 1e-3
    else:
        raise FrameError(f'depth encoding {message.encoding!r}; REP 118 has 32FC1 and 16UC1')
    return np.where(depth > 0, depth, np.nan)


def calibration(message: Any) -> CameraCalibration | None:
    """Calibration of a sensor_msgs/CameraInfo; None if it is marked uncalibrated (K[0] = 0).

    Binning and region of interest are applied, so that it describes the image as sent.

    Raises:
        FrameError: numbers that no camera has, such as NaN or a focal length of zero.
    """
    K, D, R, P = (
        np.array(getattr(message, name, getattr(message, name.upper(), ())), np.float64)
        for name in 'kdrp'
    )
    if not all(np.isfinite(matrix).all() for matrix in (K, D, R, P)):
        raise FrameError('camera_info holds NaN or infinite numbers; it is not used')
    K, R, P = K.reshape(3, 3), R.reshape(3, 3), P.reshape(3, 4)[:, :3]
    if K[0, 0] == 0:
        return None
    if K[0, 0] < 0 or K[1, 1] <= 0:
        raise FrameError(f'camera_info has focal lengths {K[0, 0]}, {K[1, 1]}; it is not used')
    if not np.any(R):
        R = np.eye(3)  # some drivers leave it empty
    if np.abs(R).max() > 2 or np.abs(R @ R.T - np.eye(3)).max() > NO_ROTATION:
        raise FrameError('camera_info has an R that is no rotation; it is not used')
    if len(D) not in DISTORTIONS:
        raise FrameError(f'camera_info has {len(D)} distortion coefficients; it is not used')
    roi = message.roi
    bin_x, bin_y = max(int(message.binning_x), 1), max(int(message.binning_y), 1)
    width = int(roi.width or message.width) // bin_x
    height = int(roi.height or message.height) // bin_y
    shift = np.array([[1, 0, -roi.x_offset], [0, 1, -roi.y_offset], [0, 0, 1]], np.float64)
    shrink = np.diag([1 / bin_x, 1 / bin_y, 1.0])
    found = CameraCalibration(
        width, height, shrink @ shift @ K, D, R, shrink @ shift @ P, message.distortion_model
    )
    for matrix in (found.K, found.pinhole.K):
        _check_intrinsics(matrix, max(width, height))
    return found


def _check_intrinsics(K: NDArray, side: int) -> None:
    """Refuse intrinsics (3, 3) with which points would not be finite, or mean nothing.

    Raises:
        FrameError: says what the numbers are.
    """
    low, high = FOCAL[0] * side, FOCAL[1] * side
    focal, centre = K[[0, 1], [0, 1]], K[:2, 2]
    if not (low <= focal.min() and focal.max() <= high and np.abs(centre).max() <= CENTRE * side):
        raise FrameError(
            f'camera_info has focal lengths {focal.tolist()} and the centre {centre.tolist()} for '
            f'{side} pixels; it is not used'
        )


class FrameReader:
    """Builds each `Frame` from an image message and the latest camera_info.

    Args:
        rectify: undistort images.
        frame_id: replaces that of the images; "" keeps theirs.
        fallback: converts unknown encodings, see `image_reader`.
        view: index of the camera in a rig.
        name: of the camera; "" for a single one.

    Attributes:
        name: as given; begins the warnings.
        calibration: set from camera_info; None until one arrives.
        warnings: new warnings for the user, each only once, in order.
    """

    def __init__(
        self,
        *,
        rectify: bool = False,
        frame_id: str = '',
        fallback: Callable[[Any], NDArray] | None = None,
        view: int = 0,
        name: str = '',
    ) -> None:
        self.calibration: CameraCalibration | None = None
        self.warnings: list[str] = []
        self._rectify = rectify
        self._frame_id = frame_id
        self._fallback = fallback
        self.name, self._view = name, view
        self._warned: set[str] = set()
        self._seen: str | None = None  # frame_id of the last image

    def warn(self, key: str, text: str) -> None:
        """Note a warning, the first time."""
        if key not in self._warned:
            self._warned.add(key)
            self.warnings.append(f'{self.name}: {text}' if self.name else text)

    def take_warnings(self) -> list[str]:
        """Return the new warnings."""
        taken, self.warnings = self.warnings, []
        return taken

    def camera_info(self, message: Any) -> None:
        """Use this calibration from now on; a broken one is refused with a warning."""
        try:
            found = calibration(message)
        except FrameError as error:
            self.warn('camera_info', f'{error}; going on with the intrinsics known so far')
            return
        if found is None:
            self.warn('uncalibrated', 'camera_info has K[0] = 0: the camera is not calibrated')
        elif found.distorted and not self._rectify:
            self.warn(
                'distorted',
                'camera_info has lens distortion, and the network assumes a pinhole: if these are '
                'not rectified images, subscribe to those, or set input.rectify',
            )
        if found is None or not found.same_as(self.calibration):
            self.calibration = found

    def image(self, message: Any) -> Frame:
        """Frame of a sensor_msgs/Image; its sizes are checked now, its pixels copied later.

        Raises:
            FrameError: unknown encoding or inconsistent sizes.
        """
        decode = image_reader(message, self._fallback)
        return self._frame(message, decode, (int(message.height), int(message.width)))

    def compressed(self, message: Any) -> Frame:
        """Frame of a sensor_msgs/CompressedImage; decoded later, by the worker."""
        return self._frame(message, partial(compressed_to_rgb, message), None)

    def _frame(
        self, message: Any, decode: Callable[[], NDArray], size: tuple[int, int] | None
    ) -> Frame:
        known = self.calibration
        if known and size and size != (known.height, known.width):
            self.warn(
                'size',
                f'image of {size[1]}x{size[0]} pixels, camera_info of {known.width}x'
                f"{known.height}: using the network's own intrinsics",
            )
            known = None
        if known is None and not self._warned & {'size', 'uncalibrated', 'camera_info'}:
            self.warn('missing', "no camera_info yet: using the network's own intrinsics")
        if known and self._rectify and known.distorted:
            taken, rectify = decode, known.rectify
            decode = lambda: rectify(np.ascontiguousarray(taken()))  # noqa: E731
        camera: PinholeCamera | None = known.pinhole if known else None
        check_stamp(message.header.stamp)
        frame_id = self._optical_frame(message)
        return Frame(stamp_ns(message.header), frame_id, decode, camera, self._view)

    def _optical_frame(self, message: Any) -> str:
        name = self._frame_id or message.header.frame_id
        if name.startswith('/'):
            self.warn(
                'slash', f'frame_id {name!r} starts with a slash, which tf2 forbids: cut off'
            )
            name = name.lstrip('/')
        if not name:
            self.warn(
                'frame_id',
                f'images have no frame_id: using {DEFAULT_FRAME!r}; set frames.camera to name it',
            )
        name = name or DEFAULT_FRAME
        if self._seen not in {None, name}:
            self.warn(
                'another',  # one key: there may be any number of names
                f'images of {name!r} after those of {self._seen!r} on one topic: the window '
                'starts again with each change; give each camera a node, or set frames.camera',
            )
        self._seen = name
        return name
