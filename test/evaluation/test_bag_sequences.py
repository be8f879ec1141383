"""Recordings as data sets: where their truth is found, and what each says of a broken one."""

import json
import struct

import layouts
import numpy as np
import pytest
from truth_bags import START_NS, STEP_NS, moving, stamps, write_bag
from typer.testing import CliRunner

from page4d_ros.bags import ground_truth
from page4d_ros.cli import app
from page4d_ros.datasets.bag_index import depth_of
from page4d_ros.datasets.registry import Topics, open_sequences
from page4d_ros.errors import BagError, FrameError
from page4d_ros.messages import encode

UNTRAINED = '--checkpoint', 'untrained', '--set', 'model.resolution=112'


def frames_of(path, **topics):
    (sequence,) = open_sequences('bag', path, topics=Topics(**topics))
    frames = list(sequence.frames())
    assert sequence.count == len(frames)
    return frames


@pytest.mark.parametrize(
    ('kind', 'topic'), [('odom', 'odom'), ('pose', 'mocap'), ('tf', '/tf'), ('tf', '/true/tf')]
)
def test_poses_of_every_kind(kind, topic, tmp_path):
    path = write_bag(tmp_path, poses=kind, odom='/' + topic.lstrip('/'))
    frames = frames_of(path, odom=topic)
    assert [frame.stamp_ns for frame in frames] == stamps()
    for index, frame in enumerate(frames):
        np.testing.assert_array_equal(frame.rgb, layouts.picture(index))
        np.testing.assert_allclose(frame.T_world_camera, layouts.pose(index), atol=1e-9)
        np.testing.assert_allclose(frame.depth, layouts.depth(index), atol=1e-3)
        np.testing.assert_array_equal(frame.mask, moving(index))
        assert frame.camera.fy == pytest.approx(layouts.K[1, 1])


def test_poses_in_tf_are_interpolated(tmp_path):
    """Pictures between two transforms get the pose between them, and none behind the last."""
    path = write_bag(tmp_path, poses='tf', odom='/tf', truths=('mask',), shift_ns=-15_000_000)
    (sequence,) = open_sequences('bag', path, topics=Topics(odom='/tf', mask='/ground_truth/mask'))
    first, *_, last = sequence.frames()
    np.testing.assert_allclose(first.T_world_camera[:3, 3], (0.015, 0, 0), atol=1e-9)
    assert last.T_world_camera is None


def test_any_one_truth_will_do_and_no_calibration(tmp_path):
    frames = frames_of(write_bag(tmp_path, poses='', truths=('mask',), calibrated=False))
    assert frames[1].mask.any()
    assert all(f.camera is f.depth is f.T_world_camera is None for f in frames)
    frames = frames_of(write_bag(tmp_path, 'posed', truths=()))
    assert all(f.depth is f.mask is None for f in frames)
    assert frames[2].T_world_camera is not None


def test_frames_are_read_by_their_indices(tmp_path):
    (sequence,) = open_sequences('bag', write_bag(tmp_path))
    assert [f.stamp_ns for f in sequence.frames(range(1, 4, 2))] == stamps()[1:4:2]
    assert [f.stamp_ns for f in sequence.frames([3])] == stamps()[3:]


def test_a_folder_of_recordings(tmp_path):
    for name in ('b', 'a'):
        write_bag(tmp_path, name, count=2)
    assert [sequence.name for sequence in open_sequences('bag', tmp_path)] == ['a', 'b']
    assert [sequence.name for sequence in open_sequences('bag', tmp_path, ['b'])] == ['b']


def test_depth_of_the_transport_compressed_depth(tmp_path):
    """compressed_depth_image_transport: 12 bytes before the PNG, and floats as inverse depth."""
    metres = layouts.depth(1)

    def extra(writer, make, head, index):
        if index == 0:
            return
        true = ground_truth.depth(make, head, metres)
        header = struct.pack('<iff', 0, 0.0, 0.0)
        data = np.frombuffer(header + bytes(true.data), np.uint8)
        form = '16UC1; compressedDepth png'
        writer.write('/depth', head_ns(index), ground_truth.compressed(make, head, form, data))

    frames = frames_of(write_bag(tmp_path, truths=(), extra=extra), depth='depth')
    np.testing.assert_allclose(frames[1].depth, metres)

    make = encode_factory()
    head = encode.header(make, 0, 'x')
    quantised = np.where(np.isnan(metres), 0, 100.0 / np.nan_to_num(metres, nan=1.0) + 3)
    png = ground_truth.depth(make, head, quantised * 1e-3).data
    data = np.frombuffer(struct.pack('<iff', 0, 100.0, 3.0) + bytes(png), np.uint8)
    message = ground_truth.compressed(make, head, '32FC1; compressedDepth png', data)
    np.testing.assert_allclose(depth_of(message), metres, rtol=0.02)
    message = ground_truth.compressed(make, head, '32FC1; compressedDepth', data[:6])
    with pytest.raises(FrameError, match='cannot be decoded'):
        depth_of(message)


def head_ns(index):
    return START_NS + index * STEP_NS


def encode_factory():
    from page4d_ros.bags.factory import BagMessages

    return BagMessages()


