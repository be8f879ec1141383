"""Accumulated static points: averages in cubes, wherever the camera was, and never too many."""

import numpy as np
import pytest
from fakes import OracleEngine, PlainMessages, frame_set, pose_at
from scipy.spatial.transform import Rotation

from page4d_ros.config import Config
from page4d_ros.geometry.poses import inverse, transform
from page4d_ros.messages.files import PCD, PLY, cloud_files, save
from page4d_ros.messages.outputs import Outputs
from page4d_ros.perception.base_frame import BaseFrame
from page4d_ros.perception.cloud_map import CloudMap
from page4d_ros.perception.clouds import POINT, colours, packed
from page4d_ros.perception.intake import Restart
from page4d_ros.perception.pipeline import Perception
from page4d_ros.units import NS_PER_S

T_ODOM_WORLD = transform(Rotation.from_euler('xyz', [0.1, 0.2, 1.0]).as_matrix(), (3.0, -1.0, 0.5))


def config(**values):
    return Config().with_values({f'map.{name}': value for name, value in values.items()}).map


def random_points(count=2000, seed=0, extent=4.0):
    rng = np.random.default_rng(seed)
    points = np.zeros(count, POINT)
    for axis in 'xyz':
        points[axis] = rng.uniform(-extent, extent, count)
    points['confidence'], points['probability'] = rng.random((2, count))
    points['rgb'] = packed(rng.integers(0, 256, (count, 3)))
    return points


def slow_means(clouds, edge, T_odom_world):
    """The same by a dictionary: cube -> mean of all points in it, in odom."""
    cubes = {}
    for points, T in clouds:
        xyz = np.stack([points[a] for a in 'xyz'], -1).astype(float) @ T[:3, :3].T + T[:3, 3]
        for at, row, colour in zip(xyz, points, colours(points), strict=True):
            values = [*at, row['confidence'], row['probability'], *colour]
            cubes.setdefault(tuple(np.floor(at / edge).astype(int)), []).append(values)
    means = np.array([np.mean(rows, 0) for rows in cubes.values()])
    means[:, :3] = means[:, :3] @ T_odom_world[:3, :3].T + T_odom_world[:3, 3]
    return means


def ordered(rows):
    return rows[np.lexsort(np.round(rows[:, :3], 3).T)]


def test_each_cube_holds_the_mean_of_all_points_that_fell_into_it():
    clouds = [(random_points(seed=i), pose_at(i)) for i in range(3)]
    gathered = CloudMap(config(voxel=0.5))
    for cloud in clouds:
        gathered.add(*cloud)
    points = gathered.points(T_ODOM_WORLD)
    found = np.stack([points[name] for name in POINT.names if name != 'rgb'], -1).astype(float)
    found = np.column_stack([found, colours(points)])
    expected = slow_means(clouds, 0.5, T_ODOM_WORLD)
    assert len(found) == len(expected) > 1000
    found, expected = ordered(found), ordered(expected)
    np.testing.assert_allclose(found[:, :5], expected[:, :5], atol=2e-5)
    assert np.abs(found[:, 5:] - expected[:, 5:]).max() <= 0.51  # colours are whole numbers


def test_memory_is_bounded_and_what_was_seen_last_is_kept():
    gathered = CloudMap(config(voxel=0.1, max_points=1000))
    for step in range(20):
        points = random_points(300, seed=step, extent=0.5)
        points['x'] += 10 * step
        gathered.add(points, np.eye(4))
        assert len(gathered) <= 1000
    kept = gathered.points(np.eye(4))
    assert kept['x'].max() > 189
    assert kept['x'].min() > 140
    assert gathered.forgotten > 3000


def test_another_edge_begins_anew_and_nothing_is_a_cloud_too():
    gathered = CloudMap(config(voxel=0.1))
    gathered.add(random_points(100), np.eye(4))
    gathered.config = config(voxel=0.2)
    gathered.add(np.zeros(0, POINT), np.eye(4))
    assert len(gathered) == len(gathered.points(np.eye(4))) == 0


