"""Point maps of shapes whose distances are known."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from fakes import pose_at
from scipy.spatial.transform import Rotation

from page4d_ros.config import DepthConfig
from page4d_ros.evaluation.metrics.point_maps import (
    Cloud,
    Reconstruction,
    estimated,
    normals,
    point_maps,
)
from page4d_ros.evaluation.result import Unknown
from page4d_ros.geometry.camera import ImageTransform, PinholeCamera
from page4d_ros.geometry.poses import transform
from page4d_ros.geometry.sim3 import Sim3
from page4d_ros.perception.depth_correction import TiedDepth
from page4d_ros.perception.maps import Maps
from page4d_ros.truth import GroundTruthFrame

GAUGE = Sim3(0.4, Rotation.from_euler('xyz', [0.3, -0.8, 2.0]).as_matrix(), np.array([5, -2, 1]))
TURN = Rotation.from_euler('xyz', [0.1, 0.5, -0.2]).as_matrix()


def plane(height=0.0, size=(30, 40), step=0.1):
    """A wall (h, w, 3) that faces the camera, `height` behind the origin, and its points' grid."""
    v, u = np.mgrid[: size[0], : size[1]]
    return np.stack([u * step, v * step, np.full(size, height)], -1)


def room():
    """A wall and a floor, so that no rotation is free."""
    return np.concatenate([plane(), plane()[..., [0, 2, 1]] - (0, 0.05, 0)], 0)


def cloud(points):
    return Cloud(
        points.reshape(-1, 3), normals(points).reshape(-1, 3), np.zeros(points[..., 0].size)
    )


def test_planes_are_as_far_apart_as_they_are():
    near, far = cloud(plane(1.0)), cloud(plane(1.25))
    for found in (near.to(far), far.to(near)):
        np.testing.assert_allclose(found.metres, 0.25)
        np.testing.assert_allclose(found.agreement, 1)


def test_normals_of_a_turned_plane():
    found = normals(plane(2.0) @ TURN.T)
    np.testing.assert_allclose(found, np.broadcast_to(TURN[:, 2], found.shape), atol=1e-12)
    assert np.isnan(normals(np.zeros((4, 5, 3)))).all()


def test_a_perfect_cloud_in_another_gauge_has_no_error():
    known = Reconstruction(2)
    for index in range(2):
        truth = room() @ pose_at(index)[:3, :3].T
        known.add(index, GAUGE.apply(truth), truth)
    found = known.compare()
    for name in ('mean', 'median'):
        for distance in ('accuracy_m', 'completeness_m', 'overall_m'):
            assert found.tree[name][distance] == pytest.approx(0, abs=1e-9)
        assert found.tree[name]['normal_consistency'] == pytest.approx(1, abs=1e-4)
    assert found.tree['scale'] == pytest.approx(1 / GAUGE.scale)
    assert found.tree['coverage'] == 1


def test_what_is_missing_is_a_matter_of_completeness():
    truth = plane(size=(20, 40), step=0.1)
    seen = truth.copy()
    seen[:, 20:] = np.nan  # columns 20 to 39 are 1 to 20 steps from the last one seen
    known = Reconstruction(1)
    known.add(0, seen, truth)
    tree = known.compare().tree
    assert tree['coverage'] == 0.5
    assert tree['mean']['accuracy_m'] == pytest.approx(0, abs=1e-9)
    assert tree['mean']['completeness_m'] == pytest.approx(0.1 * 10.5 / 2)
    assert tree['mean']['overall_m'] == pytest.approx(0.1 * 10.5 / 4)
    assert tree['median']['completeness_m'] == pytest.approx(0.05)


def test_two_walls_moved_apart_by_a_known_step():
    """Half of the points is off by the same to both sides, which no similarity can mend."""
    truth = room()
    ours = truth.copy()
    ours[::2, :, 2] += 0.02
    ours[1::2, :, 2] -= 0.02
    known = Reconstruction(1)
    known.add(0, ours, truth)
    found = known.compare()
    assert found.tree['scale'] == pytest.approx(1, abs=0.01)
    wall = found.ours.points[:, 1] > 0.5  # there, the step is along the normal
    assert found.accuracy.metres[wall].mean() == pytest.approx(0.02, rel=0.1)


