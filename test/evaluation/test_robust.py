import shutil

import cv2
import numpy as np
import pytest
from rosbags.typesys import Stores, get_types_from_msg, get_typestore
from test_report import assert_every_gap_has_a_reason, checked

from page4d_ros.bags.reader import open_bag
from page4d_ros.bags.writer import BagWriter
from page4d_ros.datasets.bag_index import paired
from page4d_ros.errors import BagError
from page4d_ros.evaluation.run import evaluate_recording
from page4d_ros.messages.topics import MOVING_BODY, STATUS
from page4d_ros.share import share_file

TRUTH = '/ground_truth/'


def copied(bag, path, keep=lambda topic: True, change=None):
    """Recording with some topics, and some messages changed."""
    with open_bag(bag) as reader, BagWriter(path) as writer:
        for topic, log_ns, message in reader.messages(reader.topics()):
            if keep(topic):
                writer.write(topic, log_ns, change(topic, message) if change else message)
    return path


def report_of(recording, source, output):
    metrics = evaluate_recording(recording, source, output)
    assert_every_gap_has_a_reason(metrics)
    text, _ = checked(output / 'report.html')
    return metrics, text


def test_a_source_without_ground_truth(drive, tmp_path):
    _, source, true, _ = drive
    plain = copied(source, tmp_path / 'plain', lambda topic: TRUTH not in topic)
    metrics, text = report_of(true, plain, tmp_path / 'out')
    assert metrics['trajectory'] is metrics['depth'] is metrics['mask'] is None
    assert metrics['verdict']['level'] == 'plain'
    assert 'accuracy is not known' in text
    assert '/ground_truth/odom' in metrics['reasons']['trajectory']
    assert metrics['run']['images'] == 10


def test_a_folder_of_images_has_no_ground_truth(drive, tmp_path):
    frames, _, true, _ = drive
    (tmp_path / 'images').mkdir()
    cv2.imwrite(str(tmp_path / 'images' / '0.png'), frames[0].rgb)
    metrics, _ = report_of(true, tmp_path / 'images', tmp_path / 'out')
    assert metrics['run']['images'] is None
    assert 'no recording' in metrics['reasons']['depth']


@pytest.mark.parametrize('name', ['/odom', '/depth/image', '/mask/image', '/points', '/rgb'])
def test_a_missing_topic_is_named(name, drive, tmp_path):
    _, source, true, _ = drive
    less = copied(true, tmp_path / 'less', lambda topic: not topic.startswith(name))
    metrics, text = report_of(less, source, tmp_path / 'out')
    assert f'Not recorded: {name}' in text
    section = {'/odom': 'trajectory', '/depth/image': 'depth', '/mask/image': 'mask'}.get(name)
    assert section is None or name[1:] in metrics['reasons'][section]


def test_without_status_the_weights_are_unknown(drive, tmp_path):
    _, source, true, _ = drive
    less = copied(true, tmp_path / 'less', lambda topic: 'status' not in topic)
    metrics, text = report_of(less, source, tmp_path / 'out')
    assert metrics['run']['trained'] is None
    assert metrics['timing'] is None
    assert metrics['run']['estimates'] == 10
    assert 'not known whether the weights were trained' in text


def relying_on(kinds, trust):
    """Change status messages: the pose of one frame after the other relies on `kinds`."""
    kinds = iter(kinds)

    def changed(topic, message):
        if topic.endswith('status'):
            message.relies_on, message.network_trust = next(kinds), trust
        return message

    return changed


def test_a_place_that_the_weights_do_not_know(drive, tmp_path):
    _, source, true, _ = drive
    kinds = ['network and points', *['points'] * 8, 'nothing']
    strange = copied(true, tmp_path / 'strange', change=relying_on(kinds, 0.125))
    metrics, text = report_of(strange, source, tmp_path / 'out')
    assert metrics['run']['network_trust'] == 0.125
    sentence = 'These weights do not know this place: poses are from image corners; depth and'
    assert metrics['verdict']['banner'].startswith(sentence)
    assert sentence in text
    listed = 'by share of frames: network and points 10%, points 80%, nothing 10%.'
    assert any(listed in remark for remark in metrics['remarks'])


@pytest.mark.parametrize(('kind', 'trust'), [('network and points', 0.75), ('network', 0.0)])
def test_no_warning_where_the_weights_are_trusted_or_not_compared(kind, trust, drive, tmp_path):
    _, source, true, _ = drive
    known = copied(true, tmp_path / 'known', change=relying_on([kind] * 10, trust))
    metrics, text = report_of(known, source, tmp_path / 'out')
    assert metrics['run']['network_trust'] == (trust or None)
    assert metrics['run']['relies_on'][kind] == 1.0
    assert 'do not know this place' not in text
    assert f'{kind} 100%' in text


