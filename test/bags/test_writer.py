from pathlib import Path

import numpy as np
import pytest
from bags_helpers import MAKE, START_NS, camera_messages, head, images_of, mount, stamps
from rosbags.highlevel import AnyReader
from rosbags.interfaces import QosDurability, QosReliability
from ruamel.yaml import YAML

from page4d_ros.bags.reader import open_bag
from page4d_ros.bags.writer import BagWriter
from page4d_ros.errors import BagError
from page4d_ros.messages import encode
from page4d_ros.messages.topics import OUTPUTS


def write(path, messages, **options):
    with BagWriter(path, **options) as writer:
        for topic, stamp_ns, message in messages:
            writer.write(topic, stamp_ns, message)
    return path


def test_rosbags_reads_types_stamps_and_log_times(tmp_path):
    path = write(tmp_path / 'bag', camera_messages())
    with AnyReader([path]) as reader:
        for connection, log_ns, data in reader.messages():
            message = reader.deserialize(data, connection.msgtype)
            if connection.topic == '/camera/image':
                stamp = message.header.stamp
                assert log_ns == stamp.sec * 10**9 + stamp.nanosec
        assert all(connection.msgdef.data for connection in reader.connections)
        assert reader.message_count == 14


def test_metadata_that_humble_and_jazzy_read(tmp_path):
    messages = mount() + [(f'/{t.name}', START_NS, head(START_NS)) for t in OUTPUTS[:1]]
    path = write(tmp_path / 'bag', [*messages, ('/tf', START_NS, mount()[0][2])])
    meta = YAML(typ='safe').load((path / 'metadata.yaml').read_text())
    info = meta['rosbag2_bagfile_information']
    assert (info['version'], info['storage_identifier']) == (8, 'mcap')
    assert info['compression_mode'] == ''
    profiles = {
        topic['topic_metadata']['name']: YAML(typ='safe').load(
            topic['topic_metadata']['offered_qos_profiles']
        )[0]
        for topic in info['topics_with_message_count']
    }
    assert profiles['/tf']['depth'] == 100
    assert profiles['/tf']['durability'] == QosDurability.VOLATILE.value
    assert profiles['/tf_static']['depth'] == 1
    assert profiles['/tf_static']['durability'] == QosDurability.TRANSIENT_LOCAL.value
    assert profiles['/odom']['depth'] == 10
    assert {p['reliability'] for p in profiles.values()} == {QosReliability.RELIABLE.value}
    assert {p['history'] for p in profiles.values()} == {1}


def test_chunks_are_compressed(tmp_path):
    zeros = encode.image(MAKE, head(START_NS), np.zeros((1000, 1000, 3), np.uint8))
    path = write(tmp_path / 'bag', [('/image', START_NS, zeros)])
    assert (path / 'bag.mcap').stat().st_size < 100_000


def test_nothing_is_overwritten_unless_asked(tmp_path):
    path = write(tmp_path / 'bag', camera_messages(2))
    with pytest.raises(BagError, match=r'exists already.*--force'):
        BagWriter(path)
    write(path, camera_messages(4), force=True)
    assert images_of(path) == stamps(4)


@pytest.mark.parametrize('name', ['photo.jpg', 'sub'])
def test_force_does_not_delete_what_is_no_recording(tmp_path, name):
    path = write(tmp_path / 'bag', camera_messages(2))
    (path / name).mkdir()
    with pytest.raises(BagError, match='is no recording, and is not replaced'):
        BagWriter(path, force=True)
    assert (path / name).exists()
    (tmp_path / 'file').touch()
    with pytest.raises(BagError, match='not replaced'):
        BagWriter(tmp_path / 'file', force=True)


@pytest.mark.parametrize('kind', [ValueError, KeyboardInterrupt])
def test_what_was_written_before_an_error_can_be_read(tmp_path, kind):
    def failing():
        yield from camera_messages(3)
        raise kind

    with pytest.raises(kind):
        write(tmp_path / 'bag', failing())
    with open_bag(tmp_path / 'bag') as bag:
        assert not bag.warnings
    assert images_of(tmp_path / 'bag') == stamps(3)


def test_a_folder_that_cannot_be_made(tmp_path):
    (tmp_path / 'file').touch()
    with pytest.raises(BagError, match='cannot be written'):
        BagWriter(tmp_path / 'file' / 'bag')


def test_an_unknown_type(tmp_path):
    with BagWriter(tmp_path / 'bag') as writer, pytest.raises(BagError, match='my_msgs/msg/X'):
        writer.write_serialized('/x', 'my_msgs/msg/X', 0, b'')


def test_the_status_type_is_found_in_checkout_and_installation(tmp_path, monkeypatch):
    from page4d_ros import share
    from page4d_ros.errors import Page4dError

    assert share.share_file('msg/PerceptionStatus.msg').is_file()
    installed = tmp_path / 'share/page4d_ros/msg/Other.msg'
    installed.parent.mkdir(parents=True)
    installed.touch()
    with pytest.raises(Page4dError, match='not installed'):
        share.share_file('msg/Other.msg')
    monkeypatch.setenv('AMENT_PREFIX_PATH', f'/nowhere:{tmp_path}')
    assert share.share_file('msg/Other.msg') == installed
    monkeypatch.delenv('AMENT_PREFIX_PATH')
    monkeypatch.setattr(share.sys, 'prefix', str(tmp_path))
    assert share.share_file('msg/Other.msg') == installed
    module = tmp_path / 'lib/python3.11/site-packages/page4d_ros/share.py'
    monkeypatch.setattr(share.sys, 'prefix', '/nowhere')
    monkeypatch.setattr(share, '__file__', str(module))
    assert share.share_file('msg/Other.msg') == Path(installed)
