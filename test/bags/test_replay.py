import lzma

import numpy as np
import pytest
from bags_helpers import (
    MAKE,
    START_NS,
    STEP_NS,
    T_base_camera,
    camera_info,
    camera_messages,
    head,
    image,
    mount,
    oracle,
    stamps,
    write_bag,
)
from data_folders import DATA, SHARED, needs_shared
from fakes import CAMERA, OracleEngine, pose_at

from page4d_ros.bags.reader import open_bag
from page4d_ros.bags.recording import Recording
from page4d_ros.bags.replay import ALL_TOPICS, replay
from page4d_ros.bags.sources import open_source
from page4d_ros.bags.writer import BagWriter
from page4d_ros.config import Config
from page4d_ros.errors import BagError, DeviceMemoryError
from page4d_ros.geometry.camera import PinholeCamera
from page4d_ros.geometry.poses import from_quaternion, inverse, rotation_angle
from page4d_ros.messages import encode
from page4d_ros.messages.decode import calibration, pixels, stamp_ns
from page4d_ros.perception.base_frame import FORWARD
from page4d_ros.perception.clouds import POINT
from page4d_ros.perception.pipeline import Perception
from page4d_ros.perception.types import RELIANCE
from page4d_ros.perception.window_engine import WindowEngine


def run(tmp_path, messages, config, *, form='bare mcap', engine=None, **options):
    path = write_bag(tmp_path / 'in', form, messages)
    with Recording(path, config, **options) as source:
        summary = replay(source, tmp_path / 'out', config, perception=engine or oracle(config))
    return summary, everything(tmp_path / 'out')


def everything(path):
    """Messages of a recording by topic."""
    out = {}
    with open_bag(path) as bag:
        for topic, log_ns, message in bag.messages(bag.topics()):
            out.setdefault(topic, []).append((log_ns, message))
        assert not bag.warnings
        assert not bag.unreadable
    return out


def pose_of(pose):
    q, p = pose.orientation, pose.position
    return from_quaternion((q.x, q.y, q.z, q.w), (p.x, p.y, p.z))


@pytest.mark.parametrize('form', ['rosbag1', 'sqlite3', 'mcap'])
def test_every_frame_gives_every_output_under_its_stamp(tmp_path, config, form):
    summary, out = run(tmp_path, camera_messages(10), config, form=form)
    assert (summary.frames, summary.estimates, summary.dropped) == (10, 10, {})
    assert not summary.warnings
    once = {'/path', '/tf_static'}
    expected = {'/' + name.replace('~', 'page4d') for name in ALL_TOPICS} | {'/tf', '/tf_static'}
    dynamic = {'/points/dynamic'}
    assert set(out) | dynamic == expected | dynamic
    for topic in expected - once:
        assert [log_ns for log_ns, _ in out[topic]] == stamps(10), topic
    for topic in expected - once - {'/tf'}:
        assert [stamp_ns(m.header) for _, m in out[topic]] == stamps(10), topic
    assert out['/odom'][0][1].header.stamp.nanosec == 999_999_999
    assert out['/depth/image'][0][1].header.frame_id == 'camera'


def test_the_trajectory_is_the_robots(tmp_path, config):
    _, out = run(tmp_path, camera_messages(10), config)
    poses = [pose_of(m.pose.pose) for _, m in out['/odom']]
    T_camera_base = inverse(T_base_camera)
    truth = [pose_at(ns * 1e-9) @ T_camera_base for ns in stamps(10)]
    expected = [inverse(truth[0]) @ T for T in truth]
    for T, T_true in zip(poses, expected, strict=True):
        assert rotation_angle((T[:3, :3].T @ T_true[:3, :3])[None])[0] < 1e-4
    # the unit is that of the first window; the lever arm makes the rest differ a little
    optical = [T @ T_base_camera for T in poses]
    ours = [np.linalg.norm(T[:3, 3] - optical[0][:3, 3]) for T in optical[3:]]
    theirs = [pose_at(ns * 1e-9)[:3, 3] - pose_at(START_NS * 1e-9)[:3, 3] for ns in stamps(10)[3:]]
    ratio = np.array(ours) / np.linalg.norm(theirs, axis=1)
    assert np.ptp(ratio) / ratio.mean() < 1e-3
    assert np.allclose(poses[0], np.eye(4), atol=1e-9)
    assert {m.child_frame_id for _, m in out['/odom']} == {'base_link'}
    sent = out['/tf'][3][1].transforms[0]
    assert (sent.header.frame_id, sent.child_frame_id) == ('odom', 'base_link')
    static = out['/tf_static'][0][1].transforms[0]
    assert (static.header.frame_id, static.child_frame_id) == ('base_link', 'camera')
    assert static.transform.translation.z == pytest.approx(1.2)
    path = out['/path'][0][1]
    assert [stamp_ns(p.header) for p in path.poses] == stamps(10)
    assert out['/path'][0][0] == stamps(10)[-1]


