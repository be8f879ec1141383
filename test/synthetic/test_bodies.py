"""Loose bodies: numbers of their pixels, poses of their roots, and what people carry."""

import numpy as np
import pytest
from reprojection import body_motion, camera_motion, relative_depth_error, world_points

from page4d_ros.synthetic.drive import Drive
from page4d_ros.synthetic.figure import Figure
from page4d_ros.synthetic.movers import Ball, Crate, Person
from page4d_ros.synthetic.options import Rig, Traffic
from page4d_ros.synthetic.room import Room


def numbered(drive, *kinds):
    """Number, actor and whether it moves."""
    for number, actor in enumerate([*drive.movers, *drive.still], 1):
        if isinstance(actor, kinds):
            yield number, actor, number <= len(drive.movers)


def distance_outside(mesh, points):
    """Distance of points (N, 3) to a convex mesh, negative inside."""
    corners = mesh.vertices[mesh.faces]
    normal = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    area = np.linalg.norm(normal, axis=1)
    normal, corner = normal[area > 1e-6] / area[area > 1e-6, None], corners[area > 1e-6, 0]
    return (points @ normal.T - (normal * corner).sum(-1)).max(-1)


def inside(T_world_body, points):
    """Points of the world in the body's frame."""
    return (points - T_world_body[:3, 3]) @ T_world_body[:3, :3]


# a crate that slides along its own faces would reproject with and without its motion
@pytest.mark.parametrize(
    ('rig', 'seed'), [(Rig.HANDHELD, 6), (Rig.WHEELS, 7), (Rig.FLIGHT, 5), (Rig.TRIPOD, 1)]
)
def test_a_sliding_crate_reprojects_with_its_own_motion_only(film, rig, seed):
    drive, (a, b) = film(seed, rig)
    crates = [n for n, _, moving in numbered(drive, Crate) if moving]
    number = max(crates, key=lambda n: (a.bodies == n).sum())
    pixels = a.bodies == number
    assert pixels.sum() > 200
    right = relative_depth_error(a, b, body_motion(a, b, number), pixels)
    wrong = relative_depth_error(a, b, camera_motion(a, b), pixels)
    assert len(right) > 50
    assert np.median(right) < 1e-4
    assert np.median(wrong) > 1e-2


def test_balls_and_crates_lie_where_their_poses_say(film):
    drive, frames = film(1)
    seen = {Ball: 0, Crate: 0}
    for frame in frames:
        points = world_points(frame)
        for number, actor, _ in numbered(drive, Ball, Crate):
            shown = points[frame.bodies == number]
            T_world_body = frame.T_world_bodies[number - 1]
            outside = distance_outside(actor.links[0].parts[0].mesh, inside(T_world_body, shown))
            assert (np.abs(outside) < 1e-4).all()
            seen[type(actor)] += len(shown)
    assert min(seen.values()) > 500


def test_a_rolling_ball_needs_its_rotation(film):
    drive, (a, b) = film(1)
    balls = [(n, actor) for n, actor, moving in numbered(drive, Ball) if moving]
    number, ball = max(balls, key=lambda pair: (b.bodies == pair[0]).sum())
    shown = world_points(b)[b.bodies == number]
    sliding = b.T_world_bodies[number - 1].copy()
    sliding[:3, :3] = a.T_world_bodies[number - 1][:3, :3]
    mesh = ball.links[0].parts[0].mesh
    # the facets of the polyhedron stand elsewhere
    assert np.quantile(np.abs(distance_outside(mesh, inside(sliding, shown))), 0.9) > 1e-4
    left = a.T_world_bodies[number - 1]
    assert np.median(np.abs(distance_outside(mesh, inside(left, shown)))) > 1e-2


def test_the_mask_is_the_bodies_that_move(film):
    found = {True: 0, False: 0}
    for seed in (1, 18):
        drive, frames = film(seed)
        for frame in frames:
            expected = (frame.bodies > 0) & (frame.bodies <= len(drive.movers))
            np.testing.assert_array_equal(frame.mask, expected)
            points = world_points(frame)
            assert frame.bodies.max() <= len(frame.T_world_bodies)
            for number, actor, moving in numbered(drive, Person, Ball, Crate):
                root = frame.T_world_bodies[number - 1][:3, 3]
                if isinstance(actor, Person):
                    near = np.linalg.norm((points - root)[..., :2], axis=-1) < 0.25
                    near &= (points[..., 2] > 0.7) & (points[..., 2] < 2.0)
                    assert (frame.bodies[near] == number).all()
                    found[moving] += near.sum()
                shown = points[frame.bodies == number]
                assert (np.linalg.norm(shown - root, axis=-1) < 1.3).all()
    assert min(found.values()) > 200