def damaged(writer, make, head, index):
    if index == 2:
        data = np.frombuffer(b'no picture', np.uint8)
        message = ground_truth.compressed(make, head, 'rgb8; jpeg compressed bgr8', data)
        writer.write('/jpeg', head_ns(index), message)
    else:
        writer.write(
            '/jpeg', head_ns(index), ground_truth.jpeg(make, head, layouts.picture(index))
        )


@pytest.mark.parametrize(
    ('made', 'topics', 'text'),
    [
        ({'image': ''}, {}, 'choose one of its images with --image-topic'),
        ({'image': '', 'truths': ()}, {}, 'holds no images; its topics are'),
        ({'poses': '', 'truths': ()}, {}, 'no ground truth; name it with --odom-topic'),
        ({'truths': ()}, {'depth': 'range'}, 'no depth on /range; its topics are /camera'),
        ({'truths': ()}, {'mask': '/moving'}, 'no mask on /moving'),
        ({}, {'odom': 'vio'}, 'no poses on /vio; those that it has are on /ground_truth/odom'),
        ({}, {'image': 'left'}, 'no images on left'),
        ({'poses': 'tf', 'odom': '/true_tf'}, {'odom': '/tf_static'}, 'moves neither'),
        ({'shift_ns': 10**10, 'truths': ()}, {}, 'no image has the pose of /ground_truth/odom'),
        (
            {'shift_ns': 30_000_000, 'poses': ''},
            {},
            'no image has the depth of /ground_truth/depth/compressed, as their stamps do not',
        ),
        ({'extra': damaged, 'image': ''}, {'image': '/jpeg'}, 'is damaged; evaluate the frames'),
    ],
)
def test_what_is_wrong_is_one_line(made, topics, text, tmp_path):
    path = write_bag(tmp_path, **made)
    with pytest.raises(BagError) as caught:
        frames_of(path, **topics)
    assert text in str(caught.value)
    assert '\n' not in str(caught.value)
    assert str(path) in str(caught.value)


def test_a_mount_that_is_missing(tmp_path):
    def extra(writer, make, head, index):
        at = encode.pose(make, np.eye(4))
        message = encode.odometry(make, head, 'gripper', at, np.zeros(6), np.ones((2, 6, 6)))
        writer.write('/arm', head_ns(index), message)

    with pytest.raises(BagError, match="no transform from 'gripper' to 'camera_optical_frame'"):
        frames_of(write_bag(tmp_path, extra=extra), odom='/arm')


def evaluate(*words):
    return CliRunner().invoke(app, ['evaluate', 'data', *map(str, words)])


def test_a_recording_that_was_cut_short(tmp_path):
    """What is left is evaluated, and a line says so."""
    path = write_bag(tmp_path, count=40)
    (file,) = path.glob('*.mcap')
    file.write_bytes(file.read_bytes()[: int(file.stat().st_size * 0.6)])
    out = tmp_path / 'out'
    words = 'bag', path, '-o', out, *UNTRAINED, '--modes', 'streaming', '--frames', 4
    done = evaluate(*words)
    assert done.exit_code == 0, done.output
    assert done.stderr.count('damaged or not closed properly') == 1
    metrics = json.loads((out / 'metrics.json').read_text())
    assert 'what is readable is used' in metrics['remarks'][0]
    assert metrics['sequences']['drive']['frames'] == 4
    file.write_bytes(file.read_bytes()[:20])
    done = evaluate(*words)
    assert done.exit_code == 1
    assert len(done.stderr.strip().splitlines()) == 1
    assert 'holds no messages that can be read' in done.stderr


def test_a_recording_from_end_to_end(tmp_path):
    path = write_bag(tmp_path, poses='pose', odom='/mocap')
    out = tmp_path / 'out'
    words = 'bag', path, '-o', out, *UNTRAINED, '--modes', 'streaming,whole'
    done = evaluate(*words, '--odom-topic', '/mocap')
    assert done.exit_code == 0, done.output
    tree = json.loads((out / 'metrics.json').read_text())['sequences']['drive']['methods']
    for method in ('streaming', 'whole clip'):
        assert tree[method]['pose']['poses'] == layouts.COUNT
        assert tree[method]['depth']['frames'] == layouts.COUNT
        assert 0 <= tree[method]['mask']['JM'] <= 1


def test_topics_are_for_recordings_and_sources_have_to_be_there(tmp_path):
    layouts.write_davis(tmp_path / 'davis')
    (tmp_path / 'text.bag').write_text('text')
    (tmp_path / 'none.mcap').write_bytes(b'')
    for words, text in (
        (('davis', tmp_path / 'davis', '--mask-topic', 'x'), 'davis has no topics'),
        (('bag', tmp_path / 'nowhere'), 'no such folder; expected a rosbag1'),
        (('bag', tmp_path / 'text.bag'), 'is no recording that is known here'),
        (('bag', tmp_path / 'none.mcap'), 'is empty'),
        (('bag', tmp_path / 'davis'), 'holds no sequence; expected a rosbag1'),
    ):
        done = evaluate(*words, '-o', tmp_path / 'out')
        assert done.exit_code == 1
        assert text in done.stderr
        assert len(done.stderr.strip().splitlines()) == 1
