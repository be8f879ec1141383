import sqlite3

import pytest
from bags_helpers import (
    FORMATS,
    START_NS,
    camera_messages,
    cut,
    stamps,
    write_bag,
)

from page4d_ros.bags.reader import open_bag
from page4d_ros.bags.recording import image_topics
from page4d_ros.bags.writer import BagWriter
from page4d_ros.errors import BagError
from page4d_ros.messages.decode import stamp_ns

BIG = {'width': 160, 'height': 120}


def images(bag, topic='/camera/image'):
    return [stamp_ns(m.value.header) for m in bag.messages([topic]) if m.value is not None]


@pytest.mark.parametrize('form', FORMATS)
def test_every_format_gives_the_same_messages(tmp_path, form):
    path = write_bag(tmp_path / 'bag', form, camera_messages())
    with open_bag(path) as bag:
        assert images(bag) == stamps()
        assert images(bag)[0] % 1_000_000_000 == 999_999_999
        assert bag.topics()['/camera/image'] == ('sensor_msgs/msg/Image', 6)
        assert [str(topic) for topic in image_topics(bag)] == [
            '/camera/image (Image, 64x48 rgb8, 6 messages)'
        ]
        assert (bag.start_time, bag.end_time) == (START_NS, stamps()[-1] + 1)
        assert not bag.warnings
        assert not bag.unreadable


@pytest.mark.parametrize('form', FORMATS)
def test_everything_is_given_as_cdr_for_the_player(tmp_path, form):
    from page4d_ros.bags.factory import typestore

    sent = camera_messages()
    with open_bag(write_bag(tmp_path / 'bag', form, sent)) as bag:
        found = list(bag.serialized())
    assert len(found) == len(sent)
    _, log_ns, data = next(item for item in found if item[0] == '/camera/camera_info')
    assert log_ns == START_NS
    info = typestore().deserialize_cdr(data, 'sensor_msgs/msg/CameraInfo')
    assert info.k[0] == 50.0
    assert info.header.frame_id == 'camera'


def test_a_part_is_read_from_its_start_and_before_its_end(tmp_path):
    path = write_bag(tmp_path / 'bag', 'mcap', camera_messages())
    with open_bag(path) as bag:
        part = bag.messages(['/camera/image'], start=stamps()[2], stop=stamps()[4])
        assert [m.log_ns for m in part] == stamps()[2:4]


# -- what cannot be read ---------------------------------------------------------------------


def test_a_missing_path(tmp_path):
    with pytest.raises(BagError, match='no such file'):
        open_bag(tmp_path / 'none.bag')


@pytest.mark.parametrize('suffix', ['.bag', '.mcap', '.db3'])
def test_an_empty_file(tmp_path, suffix):
    path = tmp_path / f'x{suffix}'
    path.touch()
    with pytest.raises(BagError, match='is empty'):
        open_bag(path)


@pytest.mark.parametrize('name', ['x.bag', 'x.mcap', 'x.txt'])
def test_an_unknown_format(tmp_path, name):
    (tmp_path / name).write_text('hello' * 100)
    with pytest.raises(BagError, match='no recording that is known'):
        open_bag(tmp_path / name)


def test_a_folder_that_is_no_recording(tmp_path):
    with pytest.raises(BagError, match='no recording that is known'):
        open_bag(tmp_path)


@pytest.mark.parametrize('form', ['rosbag1', 'sqlite3', 'mcap'])
def test_a_recording_without_messages(tmp_path, form):
    path = write_bag(tmp_path / 'bag', form, [])
    with pytest.raises(BagError, match='holds no messages'):
        open_bag(path)


def test_a_folder_whose_files_are_gone(tmp_path):
    path = write_bag(tmp_path / 'bag', 'mcap', camera_messages())
    next(path.glob('*.mcap')).unlink()
    with pytest.raises(BagError, match='missing'):
        open_bag(path)


@pytest.mark.parametrize('form', ['rosbag1', 'bare mcap'])
def test_a_file_cut_off_before_its_first_message(tmp_path, form):
    path = write_bag(tmp_path / 'bag', form, camera_messages())
    path.write_bytes(path.read_bytes()[:60])
    with pytest.raises(BagError, match='holds no messages'):
        open_bag(path)


# -- what can be read in part ----------------------------------------------------------------


@pytest.mark.parametrize('form', ['rosbag1', 'bare mcap', 'bare db3'])
@pytest.mark.parametrize('fraction', [0.35, 0.6, 0.98])
def test_a_file_that_was_cut_off_is_read_up_to_there(tmp_path, form, fraction):
    path = cut(write_bag(tmp_path / 'bag', form, camera_messages(60, **BIG)), fraction)
    with open_bag(path) as bag:
        found = images(bag)
        assert len(found) >= 60 * fraction - 4
        assert found == stamps(60)[: len(found)]
        assert len(bag.warnings) == 1
        assert 'damaged or not closed' in bag.warnings[0]


@pytest.mark.parametrize('form', ['sqlite3', 'mcap'])
@pytest.mark.parametrize('metadata', [True, False])
def test_a_folder_with_a_cut_file(tmp_path, form, metadata):
    path = write_bag(tmp_path / 'bag', form, camera_messages(60, **BIG))
    cut(next(path.glob('*.[md][cb]*')), 0.6)
    if not metadata:
        (path / 'metadata.yaml').unlink()
    with open_bag(path) as bag:
        assert len(images(bag)) >= 30
        assert bag.warnings


