"""Covariance along a trajectory."""

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from page4d_ros.geometry.poses import inverse, rotation, transform
from page4d_ros.perception.drift import (
    ALIKE,
    CALM,
    PROVEN_S,
    SHIFT,
    SUDDEN,
    TURN,
    Course,
    Pace,
    carried,
    gathered,
    of_motion,
    rescaled,
)
from page4d_ros.perception.points import moved, turn_first
from page4d_ros.units import NS_PER_S

DEPTH = 4.0
FRAME = 0.1  # seconds
NOTHING = np.zeros((6, 6))


def motion(turn=0.0, shift=0.0):
    return transform(Rotation.from_euler('y', turn).as_matrix(), (shift, 0.0, 0.0))


def deviations(covariance):
    return np.sqrt([covariance[:3, :3].trace() / 3, covariance[3:, 3:].trace() / 3])


def along(course, first, count, step=None, covariance=NOTHING):
    """Go on by equal steps; returns T_camera_world and time of the last pose."""
    T = course._T
    for k in range(first, first + count):
        T = (motion() if step is None else step) @ T
        course.advance(round(k * FRAME * NS_PER_S), T, covariance)
    return T, round((first + count - 1) * FRAME * NS_PER_S)


def test_carried_errors_are_those_of_moved_poses():
    rng = np.random.default_rng(0)
    A = rng.normal(size=(6, 6))
    covariance, step = 1e-8 * A @ A.T, motion(0.7, 2.0)
    L = np.linalg.cholesky(covariance)
    found = []
    for _ in range(4000):
        T = step @ moved(np.eye(4)[None], (L @ rng.normal(size=6))[None])[0] @ inverse(step)
        found.append([*rotation(T[:3, :3]).as_rotvec(), *T[:3, 3]])
    ours = carried(covariance, step)
    assert np.abs(np.cov(np.array(found).T) - ours).max() < 0.08 * np.abs(ours).max()


def test_a_turn_moves_what_is_far_away():
    covariance = np.diag([1e-4] * 3 + [0.0] * 3)
    back = transform(np.eye(3), (0.0, 0.0, 10.0))
    assert np.sqrt(carried(covariance, back)[3, 3]) == pytest.approx(10 * 0.01)


def test_what_gathers_does_not_depend_on_the_number_of_steps():
    whole = gathered(motion(shift=2.0), DEPTH)
    parts = sum(gathered(motion(shift=0.1), DEPTH) for _ in range(20))
    np.testing.assert_allclose(parts, whole)
    assert np.sqrt(gathered(motion(shift=ALIKE * DEPTH), DEPTH)[3, 3]) == pytest.approx(
        np.sqrt(SHIFT) * SHIFT**0.5 * DEPTH
    )


def test_a_short_motion_is_wrong_by_a_share():
    turn, shift = deviations(of_motion(motion(shift=0.1), DEPTH))
    assert (turn, shift) == pytest.approx((0.0, 0.1 * SHIFT))
    assert deviations(of_motion(motion(turn=0.1), DEPTH))[0] == pytest.approx(0.1 * TURN)


def test_a_stack_of_motions_is_each_of_them():
    steps = np.array([motion(0.1, 0.2), motion(0.3, 0.1)])
    A = np.diag(np.arange(1.0, 7.0))
    np.testing.assert_allclose(carried(A, steps), [carried(A, step) for step in steps])
    np.testing.assert_allclose(gathered(steps, DEPTH), [gathered(step, DEPTH) for step in steps])


def test_units_and_order():
    covariance = np.diag([1.0, 2, 3, 4, 5, 6])
    np.testing.assert_allclose(rescaled(covariance, 10.0).diagonal(), [1, 2, 3, 400, 500, 600])
    np.testing.assert_allclose(turn_first(covariance).diagonal(), [4, 5, 6, 1, 2, 3])


def test_a_motion_that_nobody_saw_may_be_as_fast_as_the_fastest_lately():
    pace = Pace()
    calm = deviations(pace.unseen(2.0, DEPTH))
    np.testing.assert_allclose(calm, (2 * CALM[0], 2 * CALM[1] * DEPTH))
    pace.add(motion(0.1, 0.2), FRAME)
    pace.add(motion(), FRAME)
    fast = deviations(pace.unseen(2.0, DEPTH))
    assert fast == pytest.approx((2.0, 4.0), rel=0.05)
    assert not pace.exceeded(motion(0.2, 0.3), FRAME, DEPTH)
    assert pace.exceeded(motion(1.1 * SUDDEN * 0.1, 0.0), FRAME, DEPTH)
    for _ in range(300):
        pace.add(motion(), FRAME)
    np.testing.assert_allclose(deviations(pace.unseen(2.0, DEPTH)), calm)


def test_the_first_motion_may_be_any():
    assert not Pace().exceeded(motion(3.0, 100.0), FRAME, DEPTH)


def test_a_trajectory_begins_with_certainty():
    course = Course()
    course.begin(5, np.eye(4), None, DEPTH)
    assert not course.covariance.any()
    assert not course.doubt.any()


def test_a_gap_stays_in_the_covariance_and_what_follows_is_doubted_for_a_while():
    course = Course()
    course.begin(0, np.eye(4), None, DEPTH)
    T, last = along(course, 1, 10, motion(0.0, 0.05))
    course.begin(last + NS_PER_S, T, None, DEPTH)
    gap = deviations(course.covariance)
    assert gap == pytest.approx((CALM[0], 0.5), rel=0.1)  # 0.05 m in 0.1 s
    first = round((last / NS_PER_S + 1) / FRAME) + 1
    frames = round(PROVEN_S / FRAME)
    along(course, first, frames - 1, motion(0.0, 0.05), course.covariance)
    moved = 0.05 * (frames - 1)
    assert deviations(course.covariance + course.doubt)[1] > moved
    doubt = course.advance(
        round((first + frames) * FRAME * NS_PER_S), course._T, course.covariance
    )
    assert deviations(doubt)[1] > moved  # from now on that of all poses
    assert not course.doubt.any()
    np.testing.assert_allclose(deviations(course.covariance), np.hypot(gap, deviations(doubt)))


def test_a_second_gap_adds_to_the_first():
    course = Course()
    course.begin(0, np.eye(4), None, DEPTH)
    course.advance(NS_PER_S // 10, motion(0.0, 0.05), NOTHING)
    course.begin(NS_PER_S, motion(0.0, 0.05), None, DEPTH)
    course.advance(2 * NS_PER_S, motion(0.0, 0.5), course.covariance)
    before = course.covariance + course.doubt
    course.begin(3 * NS_PER_S, motion(0.0, 0.5), None, DEPTH)
    assert (course.covariance.diagonal() > before.diagonal()).all()


def test_a_recognised_place_ends_the_doubt():
    course = Course()
    course.begin(0, np.eye(4), None, DEPTH)
    course.advance(NS_PER_S, motion(0.0, 0.5), NOTHING)
    course.begin(2 * NS_PER_S, motion(0.0, 0.5), None, DEPTH)
    known = 1e-6 * np.eye(6)
    course.begin(3 * NS_PER_S, motion(), known, DEPTH)
    np.testing.assert_array_equal(course.covariance + course.doubt, known)


def test_a_clock_that_goes_back_adds_nothing():
    course = Course()
    course.begin(NS_PER_S, np.eye(4), None, DEPTH)
    course.begin(0, np.eye(4), None, DEPTH)
    assert not course.covariance.any()
