import zlib

import cv2
import numpy as np
import pytest
from fakes import CAMERA, PlainMessages

from page4d_ros.errors import FrameError
from page4d_ros.messages import encode
from page4d_ros.messages.decode import (
    ENCODINGS,
    FrameReader,
    calibration,
    compressed_to_rgb,
    depth_metres,
    image_reader,
    stamp_ns,
)
from page4d_ros.units import NS_PER_S

MAKE = PlainMessages()
HEAD = encode.header(MAKE, 5 * NS_PER_S + 999_999_999, 'camera')
RGB = np.random.default_rng(0).integers(0, 256, (10, 14, 3), dtype=np.uint8)


def message(array, encoding=None, padding=0, big=False):
    """A sensor_msgs/Image whose rows are padded to a longer step."""
    rows = np.ascontiguousarray(array).reshape(len(array), -1).view(np.uint8)
    if padding:
        rows = np.pad(rows, ((0, 0), (0, padding)), constant_values=77)
    out = encode.image(MAKE, HEAD, RGB)
    out.height, out.width = array.shape[:2]
    out.encoding, out.step, out.data = encoding, rows.shape[1], rows.reshape(-1)
    out.is_bigendian = int(big)
    return out


def bayer_of(rgb, pattern):
    """Mosaic of an image, built from the pattern's own name."""
    out = np.empty(rgb.shape[:2], np.uint8)
    for index, colour in enumerate(pattern):
        row, column = divmod(index, 2)
        out[row::2, column::2] = rgb[row::2, column::2, 'rgb'.index(colour)]
    return out


@pytest.mark.parametrize('padding', [0, 5])
@pytest.mark.parametrize(
    ('encoding', 'array'),
    [
        ('rgb8', RGB),
        ('bgr8', RGB[..., ::-1]),
        ('rgba8', np.dstack([RGB, RGB[..., 0]])),
        ('bgra8', np.dstack([RGB[..., ::-1], RGB[..., 0]])),
        ('8UC3', RGB[..., ::-1]),
    ],
)
def test_colour_encodings_are_exact(encoding, array, padding):
    np.testing.assert_array_equal(image_reader(message(array, encoding, padding))(), RGB)


@pytest.mark.parametrize('encoding', ['mono8', '8UC1'])
def test_grey_becomes_three_channels(encoding):
    out = image_reader(message(RGB[..., 0], encoding, 3))()
    np.testing.assert_array_equal(out, np.dstack([RGB[..., 0]] * 3))


@pytest.mark.parametrize('big', [False, True])
def test_mono16_in_both_byte_orders(big):
    wide = (RGB[..., 0].astype(np.uint16) << 8) + 13
    stored = wide.astype('>u2') if big else wide.astype('<u2')
    out = image_reader(message(stored, 'mono16', 2, big))()
    np.testing.assert_array_equal(out[..., 1], RGB[..., 0])


@pytest.mark.parametrize('pattern', ['rggb', 'bggr', 'gbrg', 'grbg'])
def test_bayer_patterns_are_told_apart(pattern):
    smooth = np.zeros((40, 40, 3), np.uint8)
    smooth[...] = (200, 120, 40)
    out = image_reader(message(bayer_of(smooth, pattern), f'bayer_{pattern}8'))()
    np.testing.assert_array_equal(out[5:-5, 5:-5], smooth[5:-5, 5:-5])


@pytest.mark.parametrize(('encoding', 'order'), [('uyvy', 'UYVY'), ('yuyv', 'YUYV')])
def test_yuv(encoding, order):
    grey = {'U': 128, 'V': 128, 'Y': 180}
    data = np.tile(np.array([grey[c] for c in order], np.uint8), (6, 4)).reshape(6, 8, 2)
    out = image_reader(message(data, encoding))()
    assert out.shape == (6, 8, 3)
    assert abs(out.astype(int) - 191).max() <= 2


def test_reading_copies_nothing():
    source = message(RGB, 'rgb8')
    assert np.shares_memory(image_reader(source)(), source.data)


def test_stamps_are_exact_integers():
    assert stamp_ns(HEAD) == 5_999_999_999


def broken(**changes):
    out = message(RGB, 'rgb8')
    for name, value in changes.items():
        setattr(out, name, value)
    return out