def test_frames_keep_their_points_and_share_the_room(monkeypatch):
    monkeypatch.setattr('page4d_ros.evaluation.metrics.point_maps.MOST', 300)
    known = Reconstruction(3)
    for index in range(3):
        known.add(index, room(), room())
    frames = known.compare().ours.frames
    counts = np.bincount(frames)
    assert (counts == counts[0]).all()
    assert 50 < counts[0] <= 100


def test_points_without_truth_do_not_count():
    truth, ours = room(), room()
    truth[:10] = np.nan
    ours[:10] += 100
    known = Reconstruction(1)
    known.add(0, ours, truth)
    assert known.compare().tree['mean']['accuracy_m'] == pytest.approx(0, abs=1e-9)


def test_nothing_to_align_says_so():
    known = Reconstruction(1)
    known.add(0, np.full((4, 5, 3), np.nan), plane(size=(4, 5)))
    assert isinstance(known.compare(), Unknown)
    assert isinstance(Reconstruction(1).compare(), Unknown)


def test_similarities_are_found_again():
    points = np.random.default_rng(0).normal(size=(50, 3))
    found = Sim3.fit(GAUGE.apply(points), points)
    assert found.scale == pytest.approx(GAUGE.scale)
    np.testing.assert_allclose(found.R, GAUGE.R, atol=1e-9)
    np.testing.assert_allclose(found.t, GAUGE.t, atol=1e-9)
    with pytest.raises(ValueError, match='three points'):
        Sim3.fit(points[:2], points[:2])
    with pytest.raises(ValueError, match='three points'):
        Sim3.fit(points, np.ones_like(points))


CAMERA = PinholeCamera(64, 48, 60.0, 61.0, 31.5, 23.5)
FIT = ImageTransform.crop(64, 48, 56, 14)
QUARTER = Rotation.from_euler('y', 90, degrees=True).as_matrix()  # z to x, x to -z


def seen(depth, T, *, lost=False):
    camera = FIT.camera_to_network(CAMERA)
    maps = Maps(
        tied=TiedDepth(np.full((FIT.height, FIT.width), depth, np.float32), FIT),
        said_confidence=np.ones((FIT.height, FIT.width), np.float32),
        image=torch.zeros(3, FIT.height, FIT.width),
        camera=camera,
        motion=None,
        limits=DepthConfig(),
        scale=1.0,
        head_points=None,
        T_camera_gauge=np.eye(4),
    )
    return SimpleNamespace(
        transform=FIT,
        maps=maps,
        camera=camera,
        odometry=SimpleNamespace(T_world_camera=T, lost=lost),
    )


def test_points_of_a_wall_lie_on_it_for_both():
    T = transform(QUARTER, (1.0, 2.0, 3.0))
    depth = np.full((48, 64), 2.0, np.float32)
    depth[:8] = 90.0
    frame = GroundTruthFrame(0, np.zeros((48, 64, 3), np.uint8), CAMERA, T, depth)
    ours, true = point_maps(seen(2.0, T), frame, 70.0)
    np.testing.assert_allclose(true[10:, :, 0], 3.0)  # the wall is at x = 1 + 2
    np.testing.assert_allclose(ours[10:], true[10:], atol=1e-6)
    assert np.isnan(true[:5]).all()  # too far to count
    lost, _ = point_maps(seen(2.0, T, lost=True), frame, 70.0)
    assert np.isnan(lost).all()


def test_depth_along_the_first_cameras_axis_mixes_in_the_pose():
    """What PAGE-4D's code compares: of a camera turned by a quarter, the column and not depth."""
    estimate = seen(2.0, transform(QUARTER, (0.0, 0.0, 5.0)))
    along = estimated(estimate)[..., 2]
    columns = np.arange(FIT.width)
    expected = 5.0 - 2.0 * (columns - estimate.camera.cx) / estimate.camera.fx
    np.testing.assert_allclose(along, np.broadcast_to(expected, along.shape), atol=1e-6)
