"""Corners and a network together, in a room whose every pixel is known."""

from dataclasses import replace
from functools import cache

import cv2
import numpy as np
import pytest
from images import BOARD, CAMERA, RATE, handheld, room
from scipy.spatial.transform import Rotation

from page4d_ros.datasets.simulator import EXACT, FrameTruth, Noise, SimulatedEngine
from page4d_ros.geometry.poses import inverse, rotation_angle, transform
from page4d_ros.perception.sparse import FEWEST, PATIENCE, SparseEstimator
from page4d_ros.perception.trust import TRUSTED
from page4d_ros.perception.types import Frame, FrameKey, FrameSet
from page4d_ros.perception.witness import Witness
from page4d_ros.units import NS_PER_S

RIGHT = Noise(position=0.005, rotation=0.002, depth=0.02)
WRONG = Noise(position=1.0, rotation=0.5, depth=0.7)
BLANK = np.full((CAMERA.height, CAMERA.width, 3), 255, np.uint8)
SHADE = np.linspace(180, 250, CAMERA.width).astype(np.uint8)
WALL = np.ascontiguousarray(np.broadcast_to(SHADE[:, None], BLANK.shape))  # shaded, no corner


def turning(k):
    return transform(Rotation.from_euler('yx', [0.01 * k, 0.002 * k]).as_matrix(), np.zeros(3))


@cache
def seen(pose, k, crossing):
    return room(pose(k), board(k) if crossing else None)


def board(k):
    """Middle of a board that falls through the view from the second half of the first second."""
    return np.array([-0.2, -2.0 + 0.05 * (k - 15), 3.5])


