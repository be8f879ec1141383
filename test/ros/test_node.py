"""The lifecycle node on a real graph, with an engine that tells the truth."""

import itertools
import pathlib
import sys
import time
from types import ModuleType

import numpy as np
import pytest
from fakes import CAMERA, picture, pose_at
from robot import MAKE, MOUNT, START, STEP, Robot, stamp_of, truthful

pytest.importorskip('rclpy', reason='rclpy is not installed')
pytest.importorskip('page4d_ros.msg', reason='the workspace is not built')

from nav_msgs.msg import Odometry, Path
from rclpy.qos import ReliabilityPolicy
from sensor_msgs.msg import CameraInfo, CompressedImage, Image, LaserScan, PointCloud2
from std_srvs.srv import SetBool, Trigger
from tf2_msgs.msg import TFMessage

from page4d_ros.geometry.poses import inverse
from page4d_ros.messages import encode
from page4d_ros.msg import PerceptionStatus
from page4d_ros.ros.compat import optional
from page4d_ros.units import NS_PER_S

IMAGES = ('depth/image', 'depth/static', 'rgb/image', 'mask/image', 'confidence/image')
INFOS = ('depth/camera_info', 'rgb/camera_info', 'mask/camera_info')
CLOUDS = ('points/static', 'points/dynamic')
LEAST = np.diag([1e-4] * 3 + [1e-5] * 3)  # covariance, by default


def listen_to_all(graph):
    kinds = dict.fromkeys(IMAGES, Image) | dict.fromkeys(INFOS, CameraInfo)
    kinds |= dict.fromkeys(CLOUDS, PointCloud2) | {
        'odom': Odometry,
        'path': Path,
        'scan': LaserScan,
    }
    return {name: graph.listen(kind, name) for name, kind in kinds.items()} | {
        '/tf': graph.listen(TFMessage, '/tf')
    }


