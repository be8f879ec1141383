"""Cameras of a rig in one bundle: poses, the length of a metre, and mounts that are wrong."""

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from page4d_ros.config import Config
from page4d_ros.geometry.poses import inverse, rotation_angle, transform
from page4d_ros.perception.bundle import adjust
from page4d_ros.perception.late import stacked
from page4d_ros.perception.locating import FIND, locate
from page4d_ros.perception.mounts import Mounted, Mounts
from page4d_ros.perception.points import Points
from page4d_ros.perception.rig import Rig
from page4d_ros.perception.rig_observations import OfRig
from page4d_ros.units import NS_PER_S

SIGMA = 5e-4
LIMITS = (20.0, 20.0, 10.0, 10.0, 5.0, 5.0)
UNIT = 0.4  # units of the map per metre
STEPS, EACH = 8, 80


def side(degrees, x):
    """T_main_view of a camera in metres."""
    R = Rotation.from_euler('y', degrees, degrees=True).as_matrix()
    return transform(R, (x, 0.0, -0.1))


LEFT, RIGHT = side(-50, -0.3), side(50, 0.3)
T_VIEW_MAIN = np.array([np.eye(4), inverse(LEFT), inverse(RIGHT)])


class Drive:
    """Points that turn and pass by, in metres, as three cameras see them in another unit."""

    def __init__(self, seed=0):
        rng = np.random.default_rng(seed)
        turn = Rotation.from_rotvec(
            np.outer(np.arange(STEPS), (0.01, 0.06, 0.0)) + rng.normal(0, 0.01, (STEPS, 3))
        )
        shift = np.outer(np.arange(STEPS), (0.08, 0.0, 0.05))
        self.T = inverse(transform(turn.as_matrix(), shift))
        self.T[0] = np.eye(4)
        self.view = np.repeat(np.arange(3), EACH)
        depth = rng.uniform(1.5, 6.0, len(self.view))
        rays = np.column_stack([rng.uniform(-0.5, 0.5, (len(depth), 2)), np.ones(len(depth))])
        T_main_view = inverse(T_VIEW_MAIN)[self.view]
        X = (T_main_view[:, :3, :3] @ (rays * depth[:, None])[..., None])[..., 0]
        X = X + T_main_view[:, :3, 3]
        each = (T_VIEW_MAIN[:, None] @ self.T)[self.view][:, :, :3]  # (N, K, 3, 4)
        at = np.einsum('nkij,nj->kni', each[..., :3], X) + each[..., 3].swapaxes(0, 1)
        self.seen = at[..., :2] / at[..., 2:] + rng.normal(0, SIGMA, (*at.shape[:2], 2))
        self.inverse_depth = 1 / (UNIT * depth)

    def points(self, mounts):
        T = inverse(mounts.T_view_main)[self.view]
        w = self.inverse_depth * np.exp(np.random.default_rng(1).normal(0, 0.2, len(self.view)))
        xyw = np.column_stack([self.seen[0], w])
        return Points(xyw, T[:, :3, :3], T[:, :3, 3], w, 0.7 * w)

    def adjust(self, mounts):
        T = self.T.copy()
        T[:, :3, 3] *= UNIT
        T[1:] = transform(Rotation.from_rotvec((0.0, 0.02, 0.0)).as_matrix(), (0, 0, 0.02)) @ T[1:]
        points, steps = self.points(mounts), [None] * STEPS
        rig = OfRig(
            mounts,
            self.view,
            np.zeros((STEPS, 0, len(self.view), 2)),
            stacked([mounts.late] * STEPS),
        )
        found = adjust(T, 1, points, self.seen, SIGMA, LIMITS, steps, rig=rig)
        mounts.adjusted(found.mounts)
        again = adjust(
            found.T_camera_world, 1, points._replace(xyw=found.xyw), self.seen, SIGMA, LIMITS,
            steps, rig=rig,
        )  # fmt: skip
        mounts.adjusted(again.mounts)
        return again

    def length(self, found):
        """Units of the map per metre, by the way."""
        ours, true = (
            np.linalg.norm(inverse(T[-1])[:3, 3]) for T in (found.T_camera_world, self.T)
        )
        return ours / true


def mounts(wrong=None, unit=2 * UNIT):
    out = Mounts(3)
    for view in (1, 2):
        out.know(view, (wrong or {}).get(view, np.eye(4)) @ T_VIEW_MAIN[view])
    out.measure(unit)
    out.doubt = 1.0
    return out


def misfit(estimated):
    """Finding of a rig after a second and a half."""
    rig = Rig(Config().with_values({'cameras': ['front', 'left', 'right']}))
    rig.follow(estimated)
    for i in range(16):
        rig.check(i * NS_PER_S // 10, None)
    return rig.misfit


def test_turns_of_a_rig_tell_the_length_of_a_metre():
    drive, known = Drive(), mounts()
    found = drive.adjust(known)
    assert known.unit == pytest.approx(drive.length(found), rel=0.02)
    assert known.doubt < 0.35
    assert (
        rotation_angle(found.T_camera_world[:, :3, :3] @ drive.T[:, :3, :3].swapaxes(1, 2)) < 2e-3
    ).all()
    assert misfit(known) is None


def test_a_rig_that_does_not_move_says_that_it_does_not_know():
    drive, known = Drive(), mounts()
    drive.seen[1:] = drive.seen[0]
    drive.T[1:] = drive.T[0]
    drive.adjust(known)
    assert known.doubt > 0.5


@pytest.mark.parametrize(
    ('degrees', 'metres', 'said'),
    [(20, 0.0, 'off by 20 degrees'), (0, 0.3, '0.29 m')],
    ids=['turned', 'moved'],
)
def test_a_wrong_mount_is_found_and_named(degrees, metres, said):
    R = Rotation.from_euler('x', degrees, degrees=True).as_matrix()
    known = mounts({1: transform(R, (0.0, metres, 0.0))}, unit=UNIT)
    known.doubt = 0.02
    Drive().adjust(known)
    found = misfit(known)
    assert 'left' in found.cameras
    assert said in str(found)


def test_a_camera_is_located_by_what_the_others_see():
    """Points of the side cameras alone say where the main one is."""
    drive, known = Drive(), mounts(unit=UNIT)
    points, of = drive.points(known), drive.view > 0
    points.xyw[:, 2] = drive.inverse_depth
    mounted = Mounted(known.T_view_main, drive.view[of], known.late.sigma)
    found = locate(np.eye(4), points[of], drive.seen[3, of], SIGMA, FIND, mounted=mounted)
    true = drive.T[3].copy()
    true[:3, 3] *= UNIT
    np.testing.assert_allclose(found.T_camera_world, true, atol=3e-3)
