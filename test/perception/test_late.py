"""Cameras of a rig whose images are taken a little after those of the main one."""

import numpy as np
import pytest
from images import CAMERA, RATE, handheld, room
from scipy.spatial.transform import Rotation

from page4d_ros.geometry.poses import between, inverse, rotation_angle, transform
from page4d_ros.perception.bundle import adjust
from page4d_ros.perception.late import FIRST, LEAST, Late, Pacing, noise, stacked
from page4d_ros.perception.locating import FIND, locate
from page4d_ros.perception.mounts import Mounted, Mounts
from page4d_ros.perception.points import Points
from page4d_ros.perception.rig_observations import OfRig
from page4d_ros.perception.sparse import SparseEstimator
from page4d_ros.perception.types import FrameKey
from page4d_ros.units import NS_PER_S

SIGMA = 5e-4
LIMITS = (10.0, 8.0, 8.0, 6.0, 6.0, 6.0)
STEP, LATE = 0.1, 0.03  # seconds
TURNS = (1, 0.5, 0.2), (2, -0.5, -0.2)  # view, yaw, and place to the right
STEPS, EACH = 9, 80
SIDE = inverse(transform(Rotation.from_euler('y', 0.8).as_matrix(), (0.3, 0.0, -0.1)))
KEY = FrameKey(0, 0)
FAST = transform(Rotation.from_rotvec((0.01, 0.05, 0.0)).as_matrix(), (0.02, 0.0, 0.05))


def pose(seconds):
    """T_camera_world of a camera in the hand: it turns, shakes and goes ahead."""
    turn = (0.05 * np.sin(4 * seconds), 0.5 * seconds + 0.04 * np.sin(5 * seconds), 0.0)
    shift = (0.6 * seconds, 0.02 * np.sin(6 * seconds), 0.4 * seconds + 0.02 * np.cos(4 * seconds))
    return inverse(transform(Rotation.from_rotvec(turn).as_matrix(), shift))


class Drive:
    """Points as a main camera and a late one beside it see them; all in metres."""

    def __init__(self, late=LATE, seed=0):
        rng = np.random.default_rng(seed)
        self.T = np.array([pose(STEP * k) for k in range(STEPS)])
        self.T_late = np.array([pose(STEP * k + late) for k in range(STEPS)])
        self.view = np.repeat(np.arange(2), EACH)
        first = np.array([self.T[0], SIDE @ self.T_late[0]])[self.view]
        depth = rng.uniform(2.0, 6.0, len(self.view))
        rays = np.column_stack([rng.uniform(-0.5, 0.5, (len(depth), 2)), np.ones(len(depth))])
        self.ref = inverse(first)
        X = (self.ref[:, :3, :3] @ (rays * depth[:, None])[..., None])[..., 0] + self.ref[:, :3, 3]
        each = np.array([self.T, SIDE @ self.T_late])[self.view][:, :, :3]
        at = np.einsum('nkij,nj->kni', each[..., :3], X) + each[..., 3].swapaxes(0, 1)
        self.seen = at[..., :2] / at[..., 2:] + rng.normal(0, SIGMA, (STEPS, len(depth), 2))
        self.mounts = Mounts(2)
        self.mounts.know(1, SIDE)
        self.mounts.measure(1.0)
        self.points = Points(
            np.column_stack([self.seen[0], 1 / depth]), self.ref[:, :3, :3], self.ref[:, :3, 3],
            1 / depth, 0.3 / depth,
        )  # fmt: skip

    def late(self, *, enclosed=False, seconds=LATE):
        """What constant velocity says, by true poses so far; the first motion is known."""
        pacing, first = Pacing(2), Late.none(2)
        pacing.after = {0: 0.0, 1: seconds}
        first.T_then_now[1] = first.expected[1] = true_motion(self, 0)
        out = [first]
        for k in range(1, STEPS):
            late = pacing.extended(self.T[k] @ inverse(self.T[k - 1]), STEP)
            if enclosed and k + 1 < STEPS:
                step = self.T[k + 1] @ inverse(self.T[k])
                pacing.go_on(KEY, np.eye(4), STEP)
                late = pacing.enclosed(late, step, STEP)
            out.append(late)
        return out

    def adjust(self, late):
        start = self.T.copy()
        start[1:] = transform(np.eye(3), (0.01, 0.0, 0.02)) @ start[1:]
        across = np.full((STEPS, 2, len(self.view), 2), np.nan)
        rig = OfRig(self.mounts, self.view, across, stacked(late))
        return adjust(
            start, 1, self.points, self.seen, SIGMA, LIMITS, [None] * STEPS, rig=rig
        )  # fmt: skip

    def error(self, found):
        """Largest error of a pose, in rad and in metres after a free scale."""
        ours, true = inverse(found.T_camera_world), inverse(self.T)
        turn = rotation_angle(ours[:, :3, :3].swapaxes(1, 2) @ true[:, :3, :3])
        a, b = (T[:, :3, 3] - T[0, :3, 3] for T in (ours, true))
        return turn.max(), np.linalg.norm((a * b).sum() / (a * a).sum() * a - b, axis=1).max()


