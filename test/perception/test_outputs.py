from dataclasses import replace

import numpy as np
import pytest
from fakes import CAMERA, OracleEngine, PlainMessages, frame, frame_set, picture

from page4d_ros.config import Config, MaskConfig
from page4d_ros.geometry.camera import ImageTransform, PinholeCamera
from page4d_ros.geometry.poses import R_BODY_OPTICAL, from_quaternion, transform
from page4d_ros.messages import encode
from page4d_ros.messages.outputs import CLOUDS, Outputs, colormap
from page4d_ros.messages.topics import ON_REQUEST, OUTPUTS
from page4d_ros.perception.base_frame import FORWARD, BaseFrame
from page4d_ros.perception.clouds import POINT, cloud, organized
from page4d_ros.perception.dynamics import clean, threshold
from page4d_ros.perception.intake import Restart
from page4d_ros.perception.pipeline import Perception
from page4d_ros.perception.types import FrameSet, MovingBody
from page4d_ros.units import NS_PER_S

STAMP = 1_700_000_000 * NS_PER_S + 999_999_999
PLAIN = {'mask.source': 'head', 'mask.min_area': 0, 'mask.dilate': 0, 'depth.max_range': 0.0}


def estimate_of(image=None, camera=CAMERA, patch=(1, 2), **values):
    config = Config().with_values(PLAIN | {k.replace('__', '.'): v for k, v in values.items()})
    engine = OracleEngine(seed=None)
    engine.dynamic_patch = patch
    perception = Perception(config, engine)
    return perception.process(frame_set(STAMP, camera=camera, image=image)), config


def messages(estimate, config, wanted=lambda name: True):
    outputs = Outputs(config, PlainMessages(), BaseFrame(config.frames))
    return dict(outputs.messages(estimate, wanted))


@pytest.mark.parametrize('size', [(64, 48), (48, 64), (75, 48), (30, 90)])
def test_points_project_onto_the_pixels_they_came_from(size):
    width, height = size
    image = picture(1, width, height)
    camera = PinholeCamera(width, height, 55.0, 54.0, width / 2 - 1.3, height / 2 + 0.8)
    estimate, config = estimate_of(image, camera)
    fit = ImageTransform.crop(width, height, 56, 14)
    assert (estimate.camera.width, estimate.camera.height) == (fit.width, fit.height)
    seen = []
    for dynamic in (False, True):
        points = cloud(estimate, config.points, dynamic=dynamic)
        xyz = np.stack([points['x'], points['y'], points['z']], -1).astype(float)
        uv = estimate.camera.project(xyz)
        column, row = np.rint(uv).astype(int).T
        np.testing.assert_allclose(uv, np.stack([column, row], -1), atol=1e-3)
        assert ((estimate.mask[row, column] > 0) == dynamic).all()
        packed = points['rgb'].view(np.uint32)
        colour = np.stack([packed >> 16, packed >> 8 & 255, packed & 255], -1)
        shown = estimate.maps.rgb[row, column]
        np.testing.assert_array_equal(colour, shown)
        # and the same points seen by the camera itself, in its own pixels
        np.testing.assert_allclose(
            camera.project(xyz), fit.to_source(np.stack([column, row], -1)), atol=1e-3
        )
        seen.append(row * fit.width + column)
    assert len(np.unique(np.concatenate(seen))) == fit.width * fit.height


def test_invalid_depth_is_nowhere():
    estimate, config = estimate_of(depth__max_range=6.2)
    invalid = np.isnan(estimate.maps.depth)
    assert 0 < invalid.sum() < invalid.size
    count = sum(len(cloud(estimate, config.points, dynamic=d)) for d in (False, True))
    assert count == (~invalid).sum()
    everything, _ = estimate_of(depth__min_confidence=0.9)
    assert np.isnan(everything.maps.depth).all()