def test_the_tum_file_holds_the_cameras_pose_in_odom(tmp_path, config):
    _, out = run(tmp_path, camera_messages(5), config)
    rows = [line.split() for line in (tmp_path / 'out/trajectory.tum').read_text().splitlines()]
    assert [row[0].replace('.', '') for row in rows] == [str(ns) for ns in stamps(5)]
    for row, (_, odometry) in zip(rows, out['/odom'], strict=True):
        numbers = np.array(row[1:], float)
        T_odom_camera = pose_of(odometry.pose.pose) @ T_base_camera
        found = from_quaternion(numbers[3:], numbers[:3])
        np.testing.assert_allclose(found, T_odom_camera, atol=1e-7)


def test_the_static_points_along_the_way_are_saved(tmp_path, config):
    run(tmp_path, camera_messages(5), config)
    assert not list((tmp_path / 'out').glob('cloud.*'))
    config = config.with_values({'map.voxel': 0.1, 'map.rate': 0.0})
    for _ in range(2):  # all that was written is ours to replace
        with Recording(next(tmp_path.glob('in*')), config) as source:
            replay(source, tmp_path / 'out', config, perception=oracle(config), force=True)
    assert b'end_header' in (tmp_path / 'out/cloud.ply').read_bytes()
    assert b'DATA binary' in (tmp_path / 'out/cloud.pcd').read_bytes()
    assert len((tmp_path / 'out/trajectory.kitti').read_text().splitlines()) == 5


def test_what_is_not_usually_recorded_is_if_it_is_asked_for(tmp_path, config):
    config = config.with_values({'dynamics.clusters': True})
    path = write_bag(tmp_path / 'in', 'bare mcap', camera_messages(2))
    topics = ('points/organized', 'depth/colormap', 'markers')
    with Recording(path, config) as source:
        replay(source, tmp_path / 'out', config, perception=oracle(config), topics=topics)
    found = everything(tmp_path / 'out')
    assert set(found) == {f'/{name}' for name in topics} | {'/tf', '/tf_static'}


def test_without_a_mount_it_is_assumed_and_said(tmp_path, config):
    messages = [m for m in camera_messages() if m[0] != '/tf_static']
    summary, out = run(tmp_path, messages, config)
    assert 'assuming that it looks forward' in summary.warnings[0]
    rotation = out['/tf_static'][0][1].transforms[0].transform.rotation
    T = from_quaternion((rotation.x, rotation.y, rotation.z, rotation.w), np.zeros(3))
    np.testing.assert_allclose(T, FORWARD, atol=1e-12)


def test_egocentric_has_no_static_transform(tmp_path, config):
    config = config.with_values({'frames.base': ''})
    summary, out = run(tmp_path, camera_messages(), config)
    assert '/tf_static' not in out
    assert out['/odom'][0][1].child_frame_id == 'camera'
    assert not summary.warnings


def test_status(tmp_path, config):
    summary, out = run(tmp_path, camera_messages(6), config)
    states = [message for _, message in out['/page4d/status']]
    assert [s.state for s in states] == [1, 1, 1, 2, 2, 2]
    assert [s.window_fill for s in states] == [1, 2, 3, 4, 4, 4]
    last = states[-1]
    assert (last.received, last.processed, last.dropped) == (6, 6, 0)
    assert (last.checkpoint, last.trained, last.device) == ('oracle', True, 'cpu, simulated')
    assert (last.calibrated, last.metric, last.frame_age) == (True, False, 0.0)
    assert last.publish_ms > 0
    assert not summary.caution


@pytest.mark.parametrize('estimator', ['network', 'both'])
def test_status_tells_what_poses_rely_on(tmp_path, config, estimator):
    config = config.with_values({'odometry.estimator': estimator})
    engine = Perception(config, OracleEngine(size=config.window.size))
    _, out = run(tmp_path, camera_messages(6), config, engine=engine)
    states = [message for _, message in out['/page4d/status']]
    trusts = [s.network_trust for s in states]
    assert {s.relies_on for s in states} <= (
        {'network'} if estimator == 'network' else {*RELIANCE}
    )
    assert all((0 < trust <= 1) == (estimator == 'both') for trust in trusts)


