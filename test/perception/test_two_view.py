"""Start of a map from two views."""

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from page4d_ros.geometry.poses import rotation_angle, transform
from page4d_ros.perception.local_map import LocalMap
from page4d_ros.perception.two_view import SHARED, compete, pair, rotation_between

SIGMA = 5e-4
COUNT = 120
PARALLAX = 0.006
NOTHING = np.zeros((6, 6))
IDS = np.arange(COUNT)


def scene(motion, depth_error=0.0):
    """A map of one keyframe, and the rays of the same points after a motion."""
    rng = np.random.default_rng(0)
    xy, w = rng.uniform(-0.5, 0.5, (COUNT, 2)), 1 / rng.uniform(2.0, 6.0, COUNT)
    X = np.column_stack([xy, np.ones(COUNT)]) / w[:, None]
    X = X @ motion[:3, :3].T + motion[:3, 3]
    map_, said = LocalMap(), w * np.exp(depth_error * rng.normal(size=COUNT))
    map_.add(np.eye(4), IDS, xy + rng.normal(0, SIGMA, xy.shape), said, 0.1 * said, NOTHING)
    return map_, X[:, :2] / X[:, 2:] + rng.normal(0, SIGMA, xy.shape), w


def turn(*rotvec):
    return Rotation.from_rotvec(rotvec).as_matrix()


SIDEWAYS = transform(turn(0.02, -0.03, 0.01), (0.3, 0.05, 0.1))


def test_a_pair_needs_parallax_that_no_rotation_explains():
    for motion in (np.eye(4), transform(turn(0.05, -0.2, 0.1), np.zeros(3))):
        map_, rays, _ = scene(motion)
        assert pair(map_, IDS, rays, PARALLAX) is None
    map_, rays, _ = scene(SIDEWAYS)
    assert pair(map_, IDS, rays, PARALLAX) == 0
    assert pair(map_, IDS[: SHARED - 1], rays[: SHARED - 1], PARALLAX) is None
    assert pair(map_, IDS, rays, 0.5) is None


def test_the_oldest_keyframe_with_parallax_is_taken():
    map_, rays, w = scene(SIDEWAYS)
    map_.add(np.eye(4), IDS, map_.seen[0], w, w, NOTHING)
    assert pair(map_, IDS, rays, PARALLAX) == 0
    map_.seen[0, SHARED // 2 :] = np.nan
    assert pair(map_, IDS, rays, PARALLAX) == 1


def test_two_views_win_against_a_wrong_map():
    map_, rays, w = scene(SIDEWAYS, depth_error=0.8)
    wrong = transform(turn(0.3, 0.2, 0), (-0.5, 0, 0.3))
    map_.points.deviation[:] = 0.01 * map_.points.prior
    start = compete(map_, wrong, 0, IDS, rays, SIGMA)
    assert start.map is not map_
    T = start.T_camera_world
    assert rotation_angle(T[:3, :3].T @ SIDEWAYS[:3, :3]) < 3e-3
    direction, true = (each[:3, 3] / np.linalg.norm(each[:3, 3]) for each in (T, SIDEWAYS))
    assert direction @ true > 0.999
    ratio = start.map.points.xyw[:, 2] / w[start.map.ids]
    assert np.std(np.log(ratio)) < 0.1
    assert np.median(ratio) == pytest.approx(np.median(map_.points.prior / w), 0.2)


def test_a_new_start_keeps_the_keyframes_that_see_its_points():
    map_, rays, w = scene(SIDEWAYS, depth_error=0.8)
    half = transform(turn(0.01, -0.015, 0.005), (0.15, 0.02, 0.05))
    X = np.column_stack([map_.seen[0], np.ones(COUNT)]) / w[:, None] @ half[:3, :3].T + half[:3, 3]
    map_.add(np.eye(4), IDS, X[:, :2] / X[:, 2:], w, w, NOTHING)
    few = IDS[:5]
    map_.add(np.eye(4), few, rays[few], w[few], w[few], NOTHING)
    map_.points.deviation[:] = 0.01 * map_.points.prior
    start = compete(map_, transform(turn(0.3, 0.2, 0), (-0.5, 0, 0.3)), 0, IDS, rays, SIGMA)
    assert start.rows == [0, 1]
    assert start.fits > 0.95
    middle, newest = start.map.T_camera_world[1], start.T_camera_world
    assert rotation_angle(middle[:3, :3].T @ half[:3, :3]) < 3e-3
    share = np.linalg.norm(middle[:3, 3]) / np.linalg.norm(newest[:3, 3])
    true = np.linalg.norm(half[:3, 3]) / np.linalg.norm(SIDEWAYS[:3, 3])
    assert share == pytest.approx(true, 0.03)


def test_movers_of_nearly_half_the_tracks_do_not_spoil_a_start():
    map_, rays, _ = scene(SIDEWAYS, depth_error=0.8)
    count = round(0.45 * COUNT)
    rays[:count] += np.random.default_rng(2).uniform(-0.1, 0.1, (count, 2))
    start = compete(map_, np.eye(4), 0, IDS, rays, SIGMA)
    assert start.fits > 0.5
    assert rotation_angle(start.T_camera_world[:3, :3].T @ SIDEWAYS[:3, :3]) < 1e-2


def test_two_views_lose_against_a_right_map():
    map_, rays, w = scene(SIDEWAYS)
    start = compete(map_, SIDEWAYS, 0, IDS, rays, SIGMA)
    assert start.map is map_
    np.testing.assert_allclose(start.T_camera_world, SIDEWAYS, atol=5e-3)
    assert np.median(np.abs(np.log(map_.points.xyw[:, 2] / w))) < 0.05


def test_tracks_without_a_common_motion_start_nothing():
    map_, rays, _ = scene(SIDEWAYS)
    noise = np.random.default_rng(1).uniform(-0.5, 0.5, rays.shape)
    assert compete(map_, np.eye(4), 0, IDS, noise, SIGMA).map is map_


def test_the_same_views_give_the_same_start():
    poses = []
    for _ in range(2):
        map_, rays, _ = scene(SIDEWAYS, depth_error=0.8)
        poses.append(compete(map_, np.eye(4), 0, IDS, rays, SIGMA).T_camera_world)
    np.testing.assert_array_equal(*poses)


def test_a_rotation_is_found_among_outliers():
    rng = np.random.default_rng(2)
    a = rng.uniform(-0.5, 0.5, (COUNT, 2))
    R = turn(0.1, -0.2, 0.3)
    b = np.column_stack([a, np.ones(COUNT)]) @ R.T
    b = b[:, :2] / b[:, 2:]
    np.testing.assert_allclose(rotation_between(a, b), R, atol=1e-9)
    b[:30] += rng.normal(0, 0.1, (30, 2))
    assert rotation_angle(rotation_between(a, b).T @ R) < 0.01
    assert np.linalg.det(rotation_between(b, a)) == pytest.approx(1)