@pytest.mark.parametrize('stride', [1, 2])
def test_an_organised_cloud_has_the_rows_and_columns_of_the_image(stride):
    estimate, config = estimate_of(depth__max_range=6.2, points__stride=stride, patch=(1, 0))
    message = messages(estimate, config)['points/organized']
    height, width = estimate.maps.depth[::stride, ::stride].shape
    assert (message.height, message.width, message.is_dense) == (height, width, False)
    assert message.row_step == width * message.point_step == width * POINT.itemsize
    points = np.frombuffer(bytes(message.data), POINT).reshape(height, width)
    valid = np.isfinite(points['z'])
    np.testing.assert_array_equal(valid, np.isfinite(estimate.maps.depth[::stride, ::stride]))
    assert 0 < valid.sum() < valid.size
    np.testing.assert_array_equal(np.isnan(points['x']), ~valid)
    xyz = np.stack([points[axis] for axis in 'xyz'], -1)[valid].astype(float)
    pixels = np.argwhere(valid)[:, ::-1] * stride
    np.testing.assert_allclose(estimate.camera.project(xyz), pixels, atol=1e-3)
    moving = estimate.mask[::stride, ::stride] > 0
    assert (valid & moving).any()  # both parts, told apart by the probability
    assert points['probability'][valid & moving].min() > points['probability'][~moving].max()


def test_an_organised_cloud_keeps_to_the_limits_of_the_others():
    estimate, config = estimate_of(points__max_range=6.2, patch=None)
    level = BaseFrame(config.frames).T_level_camera
    points = organized(estimate.views[0], config.points, level)
    others = cloud(estimate, config.points, dynamic=False, T_level_camera=level)
    kept = points[np.isfinite(points['x'])]
    assert 0 < len(kept) < points.size
    np.testing.assert_array_equal(kept, others)


def test_a_colour_is_a_depth():
    near, far = np.float32([[0.5, 0.5]]), np.float32([[0.5, 15.0]])
    shown = colormap(near, 20.0), colormap(far, 20.0)
    np.testing.assert_array_equal(shown[0][0, 0], shown[1][0, 0])  # whatever else is seen
    red, _, blue = shown[1][0].T.astype(int)
    assert red[0] > blue[0]
    assert blue[1] > red[1]
    extremes = colormap(np.float32([[np.nan, 1e-9, 1e9]]), 0.0)
    assert not extremes[0, 0].any()
    assert extremes[0, 1:].any(-1).all()


def test_clouds_are_thinned_evenly():
    estimate, _ = estimate_of(patch=None)
    config = Config().with_values({'points.max_points': 100, 'points.stride': 2}).points
    points = cloud(estimate, config, dynamic=False)
    assert len(points) == 100
    assert points['y'].min() < 0 < points['y'].max()


def test_every_output_has_the_stamp_and_frame_of_its_image():
    estimate, config = estimate_of()
    out = messages(estimate, config)
    every = (*OUTPUTS, *ON_REQUEST)
    assert set(out) == {t.name for t in every if t.name != '~/status'} | {'/tf'}
    for name, message in out.items():
        head = message.header
        assert (head.stamp.sec, head.stamp.nanosec) == (1_700_000_000, 999_999_999), name
        expected = {'scan': 'base_link'} | dict.fromkeys(('odom', 'path', '/tf'), 'odom')
        expected = expected.get(name, 'camera')
        assert head.frame_id == expected, name
    sizes = {
        (out[f'{kind}/image'].width, out[f'{kind}/image'].height)
        for kind in ('depth', 'rgb', 'mask', 'confidence')
    }
    sizes |= {
        (out[f'{kind}/camera_info'].width, out[f'{kind}/camera_info'].height)
        for kind in ('depth', 'rgb', 'mask')
    }
    assert len(sizes) == 1
    assert out['depth/image'].encoding == '32FC1'
    assert out['rgb/image'].encoding == 'rgb8'
    assert out['mask/image'].encoding == 'mono8'
    assert set(np.unique(out['mask/image'].data)) == {0, 255}
    assert out['mask/probability'].encoding == '32FC1'
    assert out['mask/overlay'].encoding == 'rgb8'
    plain, tinted = (
        np.frombuffer(bytes(out[name].data), np.uint8).reshape(out[name].height, -1, 3)
        for name in ('rgb/image', 'mask/overlay')
    )
    moving = np.frombuffer(bytes(out['mask/image'].data), np.uint8).reshape(plain.shape[:2]) > 0
    np.testing.assert_array_equal((plain != tinted).any(-1), moving)
    assert out['points/static'].point_step == POINT.itemsize == 24


