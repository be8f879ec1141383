"""Recordings with ground truth: imported and rendered ones."""

import shutil
from dataclasses import dataclass

import cv2
import numpy as np
import pytest
from bags_helpers import START_NS, T_base_camera, oracle, stamps
from data_folders import DATA
from fakes import CAMERA, picture, pose_at, room_depth

from page4d_ros.bags import ground_truth
from page4d_ros.bags.reader import open_bag
from page4d_ros.bags.recording import Recording
from page4d_ros.bags.rendered import write_rendered
from page4d_ros.bags.replay import replay
from page4d_ros.datasets.tum import KINECTS, read_list
from page4d_ros.datasets.tum_recording import import_tum
from page4d_ros.errors import BagError
from page4d_ros.geometry.poses import from_quaternion
from page4d_ros.messages.decode import calibration
from page4d_ros.messages.trajectory import trajectory_line
from page4d_ros.perception.base_frame import FORWARD

TUM = DATA / 'tum_fr1_rpy'


@dataclass
class Rendered:
    stamp_ns: int

    camera = CAMERA

    @property
    def rgb(self):
        return picture(self.stamp_ns)

    @property
    def T_world_camera(self):
        return pose_at(self.stamp_ns * 1e-9)

    @property
    def depth(self):
        return room_depth(self.T_world_camera, CAMERA).astype(np.float32)

    @property
    def mask(self):
        return self.rgb[..., 0] > 128


def read(path):
    out = {}
    with open_bag(path) as bag:
        for topic, log_ns, message in bag.messages(bag.topics()):
            out.setdefault(topic, []).append((log_ns, message))
    return out


def pose_of(odometry):
    q, p = odometry.pose.pose.orientation, odometry.pose.pose.position
    return from_quaternion((q.x, q.y, q.z, q.w), (p.x, p.y, p.z))


@pytest.mark.parametrize('compressed', [False, True])
def test_a_rendered_clip_keeps_its_truth(tmp_path, config, compressed):
    frames = [Rendered(ns) for ns in stamps(5)]
    path = tmp_path / 'clip'
    assert write_rendered(frames, path, T_base_camera, compressed=compressed) == 5
    out = read(path)
    for index, frame in enumerate(frames):
        log_ns, depth = out[ground_truth.DEPTH][index]
        assert log_ns == frame.stamp_ns
        np.testing.assert_allclose(ground_truth.read_depth(depth), frame.depth, atol=6e-4)
        mask = ground_truth.read_mask(out[ground_truth.MASK][index][1])
        assert np.array_equal(mask, frame.mask)
        odometry = out[ground_truth.ODOMETRY][index][1]
        assert (odometry.header.frame_id, odometry.child_frame_id) == ('world', 'base_link')
        np.testing.assert_allclose(pose_of(odometry) @ T_base_camera, frame.T_world_camera)
    speed = out[ground_truth.ODOMETRY][2][1].twist.twist.linear
    assert 0 < np.linalg.norm([speed.x, speed.y, speed.z]) < 5
    with Recording(path, config) as source:
        assert source.image.name == '/camera/image' + '/compressed' * compressed
        np.testing.assert_allclose(source.T_base_camera, T_base_camera, atol=1e-12)
        summary = replay(source, tmp_path / 'out', config, perception=oracle(config))
    assert summary.estimates == 5
    assert not summary.warnings


def test_depth_keeps_what_it_cannot_hold_unknown():
    from page4d_ros.bags.factory import BagMessages
    from page4d_ros.messages import encode

    make = BagMessages()
    metres = np.array([[np.nan, np.inf, -1.0], [0.0, 65.5, 66.0]], np.float32)
    message = ground_truth.depth(make, encode.header(make, 0, 'x'), metres)
    expected = np.array([[np.nan, np.nan, np.nan], [np.nan, 65.5, np.nan]])
    np.testing.assert_allclose(ground_truth.read_depth(message), expected)


# -- TUM --------------------------------------------------------------------------------------