def true_motion(drive, k):
    return drive.T_late[k] @ inverse(drive.T[k])


def test_a_motion_goes_on_as_it_was():
    pacing = Pacing(3)
    pacing.after = {0: 0.0, 1: 0.03, 2: -0.02}
    late = pacing.extended(FAST, STEP)
    np.testing.assert_allclose(late.T_then_now[0], np.eye(4))
    for view, share in ((1, 0.3), (2, -0.2)):
        expected = between(np.eye(4)[None], FAST[None], np.array([share]))[0]
        np.testing.assert_allclose(late.T_then_now[view], expected, atol=1e-12)
    assert late.sigma == pytest.approx([0, FIRST * 0.03 * 0.13 / 2, FIRST * 0.02 * 0.08 / 2])
    assert not Pacing(3).extended(FAST, STEP).sigma.any()


def test_the_last_velocity_counts_however_long_ago_it_was():
    pacing = Pacing(2)
    pacing.after = {1: LATE}
    unknown = pacing.foreseen(STEP)
    np.testing.assert_allclose(unknown.expected[1], np.eye(4))
    assert unknown.sigma[1] > 1.0 * LATE  # rad, of an unknown velocity
    pacing.go_on(KEY, FAST, STEP)
    soon, later = pacing.foreseen(0.005), pacing.foreseen(0.5)
    for late in (soon, later):
        np.testing.assert_allclose(late.expected[1], pacing.extended(FAST, STEP).expected[1])
    assert soon.sigma[1] < later.sigma[1] < unknown.sigma[1]


def test_images_within_5_ms_are_of_one_moment():
    pacing = Pacing(2)
    pacing.after = {0: 0.0, 1: 0.004}
    assert not pacing.extended(FAST, STEP).sigma.any()


def test_what_came_after_tells_more():
    drive = Drive()
    ahead, between_ = drive.late(), drive.late(enclosed=True)
    for k in range(1, STEPS - 1):
        true = true_motion(drive, k)
        off = [np.abs(each[k].expected[1] - true).max() for each in (ahead, between_)]
        assert off[1] < off[0]
        assert between_[k].sigma[1] < 0.6 * ahead[k].sigma[1]


def test_changes_of_velocity_are_measured():
    steady, shaken = Pacing(2), Pacing(2)
    for k in range(80):
        jerk = Rotation.from_rotvec((0.0, 0.03 * (-1) ** k, 0.0)).as_matrix()
        for pacing, step in ((steady, FAST), (shaken, transform(jerk, np.zeros(3)) @ FAST)):
            pacing.learn(step, STEP, 2.0)
            pacing.go_on(KEY, step, STEP)
    for pacing in (steady, shaken):
        pacing.after = {1: LATE}
    sigma = [pacing.extended(FAST, STEP).sigma[1] for pacing in (steady, shaken)]
    assert sigma[0] == pytest.approx(LEAST * LATE * 0.13 / 2, rel=0.02)
    assert sigma[1] > 10 * sigma[0]


def test_a_late_image_counts_no_more_than_its_motion_is_known():
    late = np.repeat([0.0, 3e-3], 50)
    deviation, shared = noise(late, 1e-3, np.repeat([0, 1], 50))
    information = 1 / (deviation**2 * shared)
    assert information[:50].sum() == pytest.approx(50 / 1e-3**2)
    assert information[50:].sum() == pytest.approx(1 / 3e-3**2, rel=0.01)


