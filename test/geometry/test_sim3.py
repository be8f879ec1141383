import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from page4d_ros.geometry import poses
from page4d_ros.geometry.sim3 import align


def cameras(n, rng):
    return poses.transform(
        Rotation.random(n, random_state=rng).as_matrix(), rng.normal(size=(n, 3))
    )


@pytest.mark.parametrize('n', [1, 2, 3, 7])
@pytest.mark.parametrize('scale', [0.3, 1.0, 3.0])
def test_exact_gauges_are_found(n, scale):
    rng = np.random.default_rng(n)
    T_b = cameras(n, rng)
    R, t = Rotation.random(random_state=rng).as_matrix(), rng.normal(size=3)
    T_a = poses.transform(R @ T_b[:, :3, :3], scale * T_b[:, :3, 3] @ R.T + t)
    found = align(T_a, T_b, scale)
    np.testing.assert_allclose(found.S_a_b.R, R, atol=1e-9)
    np.testing.assert_allclose(found.S_a_b.t, t, atol=1e-9)
    np.testing.assert_allclose(found.S_a_b.apply_to_pose(T_b), T_a, atol=1e-9)
    assert found.turns.max() < 1e-7
    assert found.shifts.max() < 1e-8


def test_wrong_cameras_are_outvoted():
    rng = np.random.default_rng(0)
    T_b = cameras(7, rng)
    R, t = Rotation.random(random_state=rng).as_matrix(), rng.normal(size=3)
    T_a = poses.transform(R @ T_b[:, :3, :3], 2.0 * T_b[:, :3, 3] @ R.T + t)
    T_a[:2] = cameras(2, rng)
    found = align(T_a, T_b, 2.0)
    assert poses.rotation_angle(found.S_a_b.R.T @ R) < 1e-3
    np.testing.assert_allclose(found.S_a_b.t, t, atol=1e-2)


def test_twist_integrates_back_to_the_motion():
    rng = np.random.default_rng(0)
    T_a = cameras(1, rng)[0]
    step = poses.transform(Rotation.from_rotvec([0.01, -0.02, 0.005]).as_matrix(), (0.1, 0.0, 0.2))
    velocity = poses.twist(T_a, T_a @ step, 0.1)
    np.testing.assert_allclose(velocity[3:] * 0.1, [0.01, -0.02, 0.005], atol=1e-9)
    np.testing.assert_allclose(velocity[:3] * 0.1, step[:3, :3].T @ step[:3, 3], atol=1e-9)


def test_quaternions_are_canonical_and_any_length_is_read():
    T = poses.from_quaternion((0, 0, -2.0, -2.0), (1, 2, 3))
    np.testing.assert_allclose(poses.quaternion(T), [0, 0, np.sqrt(0.5), np.sqrt(0.5)])
    np.testing.assert_allclose(poses.inverse(T) @ T, np.eye(4), atol=1e-12)