@pytest.mark.parametrize('form', ['sqlite3', 'mcap'])
def test_a_whole_folder_without_metadata(tmp_path, form):
    path = write_bag(tmp_path / 'bag', form, camera_messages())
    (path / 'metadata.yaml').unlink()
    with open_bag(path) as bag:
        assert images(bag) == stamps()
        assert 'metadata.yaml is missing' in bag.warnings[0]


def test_an_unindexed_rosbag1_as_a_crash_leaves_it(tmp_path):
    path = write_bag(tmp_path / 'bag', 'rosbag1', camera_messages())
    data = bytearray(path.read_bytes())
    at = data.index(b'index_pos=') + len('index_pos=')
    data[at : at + 8] = bytes(8)
    path = tmp_path / 'x.bag.active'
    path.write_bytes(data)
    with open_bag(path) as bag:
        assert images(bag) == stamps()


@pytest.mark.parametrize('compression', ['BZ2', 'LZ4'])
def test_a_cut_rosbag1_with_compressed_chunks(tmp_path, compression):
    messages = camera_messages(60, **BIG)
    path = write_bag(tmp_path / 'bag', 'rosbag1', messages, compression=compression)
    with open_bag(cut(path, 0.6)) as bag:
        assert images(bag) == stamps(60)[: len(images(bag))]
        assert len(images(bag)) >= 15


def test_our_own_compressed_recording_cut_off(tmp_path):
    with BagWriter(tmp_path / 'bag') as writer:
        for topic, log_ns, message in camera_messages(60, **BIG):
            writer.write(topic, log_ns, message)
    cut(tmp_path / 'bag' / 'bag.mcap', 0.6)
    with open_bag(tmp_path / 'bag') as bag:
        assert len(images(bag)) >= 30


@pytest.mark.parametrize('form', ['rosbag1', 'bare mcap', 'bare db3'])
def test_damage_in_the_middle_leaves_the_rest(tmp_path, form):
    path = write_bag(tmp_path / 'bag', form, camera_messages(60, **BIG))
    data = bytearray(path.read_bytes())
    middle = len(data) // 2
    data[middle : middle + 3000] = b'\xff' * 3000
    path.write_bytes(data)
    with open_bag(path) as bag:
        assert len(images(bag)) >= 15


def test_a_crashed_sqlite_recorder_leaves_a_log(tmp_path):
    path = write_bag(tmp_path / 'bag', 'bare db3', camera_messages())
    kept = tmp_path / 'kept'
    kept.mkdir()
    database = sqlite3.connect(path)
    database.execute('PRAGMA journal_mode=WAL')
    with database:
        database.execute(
            'INSERT INTO messages(topic_id, timestamp, data) '
            'SELECT topic_id, timestamp + 1000000000, data FROM messages'
        )
    for file in path.parent.glob(path.name + '*'):
        (kept / file.name).write_bytes(file.read_bytes())
    database.close()
    with open_bag(kept / path.name) as bag:
        assert len(images(bag)) == 12


def test_a_recording_without_type_definitions(tmp_path):
    path = write_bag(tmp_path / 'bag', 'sqlite3', camera_messages())
    with sqlite3.connect(next(path.glob('*.db3'))) as database:
        database.execute('DELETE FROM message_definitions')
    with open_bag(path) as bag:
        assert images(bag) == stamps()
        assert not bag.unreadable


def test_broken_type_definitions_fall_back_to_the_known_ones(tmp_path):
    path = write_bag(tmp_path / 'bag', 'sqlite3', camera_messages())
    with sqlite3.connect(next(path.glob('*.db3'))) as database:
        database.execute("UPDATE message_definitions SET encoded_message_definition='?!'")
    with open_bag(path) as bag:
        assert images(bag) == stamps()


def test_messages_that_cannot_be_deserialised_are_counted(tmp_path):
    with BagWriter(tmp_path / 'bag') as writer:
        for topic, log_ns, message in camera_messages():
            writer.write(topic, log_ns, message)
        kind = 'sensor_msgs/msg/Image'
        writer.write_serialized('/camera/image', kind, START_NS + 1, b'\x00\x01\x00\x00\xff')
        writer.write_serialized('/camera/image', kind, START_NS + 2, b'')
    with open_bag(tmp_path / 'bag') as bag:
        assert images(bag) == stamps()
        assert bag.unreadable == {'/camera/image': 2}


def test_a_record_that_claims_an_enormous_size(tmp_path):
    path = write_bag(tmp_path / 'bag', 'bare mcap', camera_messages())
    with path.open('r+b') as file:
        file.seek(-60, 2)
        file.truncate()
        file.write(b'\x05' + b'\xff' * 8)
    with open_bag(path) as bag:
        assert images(bag) == stamps()


def test_an_unchunked_mcap(tmp_path):
    """As `ros2 bag record --storage-preset-profile fastwrite` leaves it after a crash."""

    from page4d_ros.bags.recover import scan_mcap

    path = write_bag(tmp_path / 'bag', 'bare mcap', camera_messages())
    data = path.read_bytes()
    flat = tmp_path / 'flat.mcap'
    with flat.open('wb') as file:
        header_size = 9 + int.from_bytes(data[9:17], 'little')
        file.write(data[: 8 + header_size])
        chunk = data[8 + header_size + 9 :]
        file.write(chunk[40 : 40 + int.from_bytes(chunk[32:40], 'little')])
    assert sum(1 for _ in scan_mcap(flat)) == 14
    with open_bag(flat) as bag:
        assert images(bag) == stamps()
