"""Clouds within limits, and scans, of a floor with walls that is known in closed form."""

from types import SimpleNamespace

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from page4d_ros.config import Config
from page4d_ros.errors import ConfigError
from page4d_ros.geometry.camera import PinholeCamera
from page4d_ros.geometry.poses import R_BODY_OPTICAL, transform
from page4d_ros.perception.clouds import POINT, cloud, colours
from page4d_ros.perception.maps import Maps
from page4d_ros.perception.scan import bearings, scan

CAMERA = PinholeCamera(160, 120, 90.0, 90.0, 79.5, 59.5)
HEIGHT = 0.6
T_BASE_CAMERA = transform(
    Rotation.from_euler('y', 8, degrees=True).as_matrix() @ R_BODY_OPTICAL, (0.0, 0.0, HEIGHT)
)
# walls across the x axis: distance, from y, to y, height. Right of them the floor goes on for ever
WALLS = (3.0, 0.3, 9.0, 2.0), (2.0, -0.5, 0.0, 0.4)
LONG = {'depth.max_range': 0.0, 'depth.max_error': 0.0, 'depth.min_confidence': 0.0}


def cast():
    """Depth (h, w) of the floor and the walls; where neither is hit, far beyond any range."""
    rays = CAMERA.unproject(np.ones((CAMERA.height, CAMERA.width)))
    directions = rays @ T_BASE_CAMERA[:3, :3].T
    with np.errstate(divide='ignore', invalid='ignore'):
        depth = np.where(directions[..., 2] < -1e-3, -HEIGHT / directions[..., 2], 1000.0)
        for x, left, right, top in WALLS:
            at = x / directions[..., 0]
            y, z = at * directions[..., 1], HEIGHT + at * directions[..., 2]
            hit = (y > left) & (y < right) & (z > 0) & (z < top) & (at < depth)
            depth[hit] = at[hit]
    return depth.astype(np.float32)


@pytest.fixture
def view():
    return seen(cast())


def seen(depth):
    mask = np.zeros(depth.shape, np.uint8)
    image = np.random.default_rng(1).integers(0, 256, (3, *depth.shape), np.uint8)
    maps = Maps(
        tied=SimpleNamespace(depth=depth),
        said_confidence=np.ones_like(depth),
        image=SimpleNamespace(cpu=lambda: SimpleNamespace(numpy=lambda: image)),
        camera=CAMERA,
        motion=SimpleNamespace(probability=np.zeros_like(depth), mask=mask),
        limits=Config().with_values(LONG).depth,
        scale=1.0,
        head_points=None,
        T_camera_gauge=np.eye(4),
    )
    return SimpleNamespace(maps=maps, mask=mask)


def scanned(view, **values):
    config = Config().with_values({f'scan.{name}': value for name, value in values.items()}).scan
    start, step, count = bearings(config)
    ranges = scan(view, config, T_BASE_CAMERA)
    assert ranges.shape == (count,)
    assert ranges.dtype == np.float32
    return start + step * np.arange(count), ranges


def at(angle, bearings_, ranges):
    return ranges[np.abs(bearings_ - angle).argmin()]


def test_bearings_fill_the_circle():
    start, step, count = bearings(Config().scan)
    assert step * count == pytest.approx(2 * np.pi)
    assert start - step / 2 == pytest.approx(-np.pi)
    assert step == pytest.approx(0.0175, rel=0.01)


def test_the_scan_is_the_nearest_wall_along_each_bearing(view):
    angles, ranges = scanned(view)
    for x, left, right, _ in WALLS:
        y = x * np.tan(angles)
        on = (np.abs(angles) < 0.6) & (y > left + 0.05) & (y < right - 0.05)
        assert on.sum() > 5
        np.testing.assert_allclose(ranges[on], x / np.cos(angles[on]), rtol=0.02)


def test_free_is_what_was_seen_to_the_range_and_nothing_is_known_elsewhere(view):
    angles, ranges = scanned(view)
    free = (angles < -0.35) & (angles > -0.65)
    assert np.isposinf(ranges[free]).all()
    assert np.isnan(ranges[np.abs(angles) > 0.8]).all()
    # the floor is seen, but not as far as it would have to be
    depth = cast()
    depth[depth > 5] = np.nan
    assert np.isnan(scanned(seen(depth))[1][free]).all()
    assert np.isnan(scanned(seen(np.full_like(depth, np.nan)))[1]).all()


def test_what_moves_is_no_obstacle_and_hides_what_is_behind(view):
    at_low_wall = np.isclose(view.maps.depth * T_BASE_CAMERA[0, 2], 2.0, atol=0.2)
    view.mask[:, at_low_wall.any(0)] = 255
    assert np.isnan(at(-0.15, *scanned(view)))


def test_obstacles_are_those_within_the_heights(view):
    assert np.isfinite(at(-0.12, *scanned(view)))
    assert np.isposinf(at(-0.12, *scanned(view, min_height=0.45)))
    assert at(-0.5, *scanned(view, min_height=-0.1)) < 3  # the floor itself
    assert np.isposinf(at(0.3, *scanned(view, max_range=2.5)))


def points(view, **values):
    config = Config().with_values({f'points.{name}': value for name, value in values.items()})
    return cloud(view, config.points, dynamic=False, T_level_camera=T_BASE_CAMERA)


def level(points):
    xyz = np.stack([points[axis] for axis in 'xyz'], -1)
    return xyz @ T_BASE_CAMERA[:3, :3].T + T_BASE_CAMERA[:3, 3]


def test_limits_are_those_of_the_base_frame(view):
    every = level(points(view))
    inside = (np.hypot(every[:, 0], every[:, 1]) <= 2.5) & (every[:, 2] >= 0.1)
    inside &= every[:, 2] <= 0.35
    found = level(points(view, max_range=2.5, min_height=0.1, max_height=0.35))
    assert 100 < len(found) < len(every) / 3
    np.testing.assert_array_equal(found, every[inside])


def test_a_voxel_holds_the_mean_of_its_points(view):
    every, found = points(view, max_range=4.0), points(view, max_range=4.0, voxel=0.25)
    cells = [
        np.floor(np.stack([each[axis] for axis in 'xyz'], -1) / np.float32(0.25))
        for each in (every, found)
    ]
    distinct, which = np.unique(cells[0], axis=0, return_inverse=True)
    assert len(found) == len(distinct) < len(every) / 10
    np.testing.assert_array_equal(np.unique(cells[1], axis=0), distinct)
    order = np.lexsort(cells[1].T[::-1])
    for cell in (0, len(distinct) // 2, -1):
        inside = every[which.ravel() == cell % len(distinct)]
        mean = found[order[cell]]
        for name in set(POINT.names) - {'rgb'}:
            assert mean[name] == pytest.approx(inside[name].mean(), abs=1e-4)
        np.testing.assert_allclose(colours(mean[None])[0], colours(inside).mean(0), atol=0.51)
    assert len(points(view, max_range=4.0, voxel=0.25, max_points=50)) == 50


def test_heights_must_be_in_order():
    with pytest.raises(ConfigError, match=r'scan\.min_height 1\.0 is not below'):
        Config().with_values({'scan.min_height': 1.0})
