"""Rigs, traffic and light: each does what its name says, and none spoils the truth."""

import numpy as np
import pytest
from reprojection import camera_motion, relative_depth_error

from page4d_ros.synthetic.drive import Drive, Light
from page4d_ros.synthetic.options import Rig, Traffic
from page4d_ros.synthetic.paths import CAMERA_HEIGHT
from page4d_ros.synthetic.room import Room

SEEDS = range(8)
TIMES = np.arange(0, 2, 0.1)


@pytest.mark.parametrize('rig', Rig)
def test_static_pixels_reproject(film, rig):
    _, (a, b) = film(1, rig)
    error = relative_depth_error(a, b, camera_motion(a, b), a.bodies == 0)
    assert len(error) > 4000
    assert np.median(error) < 1e-4


@pytest.mark.parametrize('rig', [rig for rig in Rig if rig is not Rig.TRIPOD])
def test_the_inverse_pose_does_not_reproject(film, rig):
    _, (a, b) = film(1, rig)
    error = relative_depth_error(a, b, camera_motion(b, a), a.bodies == 0)
    assert np.median(error) > 1e-2


@pytest.mark.parametrize('seed', SEEDS)
def test_a_tripod_does_not_move_by_a_bit(room, seed):
    path = Drive.draw(room, seed, rig=Rig.TRIPOD, seconds=2.0).camera
    for t in TIMES:
        np.testing.assert_array_equal(path.at(t), path.at(0.0))


def test_static_pixels_of_a_tripod_show_the_same(film):
    _, (a, b) = film(1, Rig.TRIPOD)
    np.testing.assert_array_equal(a.T_world_camera, b.T_world_camera)
    room = (a.bodies == 0) & (b.bodies == 0)
    np.testing.assert_array_equal(a.depth[room], b.depth[room])


@pytest.mark.parametrize('seed', SEEDS)
def test_wheels_keep_their_height_and_look_where_they_go(room, seed):
    path = Drive.draw(room, seed, rig=Rig.WHEELS, seconds=2.0).camera
    position = path.position(TIMES)
    assert np.abs(position[:, 2] - CAMERA_HEIGHT).max() < 0.01
    step = path.position(TIMES + 0.05) - path.position(TIMES - 0.05)
    travel = np.arctan2(step[:, 1], step[:, 0])
    forward = np.array([path.at(t)[:3, 2] for t in TIMES])
    off = np.angle(np.exp(1j * (np.arctan2(forward[:, 1], forward[:, 0]) - travel)))
    assert np.degrees(np.abs(off).max()) < 25
    assert (forward[:, 2] < 0.15).all()
    right = np.array([path.at(t)[:3, 0] for t in TIMES])
    assert np.abs(right[:, 2]).max() < 0.02


def test_a_flight_rolls_and_takes_other_heights(room):
    def poses(rig):
        paths = [Drive.draw(room, seed, rig=rig, seconds=2.0).camera for seed in SEEDS]
        return [path.at(t) for path in paths for t in TIMES]

    both = np.array([poses(rig) for rig in (Rig.HANDHELD, Rig.FLIGHT)])
    roll, height = np.abs(both[:, :, 2, 0]).mean(1), both[:, :, 2, 3].std(1)
    assert roll[1] > 2 * roll[0]
    assert height[1] > 2 * height[0]


@pytest.mark.parametrize('rig', [Rig.HANDHELD, Rig.FLIGHT, Rig.TRIPOD])
def test_more_traffic_is_more_movers(room, rig):
    count = {
        traffic: np.mean(
            [
                len(Drive.draw(room, seed, rig=rig, traffic=traffic, seconds=2.0).movers)
                for seed in SEEDS
            ]
        )
        for traffic in Traffic
    }
    assert count[Traffic.NONE] == 0
    assert 3 <= count[Traffic.SOME] < 6
    assert count[Traffic.MANY] >= 6


@pytest.mark.parametrize('rig', Rig)
def test_camera_and_bodies_keep_clear(room, rig):
    times = np.arange(0, 2, 0.05)
    for seed in SEEDS:
        drive = Drive.draw(room, seed, rig=rig, seconds=2.0)
        camera = drive.camera.position(times)
        assert room.clearance(camera[:, :2]).min() > 0.3
        assert camera[:, 2].min() > 0.3
        assert camera[:, 2].max() < room.size[2] - 0.2
        for actor in [*drive.movers, *drive.still]:
            xy = actor.track.at(times).xy
            assert room.clearance(xy).min() > 0.1
            assert np.linalg.norm(xy - camera[:, :2], axis=1).min() > 0.5


def test_light_changes_what_is_seen_and_nothing_else(film):
    dim, bright = (Light((f, f, f), f, (0.0, 0.0)) for f in (0.75, 1.15))
    (_, dark), (_, light) = film(1, light=dim), film(1, light=bright)
    for a, b in zip(dark, light, strict=True):
        assert b.rgb.mean() > 1.15 * a.rgb.mean()
        for name in ('depth', 'mask', 'bodies', 'T_world_camera', 'T_world_bodies'):
            np.testing.assert_array_equal(getattr(a, name), getattr(b, name))


def test_a_warm_lamp_is_redder_than_a_cold_one(film):
    warm, cold = (Light((1 + w, 1.0, 1 - w), 1.0, (0.0, 0.0)) for w in (0.1, -0.1))
    tint = [film(1, light=light)[1][0].rgb.mean((0, 1)) for light in (warm, cold)]
    red_to_blue = [rgb[0] / rgb[2] for rgb in tint]
    assert red_to_blue[0] > 1.05 * red_to_blue[1]


def test_light_differs_from_drive_to_drive(room):
    lights = {Drive.draw(room, seed, seconds=2.0).light for seed in SEEDS}
    assert len(lights) == len(SEEDS)


def test_another_seed_is_another_drive_through_the_same_room(film):
    (_, (a, _)), (_, (b, _)) = film(1, Rig.TRIPOD), film(2, Rig.TRIPOD)
    assert np.abs(a.rgb.astype(float) - b.rgb).mean() > 20
    # what one drive sees of the room, the other finds in the same place
    error = relative_depth_error(a, b, camera_motion(a, b), a.bodies == 0)
    assert len(error) > 500
    assert np.median(error) < 1e-4


@pytest.mark.parametrize('rig', Rig)
def test_seed_rig_and_traffic_repeat_to_the_bit(film, rig):
    drive, (first, _) = film(1, rig)
    again = Drive.draw(Room.draw(1), 1, rig=rig, seconds=2.0)
    np.testing.assert_array_equal(again.camera.at(0.0), first.T_world_camera)
    assert again.light == drive.light
    for actor, same in zip(
        [*again.movers, *again.still], [*drive.movers, *drive.still], strict=True
    ):
        np.testing.assert_array_equal(actor.posture(1.0).position, same.posture(1.0).position)
        np.testing.assert_array_equal(actor.posture(1.0).angles, same.posture(1.0).angles)


def test_pictures_repeat_to_the_bit(film):
    _, frames = film(5, Rig.FLIGHT)
    film.cache_clear()
    _, again = film(5, Rig.FLIGHT)
    for a, b in zip(frames, again, strict=True):
        for name in ('rgb', 'depth', 'mask', 'bodies', 'T_world_camera', 'T_world_bodies'):
            np.testing.assert_array_equal(getattr(a, name), getattr(b, name))