def points_of(message):
    data = np.frombuffer(message.data, np.float32).reshape(-1, message.point_step // 4)
    return data[:, :3].astype(float)


def test_every_output_carries_the_exact_stamp_of_its_image(graph):
    got = listen_to_all(graph)
    robot = Robot(graph)
    robot.mount()
    robot.calibrate()
    stamps = [START + i * STEP for i in range(4)]
    for stamp in stamps:
        robot.show(stamp)
    for name, messages in got.items():
        graph.until(lambda m=messages: len(m) >= 4, what=name)
        heads = [m.transforms[0] if name == '/tf' else m for m in messages]
        assert [stamp_of(m) for m in heads] == stamps, name
        expected = {'scan': 'base_link'} | dict.fromkeys(('odom', 'path', '/tf'), 'odom')
        expected = expected.get(name, 'camera')
        assert {m.header.frame_id for m in heads} == {expected}, name
    sizes = {(got[name][0].width, got[name][0].height) for name in (*IMAGES, *INFOS)}
    assert sizes == {(56, 42)}
    assert [len(m.poses) for m in got['path']] == [1, 2, 3, 4]
    last = robot.status[-1]
    assert (last.state, last.window_fill, last.window_size) == (PerceptionStatus.TRACKING, 3, 3)
    assert (last.received, last.processed, last.dropped) == (4, 4, 0)
    assert last.calibrated
    assert last.checkpoint == 'oracle'
    assert not last.metric


def test_rtabmaps_inputs_are_of_the_cameras_size_and_of_one_time(graph):
    wanted = {'rgb/image': Image, 'rgb/camera_info': CameraInfo, 'depth/static': Image}
    got = {name: graph.listen(kind, name) for name, kind in wanted.items()}
    robot = Robot(graph, publish__size='camera')
    robot.mount()
    robot.calibrate()
    robot.show(START)
    graph.until(lambda: all(got.values()))
    messages = [got[name][0] for name in wanted]
    assert {(m.width, m.height) for m in messages} == {(64, 48)}
    assert {stamp_of(m) for m in messages} == {START}
    np.testing.assert_array_equal(messages[1].k.reshape(3, 3), CAMERA.K)
    assert bytes(messages[0].data) == picture(START).tobytes()


def test_bodies_are_in_the_status(graph):
    robot = Robot(graph, dynamics__clusters=True, scale__mode='fixed')
    robot.mount()
    for i in range(4):
        robot.show(START + i * STEP)
    graph.until(lambda: len(robot.status) == 4)
    (body,) = robot.status[-1].bodies
    assert body.number == 1
    assert body.probability > 0.5
    assert body.position.x > 0  # ahead of the base


def test_bodies_are_markers_for_rviz(graph):
    kinds = pytest.importorskip(
        'visualization_msgs.msg', reason='visualization_msgs is not installed'
    )
    arrays = graph.listen(kinds.MarkerArray, 'markers')
    robot = Robot(graph, dynamics__clusters=True, scale__mode='fixed')
    robot.mount()
    for i in range(4):
        robot.show(START + i * STEP)
    graph.until(lambda: len(arrays) == 4)
    first, *others = arrays[-1].markers
    assert first.action == kinds.Marker.DELETEALL
    assert {m.type for m in others} >= {kinds.Marker.CUBE, kinds.Marker.TEXT_VIEW_FACING}
    assert {m.header.frame_id for m in others} == {'odom'}
    assert {stamp_of(m) for m in others} == {START + 3 * STEP}
    (body,) = robot.status[-1].bodies
    assert others[0].pose.position == body.position


def test_an_organised_cloud_and_colours_are_published_for_whoever_wants_them(graph):
    clouds = graph.listen(PointCloud2, 'points/organized')
    images = graph.listen(Image, 'depth/colormap')
    robot = Robot(graph)
    robot.show(START)
    graph.until(lambda: clouds and images)
    assert (clouds[0].height, clouds[0].width) == (images[0].height, images[0].width) == (42, 56)
    assert images[0].encoding == 'rgb8'


def test_odom_is_the_base_in_rep103_axes(graph):
    got = listen_to_all(graph)
    robot = Robot(graph, scale__mode='fixed', odometry__estimator='network')
    robot.mount()
    for i in range(6):
        robot.show(START + i * STEP)
    graph.until(lambda: len(got['odom']) == 6)
    graph.until(lambda: len(got['/tf']) == 6)
    T = [pose_at((START + i * STEP) / NS_PER_S) for i in (0, 5)]
    expected = MOUNT @ inverse(T[0]) @ T[1] @ inverse(MOUNT)
    for name in ('odom', '/tf'):
        if name == 'odom':
            at, q = got[name][-1].pose.pose.position, got[name][-1].pose.pose.orientation
            assert got[name][-1].child_frame_id == 'base_link'
        else:
            item = got[name][-1].transforms[0]
            at, q = item.transform.translation, item.transform.rotation
            assert item.child_frame_id == 'base_link'
        np.testing.assert_allclose([at.x, at.y, at.z], expected[:3, 3], atol=2e-3)
        assert abs(np.linalg.norm([q.x, q.y, q.z, q.w]) - 1) < 1e-9
    first, last = (
        np.array([each.pose.covariance, each.twist.covariance]).reshape(2, 6, 6)
        for each in (got['odom'][0], got['odom'][-1])
    )
    assert (first.diagonal(0, 1, 2) >= LEAST.diagonal() - 1e-12).all()
    assert (first.diagonal(0, 1, 2) < 2 * LEAST.diagonal()).all()  # the mount is a lever
    np.testing.assert_allclose(last, last.swapaxes(1, 2), atol=1e-12)
    assert (np.linalg.eigvalsh(last - first) > -1e-12).all()
    assert (np.diag(last[0]) > np.diag(first[0])).all()  # it has moved since
    assert robot.status[-1].metric


@pytest.mark.parametrize('size', [(64, 48), (48, 64)])
def test_published_points_land_on_published_pixels(graph, size):
    got = listen_to_all(graph)
    robot = Robot(graph)
    width, height = size
    camera = type(CAMERA)(width, height, 55.0, 54.0, width / 2 - 1.3, height / 2 + 0.8)
    robot.calibrate(camera)
    robot.show(START, array=picture(1, width, height))
    graph.until(lambda: all(got[name] for name in (*IMAGES, *INFOS, *CLOUDS)))
    info, rgb = got['depth/camera_info'][0], got['rgb/image'][0]
    K = np.array(info.k).reshape(3, 3)
    colours = np.frombuffer(rgb.data, np.uint8).reshape(rgb.height, rgb.width, 3)
    mask = np.frombuffer(got['mask/image'][0].data, np.uint8).reshape(rgb.height, rgb.width)
    depth, static = (
        np.frombuffer(got[name][0].data, np.float32).reshape(mask.shape)
        for name in ('depth/image', 'depth/static')
    )
    assert (mask > 0).any()
    np.testing.assert_array_equal(static, np.where(mask > 0, np.nan, depth))
    total = 0
    for name in CLOUDS:
        cloud = got[name][0]
        assert cloud.is_dense
        assert (cloud.height, cloud.width) == (1, len(cloud.data) // cloud.point_step)
        uv = points_of(cloud) @ K.T
        uv = uv[:, :2] / uv[:, 2:]
        column, row = np.rint(uv).astype(int).T
        assert np.abs(uv - np.stack([column, row], -1)).max() < 1e-2
        assert set(np.unique(mask[row, column])) == {0 if name == 'points/static' else 255}
        packed = np.frombuffer(cloud.data, np.uint32).reshape(-1, cloud.point_step // 4)[:, 3]
        shown = np.stack([packed >> 16, packed >> 8 & 255, packed & 255], -1)
        np.testing.assert_array_equal(shown, colours[row, column])
        total += len(uv)
    assert total == rgb.width * rgb.height


def test_without_calibration_the_networks_intrinsics_are_used_and_reported(graph):
    robot = Robot(graph)
    robot.show(START)
    assert not robot.status[-1].calibrated


def test_both_kinds_of_subscriber_receive(graph):
    reliable = graph.listen(Image, 'depth/image', reliability=ReliabilityPolicy.RELIABLE)
    sensor = graph.listen(Image, 'mask/image', reliability=ReliabilityPolicy.BEST_EFFORT)
    robot = Robot(graph)
    robot.show(START)
    graph.until(lambda: reliable and sensor)


def test_nothing_is_computed_for_nobody(graph):
    robot = Robot(graph)
    robot.show(START)
    names = [
        name for name in robot.node.session.sink.publishers if robot.node.session.sink.wanted(name)
    ]
    assert set(names) == {'odom', '~/status'}


def test_malformed_images_are_counted_and_the_stream_goes_on(graph):
    robot = Robot(graph)
    good = START
    robot.show(good)
    broken = [robot.image(good + i + 1) for i in range(6)]
    broken[0].encoding = 'yuv444p10'
    broken[1].step = 3
    broken[2].data = broken[2].data[:100]
    broken[3].width = 0
    broken[4].height = 4_000_000_000
    broken[5].encoding = 'bgra8'
    for count, message in enumerate(broken, 1):
        robot.images.publish(message)
        graph.until(lambda n=count: robot.dropped('malformed') == n, what=f'drop {count}')
    robot.show(good + STEP)
    assert robot.status[-1].dropped == 6
    assert robot.status[-1].window_fill == 2


def test_equal_and_older_stamps_are_dropped(graph):
    robot = Robot(graph)
    for i in range(3):
        robot.show(START + i * STEP)
    robot.images.publish(robot.image(START + 2 * STEP))
    robot.images.publish(robot.image(START + STEP))
    graph.until(lambda: robot.dropped('late') == robot.dropped('duplicate') == 1)
    robot.show(START + 3 * STEP)
    assert robot.status[-1].window_fill == 3


def test_a_bag_that_loops_three_times(graph):
    transforms = graph.listen(TFMessage, '/tf')
    robot = Robot(graph)
    robot.mount()
    first = robot.node.session.intake.generation
    for loop in range(3):
        for i in range(20):
            robot.images.publish(robot.image(START + i * STEP + loop))
            time.sleep(0.02)
        robot.wait_for(START + 19 * STEP + loop)
        assert robot.node.session.intake.generation == first + loop
    stamps = [stamp_of(m.transforms[0]) for m in transforms]
    assert sum(b <= a for a, b in itertools.pairwise(stamps)) == 2
    assert not robot.node.session.health.error


def test_a_gap_of_ten_seconds_is_bridged(graph):
    transforms, odometry = graph.listen(TFMessage, '/tf'), graph.listen(Odometry, 'odom')
    robot = Robot(graph)
    robot.mount()
    stamps = [START + i * STEP for i in range(4)]
    stamps += [stamps[-1] + 10 * 10**9 + i * STEP for i in range(4)]
    for stamp in stamps:
        robot.show(stamp)
    graph.until(lambda: len(odometry) == 8)
    assert [stamp_of(m) for m in odometry] == stamps
    sent = [stamp_of(m.transforms[0]) for m in transforms]
    assert all(b > a for a, b in itertools.pairwise(sent))
    before, after = (m.pose.pose.position for m in odometry[3:5])
    assert abs(before.x - after.x) + abs(before.y - after.y) < 1e-6
    assert not robot.node.session.health.error


def test_the_trajectory_is_saved_for_evo(graph, tmp_path):
    odometry = graph.listen(Odometry, 'odom')
    robot = Robot(graph, path__folder=str(tmp_path))
    robot.mount()
    empty = graph.call(Trigger, 'page4d/save_trajectory', Trigger.Request())
    assert not empty.success
    assert 'no pose' in empty.message
    for i in range(3):
        robot.show(START + i * STEP)
    graph.until(lambda: len(odometry) == 3)
    saved = graph.call(Trigger, 'page4d/save_trajectory', Trigger.Request())
    assert saved.success, saved.message
    path = pathlib.Path(saved.message.partition(':')[0])
    assert path.name.startswith('page4d_')
    lines = path.read_text().splitlines()
    stamps = [START + i * STEP for i in range(3)]
    written = [f'{stamp // NS_PER_S}.{stamp % NS_PER_S:09d}' for stamp in stamps]
    assert [line.split()[0] for line in lines] == written


def test_resolution_may_change_in_mid_stream(graph):
    images = graph.listen(Image, 'depth/image')
    robot = Robot(graph)
    robot.show(START)
    robot.show(START + STEP, array=picture(5, 48, 96))
    robot.show(START + 2 * STEP, array=picture(6, 48, 96))
    assert [s.window_fill for s in robot.status] == [1, 1, 2]
    graph.until(lambda: len(images) == 3)
    assert images[-1].height == 56


def test_nan_in_camera_info_is_not_used(graph):
    robot = Robot(graph)
    bad = encode.camera_info(MAKE, encode.header(MAKE, 0, 'camera'), CAMERA)
    bad.k = np.full(9, np.nan)
    robot.infos.publish(bad)
    robot.show(START)
    assert not robot.status[-1].calibrated
    robot.calibrate()
    robot.show(START + STEP)
    assert robot.status[-1].calibrated


@pytest.mark.parametrize(('given', 'used'), [('', 'camera_optical_frame'), ('/camera', 'camera')])
def test_odd_frame_ids(graph, given, used):
    depth = graph.listen(Image, 'depth/image')
    robot = Robot(graph)
    robot.show(START, frame_id=given)
    graph.until(lambda: depth)
    assert depth[0].header.frame_id == used


def test_compressed_images(graph):
    import cv2

    robot = Robot(graph, input__transport='compressed', activate=False)
    publisher = graph.node.create_publisher(CompressedImage, 'image/compressed', 10)
    robot.node.trigger_configure()
    robot.node.trigger_activate()
    graph.until(lambda: publisher.get_subscription_count() > 0)
    graph.until(
        lambda: robot.node.session.sink.publishers['~/status'].get_subscription_count() > 0
    )
    _, jpeg = cv2.imencode('.jpg', picture(1))
    for stamp, data in ((START, jpeg), (START + 1, jpeg[:40]), (START + STEP, jpeg)):
        message = CompressedImage(format='jpeg', data=data.tobytes())
        message.header = encode.header(MAKE, stamp, 'camera')
        publisher.publish(message)
        time.sleep(0.1)
    robot.wait_for(START + STEP)
    assert robot.dropped('malformed') == 1


def test_reset_begins_a_new_map(graph):
    odometry = graph.listen(Odometry, 'odom')
    robot = Robot(graph)
    robot.mount()
    for i in range(3):
        robot.show(START + i * STEP)
    assert graph.call(Trigger, 'page4d/reset', Trigger.Request()).success
    robot.show(START + 3 * STEP)
    graph.until(lambda: len(odometry) == 4)
    last = odometry[-1].pose.pose
    assert abs(odometry[-2].pose.pose.position.x) > 1e-3
    at = (last.position.x, last.position.y, last.position.z, last.orientation.w)
    np.testing.assert_allclose(at, (0, 0, 0, 1), atol=1e-9)


def test_a_reset_voids_what_is_in_flight(graph):
    robot = Robot(graph, engine=truthful(delay=0.5))
    robot.images.publish(robot.image(START))
    graph.until(lambda: robot.engine.sets, what='the step to begin')
    graph.call(Trigger, 'page4d/reset', Trigger.Request())
    graph.until(lambda: robot.dropped('void') == 1)
    assert not robot.status
    robot.show(START + STEP)


def test_pause_and_resume(graph):
    robot = Robot(graph)
    robot.show(START)
    assert graph.call(SetBool, 'page4d/pause', SetBool.Request(data=True)).success
    graph.until(lambda: robot.all_status[-1].state == PerceptionStatus.PAUSED)
    robot.images.publish(robot.image(START + STEP))
    graph.until(lambda: robot.dropped('paused') == 1)
    graph.call(SetBool, 'page4d/pause', SetBool.Request(data=False))
    robot.show(START + 2 * STEP)


def test_stale_frames_are_never_worked_on(graph):
    robot = Robot(graph, engine=truthful(delay=0.3))
    for i in range(20):
        robot.images.publish(robot.image(START + i * STEP))
        time.sleep(0.02)
    robot.wait_for(START + 19 * STEP)
    assert robot.engine.steps < 6
    assert robot.dropped('stale') == 20 - robot.engine.steps


def test_a_failing_engine_is_reported_and_survived(graph):
    robot = Robot(graph)
    working = robot.engine.step
    robot.engine.step = lambda *_args, **_kwargs: 1 / 0
    robot.images.publish(robot.image(START))
    graph.until(lambda: robot.dropped('failed') == 1)
    graph.until(lambda: 'ZeroDivisionError' in robot.node.session.health.error)
    robot.engine.step = working
    robot.show(START + STEP)
    assert not robot.node.session.health.error


def test_clouds_are_sent_as_bytes_also_where_sensor_msgs_py_is_installed(graph, monkeypatch):
    """Its create_cloud makes a message of rclpy, whose copies `ros.wire` avoids."""
    library = ModuleType('sensor_msgs_py.point_cloud2')
    library.create_cloud = lambda *_: pytest.fail('the slow way was taken')
    monkeypatch.setitem(sys.modules, 'sensor_msgs_py', ModuleType('sensor_msgs_py'))
    monkeypatch.setitem(sys.modules, library.__name__, library)
    optional.cache_clear()
    got, sent = listen_to_all(graph), []
    robot = Robot(graph)
    publisher = robot.node.session.sink.publishers['points/static']
    publish = publisher.publish
    monkeypatch.setattr(publisher, 'publish', lambda m: sent.append(m) or publish(m))
    robot.calibrate()
    robot.show(START)
    graph.until(lambda: got['points/static'], what='the cloud')
    assert [type(message) for message in sent] == [bytes]
    optional.cache_clear()