def test_late_images_make_poses_no_worse_and_tell_their_motion():
    drive, alone = Drive(), Drive()
    alone.seen[1:, alone.view == 1] = np.nan
    found = drive.adjust(drive.late())
    for ours, main in zip(
        drive.error(found), alone.error(alone.adjust(alone.late())), strict=True
    ):
        assert ours < 1.02 * main
    for k in range(1, STEPS):
        off = found.T_then_now[k, 1] @ inverse(true_motion(drive, k))
        assert rotation_angle(off[:3, :3]) < 1.5e-3
    still = drive.adjust([Late.none(2)] * STEPS)  # as if all were of one moment
    for ours, wrong in zip(drive.error(found), drive.error(still), strict=True):
        assert ours < wrong / 5


def test_late_images_go_on_alone():
    """From the fifth image on the main camera sees nothing."""
    drive = Drive()
    drive.seen[4:, drive.view == 0] = np.nan
    turn, shift = drive.error(drive.adjust(drive.late(enclosed=True)))
    assert turn < 3e-3
    assert shift < 5e-3


def test_a_camera_is_located_by_a_late_one():
    drive, k = Drive(), 5
    late, of = drive.late()[k], drive.view > 0
    mounted = Mounted(SIDE @ late.T_then_now, drive.view[of], late.sigma)
    points = drive.points[of]
    found = locate(drive.T[k - 1], points, drive.seen[k, of], SIGMA, FIND, mounted=mounted)
    off = found.T_camera_world @ inverse(drive.T[k])
    assert rotation_angle(off[:3, :3]) < 5e-3
    assert np.linalg.norm(off[:3, 3]) < 0.02


def rig_drive(steps, blank_from=None, *, alone=False):
    """Main camera at 10 Hz with a gap; one beside it is 30 ms late, another one 20 ms early."""
    sides = {v: transform(Rotation.from_euler('y', a).as_matrix(), (x, 0, 0)) for v, a, x in TURNS}
    after = {0: 0.0} if alone else {0: 0.0, 1: 0.03, 2: -0.02}
    sparse = SparseEstimator(count=3)
    for view, T in sides.items():
        sparse.mounts.know(view, inverse(T))
    ours, true = [], []
    for k in range(steps):
        seconds = 0.1 * k + (0.05 if k > 5 else 0.0)
        images = {
            v: room(handheld(RATE * (seconds + part)) @ sides.get(v, np.eye(4)))[0]
            for v, part in after.items()
        }
        if blank_from is not None and k >= blank_from:
            images[0] = np.full_like(images[0], 255)
        sparse.follow(images)
        key = FrameKey(round(seconds * NS_PER_S), 0)
        found = sparse.update(key, dict.fromkeys(images, CAMERA), {}, after)
        assert len(sparse.map.late) == len(sparse.map.T_camera_world)
        if not found.lost:
            ours.append(found.T_world_camera)
            true.append(handheld(RATE * seconds))
    ours, true = (inverse(T[0]) @ np.array(T) for T in (ours, true))
    turn = rotation_angle(ours[:, :3, :3].swapaxes(1, 2) @ true[:, :3, :3]).max()
    ours, true = ours[:, :3, 3], true[:, :3, 3]
    off = np.linalg.norm((ours * true).sum() / (ours * ours).sum() * ours - true, axis=1)
    return sparse, len(ours), off.max(), turn


def test_late_cameras_help_the_main_one():
    sparse, located, off, turn = rig_drive(20)
    assert located == 20
    *_, off_alone, turn_alone = rig_drive(20, alone=True)
    assert off < 0.9 * off_alone
    assert turn < 0.9 * turn_alone
    assert sparse._noise.sigma < 0.15  # pixels; of corners, not of motions
    late = sparse.map.late[-2]
    assert late.sigma[0] == 0
    assert 0 < late.sigma[1] < 0.01


def test_late_cameras_go_on_where_the_main_one_is_blank():
    _, located, off, turn = rig_drive(20, blank_from=12)
    assert located == 20
    assert off < 0.05
    assert turn < 0.02
    assert rig_drive(20, blank_from=12, alone=True)[1] == 12


def test_a_new_map_begins_without_the_late_cameras():
    sparse, *_ = rig_drive(6)
    sparse.interrupt()
    assert sparse.map.late == []
    sparse.follow({v: room(np.eye(4))[0] for v in range(3)})
    after = {0: 0.0, 1: 0.03, 2: -0.02}
    sparse.update(FrameKey(NS_PER_S, 0), dict.fromkeys(range(3), CAMERA), {}, after)
    assert set(sparse.map.view.tolist()) == {0}
