"""Least squares over reprojection errors, on points and cameras that are known."""

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from page4d_ros.geometry.poses import adjoint, inverse, rotation_angle, transform
from page4d_ros.perception import bundle, observations
from page4d_ros.perception.bundle import adjust
from page4d_ros.perception.locating import locate
from page4d_ros.perception.observations import BEHIND
from page4d_ros.perception.points import Points, Step, turn_first

SIGMA = 5e-4  # 0.15 pixels at a focal length of 300
LIMITS = (20.0, 10.0, 5.0, 2.5, 2.5, 2.5)
COUNT = 120


def cameras(rng, count, turn=0.05, shift=0.15):
    R = Rotation.from_rotvec(rng.normal(0, turn, (count, 3))).as_matrix()
    T = transform(R, rng.normal(0, shift, (count, 3)))
    T[0] = np.eye(4)
    return T


def scene(seed, count=6, unit=1.0):
    """True poses, points with exact places in the first camera, and where each is seen."""
    rng = np.random.default_rng(seed)
    T = cameras(rng, count)
    T[:, :3, 3] *= unit
    xy, depth = rng.uniform(-0.5, 0.5, (COUNT, 2)), unit * rng.uniform(1.0, 5.0, COUNT)
    X = np.column_stack([xy, np.ones(COUNT)]) * depth[:, None]
    seen = X @ T[:, :3, :3].swapaxes(1, 2) + T[:, None, :3, 3]
    return rng, T, at(np.eye(4), xy, 1 / depth), seen[..., :2] / seen[..., 2:]


def at(T_world_ref, xy, w, deviation=1e3):
    count = len(w)
    R = np.tile(T_world_ref[:3, :3], (count, 1, 1))
    t = np.tile(T_world_ref[:3, 3], (count, 1))
    return Points(np.column_stack([xy, w]), R, t, w.copy(), np.full(count, deviation))


def disturbed(rng, T, turn=0.02, shift=0.05):
    R = Rotation.from_rotvec(rng.normal(0, turn, (len(T), 3))).as_matrix()
    shift = rng.normal(0, shift, (len(T), 3)) * np.linalg.norm(T[1, :3, 3])
    out = transform(R @ T[:, :3, :3], T[:, :3, 3] + shift)
    out[0] = T[0]
    return out


def off(T, true):
    """Largest errors of rotation and position."""
    turn = rotation_angle(T[..., :3, :3].swapaxes(-1, -2) @ true[..., :3, :3])
    return turn.max(), np.linalg.norm((T - true)[..., :3, 3], axis=-1).max()


def with_depths(points, w, deviation):
    xyw = points.xyw.copy()
    xyw[:, 2] = w
    return points._replace(xyw=xyw, prior=w.copy(), deviation=np.broadcast_to(deviation, w.shape))


@pytest.mark.parametrize('unit', [1.0, 7.0])
def test_without_noise_poses_and_places_are_exact(unit):
    """Two fixed cameras give the unit; depths begin a third off, with loose priors."""
    rng, T, points, seen = scene(0, unit=unit)
    start = disturbed(rng, T)
    start[1] = T[1]
    true = points.xyw[:, 2]
    wrong = with_depths(points, true * np.exp(rng.normal(0, 0.3, COUNT)), 1e3 / unit)
    found = adjust(start, 2, wrong, seen, SIGMA, LIMITS * 3, [None] * len(T))
    turn, shift = off(found.T_camera_world, T)
    assert turn < 1e-6
    assert shift < 1e-6 * unit
    np.testing.assert_allclose(found.xyw[:, 2], true, rtol=1e-5)
    assert found.error.max() < 0.01


def test_the_unit_is_that_of_the_priors():
    rng, T, points, seen = scene(1)
    larger = T.copy()
    larger[:, :3, 3] *= 7
    w = points.xyw[:, 2] / 7
    found = adjust(
        disturbed(rng, larger),
        1,
        with_depths(points, w, 0.15 * w),
        seen,
        SIGMA,
        LIMITS,
        [None] * 6,
    )
    assert off(found.T_camera_world, larger)[1] < 0.01