def test_only_what_is_wanted_is_made():
    estimate, config = estimate_of()
    out = messages(estimate, config, wanted=lambda name: name == 'mask/image')
    assert set(out) == {'odom', '/tf', 'mask/image'}


def test_a_scan_is_where_tf_puts_its_camera():
    config = Config().with_values(PLAIN | {'cameras': ('front', 'rear'), 'scan.min_height': -1.0})
    engine = OracleEngine(mounts=dict.fromkeys((0, 1), np.eye(4)))
    perception = Perception(config, engine)
    frames = tuple(frame(STAMP, frame_id=f'optical{view}', view=view) for view in (0, 1))
    estimate = perception.process(FrameSet(STAMP, frames))
    outputs = Outputs(config, PlainMessages(), BaseFrame(config.frames), perception.rig)
    out = dict(outputs.messages(estimate, lambda _name: True))
    assert 'front/scan' in out
    assert 'rear/scan' not in out  # tf does not say where it is
    backwards = transform(np.diag([-1.0, -1.0, 1.0]) @ R_BODY_OPTICAL, (-0.2, 0.0, 0.0))
    perception.rig.mount(1, backwards)
    out = dict(outputs.messages(estimate, lambda _name: True))
    for name, ahead in {'front/scan': 1, 'rear/scan': -1}.items():
        message = out[name]
        assert message.header.frame_id == 'base_link'
        angles = message.angle_min + message.angle_increment * np.arange(len(message.ranges))
        assert message.angle_max == pytest.approx(angles[-1])
        seen = angles[np.isfinite(message.ranges)]
        assert len(seen) > 10
        assert (ahead * np.cos(seen) > 0.7).all()
    config = config.with_values({'frames.base': ''})
    outputs = Outputs(config, PlainMessages(), BaseFrame(config.frames), perception.rig)
    assert not [name for name, _ in outputs.messages(estimate, bool) if 'scan' in name]


def test_sixteen_bit_depth_is_millimetres():
    estimate, config = estimate_of(depth__encoding='16UC1', depth__max_range=6.2)
    message = messages(estimate, config)['depth/image']
    assert message.encoding == '16UC1'
    depth = np.frombuffer(message.data, np.uint16).reshape(message.height, message.width)
    invalid = np.isnan(estimate.maps.depth)
    assert (depth[invalid] == 0).all()
    np.testing.assert_allclose(depth[~invalid], estimate.maps.depth[~invalid] * 1000, atol=0.51)


def test_camera_info_of_another_size_is_not_used():
    estimate, _ = estimate_of(image=picture(1, 80, 60), camera=CAMERA)
    assert not estimate.calibrated