@pytest.mark.parametrize(
    ('changes', 'complaint'),
    [
        ({'encoding': 'jpeg'}, "encoding 'jpeg' is not supported"),
        ({'encoding': ''}, 'is not supported'),
        ({'step': 41}, 'step 41 is shorter than a row'),
        ({'step': 0}, 'step 0'),
        ({'data': RGB.reshape(-1)[:-1]}, 'cut off: 419 of 420 bytes'),
        ({'data': np.zeros(0, np.uint8)}, 'cut off: 0 of'),
        ({'width': 0}, 'image of 0x10'),
        ({'height': 0}, 'image of 14x0'),
        ({'height': 2**31}, 'image of'),
        ({'encoding': 'bgra8'}, 'take 56 bytes'),
    ],
)
def test_malformed_images_say_what_is_wrong(changes, complaint):
    with pytest.raises(FrameError, match=complaint):
        image_reader(broken(**changes))


def test_unknown_encodings_go_to_the_fallback():
    assert image_reader(broken(encoding='weird'), lambda m: m.encoding)() == 'weird'


def test_depth_in_metres_with_nan():
    metres = np.array([[1.5, np.nan], [0.0, 2.0]], np.float32)
    np.testing.assert_array_equal(
        depth_metres(message(metres, '32FC1')), [[1.5, np.nan], [np.nan, 2]]
    )
    millimetres = np.array([[1500, 0], [65535, 2]], np.uint16)
    np.testing.assert_allclose(
        depth_metres(message(millimetres, '16UC1')), [[1.5, np.nan], [65.535, 0.002]], rtol=1e-6
    )
    with pytest.raises(FrameError, match='REP 118'):
        depth_metres(message(RGB, 'rgb8'))


def info(**changes):
    out = encode.camera_info(MAKE, HEAD, CAMERA)
    for name, value in changes.items():
        setattr(out, name, value)
    return out


def test_camera_info_round_trip():
    np.testing.assert_allclose(calibration(info()).pinhole.K, CAMERA.K)


def test_uncalibrated_means_none():
    assert calibration(info(k=np.zeros(9), p=np.zeros(12))) is None


def test_p_is_preferred_and_k_stands_in():
    P = np.zeros(12)
    P[[0, 2, 5, 6, 10]] = 40, 30, 41, 20, 1
    assert calibration(info(p=P)).pinhole.fx == 40
    assert calibration(info(p=np.zeros(12))).pinhole.fx == CAMERA.fx


def test_binning_and_region_of_interest():
    binned = info(binning_x=2, binning_y=2)
    assert calibration(binned).pinhole.fx == CAMERA.fx / 2
    assert calibration(binned).width == CAMERA.width // 2
    region = info()
    region.roi.x_offset, region.roi.y_offset = 10, 4
    region.roi.width, region.roi.height = 40, 30
    cut = calibration(region)
    assert (cut.width, cut.height) == (40, 30)
    assert (cut.pinhole.cx, cut.pinhole.cy) == (CAMERA.cx - 10, CAMERA.cy - 4)


@pytest.mark.parametrize('name', ['k', 'd', 'p', 'r'])
def test_nan_in_camera_info_is_refused(name):
    bad = info(**{name: np.full(np.shape(getattr(info(), name)), np.nan)})
    with pytest.raises(FrameError, match='NaN'):
        calibration(bad)
    reader = FrameReader()
    reader.camera_info(bad)
    assert reader.calibration is None
    assert 'NaN' in reader.take_warnings()[0]
    reader.camera_info(bad)
    assert not reader.take_warnings()


def test_a_camera_info_of_another_size_is_not_used_for_this_image():
    reader = FrameReader()
    reader.camera_info(info())
    assert reader.image(message(RGB, 'rgb8')).camera is None
    assert 'camera_info of 64x48' in reader.take_warnings()[0]


def test_frame_ids():
    source = message(RGB, 'rgb8')
    source.header = encode.header(MAKE, 1, '/cam')
    reader = FrameReader()
    assert reader.image(source).frame_id == 'cam'
    source.header = encode.header(MAKE, 1, '')
    assert reader.image(source).frame_id == 'camera_optical_frame'
    assert FrameReader(frame_id='left').image(source).frame_id == 'left'
    assert [w for w in reader.take_warnings() if 'slash' in w or 'no frame_id' in w]