def test_who_stands_keeps_still_and_who_moves_does_not(film):
    drive, (a, b) = film(1)
    moved = np.abs(a.T_world_bodies - b.T_world_bodies).max((1, 2))
    assert (moved[: len(drive.movers)] > 1e-3).all()
    np.testing.assert_array_equal(moved[len(drive.movers) :], 0)


@pytest.mark.parametrize('seed', [1, 2, 3])
def test_without_traffic_bodies_stand_about_and_nothing_moves(film, seed):
    drive, frames = film(seed, traffic=Traffic.NONE)
    assert not drive.movers
    for kind in (Person, Ball, Crate):
        assert any(isinstance(actor, kind) for actor in drive.still)
    for frame in frames:
        assert not frame.mask.any()
        assert frame.bodies.any()


@pytest.mark.parametrize(('seed', 'moving'), [(6, True), (18, False)])
def test_a_load_belongs_to_who_carries_it(film, seed, moving):
    drive, (frame, _) = film(seed)
    (number, person), *_ = [
        (n, actor) for n, actor, m in numbered(drive, Person) if actor.loaded and m == moving
    ]
    load = person.links[1].parts[-1].mesh
    posture = person.posture(0.0)
    assert posture.angles[0] == 0  # the chest's frame is the root's, but for its height
    chest = frame.T_world_bodies[number - 1].copy()
    chest[2, 3] += person.links[1].offset[2]
    middle = load.vertices.mean(0)
    assert middle[0] > 0.1 * person.figure.height
    towards = chest[:3, :3] @ middle
    heading = float(person.track.at(0.0).heading)
    assert towards @ (np.cos(heading), np.sin(heading), 0) > 0.1 * person.figure.height
    on_load = distance_outside(load, inside(chest, world_points(frame))) < 1e-4
    assert on_load.sum() > (300 if moving else 0)
    assert (frame.bodies[on_load] == number).all()
    assert (frame.mask[on_load] == moving).all()


def test_who_carries_keeps_the_arms_to_the_load(room):
    person = next(
        actor
        for seed in range(50)
        for actor in Drive.draw(room, seed, seconds=2.0).movers
        if isinstance(actor, Person) and actor.loaded
    )
    steps = np.array([person.posture(t).angles for t in np.arange(0, 2, 0.1)])
    assert np.ptp(steps[:, 2:6], axis=0).max() == 0
    assert np.ptp(steps[:, 6:], axis=0).min() > 0.1


def test_bodies_wear_the_paints_of_the_furniture():
    """Otherwise a network could tell movers by their patterns."""
    loose, furniture = set(), set()
    for room_seed in (1, 2):
        room = Room.draw(room_seed)
        palette = {*room.palette.fabrics, *room.palette.woods}
        furniture |= palette & {part.paint for part in room.parts}
        for seed in range(4):
            drive = Drive.draw(room, seed, traffic=Traffic.SOME, seconds=2.0)
            for actor in [*drive.movers, *drive.still]:
                paints = {part.paint for link in actor.links for part in link.parts}
                own = paints - palette
                if isinstance(actor, Person):  # skin and hair
                    assert sorted(paint.texture for paint in own) == ['plaster', 'wood']
                else:
                    assert not own
                assert {paint.texture for paint in paints} <= set(room.textures)
                loose |= paints & palette
    assert len(loose & furniture) > 0.5 * len(loose)


def test_a_load_is_painted_from_the_palette(room):
    rng = np.random.default_rng(0)
    figure = Figure(1.7)
    bare = figure.links(rng, room.palette)
    loaded = figure.carry(bare, rng, room.palette)
    parts = [part for link in bare for part in link.parts]
    known = {id(part) for part in parts}
    added = [part for link in loaded for part in link.parts if id(part) not in known]
    assert [part.paint in room.palette.fabrics for part in added] == [True]
    assert sum(len(link.parts) for link in loaded) == len(parts) + 1