def test_points_beyond_all_cubes_are_left_out():
    points = random_points(10)
    points['z'][:4] = 1e9, -1e9, np.inf, np.nan
    gathered = CloudMap(config(voxel=0.01))
    gathered.add(points, np.eye(4))
    assert len(gathered) == 6
    assert np.isfinite(gathered.points(np.eye(4))['z']).all()


def outputs_after(count, **values):
    settings = {'map.voxel': 0.02, 'map.rate': 0.0, 'mask.source': 'head', 'mask.min_area': 0}
    settings = Config().with_values(settings | {'depth.max_range': 0.0} | values)
    engine = OracleEngine(seed=None)
    engine.dynamic_patch = (1, 2)
    perception = Perception(settings.with_values({'odometry.estimator': 'network'}), engine)
    base_frame = BaseFrame(settings.frames)
    outputs = Outputs(settings, PlainMessages(), base_frame, perception.rig)
    estimates = [perception.process(frame_set(i * NS_PER_S // 10)) for i in range(count)]
    for estimate in estimates:
        base_frame.advance(estimate.odometry.T_world_camera)
        outputs.gather(estimate)
    return outputs, estimates


def test_the_map_of_a_drive_is_the_wall_without_what_moves():
    outputs, estimates = outputs_after(6)
    points = outputs.map.points(np.eye(4))
    xyz = np.stack([points[axis] for axis in 'xyz'], -1)
    # the oracle sees a plane at z = 6 m of its own world, whose origin is not the first camera
    T = pose_at(0.0)
    assert np.ptp((xyz @ T[:3, :3].T + T[:3, 3])[:, 2]) < 1e-3
    last = estimates[-1]
    uv = last.camera.project(xyz @ inverse(last.odometry.T_world_camera)[:3, :3].T
                             + inverse(last.odometry.T_world_camera)[:3, 3])  # fmt: skip
    column, row = np.rint(uv).astype(int).T
    inside = (column >= 0) & (column < 56) & (row >= 0) & (row < 42)
    # cubes at the rim of the mask average static neighbours
    assert (last.mask[row[inside], column[inside]] > 0).mean() < 0.05


def test_the_map_is_bounded_in_time_and_asked_for():
    assert len(outputs_after(3, **{'map.voxel': 0.0})[0].map) == 0
    once, _ = outputs_after(1)
    rare, _ = outputs_after(4, **{'map.rate': 1.0})
    assert len(rare.map) == len(once.map) > 0
    once.restart(Restart.WINDOW)
    assert len(once.map) > 0
    once.restart(Restart.POSE)
    assert len(once.map) == 0


def rows_of(content, end, dtype):
    head, _, body = content.partition(end)
    return head.decode().splitlines(), np.frombuffer(body, dtype)


def test_ply_and_pcd_hold_the_points(tmp_path):
    points = random_points(50)
    path = save(tmp_path / 'new', 'cloud', cloud_files(points, 'odom'))
    assert path == tmp_path / 'new/cloud.ply'
    head, rows = rows_of(path.read_bytes(), b'end_header\n', PLY)
    assert 'element vertex 50' in head
    assert [line.split()[2] for line in head if line.startswith('property')] == list(PLY.names)
    np.testing.assert_array_equal(rows['x'], points['x'])
    np.testing.assert_array_equal(rows['green'], colours(points)[:, 1])
    head, rows = rows_of(path.with_suffix('.pcd').read_bytes(), b'DATA binary\n', PCD)
    assert {'WIDTH 50', 'POINTS 50', 'FIELDS x y z rgb confidence'} <= set(head)
    np.testing.assert_array_equal(rows['rgb'].view(np.uint32), points['rgb'].view(np.uint32))
    assert sorted(p.name for p in path.parent.iterdir()) == ['cloud.pcd', 'cloud.ply']


@pytest.mark.parametrize('name', ['voxel', 'max_points', 'rate'])
def test_settings_of_the_map_may_change_while_the_node_runs(name):
    assert Config().leaves()[f'map.{name}'].dynamic