def test_distortion_is_removed_when_asked():
    """A straight line seen through a distorting lens is straight again."""
    size = (160, 120)
    K = np.array([[90.0, 0, 80], [0, 90.0, 60], [0, 0, 1]])
    D = np.array([-0.3, 0.1, 0, 0, 0])
    line = np.zeros((size[1], size[0], 3), np.uint8)
    points = np.array([[[x, -0.5, 1.0]] for x in np.linspace(-1, 1, 400)])
    seen, _ = cv2.projectPoints(points, np.zeros(3), np.zeros(3), K, D)
    for x, y in seen[:, 0]:
        if 0 <= x < size[0] and 0 <= y < size[1]:
            cv2.circle(line, (round(x), round(y)), 1, (255, 255, 255), -1)
    P = np.zeros((3, 4))
    P[:, :3] = K
    bent = info(
        width=size[0], height=size[1], k=K.reshape(-1), d=D, p=P.reshape(-1), r=np.eye(3).ravel()
    )
    reader = FrameReader(rectify=True)
    reader.camera_info(bent)
    assert reader.calibration.distorted
    straight = reader.image(message(line, 'rgb8')).decode()[..., 0]
    rows = [np.mean(np.nonzero(straight[:, x])[0]) for x in range(30, 130) if straight[:, x].any()]
    assert len(rows) > 80
    assert np.ptp(rows) <= 2.0
    bent_rows = [np.mean(np.nonzero(line[:, x, 0])[0]) for x in range(30, 130)]
    assert np.ptp(bent_rows) > 3.0
    assert np.mean(rows) == pytest.approx(60 - 45, abs=0.7)
    plain = FrameReader()
    plain.camera_info(bent)
    assert 'distortion' in plain.take_warnings()[0]


def test_every_encoding_is_tested_here():
    tested = {'rgb8', 'bgr8', 'rgba8', 'bgra8', '8UC3', 'mono8', '8UC1', 'mono16', 'uyvy', 'yuyv'}
    tested |= {f'bayer_{p}8' for p in ('rggb', 'bggr', 'gbrg', 'grbg')}
    assert set(ENCODINGS) == tested | {'yuv422', 'yuv422_yuy2'}, 'the two others are aliases'


# -- what a stranger may send ----------------------------------------------------------------


def compressed(data, form='png'):
    out = encode.image(MAKE, HEAD, RGB)
    out.format, out.data = form, np.frombuffer(data, np.uint8)
    return out


def png_that_says(width, height):
    """A small PNG whose header declares another size."""
    data = bytearray(cv2.imencode('.png', RGB)[1].tobytes())
    data[16:24] = width.to_bytes(4, 'big') + height.to_bytes(4, 'big')
    data[29:33] = zlib.crc32(data[12:29]).to_bytes(4, 'big')
    return bytes(data)


def test_a_small_message_cannot_unpack_to_gigabytes(monkeypatch):
    monkeypatch.setattr(cv2, 'imdecode', lambda *_: pytest.fail('decoded'))
    for side in (9_000, 14_000, 60_000):
        with pytest.raises(FrameError):
            compressed_to_rgb(compressed(png_that_says(side, side)))


def test_whatever_opencv_raises_is_a_malformed_frame(monkeypatch):
    def fail(*_):
        raise cv2.error('no memory')

    monkeypatch.setattr(cv2, 'imdecode', fail)
    with pytest.raises(FrameError, match='cannot be decoded'):
        compressed_to_rgb(compressed(cv2.imencode('.jpg', RGB)[1]))


@pytest.mark.parametrize('suffix', ['.png', '.jpg', '.webp', '.tiff', '.bmp'])
def test_every_usual_format_is_decoded(suffix):
    flat = np.full((20, 30, 3), (200, 120, 40), np.uint8)
    data = cv2.imencode(suffix, flat[..., ::-1])[1]
    out = compressed_to_rgb(compressed(data, suffix[1:]))
    np.testing.assert_allclose(out, flat, atol=6)


@pytest.mark.parametrize(
    ('name', 'index', 'value'),
    [
        ('k', 0, 1e-300),
        ('k', 4, 1e300),
        ('k', 2, 1e300),
        ('k', 5, -1e12),
        ('p', 0, 1e-300),
        ('p', 6, 1e300),
        ('r', 0, 7.0),
        ('r', 0, 1e300),
        ('r', 0, float('nan')),
    ],
)
@pytest.mark.filterwarnings('error')
def test_intrinsics_that_no_camera_has_are_refused(name, index, value):
    info = encode.camera_info(MAKE, HEAD, CAMERA)
    getattr(info, name)[index] = value
    with pytest.raises(FrameError, match='not used'):
        calibration(info)


@pytest.mark.parametrize('stamp', [(-1, 0), (-(2**31), 5), (0, NS_PER_S), (2**31 - 1, 2**32 - 1)])
def test_a_stamp_that_is_no_time_is_refused(stamp):
    """ROS would wrap it on the way out: outputs with the stamp of no image."""
    message = encode.image(MAKE, encode.header(MAKE, 0, 'camera'), RGB)
    message.header.stamp.sec, message.header.stamp.nanosec = stamp
    with pytest.raises(FrameError, match='is no time'):
        FrameReader().image(message)
