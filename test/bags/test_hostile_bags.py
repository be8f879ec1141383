"""Recordings that somebody made to hurt: one error or a warning, and little memory."""

import sqlite3
import struct

import pytest
from bags_helpers import camera_messages, image, stamps, write_bag
from rosbags.rosbag1.reader import RecordType
from rosbags.rosbag2 import storage_mcap

from page4d_ros.bags import limits
from page4d_ros.bags.factory import typestore
from page4d_ros.bags.reader import Bag, open_bag
from page4d_ros.bags.recording import Recording
from page4d_ros.config import Config
from page4d_ros.errors import BagError

MAGIC = b'\x89MCAP0\r\n'


def text(value):
    data = value if isinstance(value, bytes) else value.encode()
    return struct.pack('<I', len(data)) + data


def record(operation, body):
    return struct.pack('<BQ', operation, len(body)) + body


def schema(key=1, name='std_msgs/msg/String', form='ros2msg', data='string data'):
    return record(3, struct.pack('<H', key) + text(name) + text(form) + text(data))


def channel(key=1, schema_key=1, topic='/a'):
    return record(4, struct.pack('<HH', key, schema_key) + text(topic) + text('cdr') + text(''))


def message(key=1, log_ns=5, data=b'\0\1\0\0\2\0\0\0a\0'):
    return record(5, struct.pack('<HIQQ', key, 0, log_ns, log_ns) + data)


def chunk(data, form='', size=None):
    head = struct.pack('<QQQI', 0, 9, len(data) if size is None else size, 0)
    return record(6, head + text(form) + struct.pack('<Q', len(data)) + data)


def mcap(tmp_path, *records):
    path = tmp_path / 'a.mcap'
    path.write_bytes(MAGIC + record(1, text('ros2') + text('')) + b''.join(records))
    return path


GOOD = schema(), channel(), message()


def nested(depth):
    data = b''.join(GOOD)
    for _ in range(depth):
        data = chunk(data)
    return data


@pytest.mark.parametrize(
    'bad',
    [
        nested(3000),
        record(6, b'short'),
        record(3, b'\1'),
        record(4, b'\1\0'),
        record(5, b'\1\0'),
        schema(2, name=b'\xff\xfe'),
        schema(2, form='nobody knows'),
        record(3, struct.pack('<HI', 2, 2**32 - 1)),
        schema(2, form='') + channel(2, 2, b'\xff'),
    ],
    ids=range(9),
)
def test_a_malformed_record_of_an_mcap_costs_only_itself(tmp_path, bad):
    with open_bag(mcap(tmp_path, bad, *GOOD)) as bag:
        assert [m.value.data for m in bag.messages(['/a'])] == ['a']
        assert 'damaged' in bag.warnings[0]


def bomb(form, size=1 << 30):
    step = bytes(1 << 24)
    if form == 'zstd':
        packer = storage_mcap.zstd.ZstdCompressor(level=1)
        out = b''.join(packer.compress(step) for _ in range(size >> 24)) + packer.flush()
    else:
        import bz2

        one = bz2.compress(step)
        out = one * (size >> 24)  # streams may follow each other
    return out


@pytest.mark.parametrize('said', [16, 1 << 30, 1 << 62])
def test_a_zstd_bomb_is_not_unpacked(tmp_path, monkeypatch, said):
    monkeypatch.setattr(limits, 'SMALL', 1 << 20)
    data = bomb('zstd', 1 << 26)
    assert len(data) < 1 << 14
    with open_bag(mcap(tmp_path, chunk(data, 'zstd', said), *GOOD)) as bag:
        assert len(list(bag.messages(['/a']))) == 1


@pytest.mark.parametrize('form', ['bz2', 'zstd'])
def test_unpacking_stops_at_the_limit(monkeypatch, form):
    monkeypatch.setattr(limits, 'SMALL', 1 << 20)
    monkeypatch.setattr(limits, 'RATIO', 2)
    data = bomb(form, 1 << 26)
    with pytest.raises(BagError, match='unpacks to more than'):
        limits.unpacked(form, data)
    assert storage_mcap.DECOMPRESSORS['zstd'] is not storage_mcap.zstd.decompress


def test_rosbags_itself_unpacks_within_the_limits(monkeypatch):
    monkeypatch.setattr(limits, 'SMALL', 1 << 20)
    data = bomb('zstd', 1 << 26)
    with pytest.raises(BagError):
        storage_mcap.decompress(data, 'zstd', 1 << 26, 0)
    good = storage_mcap.zstd.compress(b'abc' * 100)
    assert storage_mcap.decompress(good * 2, 'zstd', 600, 0) == b'abc' * 200


def test_a_definition_of_20000_fields_is_not_parsed(tmp_path):
    fields = '\n'.join(f'float64 f{i}' for i in range(20_000))
    with open_bag(
        mcap(tmp_path, schema(name='a/msg/B', data=fields), channel(), message())
    ) as bag:
        assert [m.value for m in bag.messages(['/a'])] == [None]
        assert bag.unreadable == {'/a': 1}