def test_a_program_gives_a_path_and_gets_everything(tmp_path):
    """As the example of `replay`: it opens the recording and loads page4d-small itself."""
    path = write_bag(tmp_path / 'in', 'mcap', camera_messages(3))
    started, positions = [], []
    summary = replay(
        path,
        tmp_path / 'out',
        image_topic='/camera/image',
        started=lambda source, perception: started.append((source.total, perception.engine.name)),
        seen=lambda estimate: positions.append(estimate.odometry.T_world_camera[:3, 3]),
    )
    assert (summary.frames, summary.estimates, len(positions)) == (3, 3, 3)
    assert started == [(3, 'page4d-small')]
    assert 'rendered places' in summary.caution
    assert len(everything(tmp_path / 'out')['/depth/image']) == 3


def test_what_cannot_be_replayed_is_said_before_anything_is_written(tmp_path, config):
    path = write_bag(tmp_path / 'in', 'mcap', camera_messages())
    with pytest.raises(BagError, match='no output lidar; there are confidence/image'):
        replay(path, tmp_path / 'out', config, topics={'lidar', 'odom'})
    with pytest.raises(BagError, match='is, or holds, the source'):
        replay(path, tmp_path, config, force=True)
    with pytest.raises(BagError, match='no such file'):
        replay(tmp_path / 'nothing', tmp_path / 'out', config)
    assert not (tmp_path / 'out').exists()


def test_only_the_topics_that_are_asked_for(tmp_path, config):
    path = write_bag(tmp_path / 'in', 'mcap', camera_messages())
    with Recording(path, config) as source:
        replay(source, tmp_path / 'out', config, perception=oracle(config), topics={'odom'})
    assert set(everything(tmp_path / 'out')) == {'/odom', '/tf', '/tf_static'}


def test_drops_are_counted_by_reason(tmp_path, config):
    messages = camera_messages(6)
    again = [m for m in messages if m[0] == '/camera/image'][3]
    with BagWriter(tmp_path / 'in') as writer:
        for topic, log_ns, message in messages:
            writer.write(topic, log_ns, message)
        writer.write('/camera/image', stamps()[3] + 1, again[2])
        writer.write('/camera/image', stamps()[4] + 1, image(stamps()[2]))
        broken = image(stamps()[5] + 1)
        broken.encoding = 'bgr99'
        writer.write('/camera/image', stamps()[5] + 1, broken)
        kind = 'sensor_msgs/msg/Image'
        writer.write_serialized('/camera/image', kind, stamps()[5] + 2, b'\x00\x01\x00\x00')
    with Recording(tmp_path / 'in', config) as source:
        summary = replay(source, tmp_path / 'out', config, perception=oracle(config))
    assert summary.frames == 10
    assert summary.estimates == 6
    assert summary.dropped == {'duplicate': 1, 'late': 1, 'malformed': 2}
    assert sum('bgr99' in text for text in summary.warnings) == 1


def test_a_cut_off_recording_is_processed_and_the_loss_is_said(tmp_path, config):
    path = write_bag(tmp_path / 'in', 'bare mcap', camera_messages(20))
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with Recording(path, config) as source:
        summary = replay(source, tmp_path / 'out', config, perception=oracle(config))
    assert 7 <= summary.estimates <= 12
    assert any('damaged or not closed' in text for text in summary.warnings)


def test_stride_and_gap(tmp_path, config):
    config = config.with_values({'window.stride': 3, 'window.max_gap': 1.0})
    messages = camera_messages(6)
    for i in range(6):
        ns = START_NS + 60 * STEP_NS + i * STEP_NS
        messages.append(('/camera/image', ns, image(ns)))
    summary, out = run(tmp_path, messages, config)
    assert (summary.frames, summary.estimates, summary.dropped) == (12, 4, {})
    assert [m.window_fill for _, m in out['/page4d/status']] == [1, 2, 1, 2]


def test_stopping_keeps_what_was_written(tmp_path, config):
    path = write_bag(tmp_path / 'in', 'mcap', camera_messages(10))
    seen = []
    with Recording(path, config) as source:
        summary = replay(
            source,
            tmp_path / 'out',
            config,
            perception=oracle(config),
            stopped=lambda: len(seen) == 4,
            progress=lambda: seen.append(1),
        )
    assert summary.interrupted
    assert summary.estimates == 4
    assert len(everything(tmp_path / 'out')['/path'][0][1].poses) == 4


