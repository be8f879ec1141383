"""Moving bodies that several cameras of a rig see."""

from types import SimpleNamespace

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from page4d_ros.geometry.camera import PinholeCamera
from page4d_ros.geometry.poses import transform
from page4d_ros.perception.moving_bodies import GAP, MovingBodyTracker
from page4d_ros.units import NS_PER_S

CAMERA = PinholeCamera(112, 84, 100.0, 100.0, 55.5, 41.5)
HALF = 0.2  # side of a body, a square that faces the first camera, over two
FAR = 2.0  # its depth
HERE = np.eye(4)
STEP = NS_PER_S // 10


def aside(metres):
    return transform(np.eye(3), (metres, 0.0, 0.0))


def seen(T_world_camera, *bodies, believed=None):
    """What a camera sees of bodies in the world, given by their x; it may believe to be elsewhere.

    Each is a square at the world's z = FAR.
    """
    depth = np.full((CAMERA.height, CAMERA.width), 5.0, np.float32)
    mask = np.zeros(depth.shape, np.uint8)
    rays = CAMERA.unproject(np.ones(depth.shape)) @ T_world_camera[:3, :3].T
    scale = (FAR - T_world_camera[2, 3]) / rays[..., 2]
    points = T_world_camera[:3, 3] + scale[..., None] * rays
    for x in bodies:
        there = (np.abs(points[..., 0] - x) < HALF) & (np.abs(points[..., 1]) < HALF) & (scale > 0)
        depth[there], mask[there] = scale[there], 255
    return SimpleNamespace(
        depth=depth,
        mask=mask,
        probability=mask / np.float32(255),
        camera=CAMERA,
        T_world_camera=T_world_camera if believed is None else believed,
    )


def at(stamp_ns, *views):
    return SimpleNamespace(frame=SimpleNamespace(stamp_ns=stamp_ns), views=views)


def bodies(*views):
    return MovingBodyTracker().update(at(0, *views))


def test_a_body_that_two_cameras_see_is_one():
    turned = transform(Rotation.from_euler('y', 0.3).as_matrix(), (-0.6, 0.0, 0.1))
    (alone,) = bodies(seen(HERE, 0.1))
    (body,) = bodies(seen(HERE, 0.1), seen(turned, 0.1))
    np.testing.assert_allclose(body.centre, [0.1, 0, FAR], atol=0.02)
    np.testing.assert_allclose(body.size, alone.size, atol=0.03)


def test_a_body_at_the_border_of_two_views_is_one_of_full_size():
    right = transform(Rotation.from_euler('y', 1.0).as_matrix(), np.zeros(3))
    edge = FAR * 56 / 100  # where the view of the first camera ends
    (left_part,) = bodies(seen(HERE, edge))
    (body,) = bodies(seen(HERE, edge), seen(right, edge))
    assert left_part.size[0] < 1.3 * HALF
    assert body.size[0] > 1.7 * HALF
    assert body.centre[0] == pytest.approx(edge, abs=0.05)


@pytest.mark.parametrize(('gap', 'count'), [(0.5, 1), (2.0, 2)])
def test_bodies_are_joined_as_far_as_depth_may_be_wrong(gap, count):
    shift = 2 * HALF + gap * GAP * FAR
    assert len(bodies(seen(HERE, 0.0), seen(HERE, 0.0, believed=aside(shift)))) == count


def test_two_bodies_that_one_camera_tells_apart_stay_two():
    apart = HALF + 0.03
    both = seen(HERE, -apart, apart)
    assert len(bodies(both)) == 2
    assert len(bodies(both, seen(aside(0.05), -apart, apart))) == 2
    assert len(bodies(both, seen(HERE, 0.0, believed=aside(0.01)))) == 2
    one = seen(HERE, -apart)
    assert len(bodies(one, both)) == len(bodies(both, one)) == 2


def test_a_camera_that_nobody_can_place_adds_nothing():
    unknown = seen(HERE, 0.0)
    unknown.T_world_camera = None
    assert len(bodies(seen(HERE, 0.0), unknown)) == 1
    assert not bodies(unknown)


def test_a_body_keeps_its_number_from_one_camera_to_the_next():
    right = transform(Rotation.from_euler('y', 1.0).as_matrix(), np.zeros(3))
    tracker, numbers, places = MovingBodyTracker(), [], []
    for i in range(24):
        x = 0.1 * i
        found = tracker.update(at(i * STEP, seen(HERE, x), seen(right, x)))
        numbers += [body.number for body in found]
        places += [body.centre[0] for body in found]
        if i > 2:
            assert found[0].velocity[0] == pytest.approx(1.0, abs=0.3)
    assert numbers == [1] * 24
    assert not seen(HERE, x).mask.any()
    np.testing.assert_allclose(places, 0.1 * np.arange(24), atol=0.08)
