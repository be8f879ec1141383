"""Places: each seed is another one, with exact truth, and none shares a material."""

from collections import Counter

import numpy as np
import pytest
from reprojection import camera_motion, relative_depth_error

from page4d_ros.synthetic.drive import Drive
from page4d_ros.synthetic.materials import MATERIALS
from page4d_ros.synthetic.options import Rig, Traffic
from page4d_ros.synthetic.place import FIRST_PLACE, KINDS, Place, draw_room
from page4d_ros.synthetic.render import Renderer, centred_camera
from page4d_ros.synthetic.room import Room
from page4d_ros.synthetic.scene import Scene
from page4d_ros.synthetic.shards import SPLITS

# a street, a hall, a room, a corridor and a yard
SEEDS = (100_000, 100_001, 100_003, 100_019, 100_045)
TIMES = np.arange(0, 2, 0.05)


@pytest.fixture(scope='module')
def places():
    return {seed: draw_room(seed) for seed in SEEDS}


@pytest.fixture(scope='module')
def films(renderer, places):
    def shoot(seed):
        drive = Drive.draw(places[seed], seed, rig=Rig.HANDHELD, seconds=2.0)
        with Renderer(Scene(places[seed], drive), centred_camera(160, 120, 72)) as small:
            return drive, [small.frame(t) for t in (0.0, 0.3)]

    return {seed: shoot(seed) for seed in SEEDS}


def test_every_kind_comes(places):
    assert {place.kind for place in places.values()} == set(KINDS)
    assert sum(kind.share for kind in KINDS.values()) == pytest.approx(1)


def test_seeds_below_are_living_rooms_and_splits_are_places():
    assert type(draw_room(FIRST_PLACE - 1)) is Room
    drawn = [type(draw_room(seed)) for seed in (FIRST_PLACE, FIRST_PLACE + 5)]
    assert drawn == [Place, Room]
    assert all(start >= FIRST_PLACE for start in SPLITS.values())


def test_a_seed_is_one_place_to_the_bit(places):
    again = draw_room(SEEDS[0])
    assert again.size == places[SEEDS[0]].size
    for part, same in zip(again.parts, places[SEEDS[0]].parts, strict=True):
        np.testing.assert_array_equal(part.mesh.vertices, same.mesh.vertices)
    for name in MATERIALS:
        np.testing.assert_array_equal(again.textures[name], places[SEEDS[0]].textures[name])


def test_no_two_places_share_a_material(places):
    images = [place.textures[name].tobytes() for place in places.values() for name in MATERIALS]
    assert len(set(images)) == len(images)


def test_materials_have_the_spectrum_of_photographs(places):
    # amplitude of natural images falls as 1 / frequency (Field 1987)
    slopes = []
    for place in places.values():
        for name in ('picture0', 'picture1', 'picture2'):
            grey = place.textures[name].mean(-1)
            amplitude = np.abs(np.fft.fft2(grey - grey.mean()))
            radius = np.hypot(*np.meshgrid(*[np.fft.fftfreq(len(grey), 1 / len(grey))] * 2))
            rings = [amplitude[(radius >= r) & (radius < 1.3 * r)].mean() for r in (4, 48)]
            slopes.append(-np.log(rings[1] / rings[0]) / np.log(12))
    assert 0.6 < np.median(slopes) < 1.6


@pytest.mark.parametrize('seed', SEEDS)
def test_static_pixels_reproject(films, seed):
    _, (a, b) = films[seed]
    known = (a.bodies == 0) & np.isfinite(a.depth)
    error = relative_depth_error(a, b, camera_motion(a, b), known)
    assert len(error) > 500
    assert np.nanmedian(error) < 1e-3


def test_only_the_sky_has_no_depth(films, places):
    for seed, (_, frames) in films.items():
        unknown = np.mean([np.isnan(frame.depth).mean() for frame in frames])
        assert places[seed].outdoor or unknown == 0
    assert any(np.isnan(frames[0].depth).any() for _, frames in films.values())


@pytest.mark.parametrize('rig', Rig)
def test_camera_and_bodies_keep_clear(places, rig):
    for seed, place in places.items():
        drive = Drive.draw(place, seed, rig=rig, seconds=2.0)
        camera = drive.camera.position(TIMES)
        assert place.clearance(camera[:, :2]).min() > 0.2
        assert camera[:, 2].min() > 0.1
        for actor in [*drive.movers, *drive.still]:
            xy = actor.track.at(TIMES).xy
            assert np.linalg.norm(xy - camera[:, :2], axis=1).min() > 0.35


def test_traffic_is_kept(places):
    for traffic, least in ((Traffic.NONE, 0), (Traffic.SOME, 1), (Traffic.MANY, 3)):
        for seed, place in places.items():
            drive = Drive.draw(place, seed, traffic=traffic, seconds=2.0)
            assert len(drive.movers) >= least
            assert bool(drive.movers) == (traffic is not Traffic.NONE)


def test_movers_move_and_still_bodies_do_not(places):
    kinds = Counter()
    for seed, place in places.items():
        drive = Drive.draw(place, seed, traffic=Traffic.MANY, seconds=2.0)
        for actors, moving in ((drive.movers, True), (drive.still, False)):
            for actor in actors:
                kinds[type(actor).__name__] += 1
                poses = [actor.posture(t) for t in TIMES]
                shift = np.ptp([pose.position for pose in poses], axis=0).max()
                turn = max((poses[0].rotation.inv() * pose.rotation).magnitude() for pose in poses)
                assert (max(shift, turn) > 1e-3) == moving
    assert len(kinds) >= 3


def test_the_sensor_changes_pictures_and_no_truth(places):
    from dataclasses import replace

    drive = Drive.draw(places[SEEDS[1]], 1, seconds=2.0)
    sensor = drive.sensor._replace(exposure=0.03, readout=0.03, quality=50)
    pair = []
    for other in (None, sensor):
        scene = Scene(places[SEEDS[1]], replace(drive, sensor=other))
        with Renderer(scene, centred_camera(64, 48, 72)) as small:
            pair.append(small.frame(0.5))
    assert np.abs(pair[0].rgb.astype(int) - pair[1].rgb).mean() > 1
    np.testing.assert_array_equal(pair[0].depth, pair[1].depth)
    np.testing.assert_array_equal(pair[0].mask, pair[1].mask)