class Run:
    """A sparse estimator that follows a camera, and what it says.

    Args:
        pose: frame -> T_world_camera.
        noise: of the network; None without one.
        alone: takes nothing from it but the unit.
        crossing: True if a board crosses the view.
    """

    def __init__(self, pose=handheld, noise=RIGHT, *, alone=False, crossing=False):
        self.pose, self.crossing, self.noise = pose, crossing, noise
        self.engine = SimulatedEngine(self._truth, 8, noise=noise or EXACT, resolution=112)
        self.sparse = SparseEstimator(alone=alone)
        self.found, self.trust, self.struck = [], [], []

    def _truth(self, frame, fit, _patch):
        k = round(frame.stamp_ns * RATE / NS_PER_S)
        depth = fit.nearest(seen(self.pose, k, self.crossing)[1])
        return FrameTruth(self.pose(k), fit.camera_to_network(CAMERA), depth)

    def go(self, count, image=None):
        """Follow further frames; all show `image` if there is one."""
        for k in range(len(self.found), len(self.found) + count):
            shown = seen(self.pose, k, self.crossing)[0] if image is None else image
            frame = Frame(k * NS_PER_S // RATE, 'camera', lambda: None, CAMERA)
            witness = None
            if self.noise is not None:
                self.engine.push(FrameSet.of(frame), [shown])
                window = self.engine.step()
                witness = Witness.of(window, -1, 1 / self.engine.unit)
            self.sparse.follow({0: shown})
            ids, at = self.sparse.tracks.ids, self.sparse.tracks.source
            said = {} if witness is None else {0: witness}
            self.found.append(self.sparse.update(frame.key, {0: CAMERA}, said))
            self.trust.append(self.sparse.prior.trust.value)
            self.struck.append(at[~np.isin(ids, self.sparse.tracks.ids)])
        return self

    def errors(self, first=0):
        """Errors of all positions from a frame on, in metres, after one scale; and of turns."""
        ours = np.array([each.T_world_camera for each in self.found[first:]])
        true = np.array([self.pose(first + k) for k in range(len(ours))])
        ours, true = (inverse(T[0]) @ T for T in (ours, true))
        turn = rotation_angle(ours[:, :3, :3].swapaxes(1, 2) @ true[:, :3, :3])
        ours, true = ours[:, :3, 3], true[:, :3, 3]
        scale = (ours * true).sum() / max((ours * ours).sum(), 1e-12)
        return np.linalg.norm(scale * ours - true, axis=1), turn

    def ate(self, first=0):
        return np.sqrt((self.errors(first)[0] ** 2).mean())


def tied(found, before):
    """True if a pose after a gap is about as certain as the one before."""
    return found.covariance.trace() < 2 * before.covariance.trace()


def test_a_right_network_is_trusted_and_heeded():
    run, alone = Run().go(60), Run(alone=True).go(60)
    assert run.trust[RATE] > 0.9
    assert not any(each.lost for each in run.found)
    assert run.errors()[1].max() < 0.01
    assert run.ate() < 1.1 * alone.ate()


def test_units_are_those_of_the_networks_trajectory():
    run = Run(noise=EXACT).go(30)
    step = inverse(handheld(0)) @ handheld(29)
    length = np.linalg.norm(run.found[-1].T_world_camera[:3, 3])
    assert length == pytest.approx(np.linalg.norm(step[:3, 3]), rel=0.05)
    assert run.found[-1].unit * run.engine.unit == pytest.approx(1.0, rel=0.05)


def test_a_wrong_network_fades_within_a_second():
    run, alone = Run(noise=WRONG).go(90), Run(noise=WRONG, alone=True).go(90)
    assert max(run.trust[RATE:]) < TRUSTED
    assert not any(each.lost for each in run.found)
    assert run.ate(RATE) < alone.ate(RATE) + 0.01


def test_no_network_is_needed():
    run = Run(noise=None).go(75)
    assert not any(each.lost or np.isfinite(each.unit) for each in run.found)
    assert run.ate() < 0.05
    assert run.errors()[1].max() < 0.01


def test_a_trusted_network_carries_through_white_walls():
    run = Run().go(30).go(12, WALL).go(20)
    assert not any(each.lost for each in run.found)
    assert all(not each.by_points for each in run.found[30:42])
    assert all(each.by_points for each in run.found[43:])
    positions = np.array([each.T_world_camera[:3, 3] for each in run.found])
    assert np.linalg.norm(np.diff(positions, axis=0), axis=1).max() < 0.06
    assert run.ate() < 0.05
    certain, doubtful = (run.found[k].of_step.diagonal() for k in (29, 35))
    assert (doubtful > 2 * certain).all()
    assert run.found[41].covariance.trace() > 1.5 * run.found[29].covariance.trace()


@pytest.mark.parametrize('noise', [None, RIGHT, WRONG])
def test_without_a_trusted_network_a_white_wall_is_lost_and_the_place_behind_recognised(noise):
    alone = noise is RIGHT
    run = Run(noise=noise, alone=alone).go(30).go(PATIENCE + 7, WALL)
    last = run.found[29].T_world_camera
    for each in run.found[30:]:
        assert each.lost
        np.testing.assert_array_equal(each.T_world_camera, last)
    run.go(20)
    back = run.found[30 + PATIENCE + 7 :]
    assert not any(each.lost for each in back)
    assert not back[0].by_points  # a new map
    assert tied(back[0], run.found[29])
    assert all(each.by_points for each in back[1:])
    steps = [inverse(each.T_world_previous) @ each.T_world_camera for each in run.found]
    lengths = np.array([np.linalg.norm(T[:3, 3]) for T in steps])
    gap = PATIENCE + 7
    assert lengths[30 + gap] < 1.5 * gap * np.median(lengths[1:30])
    assert lengths[31 + gap :].max() < 3 * np.median(lengths[1:30])


def test_a_blank_image_is_no_evidence_for_a_network_either():
    run = Run().go(30).go(3, BLANK).go(5)
    assert [each.lost for each in run.found[29:34]] == [False, True, True, True, False]


def test_a_short_gap_keeps_the_map():
    run = Run(noise=None).go(30).go(PATIENCE - 1, BLANK)
    kept = run.sparse.map
    assert all(each.lost for each in run.found[30:])
    assert len(kept.ids)
    assert run.sparse.map is kept


@pytest.mark.parametrize('interrupted', [False, True])
def test_after_a_gap_the_place_is_recognised(interrupted):
    run = Run(noise=EXACT, alone=True).go(45).go(20, BLANK)
    if interrupted:
        run.sparse.interrupt()
    run.go(25)
    assert tied(run.found[65], run.found[44])
    assert not any(each.lost for each in run.found[65:])
    true = np.array([inverse(handheld(0)) @ handheld(k) for k in range(90)])
    ours = np.array([each.T_world_camera for each in run.found])
    off = np.linalg.norm((ours - true)[:, :3, 3], axis=1)
    moved = np.linalg.norm((true[65] - true[44])[:3, 3])
    assert off[65] < off[44] + 0.1 * moved
    assert off[65:].max() < 0.1 * np.linalg.norm(true[89, :3, 3])
    assert rotation_angle(ours[65:, :3, :3].swapaxes(1, 2) @ true[65:, :3, :3]).max() < 0.02


def test_another_place_is_not_recognised():
    behind = transform(Rotation.from_euler('y', np.pi).as_matrix(), np.zeros(3))
    run = Run(lambda k: handheld(k) @ behind if k >= 60 else handheld(k), noise=None)
    run.go(45).go(15, BLANK).go(15)
    assert not tied(run.found[60], run.found[44])
    doubt = [np.sqrt(run.found[k].covariance[:3, :3].trace()) for k in (44, 60, 74)]
    assert doubt[1] > 0.1  # rad: half a second that nobody saw
    assert doubt[2] > doubt[1] + 0.1  # a body before the camera may move likewise
    np.testing.assert_array_equal(run.found[60].T_world_camera, run.found[44].T_world_camera)


def test_noise_on_dark_images_does_not_overrule_a_trusted_network():
    rng, run = np.random.default_rng(0), Run().go(20)
    for _ in range(15):
        run.go(1, rng.integers(0, 256, BLANK.shape, np.uint8))
    run.go(20)
    assert not any(each.lost for each in run.found)
    shift, turn = run.errors()
    assert shift[:35].max() < 0.1
    assert shift.max() < 0.2
    assert turn.max() < 0.05


@pytest.mark.parametrize('noise', [None, RIGHT, WRONG])
def test_pure_rotation_is_no_translation(noise):
    run = Run(turning, noise).go(75)
    assert not any(each.lost for each in run.found)
    assert run.errors()[1].max() < 0.02  # of 0.76
    assert max(np.abs(each.T_world_camera[:3, 3]).max() for each in run.found) < 0.3  # of 6


@pytest.mark.parametrize(('alone', 'most'), [(False, 0.15), (True, 0.06)])
def test_points_on_moving_objects_are_dropped(alone, most):
    run = Run(alone=alone, crossing=True).go(90)
    on = off = 0
    for k, at in enumerate(run.struck):
        T = run.pose(k)
        middle = (board(k) - T[:3, 3]) @ T[:3, :3]
        reach = 1.1 * BOARD * CAMERA.fx / middle[2]
        there = (np.abs(at - CAMERA.project(middle)) < reach).all(1)
        on, off = on + there.sum(), off + (~there).sum()
    assert on > 30
    assert on > 0.7 * off  # although the board covers less than a tenth of the view
    assert run.ate() < most


def test_recent_poses_are_known_by_key():
    run = Run().go(20)
    keys = [FrameKey(k * NS_PER_S // RATE, 0) for k in (12, 19, 500)]
    poses = run.sparse.poses(keys)
    assert list(poses) == keys[:2]
    np.testing.assert_allclose(poses[keys[1]], run.found[-1].T_world_camera, atol=1e-9)
    np.testing.assert_allclose(poses[keys[0]], run.found[12].T_world_camera, atol=0.02)
    assert list(run.sparse.poses([keys[1], FrameKey(0, 0)])) == keys[1:2]  # others are forgotten


def test_a_forgotten_map_begins_at_identity_with_the_same_trust():
    run = Run().go(20)
    trust = run.sparse.prior.trust.value
    run.sparse.forget()
    assert not run.sparse.tracks.sees
    assert run.sparse.prior.trust.value == trust
    run.go(1)
    np.testing.assert_array_equal(run.found[-1].T_world_camera, np.eye(4))
    assert not run.sparse.map.covariance.any()
    assert len(run.sparse.map.ids) >= FEWEST


def unlike(seed):
    """An image of another place, full of corners."""
    return cv2.resize(
        np.random.default_rng(seed).integers(0, 256, (30, 40, 3), np.uint8),
        BLANK.shape[1::-1],
        interpolation=cv2.INTER_CUBIC,
    )


def test_after_a_cut_a_map_begins_at_once_and_the_motion_is_doubted():
    """A picture covers the view and moves; then the room is seen again."""
    run = Run(noise=None).go(45)
    before, picture = run.found[-1], unlike(0)
    for k in range(8):
        run.go(1, np.roll(picture, 3 * k, axis=1))
    assert not any(each.lost for each in run.found)
    covered = run.found[45:]
    moved = inverse(before.T_world_camera) @ covered[-1].T_world_camera
    turn, shift = np.sqrt(covered[-1].covariance.diagonal().reshape(2, 3).mean(1))
    assert rotation_angle(moved[:3, :3]) < 3 * turn
    assert np.linalg.norm(moved[:3, 3]) < 3 * shift
    assert turn > 2 * np.sqrt(before.covariance[:3, :3].trace() / 3)
    run.go(10)
    assert tied(run.found[53], before)
    assert run.errors()[0][53:].max() < 0.1


def test_a_network_may_not_leap_without_corners():
    run = Run().go(30)
    last, honest = run.found[-1].T_world_camera, run.engine.noise
    run.engine.noise = replace(honest, position=3.0, rotation=1.0)
    run.go(1, WALL)
    found = run.found[-1]
    step = inverse(last) @ found.T_world_camera
    assert np.linalg.norm(step[:3, 3]) < 0.1
    assert rotation_angle(step[:3, :3]) < 0.1
