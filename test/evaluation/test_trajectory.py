import numpy as np
import pytest
from evo.core import metrics, sync
from evo.core.trajectory import PoseTrajectory3D
from fakes import pose_at
from scipy.spatial.transform import Rotation

from page4d_ros.datasets.bag_index import Track
from page4d_ros.evaluation.trajectory import trajectory_metrics
from page4d_ros.evaluation.unknown import Unknown
from page4d_ros.geometry.poses import transform
from page4d_ros.geometry.sim3 import Sim3
from page4d_ros.units import NS_PER_S

T0 = 1_700_000_000 * NS_PER_S


def track(poses, stamps=None):
    times = np.arange(len(poses)) * NS_PER_S // 10 + T0 if stamps is None else stamps
    return Track('world', 'camera', np.asarray(times, np.int64), np.asarray(poses))


TRUE = np.stack([pose_at(i / 10) for i in range(40)])
GAUGE = Sim3(0.37, Rotation.from_euler('xyz', [0.4, -1.0, 2.0]).as_matrix(), np.array([3, -2, 1]))


def noisy(poses, seed=0):
    rng = np.random.default_rng(seed)
    out = poses.copy()
    out[:, :3, 3] += 0.05 * rng.normal(size=(len(poses), 3))
    out[:, :3, :3] = (
        Rotation.from_rotvec(0.02 * rng.normal(size=(len(poses), 3)))
    ).as_matrix() @ (out[:, :3, :3])
    return out


def test_a_perfect_estimate_in_another_gauge_has_no_error():
    tree, aligned = trajectory_metrics(track(GAUGE.apply_to_pose(TRUE)), track(TRUE), metric=False)
    for name in ('ate_m', 'rpe_translation_m', 'rpe_rotation_deg'):
        assert tree['sim3'][name] == pytest.approx(0, abs=1e-6)
    assert tree['sim3']['scale'] == pytest.approx(1 / GAUGE.scale)
    assert isinstance(tree['se3'], Unknown)
    back = aligned.to_estimate(aligned.truth)
    np.testing.assert_allclose(back, GAUGE.apply_to_pose(TRUE)[:, :3, 3], atol=1e-9)


def test_numbers_are_those_of_evo():
    guess = noisy(GAUGE.apply_to_pose(TRUE))
    tree, _ = trajectory_metrics(track(guess), track(TRUE), metric=False)
    seconds = np.arange(40) / 10
    real = PoseTrajectory3D(poses_se3=list(TRUE), timestamps=seconds)
    moved = PoseTrajectory3D(poses_se3=list(guess), timestamps=seconds)
    real, moved = sync.associate_trajectories(real, moved)
    moved.align(real, correct_scale=True)
    kinds = {
        'ate_m': metrics.APE(metrics.PoseRelation.translation_part),
        'rpe_translation_m': metrics.RPE(metrics.PoseRelation.translation_part),
        'rpe_rotation_deg': metrics.RPE(metrics.PoseRelation.rotation_angle_deg),
    }
    for name, kind in kinds.items():
        kind.process_data((real, moved))
        assert tree['sim3'][name] == pytest.approx(kind.get_statistic(metrics.StatisticsType.rmse))


def test_metric_estimates_must_have_the_right_scale_too():
    doubled = TRUE.copy()
    doubled[:, :3, 3] *= 2
    tree, _ = trajectory_metrics(track(doubled), track(TRUE), metric=True)
    assert tree['sim3']['ate_m'] == pytest.approx(0, abs=1e-6)
    # what is left after the best rigid fit is the distance from the centre
    assert tree['se3']['ate_m'] == pytest.approx(tree['standing_still']['ate_m'])


def test_extent_and_standing_still_by_hand():
    corners = [(0, 0, 0), (1, 0, 0), (1, 1, 0), (0, 1, 0)]
    square = [transform(np.eye(3), corner) for corner in corners]
    tree, _ = trajectory_metrics(track(square), track(square), metric=False)
    assert tree['truth']['path_length_m'] == pytest.approx(3)
    assert tree['truth']['extent_m'] == pytest.approx(np.sqrt(2))
    assert tree['standing_still']['ate_m'] == pytest.approx(np.sqrt(0.5))
    assert tree['standing_still']['rpe_translation_m'] == pytest.approx(1)
    assert tree['standing_still']['rpe_rotation_deg'] == 0


def test_truth_at_another_rate_is_associated():
    stamps = np.arange(400) * NS_PER_S // 100 + T0 + 3_000_000
    fast = track([pose_at((s - T0) / NS_PER_S) for s in stamps.tolist()], stamps)
    tree, _ = trajectory_metrics(track(TRUE), fast, metric=True)
    assert tree['poses'] == 40
    assert 0 < tree['se3']['ate_m'] < 0.005


@pytest.mark.parametrize(
    ('estimate', 'reason'),
    [
        (track(TRUE[:0]), 'no valid pose'),
        (track(TRUE[:2]), 'only 2 poses'),
        (track(TRUE, np.arange(40) * NS_PER_S), 'no pose is within 10 ms'),
    ],
)
def test_what_cannot_be_compared_says_why(estimate, reason):
    tree, aligned = trajectory_metrics(estimate, track(TRUE), metric=False)
    assert isinstance(tree, Unknown)
    assert reason in tree
    assert aligned is None


def test_an_estimate_that_never_moves_cannot_be_aligned():
    tree, aligned = trajectory_metrics(track([np.eye(4)] * 40), track(TRUE), metric=False)
    assert isinstance(tree['sim3'], Unknown)
    assert 'cannot be aligned' in tree['sim3']
    assert tree['standing_still']['ate_m'] > 0
    assert aligned is None


def spiral(turns):
    """Steps of 1 m ahead that turn about the vertical by these angles, climbing 0.1 m."""
    poses = [np.eye(4)]
    for turn in turns:
        R = Rotation.from_euler('y', turn).as_matrix()
        poses.append(poses[-1] @ transform(R, (0, -0.1, 1.0)))
    return np.stack(poses)


def test_constant_velocity_is_right_about_a_camera_that_keeps_it():
    truth = spiral([0.2] * 20)
    tree, _ = trajectory_metrics(track(noisy(truth)), track(truth), metric=False)
    for name in ('ate_m', 'rpe_translation_m', 'rpe_rotation_deg'):
        assert tree['constant_velocity'][name] == pytest.approx(0, abs=1e-6)
        assert tree['sim3'][name] > 0.01


def test_constant_velocity_misses_what_changes():
    truth = spiral([0.3, 0.1] * 10)  # 0.2 in the mean, 0.1 off at each step
    tree, _ = trajectory_metrics(track(noisy(truth)), track(truth), metric=False)
    found = tree['constant_velocity']
    assert found['rpe_rotation_deg'] == pytest.approx(np.degrees(0.1), rel=1e-6)
    assert 0 < found['ate_m'] < tree['standing_still']['ate_m']


def test_errors_of_frames_make_the_figures():
    tree, aligned = trajectory_metrics(track(noisy(TRUE)), track(TRUE), metric=False)
    assert np.sqrt((aligned.error**2).mean()) == pytest.approx(tree['sim3']['ate_m'])
    for name, error in aligned.steps.items():
        assert len(error) == len(TRUE) - 1
        assert np.sqrt((error**2).mean()) == pytest.approx(tree['sim3'][name])
