"""Fuzzing: whatever is in a message or a file, it is read or refused by name, and soon."""

import io
import json
import math
import struct
from types import SimpleNamespace

import numpy as np
import pytest
from bags_helpers import FORMATS, camera_messages, write_bag
from fakes import PlainMessages

pytest.importorskip('hypothesis', reason='hypothesis is not installed')

from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from PIL import Image

from page4d_ros.bags.reader import open_bag
from page4d_ros.bags.recording import Recording
from page4d_ros.config import Config
from page4d_ros.errors import BagError, ConfigError, FrameError
from page4d_ros.geometry.poses import from_quaternion
from page4d_ros.messages import encode
from page4d_ros.messages.decode import (
    DISTORTIONS,
    ENCODINGS,
    MAX_SIDE,
    FrameReader,
    calibration,
    depth_metres,
)
from page4d_ros.messages.transforms import TransformBuffer
from page4d_ros.perception.types import Frame
from page4d_ros.settings import parse_assignment

MAKE = PlainMessages()
MANY = settings(
    max_examples=150,
    deadline=None,  # never a time on a shared machine
    derandomize=True,
    database=None,
    suppress_health_check=list(HealthCheck),
)
FEW = settings(MANY, max_examples=60)

u32 = st.integers(0, 2**32 - 1)
sides = st.one_of(st.integers(0, 40), st.integers(MAX_SIDE - 1, MAX_SIDE + 1), u32)
numbers = st.one_of(
    st.floats(), st.sampled_from([0.0, 1e-300, 1e300, -1.0, 50.0]), st.floats(1, 1000)
)
heads = st.builds(
    lambda sec, nanosec, frame_id: MAKE(
        'std_msgs/msg/Header',
        stamp=MAKE('builtin_interfaces/msg/Time', sec=sec, nanosec=nanosec),
        frame_id=frame_id,
    ),
    st.integers(-(2**31), 2**31 - 1),
    u32,
    st.text(max_size=20),
)


def one_line(error):
    """A refusal has a reason, which fits on a line."""
    assert str(error)
    assert str(error).isprintable()


def arrays(length):
    return st.lists(numbers, min_size=length, max_size=length)


@MANY
@given(
    header=heads,
    height=sides,
    width=sides,
    step=st.one_of(st.integers(0, 200), u32),
    encoding=st.one_of(st.sampled_from([*ENCODINGS, '32FC1', '16UC1']), st.text(max_size=10)),
    is_bigendian=st.integers(0, 255),
    data=st.binary(max_size=4000),
)
def test_images(**fields):
    message = SimpleNamespace(**fields)
    message.data = np.frombuffer(message.data, np.uint8)
    try:
        frame = FrameReader().image(message)
        rgb = frame.decode()
    except FrameError as error:
        one_line(error)
    else:
        assert rgb.shape == (message.height, message.width, 3)
        assert rgb.dtype == np.uint8
        assert not frame.frame_id.startswith('/')
    try:
        depth = depth_metres(message)
    except FrameError as error:
        one_line(error)
    else:
        assert not (depth <= 0).any()


def picture_file(form, size=(9, 7)):
    out = io.BytesIO()
    Image.new('RGB', size, (200, 120, 40)).save(out, form)
    return out.getvalue()


FILES = [picture_file(form) for form in ('PNG', 'JPEG', 'BMP', 'TIFF', 'WEBP', 'PPM', 'GIF')]
changes = st.lists(st.tuples(st.integers(0, 2**20), st.integers(0, 255)), max_size=6)


def changed(data, edits, keep):
    """Data with some bytes replaced, and only its first part."""
    out = bytearray(data[: max(1, int(len(data) * keep))])
    for position, value in edits:
        out[position % len(out)] = value
    return bytes(out)


fractions = st.one_of(st.just(1.0), st.floats(0, 1))


@MANY
@given(
    st.one_of(
        st.binary(max_size=300), st.builds(changed, st.sampled_from(FILES), changes, fractions)
    )
)
@example(b'')
def test_compressed_images(data):
    message = SimpleNamespace(
        header=encode.header(MAKE, 1, 'camera'), format='png', data=np.frombuffer(data, np.uint8)
    )
    frame = FrameReader().compressed(message)
    try:
        rgb = frame.decode()
    except FrameError as error:
        one_line(error)
    else:
        assert rgb.shape[2] == 3


