"""Keyframes, points, and what is forgotten."""

import numpy as np
import pytest

from page4d_ros.geometry.poses import inverse, transform
from page4d_ros.perception.local_map import FIXED, FREE, MOST_POINTS, STRIKES, LocalMap
from page4d_ros.perception.points import Step

SIGMA = 5e-4
LIMITS = (5.0, 2.5, 2.5)


class World:
    """Points on a wavy wall, seen by a camera that slides along x.

    Args:
        count: points, one to a track.
    """

    def __init__(self, count=60):
        rng = np.random.default_rng(0)
        self.X = rng.uniform((-2, -1, 3), (2, 1, 5), (count, 3))
        self.ids = np.arange(count)

    def pose(self, k):
        return transform(np.eye(3), (-0.05 * k, 0.0, 0.0))

    def rays(self, k, ids):
        X = self.X[ids] + self.pose(k)[:3, 3]
        return X[:, :2] / X[:, 2:]

    def add(self, map_, k, ids=None, error=0.0, step=None):
        ids = self.ids if ids is None else np.asarray(ids)
        w = np.exp(error) / self.X[ids, 2]
        map_.add(self.pose(k), ids, self.rays(k, ids), w, 0.2 * w, np.zeros((6, 6)), step)


def test_a_keyframe_gives_new_tracks_a_point():
    world, map_ = World(), LocalMap()
    assert map_.depth == 1
    world.add(map_, 0, [0, 1, 2, 5])
    step = Step(np.eye(4), 1.0, 1.0)
    world.add(map_, 1, [1, 5, 7], step=step)
    assert map_.ids.tolist() == [0, 1, 2, 5, 7]
    assert map_.steps == [None, step]
    assert np.isfinite(map_.seen[..., 0]).tolist() == [
        [True, True, True, True, False],
        [False, True, False, True, True],
    ]
    X, w = map_.points.homogeneous
    np.testing.assert_allclose(X / w[:, None], world.X[map_.ids], atol=1e-12)
    np.testing.assert_allclose(map_.points.t_world_ref[-1], inverse(world.pose(1))[:3, 3])
    np.testing.assert_allclose(map_.points.deviation, 0.2 * w)
    assert map_.depth == pytest.approx(np.median(world.X[map_.ids, 2]), rel=0.2)


def test_tracks_are_found_by_their_identity():
    world, map_ = World(), LocalMap()
    wanted = np.array([1, 2, 9])
    assert not map_.find(wanted)[1].any()
    world.add(map_, 0, [0, 2, 5])
    at, has = map_.find(wanted)
    assert has.tolist() == [False, True, False]
    assert at[1] == 1
    row = map_.row(wanted, np.arange(6.0).reshape(3, 2))
    np.testing.assert_array_equal(row, [[np.nan] * 2, [2, 3], [np.nan] * 2])


def test_old_keyframes_and_points_that_only_they_saw_are_forgotten():
    world, map_ = World(), LocalMap()
    world.add(map_, 0, [0, 1, 2])
    for k in range(1, FREE + FIXED):
        world.add(map_, k, [1, 2, 3 + k])
    assert map_.ids[0] == 0
    world.add(map_, FREE + FIXED, [2, 40])
    assert len(map_.T_camera_world) == len(map_.seen) == len(map_.steps) == FREE + FIXED
    assert map_.ids[:2].tolist() == [1, 2]
    np.testing.assert_array_equal(map_.T_camera_world[0], world.pose(1))
    for each in (*map_.points, map_.deviation, map_.strikes, map_.seen[0]):
        assert len(each) == len(map_.ids)


def test_points_that_disagree_often_are_dropped():
    world, map_ = World(), LocalMap()
    world.add(map_, 0, [0, 1, 2, 5])
    for _ in range(STRIKES - 1):
        assert not len(map_.strike(np.array([1, 3])))
    assert map_.strike(np.array([3])).tolist() == [5]
    assert map_.ids.tolist() == [0, 1, 2]
    assert map_.strikes.tolist() == [0, STRIKES - 1, 0]
    assert not len(map_.strike(np.array([], int)))


def test_priors_are_loosened_and_never_tightened():
    world, map_ = World(), LocalMap()
    world.add(map_, 0)
    prior = map_.points.prior.copy()
    map_.loosen(0.1)
    np.testing.assert_allclose(map_.points.deviation, 0.2 * prior)
    map_.loosen(0.7)
    np.testing.assert_allclose(map_.points.deviation, 0.7 * prior)
    np.testing.assert_array_equal(map_.points.prior, prior)


def test_new_tracks_begin_at_the_depth_of_their_neighbours():
    map_ = LocalMap()
    xy = np.array([[-0.4, 0], [-0.4, 0.1], [-0.5, 0], [0.4, 0], [0.4, 0.1], [0.5, 0]])
    w = np.repeat([0.2, 0.5], 3)
    ids = np.arange(6)
    map_.add(np.eye(4), ids, xy, w, w, np.zeros((6, 6)))
    asked = np.concatenate([xy, [[-0.45, 0.05], [0.45, 0.05]]])
    found = map_.nearby(np.eye(4), np.arange(8), asked, np.zeros(8, int))
    np.testing.assert_allclose(found[-2:], [0.2, 0.5])
    ahead = transform(np.eye(3), (0, 0, -1))  # a metre ahead: depths 4 and 1
    np.testing.assert_allclose(
        map_.nearby(ahead, np.arange(8), asked, np.zeros(8, int))[-2:], [1 / 4, 1.0]
    )
    new = map_.nearby(np.eye(4), np.array([100]), np.zeros((1, 2)), np.zeros(1, int))
    np.testing.assert_allclose(new, 1 / map_.depth)


def test_depths_are_found_by_parallax():
    world, map_ = World(), LocalMap()
    for k in range(4):
        world.add(map_, k, error=0.1 * np.sin(world.ids))
    spread = np.std(np.log(map_.points.xyw[:, 2] * world.X[:, 2]))
    before = map_.deviation.copy()
    found, columns = map_.adjust(SIGMA, LIMITS * 3)
    assert columns.tolist() == world.ids.tolist()
    ratio = np.log(map_.points.xyw[:, 2] * world.X[:, 2])
    assert np.std(ratio) < spread / 20
    assert (map_.deviation < before / 5).all()
    np.testing.assert_array_equal(found.T_camera_world, map_.T_camera_world)
    np.testing.assert_array_equal(map_.T_camera_world[0], world.pose(0))


def test_a_newest_camera_is_adjusted_but_not_kept():
    world, map_ = World(), LocalMap()
    for k in range(3):
        world.add(map_, k)
    wrong = world.pose(3).copy()
    wrong[0, 3] += 0.02
    row = map_.row(world.ids, world.rays(3, world.ids))
    found, _ = map_.adjust(SIGMA, LIMITS * 2, (wrong, row))
    np.testing.assert_allclose(found.T_camera_world[-1], world.pose(3), atol=1e-4)
    assert len(map_.T_camera_world) == len(map_.seen) == 3


def test_an_adjustment_has_a_limit_and_prefers_what_is_seen_now():
    world, map_ = World(MOST_POINTS + 100), LocalMap()
    for k in range(3):
        world.add(map_, k)
    now = world.ids[-50:]
    row = map_.row(now, world.rays(3, now))
    _, columns = map_.adjust(SIGMA, LIMITS, (world.pose(3), row))
    assert len(columns) == MOST_POINTS
    assert np.isin(now, map_.ids[columns]).all()
    assert (np.diff(columns) > 0).all()
