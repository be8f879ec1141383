"""Messages as they come from the wire."""

from functools import cache
from types import SimpleNamespace

import cv2
import numpy as np
from bags_helpers import MAKE, START_NS, camera_info, compressed, head, image, mount

from fuzz.target import Skip, target
from page4d_ros.bags.factory import typestore
from page4d_ros.errors import FrameError
from page4d_ros.messages import encode
from page4d_ros.messages.decode import ENCODINGS, FrameReader, calibration, depth_metres
from page4d_ros.messages.transforms import TransformBuffer

SMALL = {'width': 9, 'height': 7}
RECTIFIABLE = 200  # pixels of a side for which a lens is undistorted
cv2.setNumThreads(1)


@cache
def store():
    return typestore()


def wire(message):
    """Bytes of a message."""
    return bytes(store().serialize_cdr(message, message.__msgtype__))


def read(data, kind):
    """Message of bytes; `Skip` where they are none."""
    try:
        return store().deserialize_cdr(data, kind)
    except Exception as error:
        raise Skip from error


def images():
    """Small images in every encoding that is known."""
    for name, encoding in ENCODINGS.items():
        width, height = 8, 6
        row = width * encoding.channels * np.dtype(encoding.dtype).itemsize
        message = image(START_NS, width=width, height=height)
        message.encoding, message.step = name, row
        message.data = np.arange(row * height, dtype=np.uint8)
        yield message
    depth = np.linspace(0, 5, 48, dtype=np.float32).reshape(6, 8)
    yield encode.image(MAKE, head(START_NS), depth)
    yield encode.image(MAKE, head(START_NS), (1000 * depth).astype(np.uint16))


@target(words=[name.encode() for name in ENCODINGS])
def image_message(folder):
    """sensor_msgs/Image: fields, encoding, pixels; also as depth."""

    def take(data):
        message = read(data, 'sensor_msgs/msg/Image')
        refused = None
        try:
            frame = FrameReader().image(message)
            rgb = frame.decode()
            assert rgb.shape == (message.height, message.width, 3)
            assert rgb.dtype == np.uint8
            assert 0 <= frame.stamp_ns < 2**62
        except FrameError as error:
            refused = error
        depth = depth_metres(message)
        assert not (depth <= 0).any()
        if refused:
            raise refused

    return [wire(message) for message in images()], take


@target(
    words=[b'\x89PNG\r\n\x1a\n', b'IHDR', b'IDAT', b'\xff\xd8\xff', b'GIF89a', b'II*\0', b'BM']
)
def compressed_message(folder):
    """sensor_msgs/CompressedImage: JPEG, PNG, BMP, TIFF, WebP, PPM, GIF and others."""
    picture = np.arange(9 * 7 * 3, dtype=np.uint8).reshape(7, 9, 3)
    seeds = [wire(compressed(START_NS))]
    for suffix in (
        '.png',
        '.jpg',
        '.bmp',
        '.tiff',
        '.webp',
        '.ppm',
        '.hdr',
        '.ras',
        '.sr',
        '.gif',
    ):
        try:
            done, data = cv2.imencode(suffix, picture)
        except cv2.error:
            continue  # this OpenCV has no such writer
        if done:
            message = compressed(START_NS)
            message.format, message.data = suffix[1:], data.ravel()
            seeds.append(wire(message))

    def take(data):
        message = read(data, 'sensor_msgs/msg/CompressedImage')
        rgb = FrameReader().compressed(message).decode()
        assert rgb.ndim == 3
        assert rgb.dtype == np.uint8

    return seeds, take


@target(words=[np.float64(v).tobytes() for v in (np.nan, np.inf, -1.0, 1e300, 1e-300, 0.0)])
def camera_info_message(folder):
    """sensor_msgs/CameraInfo: rays of the camera, and undistorted images."""
    seeds = []
    for lens, model in ((5, 'plumb_bob'), (8, 'rational_polynomial'), (4, 'equidistant'), (0, '')):
        message = camera_info(START_NS)
        message.d, message.distortion_model = np.full(lens, 0.01), model
        seeds.append(wire(message))
    message = camera_info(START_NS)
    message.binning_x = message.binning_y = 2
    message.roi.width, message.roi.height, message.roi.x_offset = 32, 24, 4
    seeds.append(wire(message))

    def take(data):
        message = read(data, 'sensor_msgs/msg/CameraInfo')
        reader = FrameReader(rectify=True)
        reader.camera_info(message)
        assert all(text.isprintable() for text in reader.take_warnings())
        found = calibration(message)
        if found is None:
            return
        camera = found.pinhole
        assert min(camera.fx, camera.fy) > 0
        assert np.isfinite(camera.unproject(np.ones((2, 2)))).all()
        if max(found.width, found.height) <= RECTIFIABLE:
            pixels = image(START_NS, width=found.width, height=found.height)
            frame = reader.image(pixels)
            assert frame.decode().shape == (found.height, found.width, 3)

    return seeds, take


@target(words=[np.float64(v).tobytes() for v in (np.nan, np.inf, 1e300, 1e-200, 0.0)])
def tf_message(folder):
    """tf2_msgs/TFMessage: transforms between all frames that it names."""
    seeds = [wire(message) for _, _, message in mount()]
    first, second = (message for _, _, message in mount())
    both = SimpleNamespace(transforms=[*first.transforms, *second.transforms])
    seeds.append(wire(MAKE('tf2_msgs/msg/TFMessage', transforms=both.transforms)))

    def take(data):
        message = read(data, 'tf2_msgs/msg/TFMessage')
        buffer = TransformBuffer()
        for warning in buffer.store(message) or ():
            assert str(warning).isprintable()
        names = {n for t in message.transforms for n in (t.header.frame_id, t.child_frame_id)}
        for one in list(names)[:6]:
            for other in list(names)[:6]:
                T = buffer.lookup(one, other)
                assert T is None or np.isfinite(T).all()

    return seeds, take
