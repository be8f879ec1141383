import cv2
import numpy as np
from scipy.spatial.transform import Rotation

from page4d_ros.geometry.camera import ImageTransform, PinholeCamera
from page4d_ros.geometry.poses import rotation_angle, transform
from page4d_ros.perception.corners import MOST, WIDTH, Corners
from page4d_ros.perception.refinement import adjust
from page4d_ros.perception.types import FrameKey

CAMERA = PinholeCamera(320, 240, 277.0, 277.0, 159.5, 119.5)
CORNERS = 120


def scene(rng, cameras=4, noise=0.0):
    """Corners of a newest camera, and where earlier ones saw them."""
    corners = rng.uniform((0, 0), (319, 239), (CORNERS, 2))
    depth = rng.uniform(1.0, 5.0, CORNERS)
    rays = np.column_stack([(corners - (CAMERA.cx, CAMERA.cy)) / CAMERA.fx, np.ones(CORNERS)])
    R = Rotation.from_rotvec(rng.normal(0, 0.05, (cameras, 3))).as_matrix()
    T = transform(R, rng.normal(0, 0.15, (cameras, 3)))
    points = (rays * depth[:, None]) @ R.swapaxes(1, 2) + T[:, None, :3, 3]
    seen = CAMERA.project(points) + rng.normal(0, noise, (cameras, CORNERS, 2))
    return T, depth, corners, seen


def disturbed(rng, T, turn=0.01, shift=0.05):
    R = Rotation.from_rotvec(rng.normal(0, turn, (len(T), 3))).as_matrix()
    return transform(R @ T[:, :3, :3], T[:, :3, 3] + rng.normal(0, shift, (len(T), 3)))


def errors(T, true):
    turn = rotation_angle(T[:, :3, :3].swapaxes(1, 2) @ true[:, :3, :3])
    return turn.max(), np.linalg.norm(T[:, :3, 3] - true[:, :3, 3], axis=1).max()


def test_exact_corners_and_depths_give_exact_poses():
    rng = np.random.default_rng(0)
    T, depth, corners, seen = scene(rng)
    found = adjust(disturbed(rng, T), 1 / depth, corners, seen, CAMERA)
    turn, shift = errors(found.T_earlier_newest, T)
    assert found.fits.all()
    assert turn < 2e-4  # the first answer still pulls a little
    assert shift < 1e-3


def test_bad_depths_movers_and_missing_corners_hardly_matter():
    rng = np.random.default_rng(1)
    T, depth, corners, seen = scene(rng, noise=0.15)
    wrong = depth * np.exp(rng.normal(0, 0.04, CORNERS))
    wrong[:30] *= rng.uniform(0.6, 1.6, 30)  # at edges, say
    seen[:, 30:50] += rng.uniform(4, 12, (len(T), 20, 2))  # what moves
    seen[:2, 50:80] = np.nan
    first = disturbed(rng, T)
    before, after = (
        errors(first, T),
        errors(adjust(first, 1 / wrong, corners, seen, CAMERA).T_earlier_newest, T),
    )
    assert before[0] > 0.01
    assert before[1] > 0.05
    assert after[0] < 0.003
    assert after[1] < 0.02


def test_the_unit_is_that_of_the_depths():
    rng = np.random.default_rng(2)
    T, depth, corners, seen = scene(rng)
    larger = T.copy()
    larger[:, :3, 3] *= 7.0
    found = adjust(disturbed(rng, larger), 1 / (7.0 * depth), corners, seen, CAMERA)
    assert errors(found.T_earlier_newest, larger)[1] < 0.01


def test_a_camera_that_saw_something_else_does_not_fit():
    rng = np.random.default_rng(3)
    T, depth, corners, seen = scene(rng)
    seen[1] = rng.uniform((0, 0), (319, 239), (CORNERS, 2))
    seen[2, 10:] = np.nan
    assert adjust(T, 1 / depth, corners, seen, CAMERA).fits.tolist() == [True, False, False, True]


def textured(width=320, height=240):
    grains = np.random.default_rng(0).integers(0, 256, (height // 8 + 8, width // 8 + 8), np.uint8)
    return cv2.resize(grains, None, fx=8, fy=8, interpolation=cv2.INTER_CUBIC)


def view(texture, u, v, width=320, height=240):
    """A window of a texture whose first pixel is at (u, v)."""
    M = np.array([[1.0, 0.0, u], [0.0, 1.0, v]])
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    return np.repeat(cv2.warpAffine(texture, M, (width, height), flags=flags)[..., None], 3, 2)


def test_corners_follow_a_texture_to_a_fraction_of_a_pixel():
    corners, texture = Corners(), textured()
    for step in range(4):
        corners.follow(FrameKey(step, 0), view(texture, 10 + 2.5 * step, 8 + 1.25 * step))
    old = np.isfinite(corners.seen).all((0, 2))
    assert old.sum() > 100
    moved = np.diff(corners.seen[:, old], axis=0)
    np.testing.assert_allclose(np.median(moved, axis=1), [[-2.5, -1.25]] * 3, atol=0.02)
    assert np.percentile(np.abs(moved - (-2.5, -1.25)), 95) < 0.2


def test_lost_corners_are_replaced_and_gone_frames_forgotten():
    corners, texture = Corners(), textured(640)
    corners.follow(FrameKey(0, 0), view(texture, 0, 0))
    corners.follow(FrameKey(1, 0), view(texture, 2, 0))
    corners.drop(np.arange(corners.seen.shape[1]) > 40)
    corners.follow(FrameKey(2, 0), view(texture, 4, 0))
    assert 100 < corners.seen.shape[1] <= MOST
    assert np.isnan(corners.seen[0]).any()
    assert np.isfinite(corners.seen[-1]).all()
    corners.keep({FrameKey(1, 0)})
    assert [key.stamp_ns for key in corners.keys] == [1, 2]
    assert len(corners.seen) == 2


def test_images_of_another_size_begin_anew_and_large_ones_are_made_smaller():
    corners, texture = Corners(), textured(1280)
    corners.follow(FrameKey(0, 0), view(texture, 0, 0))
    corners.follow(FrameKey(1, 0), view(texture, 0, 0, width=1280))
    assert [key.stamp_ns for key in corners.keys] == [1]
    assert corners.fit.width == WIDTH
    fit = ImageTransform.crop(1280, 240, 154, 14)
    at, inside = corners.pixels(fit)
    assert inside.all()
    np.testing.assert_allclose(at[:, 0], corners.seen[-1, :, 0] * 154 / WIDTH, atol=1.0)