@MANY
@given(
    k=arrays(9),
    p=arrays(12),
    r=st.one_of(arrays(9), st.just(list(np.eye(3).ravel()))),
    d=st.one_of(st.sampled_from(DISTORTIONS).flatmap(arrays), st.lists(numbers, max_size=20)),
    width=sides,
    height=sides,
    binning=st.tuples(u32, u32),
    roi=st.tuples(u32, u32, u32, u32),
    model=st.sampled_from(['plumb_bob', 'equidistant', '', 'nonsense']),
)
def test_calibrations(k, p, r, d, width, height, binning, roi, model):
    names = ('x_offset', 'y_offset', 'width', 'height')
    message = SimpleNamespace(
        k=k, p=p, r=r, d=d, width=width, height=height, binning_x=binning[0], binning_y=binning[1],
        roi=SimpleNamespace(**dict(zip(names, roi, strict=True))), distortion_model=model,
    )  # fmt: skip
    try:
        found = calibration(message)
    except FrameError as error:
        one_line(error)
        return
    if found is not None:
        camera = found.pinhole
        rays = camera.unproject(np.ones((2, 2)))
        assert np.isfinite(rays).all()
        assert min(camera.fx, camera.fy) > 0


@MANY
@given(
    st.lists(
        st.tuples(arrays(4), arrays(3), st.sampled_from('abc'), st.sampled_from('abc')), max_size=6
    )
)
def test_transforms(items):
    buffer = TransformBuffer()
    for rotation, translation, parent, child in items:
        item = encode.transform_stamped(
            MAKE, encode.header(MAKE, 0, parent), child,
            encode.pose(MAKE, from_quaternion((0, 0, 0, 1), (0, 0, 0))),
        )  # fmt: skip
        for axis, value in zip('xyzw', rotation, strict=True):
            setattr(item.transform.rotation, axis, value)
        for axis, value in zip('xyz', translation, strict=True):
            setattr(item.transform.translation, axis, value)
        buffer.store(SimpleNamespace(transforms=[item]))
    for target in 'abc':
        T = buffer.lookup(target, 'a')
        assert T is None or np.isfinite(T).all()


@pytest.fixture(scope='module')
def recordings(tmp_path_factory):
    """A small recording in each format that is one file, as bytes."""
    folder, out = tmp_path_factory.mktemp('fuzz'), {}
    for form in (form for form in FORMATS if form not in ('mcap', 'sqlite3')):
        path = write_bag(
            folder / form.replace(' ', '_'), form, camera_messages(2, width=8, height=6)
        )
        out[path.suffix] = path.read_bytes()
    return folder, out


@FEW
@given(suffix=st.sampled_from(['.bag', '.mcap', '.db3']), edits=changes, keep=fractions)
def test_recordings(recordings, suffix, edits, keep):
    folder, files = recordings
    path = folder / f'fuzzed{suffix}'
    path.write_bytes(changed(files[suffix], edits, keep))
    try:
        with open_bag(path) as bag:
            for message in bag.messages(bag.topics()):
                assert isinstance(message.log_ns, int)
    except BagError as error:
        one_line(error)
    try:
        with Recording(path, Config()) as source:
            for item in source.items():
                if isinstance(item, Frame):
                    item.decode()
    except (BagError, FrameError) as error:
        one_line(error)


records = st.builds(
    lambda operation, size, body: struct.pack('<BQ', operation, size or len(body)) + body,
    st.integers(0, 15),
    st.sampled_from([0, 0, 0, 1, 22, 2**32, 2**63]),
    st.binary(max_size=60),
)


@FEW
@given(st.lists(records, max_size=8))
def test_records_of_mcap(recordings, items):
    path = recordings[0] / 'records.mcap'
    path.write_bytes(b'\x89MCAP0\r\n' + b''.join(items))
    with pytest.raises(BagError) as caught:
        open_bag(path).close()
    assert str(caught.value).isprintable()


@MANY
@given(
    st.one_of(
        st.text(alphabet='[]{}&*:,-?!<> \n"\'01aé\x1b', max_size=60),
        st.recursive(numbers, lambda t: st.lists(t, max_size=3), max_leaves=9).map(json.dumps),
    )
)
def test_assignments(value):
    try:
        name, found = parse_assignment(f'window.max_gap={value}')
        settings_ = Config().with_values({name: found})
    except ConfigError as error:
        one_line(error)
    else:
        assert math.isfinite(settings_.window.max_gap)
