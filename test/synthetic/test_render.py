"""The ground truth of rendered frames agrees with itself, with geometry and with its names."""

from dataclasses import replace
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
from reprojection import camera_motion, relative_depth_error

from page4d_ros.errors import FullRoomError, SceneError
from page4d_ros.synthetic.options import Rig, Traffic
from page4d_ros.synthetic.render import (
    FIRST_STAMP_NS,
    Renderer,
    T_base_camera,
    centred_camera,
    render_clip,
)


@pytest.mark.parametrize('pair', [(0, 1), (0, 2), (1, 3)])
def test_static_pixels_reproject(frames, pair):
    a, b = (frames[i] for i in pair)
    error = relative_depth_error(a, b, camera_motion(a, b), ~a.mask)
    assert len(error) > 20_000
    assert np.median(error) < 1e-4


def test_inverse_pose_does_not_reproject(frames):
    a, b = frames[0], frames[2]
    error = relative_depth_error(a, b, np.linalg.inv(camera_motion(a, b)), ~a.mask)
    assert np.median(error) > 1e-2


def test_moving_pixels_do_not_reproject(frames):
    a, b = frames[0], frames[2]
    error = relative_depth_error(a, b, camera_motion(a, b), a.mask)
    assert np.median(error) > 1e-2


def test_colour_of_static_pixels_reprojects(frames):
    a, b = frames[0], frames[1]
    T_b_a = camera_motion(a, b)
    points = a.camera.unproject(a.depth) @ T_b_a[:3, :3].T + T_b_a[:3, 3]
    uv = b.camera.project(points).astype(np.float32)
    warped = cv2.remap(b.rgb, uv[..., 0], uv[..., 1], cv2.INTER_LINEAR)
    inside = ((uv >= 0) & (uv <= (b.camera.width - 1, b.camera.height - 1))).all(-1)
    error = np.abs(warped.astype(float) - a.rgb).mean(-1)
    assert np.median(error[inside & ~a.mask]) < 4
    assert np.median(error[inside & a.mask]) > 8


def test_depth_is_z_and_not_the_length_of_the_ray(frames):
    # Pixels of the floor: the world height of every one is zero only if depth is z.
    frame = frames[0]
    points = frame.camera.unproject(frame.depth)
    T = frame.T_world_camera
    height = (points @ T[:3, :3].T + T[:3, 3])[..., 2]
    floor = np.abs(height) < 0.01
    assert floor.mean() > 0.05
    assert np.median(np.abs(height[floor])) < 1e-5
    rays = points / np.linalg.norm(points, axis=-1, keepdims=True) * frame.depth[..., None]
    wrong = (rays @ T[:3, :3].T + T[:3, 3])[..., 2]
    assert np.median(np.abs(wrong[floor])) > 1e-2


@pytest.mark.parametrize('point', [(0, 0, 1.5), (-0.6, 0.4, 1.5), (0.9, -0.5, 2.2)])
def test_intrinsics_project_a_known_point(renderer, point):
    # One small ball at a point of the optical frame, seen by a camera off its principal axis.
    import mujoco

    T = renderer.scene.at(1.0)
    x, y, z = T[:3, :3] @ point + T[:3, 3]
    model = mujoco.MjModel.from_xml_string(
        '<mujoco><statistic extent="1"/><visual><map znear="0.05" zfar="15"/></visual>'
        f'<worldbody><geom size="0.03" pos="{x} {y} {z}"/></worldbody></mujoco>'
    )
    data = mujoco.MjData(model)
    mujoco.mj_kinematics(model, data)
    scene = SimpleNamespace(model=model, data=data, at=lambda _: T)
    scene.bodies, scene.moving = np.array([1], np.uint8), np.array([False, True])
    scene.T_world_bodies = np.eye(4)[None]
    scene.room, scene.drive = renderer.scene.room, renderer.scene.drive
    camera = replace(centred_camera(320, 240), cx=150.25, cy=130.5)
    with Renderer(scene, camera) as ball:
        rows, columns = np.nonzero(ball.frame(0).mask)
    middle = columns.mean(), rows.mean()
    np.testing.assert_allclose(middle, camera.project(np.array(point, float)), atol=0.5)


def test_frames_are_well_formed(frames, scene):
    bodies = len(scene.drive.movers) + len(scene.drive.still)
    for frame in frames:
        assert frame.rgb.shape == (240, 320, 3)
        assert frame.rgb.dtype == np.uint8
        assert frame.depth.shape == frame.mask.shape == (240, 320)
        assert frame.depth.dtype == np.float32
        assert frame.mask.dtype == bool
        assert (frame.bodies.shape, frame.bodies.dtype) == ((240, 320), np.uint8)
        assert frame.T_world_bodies.shape == (bodies, 4, 4)
        assert np.isfinite(frame.depth).all()
        assert frame.T_world_camera.dtype == np.float64
    assert [frame.stamp_ns - FIRST_STAMP_NS for frame in frames] == [0, 4e8, 12e8, 3e9]


def test_pictures_are_neither_dark_nor_flat(frames):
    for frame in frames:
        grey = frame.rgb.mean(-1)
        assert 60 < grey.mean() < 190
        blocks = grey.reshape(15, 16, 20, 16).std((1, 3))
        assert np.median(blocks) > 4


def test_robot_stands_under_its_camera(frames):
    T_world_base = frames[0].T_world_camera @ np.linalg.inv(T_base_camera)
    np.testing.assert_allclose(T_world_base @ T_base_camera, frames[0].T_world_camera, atol=1e-12)
    assert abs(T_world_base[2, 3]) < 0.3
    assert T_world_base[2, 2] > 0.9


def test_same_seeds_give_the_same_bits(frames, renderer):
    first = next(render_clip(frames=1))
    for name in ('rgb', 'depth', 'mask', 'bodies', 'T_world_camera', 'T_world_bodies'):
        np.testing.assert_array_equal(getattr(first, name), getattr(frames[0], name))
    again = renderer.frame(0.0)
    np.testing.assert_array_equal(again.rgb, frames[0].rgb)


def test_no_picture_beyond_the_end_of_the_drive(renderer):
    with pytest.raises(SceneError, match='20 s'):
        renderer.frame(21.0)


@pytest.mark.parametrize(('frames', 'seconds', 'most'), [(302, 20.0, 301), (32, 2.0, 31)])
def test_a_clip_longer_than_its_drive_is_refused_at_once(frames, seconds, most):
    with pytest.raises(SceneError, match=f'drive of {seconds:g} s; at most {most} fit'):
        render_clip(frames=frames, seconds=seconds)


def test_a_full_room_says_what_fits_better(monkeypatch):
    monkeypatch.setattr('page4d_ros.synthetic.planner.Planner.ATTEMPTS', 0)
    with pytest.raises(FullRoomError, match='rig wheels and traffic many; take another seed'):
        render_clip(rig=Rig.WHEELS, traffic=Traffic.MANY)


def test_without_a_renderer_the_error_says_what_to_install(scene, monkeypatch):
    import mujoco

    def broken(width, height):
        raise ImportError('no EGL')

    monkeypatch.setattr(mujoco, 'GLContext', broken)
    with pytest.raises(SceneError, match='libegl1'):
        Renderer(scene, centred_camera(32, 24))
