"""Rooms and drives: determinism, collisions, and what can be had without MuJoCo."""

import builtins
import subprocess
import sys

import numpy as np
import pytest

from page4d_ros.errors import SceneError
from page4d_ros.synthetic.drive import DRIVE_SECONDS, Drive
from page4d_ros.synthetic.movers import Ball, Crate, Person
from page4d_ros.synthetic.paths import Loop
from page4d_ros.synthetic.render import SAMPLE_DRIVE_SEED, SAMPLE_ROOM_SEED
from page4d_ros.synthetic.room import Room
from page4d_ros.synthetic.scene import import_mujoco
from page4d_ros.synthetic.shapes import box, cylinder, limb, sphere
from page4d_ros.synthetic.textures import texture_bank


@pytest.fixture(scope='module')
def drive(room):
    return Drive.draw(room, SAMPLE_DRIVE_SEED)


def test_drives_of_one_room_differ_and_one_seed_repeats(room, drive):
    same, other = (Drive.draw(room, SAMPLE_DRIVE_SEED + i) for i in (0, 1))
    np.testing.assert_array_equal(same.camera.at(1.0), drive.camera.at(1.0))
    assert np.abs(other.camera.at(1.0) - drive.camera.at(1.0)).max() > 0.1


def test_rooms_differ_and_one_seed_repeats(room):
    same, other = Room.draw(SAMPLE_ROOM_SEED), Room.draw(SAMPLE_ROOM_SEED + 1)
    np.testing.assert_array_equal(same.obstacles, room.obstacles)
    for name, image in room.textures.items():
        np.testing.assert_array_equal(same.textures[name], image)
    assert other.size != room.size


def test_camera_and_bodies_keep_clear(room, drive):
    times = np.arange(0, DRIVE_SECONDS, 0.05)
    camera = drive.camera.position(times)
    assert room.clearance(camera[:, :2]).min() > 0.3
    for actor in [*drive.movers, *drive.still]:
        xy = actor.track.at(times).xy
        assert room.clearance(xy).min() > 0.1
        assert np.linalg.norm(xy - camera[:, :2], axis=1).min() > 0.5


def test_camera_moves_smoothly(drive):
    step = 1 / 15
    poses = np.array([drive.camera.at(t) for t in np.arange(0, 4, step)])
    speed = np.linalg.norm(np.diff(poses[:, :3, 3], axis=0), axis=1) / step
    assert 0.1 < speed.mean() < 1.0
    assert speed.max() < 1.6
    turn = np.einsum('nji,njk->nik', poses[:-1, :3, :3], poses[1:, :3, :3])
    angle = np.arccos(np.clip((np.trace(turn, axis1=1, axis2=2) - 1) / 2, -1, 1))
    assert np.degrees(angle).max() < 8


def test_every_drive_has_movers_and_their_still_twins(drive):
    for kind in (Person, Ball, Crate):
        assert any(isinstance(actor, kind) for actor in drive.movers)
        assert any(isinstance(actor, kind) for actor in drive.still)
    for actor in drive.still:
        np.testing.assert_array_equal(actor.posture(0).position, actor.posture(3).position)
    for actor in drive.movers:
        assert np.linalg.norm(actor.posture(0).position - actor.posture(1).position) > 0.02


def test_a_ball_rolls_without_slipping(drive):
    ball = next(actor for actor in drive.movers if isinstance(actor, Ball))
    a, b = ball.posture(0.5), ball.posture(0.55)
    turned = (b.rotation * a.rotation.inv()).magnitude()
    np.testing.assert_allclose(
        turned * ball.radius, np.linalg.norm(b.position - a.position), rtol=1e-6, atol=1e-9
    )


def test_a_loop_is_walked_at_constant_speed():
    loop = Loop((1, 2), (1.5, 0.5), 0.3, -0.9, 4.0)
    times = np.arange(0, 10, 0.01)
    ground = loop.at(times)
    step = np.diff(ground.xy, axis=0)
    np.testing.assert_allclose(np.linalg.norm(step, axis=1) / 0.01, 0.9, rtol=0.02)
    heading = np.arctan2(step[:, 1], step[:, 0])
    assert np.abs(np.angle(np.exp(1j * (heading - ground.heading[:-1])))).max() < 0.05


@pytest.mark.parametrize(
    'mesh', [box((1, 2, 3)), sphere(0.3), cylinder(0.2, 0.5), limb(0.4, 0.08, 0.05)]
)
def test_meshes_are_closed_and_face_outwards(mesh):
    a, b, c = (mesh.vertices[mesh.faces[:, i]] for i in range(3))
    across = np.cross(b - a, c - a)
    assert ((across * mesh.normals[mesh.faces].mean(1)).sum(-1) > -1e-9).all()
    assert (a * across).sum() > 0
    np.testing.assert_allclose(across.sum(0), 0, atol=1e-4)


def test_textures_repeat_without_a_seam():
    for image in texture_bank(np.random.default_rng(0)).values():
        step = np.abs(np.diff(image.astype(float), axis=1)).mean((0, 2))
        seam = np.abs(image[:, 0].astype(float) - image[:, -1]).mean()
        assert seam <= 1.5 * step.max()


def test_import_needs_no_mujoco():
    code = (
        'import sys, page4d_ros.synthetic.shards, page4d_ros.synthetic.scene;'
        'sys.exit("mujoco" in sys.modules)'
    )
    assert subprocess.run([sys.executable, '-c', code], check=False).returncode == 0


def test_without_mujoco_the_error_says_what_to_install(monkeypatch):
    original = builtins.__import__

    def refuse(name, *args, **kwargs):
        if name == 'mujoco':
            raise ModuleNotFoundError('no module named mujoco')
        return original(name, *args, **kwargs)

    monkeypatch.setattr(builtins, '__import__', refuse)
    with pytest.raises(SceneError, match='pip install "mujoco'):
        import_mujoco()