def test_bad_depths_movers_and_missing_corners_hardly_matter():
    rng, T, points, seen = scene(2)
    true = points.xyw[:, 2]
    w = true * np.exp(rng.normal(0, 0.04, COUNT))
    w[:30] *= rng.uniform(0.6, 1.6, 30)  # at edges, say
    seen += rng.normal(0, SIGMA, seen.shape)
    seen[1:, 30:50] += rng.uniform(0.013, 0.04, (5, 20, 2))  # what moves
    seen[1:3, 50:80] = np.nan
    first = disturbed(rng, T, shift=0.3)
    found = adjust(first, 1, with_depths(points, w, 0.1 * w), seen, SIGMA, LIMITS, [None] * 6)
    before, after = off(first, T), off(found.T_camera_world, T)
    assert before[0] > 0.01
    assert before[1] > 0.05
    assert after[0] < 0.003
    assert after[1] < 0.02
    assert np.isnan(found.error[1:3, 50:80]).all()
    assert (np.nanmax(found.error[:, 30:50], axis=0) > 4).all()
    assert np.nanmedian(found.error) < 2


def test_deviations_of_depths_tell_their_errors():
    rng, T, points, seen = scene(3)
    seen[1:] += rng.normal(0, SIGMA, seen[1:].shape)
    found = adjust(T, 5, points, seen, SIGMA, LIMITS, [None] * 6)
    normalised = (found.xyw[:, 2] - points.prior) / found.deviation
    assert 0.7 < np.median(np.abs(normalised)) / 0.6745 < 1.4


def test_a_camera_that_saw_something_else_does_not_fit():
    rng, T, points, seen = scene(4)
    other = rng.uniform(-0.5, 0.5, (COUNT, 2))
    good, bad = (locate(T[1], points, each, SIGMA, LIMITS) for each in (seen[1], other))
    assert (good.error < 4).all()
    assert (bad.error < 4).mean() < 0.1
    assert good.cost < bad.cost / 10


def test_a_camera_among_known_points_is_found_exactly():
    rng, T, points, seen = scene(5)
    start = disturbed(rng, T, turn=0.1, shift=0.5)[2]
    found = locate(start, points, seen[2], SIGMA, (60.0, 30.0, 15.0, 8.0, 5.0, 5.0))
    turn, shift = off(found.T_camera_world, T[2])
    assert turn < 1e-7
    assert shift < 1e-7
    assert found.cost < 1e-9


def test_information_tells_the_error_of_a_pose():
    rng, T, points, seen = scene(6)
    normalised = []
    for _ in range(100):
        noisy = seen[2] + rng.normal(0, SIGMA, seen[2].shape)
        found = locate(T[2], points, noisy, SIGMA, (30.0, 30.0, 30.0))
        D = found.T_camera_world @ inverse(T[2])
        error = np.concatenate([Rotation.from_matrix(D[:3, :3]).as_rotvec(), D[:3, 3]])
        normalised.append(error @ found.information @ error)
    assert np.mean(normalised) == pytest.approx(6, rel=0.25)


def test_derivatives_are_those_of_differences():
    _, T, points, _ = scene(7)
    points = at(T[3], points.xyw[:, :2], points.xyw[:, 2])
    seen = np.zeros((len(T), COUNT, 2))
    seen[1, ::3] = np.nan
    views = observations.Views(seen, 1, points)
    J_pose, J_point = views.project(T, points)[2:]
    for k in range(6):
        step = np.zeros((len(T), 6))
        step[:, k] = 1e-6
        ahead, behind = (views.project(bundle.moved(T, s), points)[0] for s in (step, -step))
        difference = ((ahead - behind) / 2e-6)[:, views.free]
        np.testing.assert_allclose(J_pose[k], difference, atol=1e-6)
    for k in range(3):
        ahead, behind = points.xyw.copy(), points.xyw.copy()
        ahead[:, k] += 1e-6
        behind[:, k] -= 1e-6
        ahead, behind = (views.project(T, points._replace(xyw=p))[0] for p in (ahead, behind))
        np.testing.assert_allclose(J_point[k], (ahead - behind) / 2e-6, atol=1e-6)