def test_a_recording_from_before_trust_was_published(drive, tmp_path, monkeypatch):
    store = get_typestore(Stores.ROS2_JAZZY)
    for kind in (MOVING_BODY, STATUS):
        text = share_file(f'msg/{kind.rsplit("/", 1)[1]}.msg').read_text()
        lines = [line for line in text.splitlines() if ' network_trust' not in line]
        lines = [line for line in lines if ' relies_on' not in line and ' purpose' not in line]
        store.register(get_types_from_msg('\n'.join(lines), kind))
    _, source, true, _ = drive
    with monkeypatch.context() as patch:
        patch.setattr('page4d_ros.bags.writer.typestore', lambda: store)
        old = copied(true, tmp_path / 'old')
    metrics, text = report_of(old, source, tmp_path / 'out')
    assert metrics['run']['estimates'] == 10
    assert metrics['run']['network_trust'] is metrics['run']['relies_on'] is None
    assert 'did not tell' in metrics['reasons']['run.relies_on']
    assert metrics['verdict']['level'] == 'good'
    assert 'do not know this place' not in text


def test_only_static_transforms(drive, tmp_path):
    _, source, true, _ = drive
    less = copied(true, tmp_path / 'less', lambda topic: topic == '/tf_static')
    metrics, text = report_of(less, source, tmp_path / 'out')
    assert metrics['verdict']['level'] == 'bad'
    assert 'not one estimate' in text


def test_stamps_that_never_match(drive, tmp_path):
    def later(topic, message):
        if hasattr(message, 'header'):
            message.header.stamp.sec += 1000
        return message

    _, source, true, _ = drive
    moved = copied(true, tmp_path / 'moved', change=later)
    metrics, _ = report_of(moved, source, tmp_path / 'out')
    assert '+1000.000 s' in metrics['reasons']['trajectory']
    assert 'stamp' in metrics['reasons']['depth']
    assert 'stamp' in metrics['reasons']['mask']


def test_nan_everywhere(drive, tmp_path):
    def spoiled(topic, message):
        if topic == '/depth/image':
            message.data = np.full(message.data.size // 4, np.nan, np.float32).view(np.uint8)
        if topic == '/odom':
            message.pose.pose.position.x = float('nan')
        if topic.startswith('/points'):
            message.data = np.full(message.data.size // 4, np.nan, np.float32).view(np.uint8)
        if topic.endswith('status'):
            message.forward_ms = message.frame_age = float('nan')
        return message

    _, source, true, _ = drive
    bad = copied(true, tmp_path / 'bad', change=spoiled)
    metrics, _ = report_of(bad, source, tmp_path / 'out')
    assert metrics['trajectory'] is None
    assert 'no valid pixel' in metrics['reasons']['depth']
    assert metrics['timing']['forward_ms']['median'] is None
    assert metrics['mask'] is not None


def test_lost_frames_and_malformed_images_are_counted(drive, tmp_path):
    def spoiled(topic, message):
        if topic == '/odom':
            message.pose.pose.orientation = type(message.pose.pose.orientation)(0.0, 0.0, 0.0, 0.0)
        if topic.endswith('status'):
            message.state = 3
        if topic == '/mask/image':
            message.data = message.data[:10]
        return message

    _, source, true, _ = drive
    bad = copied(true, tmp_path / 'bad', change=spoiled)
    metrics, text = report_of(bad, source, tmp_path / 'out')
    assert metrics['run']['lost'] == 10
    assert '10 of 10 frames is not known' in text
    assert any(
        '10 messages of /mask/image are malformed' in remark for remark in metrics['remarks']
    )


def test_a_recording_that_was_cut_off(drive, tmp_path):
    _, source, true, _ = drive
    shutil.copytree(true, tmp_path / 'cut')
    (file,) = (tmp_path / 'cut').glob('*.mcap')
    file.write_bytes(file.read_bytes()[: file.stat().st_size * 2 // 3])
    metrics, text = report_of(tmp_path / 'cut', source, tmp_path / 'out')
    assert 'damaged' in text
    assert 0 < metrics['run']['estimates'] < 10


def test_what_is_no_recording_is_one_clear_error(drive, tmp_path):
    _, source, true, _ = drive
    with BagWriter(tmp_path / 'empty'):
        pass
    (tmp_path / 'file').write_text('hello')
    for recording in (tmp_path / 'empty', tmp_path / 'file', tmp_path / 'nowhere'):
        with pytest.raises(BagError, match=recording.name):
            evaluate_recording(recording, source, tmp_path / 'out')
    with pytest.raises(BagError, match='nowhere'):
        evaluate_recording(true, tmp_path / 'nowhere', tmp_path / 'out')
    with pytest.raises(BagError, match='cannot be written'):
        evaluate_recording(true, source, tmp_path / 'file')


def test_pairs_have_equal_stamps():
    left = iter([(1, 'a'), (2, 'b'), (4, 'c'), (7, 'd')])
    right = iter([(0, 'w'), (2, 'x'), (3, 'y'), (7, 'z')])
    assert list(paired(left, right)) == [(2, 'b', 'x'), (7, 'd', 'z')]