@pytest.mark.parametrize('rate', [5, 10, 12, 15, 25, 30])
def test_clouds_keep_their_rate_on_average(rate):
    config = Config().with_values(PLAIN | {'points.rate': 10.0})
    perception = Perception(config, OracleEngine())
    outputs = Outputs(config, PlainMessages(), BaseFrame(config.frames))
    seconds, gap = 3, 100  # then a pause, which is not made up for
    stamps = [i * NS_PER_S // rate for i in range(seconds * rate)]
    stamps += [gap * NS_PER_S + stamp for stamp in stamps]
    sent = []
    for stamp in stamps:
        messages = outputs.messages(perception.process(frame_set(stamp)), CLOUDS.__contains__)
        sent += [stamp for name, _ in messages if name == 'points/static']
    assert len(sent) == 2 * seconds * min(rate, 10)


def test_a_body_starts_at_identity_and_moves_in_rep103_axes():
    frames = Config().frames
    body = BaseFrame(frames)
    body.mount(transform(R_BODY_OPTICAL, (0.2, 0.0, 1.2)))
    np.testing.assert_allclose(body.pose(np.eye(4)), np.eye(4), atol=1e-12)
    ahead = transform(np.eye(3), (0, 0, 1.0))  # one metre along the optical axis
    np.testing.assert_allclose(body.pose(ahead)[:3, 3], [1, 0, 0], atol=1e-12)
    right = transform(np.eye(3), (1.0, 0, 0))
    np.testing.assert_allclose(body.pose(right)[:3, 3], [0, -1, 0], atol=1e-12)
    assert body.child('camera') == 'base_link'
    np.testing.assert_allclose(body.up, [0, -1, 0], atol=1e-12)


def test_turning_on_the_spot_moves_the_camera_and_not_the_base():
    mount = transform(R_BODY_OPTICAL, (0.3, 0.0, 0.0))
    body = BaseFrame(Config().frames)
    body.mount(mount)
    rate = np.array([0, 0, 0, 0, 0, 0.5])
    # velocity of the camera that is carried around: v = w x r, in its own axes
    camera_linear = R_BODY_OPTICAL.T @ np.cross(rate[3:], mount[:3, 3])
    camera_angular = R_BODY_OPTICAL.T @ rate[3:]
    np.testing.assert_allclose(
        body.twist(np.concatenate([camera_linear, camera_angular])), rate, atol=1e-12
    )


def test_covariances_are_those_of_the_base_in_the_axes_of_odom():
    body = BaseFrame(Config().frames)
    mount = transform(R_BODY_OPTICAL, (2.0, 0.0, 0.0))  # two metres ahead of the base
    body.mount(mount)
    yaw = np.diag([0.0, 0, 0, 0, 1e-4, 0])  # of the camera: about its y axis, down
    turned = from_quaternion((0.0, 0.0, np.sqrt(0.5), np.sqrt(0.5)), (0.0, 0.0, 0.0))
    found = body.pose_covariance(yaw, turned)
    # the base is two metres from the camera, which looks along y of odom: it goes along x
    np.testing.assert_allclose(found.diagonal(), [4e-4, 0, 0, 0, 0, 1e-4], atol=1e-12)
    np.testing.assert_allclose(
        body.twist_covariance(yaw).diagonal(), [0, 4e-4, 0, 0, 0, 1e-4], atol=1e-12
    )


def test_a_mount_that_comes_late_makes_no_jump():
    body = BaseFrame(Config().frames)
    moved = transform(np.eye(3), (0.1, 0.2, 1.0))
    before = body.pose(moved)
    body.advance(moved)
    body.mount(transform(R_BODY_OPTICAL, (0.5, 0.1, 1.0)), moved)
    np.testing.assert_allclose(body.pose(moved), before, atol=1e-12)


def test_egocentric_tracks_the_camera_in_body_axes():
    body = BaseFrame(Config().with_values({'frames.base': ''}).frames)
    np.testing.assert_allclose(body.pose(np.eye(4)), FORWARD)
    ahead = body.pose(transform(np.eye(3), (0, 0, 2.0)))
    np.testing.assert_allclose(ahead[:3, 3], [2, 0, 0], atol=1e-12)
    assert body.child('camera') == 'camera'


def test_inverted_tf_has_odom_as_the_child():
    config = Config().with_values(PLAIN | {'frames.invert_tf': True})
    perception = Perception(config, OracleEngine())
    outputs = Outputs(config, PlainMessages(), BaseFrame(config.frames))
    for i in range(5):
        out = dict(outputs.messages(perception.process(frame_set(i * NS_PER_S // 5)), bool))
    assert out['/tf'].header.frame_id == 'base_link'
    assert out['/tf'].child_frame_id == 'odom'
    assert out['odom'].header.frame_id == 'odom'
    q, t = out['/tf'].transform.rotation, out['/tf'].transform.translation
    at, o = out['odom'].pose.pose.position, out['odom'].pose.pose.orientation
    T_base_odom = from_quaternion((q.x, q.y, q.z, q.w), (t.x, t.y, t.z))
    T_odom_base = from_quaternion((o.x, o.y, o.z, o.w), (at.x, at.y, at.z))
    np.testing.assert_allclose(T_base_odom @ T_odom_base, np.eye(4), atol=1e-9)
    assert np.linalg.norm(T_odom_base[:3, 3]) > 1e-3


def test_tf_never_goes_back_in_time():
    config = Config().with_values(PLAIN)
    perception = Perception(config, OracleEngine())
    outputs = Outputs(config, PlainMessages(), BaseFrame(config.frames))
    sent = [
        '/tf' in dict(outputs.messages(perception.process(frame_set(s)), bool))
        for s in (5, 9, 9, 7)
    ]
    assert sent == [True, True, False, False]
    outputs.restart(Restart.WINDOW)
    assert '/tf' in dict(outputs.messages(perception.process(frame_set(3)), bool))


def test_a_lost_frame_is_marked_as_rtabmap_expects():
    config = Config().with_values(PLAIN | {'odometry.publish_when_lost': True})
    engine = OracleEngine(pose=lambda _s: np.full((4, 4), np.nan))
    blank = np.full((48, 64, 3), 127, np.uint8)
    lost = Perception(config, engine).process(frame_set(1, image=blank))
    out = messages(lost, config)
    assert '/tf' not in out
    assert 'path' not in out
    assert out['odom'].pose.pose.orientation.w == 0
    assert out['odom'].pose.covariance[0] == 9999
    assert 'mask/image' in out
    assert 'odom' not in messages(lost, Config())


def test_a_still_frame_gives_only_its_pose():
    estimate, config = estimate_of()
    assert set(messages(replace(estimate, still=True), config)) == {'odom', '/tf', 'path'}


def test_without_known_intrinsics_there_are_no_points():
    estimate, config = estimate_of()
    blind = replace(estimate.views[0], camera=replace(estimate.camera, fx=float('nan')))
    unknown = replace(estimate, views=(blind,))
    out = messages(unknown, config)
    assert 'depth/image' in out
    assert not {'depth/camera_info', 'points/static', 'points/dynamic', 'scan'} & set(out)


def test_mask_threshold_specks_and_growth():
    probability = np.zeros((60, 80), np.float32)
    probability[10:30, 10:30] = 0.9
    probability[50, 70] = 0.9

    def masked(probability, called=None, **values):
        config = replace(MaskConfig(threshold=0.5), **values)
        return clean(threshold(probability, config, called), config)

    assert (masked(probability, dilate=0, min_area=10) > 0).sum() == 400
    grown = masked(probability, dilate=2, min_area=10)
    assert (grown > 0).sum() > 400
    assert grown[50, 70] == 0
    fading = 0.5 * probability
    assert not masked(fading, dilate=0).any()
    stays = masked(fading, probability > 0, dilate=0, min_area=0, hysteresis=0.1)
    assert (stays > 0).sum() == 401
    assert not masked(fading, probability > 0, hysteresis=0.01).any()
    otsu = masked(probability * 0.4, threshold=-1.0, dilate=0, min_area=0)
    assert (otsu > 0).sum() == 401


def test_bodies_are_in_the_odom_frame_and_only_where_asked_for():
    estimate, config = estimate_of()
    body = MovingBody(
        3, np.array([0.5, 0, 2]), np.array([0.2, 1, 0.4]), np.array([1.0, 0, 0]), 0.9, 1
    )
    estimate = replace(estimate, bodies=(body,))
    assert 'bodies' not in messages(estimate, config)
    config = config.with_values({'dynamics.clusters': True})
    message = messages(estimate, config)['bodies']
    assert message.header.frame_id == 'odom'
    (found,) = message.detections
    at, size = found.bbox.center.position, found.bbox.size
    # the first camera looks forward: its z is x of odom, and its x is -y
    assert (at.x, at.y, at.z) == pytest.approx((2, -0.5, 0))
    assert (size.x, size.y, size.z) == pytest.approx((0.4, 0.2, 1))
    assert found.id == '3'
    assert found.results[0].hypothesis.score == 0.9
    own = encode.moving_body(PlainMessages(), body, BaseFrame(config.frames).T_odom_world)
    assert (own.number, own.velocity.y) == (3, pytest.approx(-1))
