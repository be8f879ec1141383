"""Pose among known points without a good start."""

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from page4d_ros.geometry.poses import rotation_angle, transform
from page4d_ros.perception.locating import SAMPLED, best_pose, sampled
from page4d_ros.perception.points import Points

SIGMA = 5e-4
COUNT = 150
FAR_OFF = transform(Rotation.from_rotvec([0.1, -0.3, 0.2]).as_matrix(), (0.6, -0.2, 0.4))


def scene(movers=0.0, T=FAR_OFF):
    """Points, and their places in a camera; a share of them moved together meanwhile."""
    rng = np.random.default_rng(0)
    xy, w = rng.uniform(-0.5, 0.5, (COUNT, 2)), 1 / rng.uniform(2.0, 6.0, COUNT)
    X = np.column_stack([xy, np.ones(COUNT)]) / w[:, None]
    X[: round(movers * COUNT)] += (0.5, 0.1, 0.0)
    X = X @ T[:3, :3].T + T[:3, 3]
    seen = X[:, :2] / X[:, 2:] + rng.normal(0, SIGMA, (COUNT, 2))
    R = np.tile(np.eye(3), (COUNT, 1, 1))
    return Points(np.column_stack([xy, w]), R, np.zeros((COUNT, 3)), w, w), seen


@pytest.mark.parametrize('movers', [0.0, 0.35])
def test_the_pose_is_found_from_afar(movers):
    points, seen = scene(movers)
    found = best_pose([np.eye(4)], points, seen, SIGMA)
    assert rotation_angle(found.T_camera_world[:3, :3].T @ FAR_OFF[:3, :3]) < 2e-3
    np.testing.assert_allclose(found.T_camera_world[:3, 3], FAR_OFF[:3, 3], atol=5e-3)


def test_samples_find_the_larger_body_only():
    points, seen = scene(0.4)
    T = sampled(points, seen, SIGMA)
    assert rotation_angle(T[:3, :3].T @ FAR_OFF[:3, :3]) < 0.01


def test_few_points_give_no_sample():
    points, seen = scene()
    assert sampled(points[np.arange(SAMPLED - 1)], seen[: SAMPLED - 1], SIGMA) is None
    assert sampled(points[np.arange(0)], seen[:0], SIGMA) is None


def test_points_at_infinity_give_no_sample():
    points, seen = scene()
    points.xyw[:, 2] = 0
    assert sampled(points, seen, SIGMA) is None