def test_scale_from_depth_and_from_odometry(tmp_path):
    messages = camera_messages(12)
    for ns in stamps(12):
        T = pose_at(ns * 1e-9)
        odometry = encode.odometry(
            MAKE, head(ns), 'x', encode.pose(MAKE, T), np.zeros(6), np.ones((2, 6, 6))
        )
        messages.append(('/wheels', ns, odometry))
    values = {'window.stride': 1, 'window.size': 4, 'scale.mode': 'odometry'}
    config = Config().with_values(values)
    messages.sort(key=lambda m: m[1])
    summary, out = run(tmp_path, messages, config, odom_topic='/wheels')
    assert summary.metric
    assert out['/page4d/status'][-1][1].metric
    steps = [pose_of(m.pose.pose)[:3, 3] for _, m in out['/odom'][-2:]]
    truth = [(pose_at(ns * 1e-9) @ inverse(T_base_camera))[:3, 3] for ns in stamps(12)[-2:]]
    assert np.linalg.norm(steps[1] - steps[0]) == pytest.approx(
        np.linalg.norm(truth[1] - truth[0]), rel=0.05
    )


# -- geometry of what is published ------------------------------------------------------------


@pytest.mark.parametrize(('width', 'height'), [(64, 48), (200, 150), (90, 240)])
def test_points_project_onto_the_pixels_they_came_from(tmp_path, config, width, height):
    """Also where the image was scaled, and cropped because it is a portrait."""
    camera = PinholeCamera(width, height, 0.8 * width, 0.82 * width, 0.48 * width, 0.52 * height)
    u, v = np.meshgrid(np.arange(width), np.arange(height))
    ramp = np.stack([u * 250 / width, v * 250 / height, 0 * u], -1).round().astype(np.uint8)
    messages = mount()
    for ns in stamps(2):
        messages.append(('/camera_info', ns, camera_info(ns, camera)))
        messages.append(('/image', ns, encode.image(MAKE, head(ns), ramp)))
    _, out = run(tmp_path, messages, config)
    cloud, info = out['/points/static'][-1][1], out['/depth/camera_info'][-1][1]
    points = np.frombuffer(cloud.data, POINT)
    assert len(points) > 1000
    xyz = np.stack([points['x'], points['y'], points['z']], -1).astype(float)
    at = calibration(info).pinhole.project(xyz)
    assert np.abs(at - at.round()).max() < 1e-2
    column, row = at.round().astype(int).T
    rgb = pixels(out['/rgb/image'][-1][1], channels=3, dtype=np.uint8)
    assert rgb.shape[:2] == (info.height, info.width)
    packed = points['rgb'].view(np.uint32)
    colour = np.stack([packed >> 16 & 255, packed >> 8 & 255], -1)
    assert np.array_equal(colour, rgb[row, column, :2])
    depth = pixels(out['/depth/image'][-1][1], channels=1, dtype=np.float32)
    assert np.allclose(depth[row, column], points['z'])
    # back in the camera's own image the colour tells which pixel it was
    source = camera.project(xyz)
    inside = (source > 2).all(1) & (source < (width - 3, height - 3)).all(1)
    told = colour * (width / 250, height / 250)
    difference = (told - source)[inside]
    assert np.abs(difference.mean(0)).max() < 0.3
    assert np.abs(difference).max() < 1.0


# -- real data --------------------------------------------------------------------------------


def real_recording(name, folder):
    """Path of a real ROS 1 recording: one of the repository's, or one beside it."""
    packed = DATA / f'robologs/{name}.xz'
    if not packed.is_file():
        return SHARED / 'data/robologs_bags' / name
    path = folder / name
    path.write_bytes(lzma.decompress(packed.read_bytes()))
    return path


@pytest.mark.parametrize(
    ('name', 'topic', 'frames', 'frame_id'),
    [
        ('tiny.bag', '/dvs/image_raw', 4, 'camera_optical_frame'),
        pytest.param('tiny_svo.bag', '', 10, 'camera', marks=needs_shared('data/robologs_bags')),
    ],
)
def test_real_ros1_recordings(tmp_path, config, name, topic, frames, frame_id):
    source = open_source(real_recording(name, tmp_path), config, image_topic=topic)
    summary = replay(source, tmp_path / 'out', config, perception=oracle(config))
    source.close()
    assert (summary.frames, summary.estimates) == (frames, frames)
    out = everything(tmp_path / 'out')
    assert out['/depth/image'][0][1].header.frame_id == frame_id
    assert out['/page4d/status'][0][1].calibrated == (name == 'tiny_svo.bag')
    assert out['/odom'][0][0] < 1_600_000_000 * 10**9  # the camera's time, not the recorder's