def test_a_root_of_an_inverse():
    rng = np.random.default_rng(1)
    root = rng.normal(size=(5, 3, 3))
    C = root @ root.swapaxes(1, 2) + 0.1 * np.eye(3)
    rows, columns = np.tril_indices(3)
    L = np.zeros((5, 3, 3))
    L[:, rows, columns] = bundle._root_of_inverse(C[:, rows, columns].T).T
    np.testing.assert_allclose(L.swapaxes(1, 2) @ L @ C, np.tile(np.eye(3), (5, 1, 1)), atol=1e-9)
    v = rng.normal(size=(3, 5))
    flat = L[:, rows, columns].T
    np.testing.assert_allclose(observations.lower(flat, v), np.einsum('nij,jn->in', L, v))
    np.testing.assert_allclose(bundle._upper(flat, v), np.einsum('nji,jn->in', L, v))


def test_an_adjoint_moves_a_small_motion_to_another_frame():
    T = cameras(np.random.default_rng(8), 2)[1]
    small = np.array([1e-6, -2e-6, 3e-6, 4e-6, 5e-6, -6e-6])
    moved = turn_first(adjoint(T)) @ small
    here, there = (bundle.moved(np.eye(4)[None], v[None])[0] for v in (small, moved))
    np.testing.assert_allclose(there, T @ here @ inverse(T), atol=1e-10)


def test_an_expected_motion_pulls_as_its_information_says():
    """Far points know nothing of the shift; it is what is expected, and turns are a mean."""
    far = with_depths(scene(9)[2], np.zeros(COUNT), 1.0)
    seen = far.xyw[:, :2]
    expected = transform(Rotation.from_rotvec((0, 2e-5, 0)).as_matrix(), (0.1, 0.2, 0.3))
    found = locate(np.eye(4), far, seen, SIGMA, LIMITS, (np.eye(4), Step(expected, 1e-4, 0.1)))
    np.testing.assert_allclose(found.T_camera_world[:3, 3], (0.1, 0.2, 0.3), atol=1e-4)
    free = locate(np.eye(4), far, seen, SIGMA, LIMITS).information[1, 1]
    turn = Rotation.from_matrix(found.T_camera_world[:3, :3]).as_rotvec()[1]
    assert turn == pytest.approx(2e-5 * 1e8 / (1e8 + free), rel=0.02)
    both = adjust(
        np.stack([np.eye(4)] * 2),
        1,
        far,
        np.stack([seen] * 2),
        SIGMA,
        LIMITS,
        [None, Step(expected, 1e-4, 0.1)],
    )
    np.testing.assert_allclose(both.T_camera_world[1], found.T_camera_world, atol=1e-4)


def test_a_wrong_expectation_gives_way():
    rng, T, points, seen = scene(10)
    wrong = T[1] @ transform(Rotation.from_rotvec((0.3, 0, 0)).as_matrix(), (1.0, 0, 0))
    step = Step(wrong, 0.01, 0.02)
    assert step.excludes(T[1], np.eye(4))
    assert not Step(T[1], 0.01, 0.02).excludes(T[1], np.eye(4))
    found = locate(T[1], points, seen[1], SIGMA, LIMITS, (np.eye(4), step))
    assert off(found.T_camera_world, T[1])[0] < 1e-4
    steps = [None, step, *[None] * 4]
    start = disturbed(rng, T)
    w = points.xyw[:, 2]
    found = adjust(start, 1, with_depths(points, w, 0.02 * w), seen, SIGMA, LIMITS, steps)
    turn, shift = off(found.T_camera_world, T)
    assert turn < 1e-3
    assert shift < 5e-3


def test_motion_is_expected_between_two_free_cameras_too():
    """A camera that sees nothing hangs on its neighbours by what is expected."""
    _, T, points, seen = scene(11)
    seen[3] = np.nan
    steps = [None, None, None, *(Step(T[k] @ inverse(T[k - 1]), 0.01, 0.02) for k in (3, 4)), None]
    start = T.copy()
    start[3] = T[3] @ transform(Rotation.from_rotvec((0.05, 0, 0)).as_matrix(), (0.05, 0, 0))
    w = points.xyw[:, 2]
    found = adjust(start, 1, with_depths(points, w, 0.01 * w), seen, SIGMA, LIMITS, steps)
    turn, shift = off(found.T_camera_world[3], T[3])
    assert turn < 1e-3
    assert shift < 2e-3