IMAGE = 'sensor_msgs/msg/Image'


@pytest.mark.parametrize('lie', ['string data', 'string height\nuint32 width', 'int8 a'])
def test_a_definition_that_contradicts_a_standard_type_is_not_believed(tmp_path, lie):
    data = bytes(typestore().serialize_cdr(image(stamps()[0]), IMAGE))
    path = mcap(
        tmp_path, schema(name=IMAGE, data=lie), channel(topic='/image'), message(data=data)
    )
    with Recording(path, Config()) as source:
        (frame,) = source.items()
    assert (frame.stamp_ns, frame.decode().shape) == (stamps()[0], (48, 64, 3))


@pytest.mark.parametrize(
    ('old', 'new'),
    [
        ('message_count: 6', 'message_count: six'),
        ('message_count: 6', 'message_count: -6'),
        ('name: /camera/image', 'name: 3'),
        ('type: sensor_msgs/msg/Image', 'type: [1]'),
        ('nanoseconds_since_epoch: 1', 'nanoseconds_since_epoch: 0.1'),
    ],
)
def test_metadata_of_wrong_types_is_not_used(tmp_path, old, new):
    path = write_bag(tmp_path / 'bag', 'mcap', camera_messages())
    file = path / 'metadata.yaml'
    assert old in file.read_text()
    file.write_text(file.read_text().replace(old, new))
    with open_bag(path) as bag:
        assert 'damaged' in bag.warnings[0]
        assert bag.topics()['/camera/image'].count == 6


# -- rosbag1 -----------------------------------------------------------------------------------


def fields(**values):
    parts = (f'{name}='.encode() + value for name, value in values.items())
    out = b''.join(struct.pack('<I', len(part)) + part for part in parts)
    return struct.pack('<I', len(out)) + out


def ros1_chunk(data):
    head = fields(op=bytes([RecordType.CHUNK]), compression=b'none', size=struct.pack('<I', 9))
    return head + struct.pack('<I', len(data)) + data


@pytest.mark.parametrize('size', [0, 2**32 - 1])
def test_nested_chunks_and_sizes_of_4_gib_in_a_rosbag1(tmp_path, size):
    data = b''
    for _ in range(3000):
        data = ros1_chunk(data)
    path = tmp_path / 'a.bag'
    path.write_bytes(b'#ROSBAG V2.0\n' + data + struct.pack('<I', size))
    with pytest.raises(BagError, match='holds no messages'):
        open_bag(path)


# -- sqlite3 -----------------------------------------------------------------------------------


def database(tmp_path, *statements):
    path = write_bag(tmp_path / 'bag', 'bare db3', camera_messages())
    with sqlite3.connect(path) as base:
        for statement in statements:
            base.execute(statement)
    base.close()
    return path


def test_text_as_a_timestamp_is_left_out(tmp_path):
    path = database(tmp_path, "INSERT INTO messages VALUES (999, 2, 'tomorrow', x'00')")
    with open_bag(path) as bag:
        assert [m.log_ns for m in bag.messages(['/camera/image'])] == stamps()


def test_a_view_in_place_of_messages_is_refused(tmp_path):
    endless = 'WITH RECURSIVE t(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM t) SELECT n id, 1 '
    path = database(
        tmp_path,
        'DROP TABLE messages',
        f"CREATE VIEW messages AS {endless} topic_id, n timestamp, x'00' data FROM t",
    )
    with pytest.raises(BagError, match="'messages' is computed"):
        open_bag(path)


def test_a_query_without_end_is_stopped(tmp_path, monkeypatch):
    monkeypatch.setattr(limits, 'STEPS', 10_000)
    base = limits.open_database(database(tmp_path))
    with pytest.raises(sqlite3.OperationalError, match='interrupted'):
        base.execute(
            'WITH RECURSIVE t(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM t) SELECT max(n) FROM t'
        ).fetchone()
    base.close()


# -- advice ------------------------------------------------------------------------------------


@pytest.mark.parametrize('wanted', ['', '/camera/image'])
def test_images_that_are_all_unreadable_are_not_blamed_on_the_options(
    tmp_path, monkeypatch, wanted
):
    """As one flipped bit does to the only chunk: the index is whole, and nothing else."""
    path = write_bag(tmp_path / 'bag', 'bare mcap', camera_messages())
    monkeypatch.setattr(Bag, '_raw', lambda *_: iter(()))
    with pytest.raises(BagError, match='no image in it can be read') as caught:
        Recording(path, Config(), image_topic=wanted)
    assert '--image-topic' not in str(caught.value)


def test_what_a_recording_names_cannot_steer_the_terminal(tmp_path):
    name = '/a\x1b]0;owned\x07\nforged'
    with pytest.raises(BagError) as caught:
        Recording(mcap(tmp_path, schema(), channel(topic=name), message()), Config())
    assert str(caught.value).isprintable()
    assert r'\x1b]0;owned\x07\nforged' in str(caught.value)