def small_tum(path):
    """Three frames of the excerpt, with the whole lists."""
    names = read_list(TUM / 'rgb.txt')
    present = [e.words[0] for e in names if (TUM / e.words[0]).is_file()][:3]
    depths = [e.words[0] for e in read_list(TUM / 'depth.txt') if (TUM / e.words[0]).is_file()]
    for name in (*present, *depths[:3]):
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(TUM / name, path / name)
    for name in ('rgb.txt', 'depth.txt', 'groundtruth.txt'):
        shutil.copy(TUM / name, path / name)
    return path


def test_tum_is_imported_without_a_loss(tmp_path):
    folder = small_tum(tmp_path / 'seq')
    done = import_tum(folder, tmp_path / 'bag', 'freiburg1')
    assert (done.images, done.depths) == (3, 3)
    assert done.missing > 1000
    out = read(tmp_path / 'bag')
    log_ns, image = out['/camera/image/compressed'][0]
    file = next((folder / 'rgb').glob(f'{log_ns // 10**9}.{log_ns % 10**9 // 1000:06d}.png'))
    assert bytes(image.data) == file.read_bytes()
    found = calibration(out['/camera/camera_info'][0][1])
    assert found.distorted
    assert found.pinhole == KINECTS['freiburg1'].pinhole
    depth_ns, depth = out[ground_truth.DEPTH][0]
    raw = cv2.imread(str(sorted((folder / 'depth').glob('*.png'))[0]), cv2.IMREAD_UNCHANGED)
    metres = np.where(raw > 0, raw / 5000, np.nan)
    np.testing.assert_allclose(ground_truth.read_depth(depth), metres, atol=6e-4)
    assert depth_ns % 1000 == 0


def test_tum_ground_truth_is_the_base_that_carries_the_camera(tmp_path):
    folder = small_tum(tmp_path / 'seq')
    import_tum(folder, tmp_path / 'bag', 'freiburg1')
    poses = {ns: pose_of(m) for ns, m in read(tmp_path / 'bag')[ground_truth.ODOMETRY]}
    for stamp_ns, words in read_list(TUM / 'groundtruth.txt'):
        if stamp_ns in poses:
            numbers = np.array(words, float)
            T_world_camera = from_quaternion(numbers[3:], numbers[:3])
            np.testing.assert_allclose(poses[stamp_ns] @ FORWARD, T_world_camera, atol=1e-9)
            line = trajectory_line(stamp_ns, T_world_camera).split()
            np.testing.assert_allclose(np.array(line[1:4], float), numbers[:3], atol=1e-9)
    assert len(poses) > 100


def test_tum_replays_rectified(tmp_path, config):
    config = config.with_values({'input.rectify': True})
    import_tum(small_tum(tmp_path / 'seq'), tmp_path / 'bag', 'freiburg1')
    with Recording(tmp_path / 'bag', config) as source:
        summary = replay(source, tmp_path / 'out', config, perception=oracle(config))
    assert summary.estimates == 3
    assert not summary.warnings


@pytest.mark.parametrize(
    ('name', 'text', 'message'),
    [
        ('rgb.txt', None, r'rgb\.txt: is missing'),
        ('rgb.txt', '1.0 rgb/none.png\n', 'none of the images'),
        ('rgb.txt', 'hello\n', r'rgb\.txt:1: expected a time'),
        ('groundtruth.txt', '1.0 1 2 3\n', 'no pose at'),
        ('depth.txt', '1.0 rgb.txt\n', 'is no image'),
    ],
)
def test_broken_sequences(tmp_path, name, text, message):
    folder = tmp_path / 'seq'
    folder.mkdir()
    cv2.imwrite(str(folder / 'a.png'), picture(START_NS))
    (folder / 'rgb.txt').write_text('# color\n1.0 a.png\n')
    (folder / name).unlink(missing_ok=True)
    if text is not None:
        (folder / name).write_text(text)
    with pytest.raises(BagError, match=message):
        import_tum(folder, tmp_path / 'bag', 'freiburg1')