def test_fixed_cameras_stay():
    rng, T, points, seen = scene(12)
    start = disturbed(rng, T)
    found = adjust(start, 3, points, seen, SIGMA, LIMITS, [None] * 6)
    np.testing.assert_array_equal(found.T_camera_world[:3], start[:3])
    assert not np.allclose(found.T_camera_world[3:], start[3:], atol=1e-4)


def test_points_at_infinity_tell_the_turn():
    _, T, points, seen = scene(13)
    rays = np.column_stack([points.xyw[:, :2], np.ones(COUNT)]) @ T[:, :3, :3].swapaxes(1, 2)
    seen = rays[..., :2] / rays[..., 2:]
    near = with_depths(points, np.full(COUNT, 0.3), 0.3)
    found = adjust(T, 5, near, seen, SIGMA, LIMITS * 2, [None] * 6)
    assert np.median(found.xyw[:, 2]) < 0.01
    assert off(found.T_camera_world, T)[0] < 1e-3


def test_points_behind_a_camera_never_fit():
    _, T, points, seen = scene(14)
    behind = T[0] @ np.diag([-1.0, 1.0, -1.0, 1.0])
    found = locate(behind, points, seen[0], SIGMA, (1.0,))
    assert (found.error == BEHIND).all()
    assert np.isfinite(found.T_camera_world).all()
    both = adjust(np.stack([T[0], behind]), 1, points, seen[:2], SIGMA, (1.0,), [None, None])
    assert (both.error[1] == BEHIND).all()
    assert (points.inverse_depth(behind) < 0).all()


def test_poses_stay_rotations_over_many_predicted_steps():
    T = scene(15)[1]
    motion, pose = T[1] @ inverse(T[0]), T[1]
    for _ in range(200):
        predicted = motion @ pose
        moved = bundle.moved(predicted[None], np.full((1, 6), 1e-3))[0]
        motion, pose = moved @ inverse(pose), moved
    R = pose[:3, :3]
    np.testing.assert_allclose(R @ R.T, np.eye(3), atol=1e-12)
    assert np.linalg.det(R) == pytest.approx(1)


def test_covariances_tell_the_errors_of_poses():
    """Normalised by its covariance, an error has the variance 1 in each direction."""
    normalised = []
    for seed in range(30):
        rng, T, points, seen = scene(seed)
        seen[1:] += rng.normal(0, SIGMA, seen[1:].shape)
        start = disturbed(rng, T, 0.002, 0.01)
        start[1] = T[1]
        found = adjust(start, 2, points, seen, SIGMA, (100.0,) * 8, [None] * len(T))
        assert found.covariance.shape == (4, 6, 6)
        for ours, true, covariance in zip(
            found.T_camera_world[2:], T[2:], found.covariance, strict=True
        ):
            off_by = ours @ inverse(true)
            error = np.concatenate(
                [Rotation.from_matrix(off_by[:3, :3]).as_rotvec(), off_by[:3, 3]]
            )
            normalised.append(error @ np.linalg.solve(covariance, error) / 6)
    assert 0.7 < np.mean(normalised) < 1.5


def test_strict_weights_leave_nothing_to_many_movers():
    worse = []
    for strict in (False, True):
        rng, T, points, seen = scene(4)
        seen += rng.normal(0, SIGMA, seen.shape)
        along = np.linspace(0, 0.02, len(T))[1:, None, None]
        seen[1:, :45] += along * (1.0, 0.3)  # a body that moves evenly
        w = points.xyw[:, 2]
        loose = with_depths(points, np.full(COUNT, np.median(w)), 0.7 * w)
        start = disturbed(rng, T, 0.002, 0.01)
        found = adjust(
            start, 1, loose, seen, SIGMA, (20.0, 10.0, *LIMITS), [None] * 6, strict=strict
        )
        worse.append(off(found.T_camera_world, T)[0])
    assert worse[1] < worse[0]
