"""Corners that several cameras of a rig see at once, in a room whose every pixel is known."""

from functools import cache

import numpy as np
import pytest
from images import CAMERA, room
from scipy.spatial.transform import Rotation

from page4d_ros.config import Config
from page4d_ros.geometry.poses import inverse, transform
from page4d_ros.perception.rig import Rig
from page4d_ros.perception.sparse import SparseEstimator
from page4d_ros.perception.types import FrameKey
from page4d_ros.units import NS_PER_S

RATE = 10
COUNT = 24


def beside(degrees, x):
    """T_main_view of a camera in metres."""
    R = Rotation.from_euler('y', degrees, degrees=True).as_matrix()
    return transform(R, (x, 0.0, 0.0))


FRONT, OVERLAPPING, APART = (0, 0.0), ((-12, -0.25), (12, 0.25)), ((-80, -0.25), (80, 0.25))


def pose(k):
    """T_world_main (4, 4)."""
    s = k / RATE
    R = Rotation.from_euler('yx', [0.15 * np.sin(1.5 * s), 0.1 * np.sin(2 * s)]).as_matrix()
    return transform(R, (0.5 * np.sin(s), 0.15 * np.sin(2 * s), 0.2 * s))


@cache
def image(k, degrees, x):
    return room(pose(k) @ beside(degrees, x))[0]


class Drive:
    """Three cameras without a network.

    Args:
        sides: degrees and metres of the side cameras.
        wrong: (3,) metres by which tf is off for the last one, in its axes.
    """

    def __init__(self, sides, wrong=(0.0, 0.0, 0.0)):
        self.sparse = SparseEstimator(count=3)
        self.rig = Rig(Config().with_values({'cameras': ['front', 'left', 'right']}))
        left, right = (beside(*side) for side in sides)
        known = [left, right @ transform(np.eye(3), wrong)]
        for view, T_main_view in enumerate(known, 1):
            self.sparse.mounts.know(view, inverse(T_main_view))
        self.found, self.named = [], None
        for k in range(COUNT):
            self.sparse.follow(
                {view: image(k, *side) for view, side in enumerate([FRONT, *sides])}
            )
            key = FrameKey(k * NS_PER_S // RATE, 0)
            self.found.append(self.sparse.update(key, dict.fromkeys(range(3), CAMERA)))
            self.rig.follow(self.sparse.mounts)
            self.rig.check(key.stamp_ns, None)

    def metre(self):
        """Ratio of the metre by corners to that of the way."""
        ours = np.array([each.T_world_camera[:3, 3] for each in self.found])
        true = np.array([pose(k)[:3, 3] for k in range(COUNT)])
        ours, true = ours - ours.mean(0), true - true.mean(0)
        return self.sparse.mounts.unit / np.sqrt((ours**2).sum() / (true**2).sum())


def test_a_metre_is_known_by_what_two_cameras_see_at_once():
    drive = Drive(OVERLAPPING)
    assert drive.metre() == pytest.approx(1.0, abs=0.02)
    assert drive.sparse.mounts.doubt < 0.03
    assert np.isfinite(drive.sparse.map.across).any()
    assert drive.rig.misfit is None


def test_a_camera_moved_by_10_cm_is_named():
    misfit = Drive(OVERLAPPING, wrong=(0.0, 0.1, 0.0)).rig.misfit
    assert misfit.cameras == ('right',)
    assert misfit.distance == pytest.approx(0.1, abs=0.02)


def test_nothing_is_matched_without_overlap():
    drive = Drive(APART)
    assert not np.isfinite(drive.sparse.map.across).any()
    assert not any(each.lost for each in drive.found)
