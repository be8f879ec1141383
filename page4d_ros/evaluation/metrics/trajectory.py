"""Error of a trajectory against the truth, after the protocol of PAGE-4D's pose evaluation."""

from __future__ import annotations

from itertools import accumulate
from typing import TYPE_CHECKING, Any

import numpy as np
from evo import EvoException
from evo.core import metrics, sync
from evo.core.trajectory import PoseTrajectory3D
from scipy.spatial.transform import Rotation

from page4d_ros.evaluation.result import Aligned, Unknown
from page4d_ros.geometry.poses import inverse, rotation_angle, transform
from page4d_ros.units import NS_PER_S

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from page4d_ros.datasets.bag_index import Track

MAX_DIFFERENCE = 0.01  # seconds between a pose and its truth, evo's default
MIN_POSES = 3
POSITION_ERROR = 'position error [m]'  # of single frames


def trajectory_metrics(
    estimate: Track, truth: Track, *, metric: bool
) -> tuple[dict[str, Any] | Unknown, Aligned | None]:
    """Absolute and relative pose errors, computed by evo.

    ATE is the RMSE of position after Umeyama's alignment; RPE is the RMSE of the motion from one
    pose to the next (Sturm et al., "A benchmark for the evaluation of RGB-D SLAM systems", 2012),
    on the aligned trajectory. ``sim3`` aligns rotation, translation and scale, ``se3`` leaves the
    scale alone and is known only for estimates in metres.

    Args:
        estimate: poses of a frame in any world, at least three.
        truth: poses of the same frame in the true world, metres.
        metric: whether the estimate claims to be in metres.

    Returns:
        The metrics beside those of an estimate that stands still and of one that keeps the mean
        velocity of the truth, and the aligned trajectory.
    """
    if min(len(estimate), len(truth)) == 0:
        return Unknown('one of the trajectories has no valid pose'), None
    first = min(int(estimate.stamps[0]), int(truth.stamps[0]))
    try:
        real, guess = sync.associate_trajectories(
            _evo(truth, first), _evo(estimate, first), max_diff=MAX_DIFFERENCE
        )
    except EvoException:
        seconds = (int(estimate.stamps[0]) - int(truth.stamps[0])) / NS_PER_S
        return Unknown(
            f'no pose is within {MAX_DIFFERENCE * 1e3:.0f} ms of a true one: the estimate starts '
            f'{seconds:+.3f} s after the truth'
        ), None
    if real.num_poses < MIN_POSES:
        return Unknown(f'only {real.num_poses} poses have a truth; {MIN_POSES} are needed'), None
    sim3, aligned = _errors(real, guess, first, correct_scale=True)
    se3: Any = Unknown('the estimate is not in metres (scale.mode is none)')
    if metric:
        se3, _ = _errors(real, guess, first, correct_scale=False)
    tree = {
        'frame': estimate.child,
        'poses': real.num_poses,
        'poses_without_truth': len(estimate) - real.num_poses,
        'truth': _extent(real.poses_se3),
        'sim3': sim3,
        'se3': se3,
        'standing_still': _standing_still(np.stack(real.poses_se3)),
        'constant_velocity': _errors(real, _uniform(real), first, correct_scale=True)[0],
    }
    return tree, aligned


def _evo(track: Track, first_ns: int) -> PoseTrajectory3D:
    seconds = (track.stamps - first_ns) / NS_PER_S
    return PoseTrajectory3D(poses_se3=list(track.poses), timestamps=seconds)


def _errors(
    real: PoseTrajectory3D, guess: PoseTrajectory3D, first_ns: int, *, correct_scale: bool
) -> tuple[dict[str, Any] | Unknown, Aligned | None]:
    moved = PoseTrajectory3D(poses_se3=guess.poses_se3, timestamps=guess.timestamps)
    try:
        R, t, scale = moved.align(real, correct_scale=correct_scale)
    except EvoException as error:
        return Unknown(f'cannot be aligned: {error}'), None
    ate = metrics.APE(metrics.PoseRelation.translation_part)
    steps = {
        'rpe_translation_m': metrics.RPE(metrics.PoseRelation.translation_part, all_pairs=True),
        'rpe_rotation_deg': metrics.RPE(metrics.PoseRelation.rotation_angle_deg, all_pairs=True),
    }
    for metric in (ate, *steps.values()):
        metric.process_data((real, moved))
    values = {'ate_m': ate.get_statistic(metrics.StatisticsType.rmse)}
    values |= {k: m.get_statistic(metrics.StatisticsType.rmse) for k, m in steps.items()}
    stamps = first_ns + np.rint(guess.timestamps * NS_PER_S).astype(np.int64)
    seconds = real.timestamps - real.timestamps[0]
    errors = ate.error, {name: metric.error for name, metric in steps.items()}
    places = real.positions_xyz, moved.positions_xyz
    aligned = Aligned(stamps, seconds, *places, *errors, R, t, float(scale))
    return values | {'scale': float(scale)}, aligned


def _steps(poses: NDArray) -> tuple[NDArray, NDArray]:
    """Length in metres and angle in degrees of the motion between poses that follow each other."""
    motion = inverse(poses[:-1]) @ poses[1:]
    return np.linalg.norm(motion[:, :3, 3], axis=1), np.degrees(rotation_angle(motion[:, :3, :3]))


def _extent(poses: list[NDArray]) -> dict[str, float]:
    """Extent of the true motion: without it, small errors say nothing."""
    lengths, angles = _steps(np.stack(poses))
    return {
        'path_length_m': float(lengths.sum()),
        'extent_m': float(np.linalg.norm(np.ptp(np.stack(poses)[:, :3, 3], axis=0))),
        'rotation_deg': float(angles.sum()),
    }


def _standing_still(poses: NDArray) -> dict[str, float]:
    """Errors of an estimate that never moves, aligned as well as it can be: to the centre."""
    lengths, angles = _steps(poses)
    centred = poses[:, :3, 3] - poses[:, :3, 3].mean(0)
    return {
        'ate_m': float(np.sqrt((centred**2).sum(1).mean())),
        'rpe_translation_m': float(np.sqrt((lengths**2).mean())),
        'rpe_rotation_deg': float(np.sqrt((angles**2).mean())),
    }


def _uniform(real: PoseTrajectory3D) -> PoseTrajectory3D:
    """A trajectory that keeps the mean linear and angular velocity of the camera's own frame."""
    poses, dt = np.stack(real.poses_se3), np.diff(real.timestamps)
    motion = inverse(poses[:-1]) @ poses[1:]
    turns = Rotation.from_matrix(motion[:, :3, :3]).as_rotvec()
    turn, shift = (x.sum(0) / dt.sum() for x in (turns, motion[:, :3, 3]))
    steps = transform(Rotation.from_rotvec(np.outer(dt, turn)).as_matrix(), np.outer(dt, shift))
    found = list(accumulate(steps, np.matmul, initial=poses[0]))
    return PoseTrajectory3D(poses_se3=found, timestamps=real.timestamps)