def test_a_ros1_recording_that_was_received_years_later(tmp_path, config):
    """As tiny_svo.bag: a lens with distortion, a slash before the frame, receive times of 2023."""
    received, messages = 1_680_000_000 * 10**9, []
    for taken in stamps(10):
        info = encode.camera_info(MAKE, head(taken, '/camera'), CAMERA)
        info.d = MAKE.sequence([-0.06, 0.04, 1e-4, -2e-4, 0.0])
        late_ns = taken - START_NS + received
        messages.append(('/camera/camera_info', late_ns, info))
        messages.append(('/camera/image', late_ns, image(taken, '/camera')))
    summary, out = run(tmp_path, messages, config, form='rosbag1')
    assert (summary.frames, summary.estimates) == (10, 10)
    assert out['/depth/image'][0][1].header.frame_id == 'camera'
    assert out['/page4d/status'][0][1].calibrated
    assert [log_ns for log_ns, _ in out['/odom']] == stamps(10)


@pytest.mark.parametrize('variant', ['page4d', 'vggt4d'])
def test_a_clip_at_once_gives_every_output(tmp_path, variant):
    """One window of all frames, with poses in the first camera's frame."""
    if variant == 'vggt4d':
        pytest.importorskip('sklearn', reason='scikit-learn is not installed')
        pytest.importorskip('skimage', reason='scikit-image is not installed')
    config = Config().with_values(
        {
            'model.checkpoint': 'untrained',
            'model.variant': variant,
            'model.resolution': 56,
            'window.stride': 1,
            'dynamics.clusters': True,
        }
    )
    path = write_bag(tmp_path / 'in', 'bare mcap', camera_messages(5))
    with Recording(path, config) as source:
        summary = replay(source, tmp_path / 'out', config, clip=True)
    out = everything(tmp_path / 'out')
    assert (summary.frames, summary.estimates) == (5, 5)
    for name in ('/odom', '/depth/image', '/mask/image', '/page4d/status'):
        assert len(out[name]) == 5, name
    first = pose_of(out['/odom'][0][1].pose.pose)
    assert np.allclose(first, np.eye(4), atol=1e-6)
    assert [m.window_fill for _, m in out['/page4d/status']] == [1, 2, 3, 4, 5]


def test_a_clip_has_no_gaps(tmp_path):
    config = Config().with_values({'model.checkpoint': 'untrained', 'window.stride': 1})
    messages = [m for m in camera_messages(60) if not START_NS + 5e8 < m[1] < START_NS + 4e9]
    path = write_bag(tmp_path / 'in', 'bare mcap', messages)
    with Recording(path, config) as source, pytest.raises(BagError, match='a clip has no gaps'):
        replay(source, tmp_path / 'out', config, clip=True)


def test_a_clip_that_is_interrupted_is_not_begun(tmp_path):
    config = Config().with_values({'model.checkpoint': 'untrained', 'window.stride': 1})
    path = write_bag(tmp_path / 'in', 'bare mcap', camera_messages(5))
    asked = []
    with Recording(path, config) as source:
        summary = replay(
            source,
            tmp_path / 'out',
            config,
            clip=True,
            stopped=lambda: asked.append(0) or len(asked) > 3,
        )
    assert summary.interrupted
    assert summary.estimates == 0


@pytest.mark.parametrize('beforehand', [True, False])
def test_a_clip_that_does_not_fit_leaves_nothing(tmp_path, monkeypatch, beforehand):
    """Neither where it is known beforehand nor where the system has no room after all."""

    def full(*_):
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate it")

    config = Config().with_values({'model.checkpoint': 'untrained', 'window.stride': 1})
    path = write_bag(tmp_path / 'in', 'bare mcap', camera_messages(5))
    if beforehand:
        monkeypatch.setattr('page4d_ros.perception.clip.free_bytes', lambda _: 1000)
    else:
        monkeypatch.setattr(WindowEngine, 'sequence', full)
    with Recording(path, config) as source, pytest.raises(DeviceMemoryError) as error:
        replay(source, tmp_path / 'out', config, clip=True)
    assert '5 frames of 112x84 pixels in one pass need about' in str(error.value)
    assert not (tmp_path / 'out').exists()
