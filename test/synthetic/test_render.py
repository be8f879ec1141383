"""The ground truth of rendered frames agrees with itself, with geometry and with its names."""

from dataclasses import replace
from types import SimpleNamespace

import cv2
import numpy as np
import pytest

from page4d_ros.errors import SceneError
from page4d_ros.synthetic.movers import Person
from page4d_ros.synthetic.render import (
    FIRST_STAMP_NS,
    Renderer,
    T_base_camera,
    centred_camera,
    render_clip,
)


def relative_depth_error(a, b, T_b_a, pixels):
    """Depth of pixels (H, W) bool of frame a, moved into frame b, against b's depth.

    b is sampled where its inverse depth is locally linear, a plane's property, so that the
    comparison is exact between pixel centres and leaves edges out.
    """
    points = a.camera.unproject(a.depth)[pixels] @ T_b_a[:3, :3].T + T_b_a[:3, 3]
    points = points[points[:, 2] > 0.1]
    uv = b.camera.project(points)
    inside = (uv > 1).all(1) & (uv < (b.camera.width - 2, b.camera.height - 2)).all(1)
    points, uv = points[inside], uv[inside]
    inverse = 1 / b.depth.astype(np.float64)
    curved = np.abs(cv2.Laplacian(inverse, cv2.CV_64F)) * b.depth > 1e-4
    rough = cv2.dilate(curved.astype(np.uint8), np.ones((3, 3)))
    u, v = uv.T
    keep = rough[np.rint(v).astype(int), np.rint(u).astype(int)] == 0
    seen = bilinear(inverse, u[keep], v[keep])
    return np.abs(points[keep, 2] * seen - 1)


def bilinear(image, u, v):
    i, j = np.floor(v).astype(int), np.floor(u).astype(int)
    s, t = v - i, u - j
    top = image[i, j] * (1 - t) + image[i, j + 1] * t
    bottom = image[i + 1, j] * (1 - t) + image[i + 1, j + 1] * t
    return top * (1 - s) + bottom * s


def pose_between(a, b):
    return np.linalg.inv(b.T_world_camera) @ a.T_world_camera


@pytest.mark.parametrize('pair', [(0, 1), (0, 2), (1, 3)])
def test_static_pixels_reproject(frames, pair):
    a, b = (frames[i] for i in pair)
    error = relative_depth_error(a, b, pose_between(a, b), ~a.mask)
    assert len(error) > 20_000
    assert np.median(error) < 1e-4


def test_inverse_pose_does_not_reproject(frames):
    a, b = frames[0], frames[2]
    error = relative_depth_error(a, b, np.linalg.inv(pose_between(a, b)), ~a.mask)
    assert np.median(error) > 1e-2


def test_moving_pixels_do_not_reproject(frames):
    a, b = frames[0], frames[2]
    error = relative_depth_error(a, b, pose_between(a, b), a.mask)
    assert np.median(error) > 1e-2


def test_colour_of_static_pixels_reprojects(frames):
    a, b = frames[0], frames[1]
    T_b_a = pose_between(a, b)
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
    scene = SimpleNamespace(model=model, data=data, moving=np.array([True]), at=lambda _: T)
    camera = replace(centred_camera(320, 240), cx=150.25, cy=130.5)
    with Renderer(scene, camera) as ball:
        rows, columns = np.nonzero(ball.frame(0).mask)
    middle = columns.mean(), rows.mean()
    np.testing.assert_allclose(middle, camera.project(np.array(point, float)), atol=0.5)


def test_mask_covers_movers_and_spares_who_stands(scene, renderer):
    found = {'moving': 0, 'standing': 0}
    for t in np.arange(0, 4, 0.5):
        frame = renderer.frame(t)
        T = frame.T_world_camera
        points = frame.camera.unproject(frame.depth) @ T[:3, :3].T + T[:3, 3]
        actors = [*scene.drive.movers, *scene.drive.still]
        for index, actor in enumerate(actors):
            if not isinstance(actor, Person):
                continue
            spine = scene.data.mocap_pos[index]
            near = np.linalg.norm(points[..., :2] - spine[:2], axis=-1) < 0.25
            near &= (points[..., 2] > 0.7) & (points[..., 2] < 2.0)
            moving = index < len(scene.drive.movers)
            found['moving' if moving else 'standing'] += near.sum()
            assert (frame.mask[near] == moving).all()
    assert min(found.values()) > 500


def test_frames_are_well_formed(frames):
    for frame in frames:
        assert frame.rgb.shape == (240, 320, 3)
        assert frame.rgb.dtype == np.uint8
        assert frame.depth.shape == frame.mask.shape == (240, 320)
        assert frame.depth.dtype == np.float32
        assert frame.mask.dtype == bool
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
    T_world_base = frames[0].T_world_base
    np.testing.assert_allclose(T_world_base @ T_base_camera, frames[0].T_world_camera, atol=1e-12)
    assert abs(T_world_base[2, 3]) < 0.3
    assert T_world_base[2, 2] > 0.9


def test_same_seeds_give_the_same_bits(frames, renderer):
    first = next(render_clip(frames=1))
    for name in ('rgb', 'depth', 'mask', 'T_world_camera'):
        np.testing.assert_array_equal(getattr(first, name), getattr(frames[0], name))
    again = renderer.frame(0.0)
    np.testing.assert_array_equal(again.rgb, frames[0].rgb)


def test_no_picture_beyond_the_end_of_the_drive(renderer):
    with pytest.raises(SceneError, match='20 s'):
        renderer.frame(21.0)


def test_without_a_renderer_the_error_says_what_to_install(scene, monkeypatch):
    import mujoco

    def broken(width, height):
        raise ImportError('no EGL')

    monkeypatch.setattr(mujoco, 'GLContext', broken)
    with pytest.raises(SceneError, match='libegl1'):
        Renderer(scene, centred_camera(32, 24))
