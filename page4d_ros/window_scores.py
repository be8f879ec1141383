"""Errors of single windows: depth, relative pose and motion per patch."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from page4d_ros.geometry.poses import rotation_angle

if TYPE_CHECKING:
    from numpy.typing import NDArray

MIN_BASELINE = 0.05  # metres between two views before the direction of their motion counts
MOVING = 0.5  # fraction of a patch that makes it a moving one


class WindowScore(NamedTuple):
    """One window's errors.

    Attributes:
        abs_rel: mean relative error of depth after one scale for the window.
        delta: fraction of pixels within a factor of 1.25 after that scale.
        rotation_deg: error of the rotation between every two views, (P,) degrees.
        turn_deg: true rotation between every two views, (P,) degrees: the error of "identity".
        translation: error of the translation between every two views that are MIN_BASELINE
            apart, over that baseline, (Q,).
        probability: predicted probability of motion of every patch, (N,).
        moving: true motion of every patch, (N,) bool.
    """

    abs_rel: float
    delta: float
    rotation_deg: NDArray[np.float64]
    turn_deg: NDArray[np.float64]
    translation: NDArray[np.float64]
    probability: NDArray[np.float64]
    moving: NDArray[np.bool_]


def score_window(
    *,
    depth: NDArray,
    extrinsics: NDArray,
    motion: NDArray | None,
    gt_depth: NDArray,
    gt_extrinsics: NDArray,
    gt_motion: NDArray,
) -> WindowScore:
    """Compare a window of S views with ground truth, whatever its frame and unit of length.

    Args:
        depth: (S, H, W).
        extrinsics: world -> camera, (S, 3, 4).
        motion: probability of motion of every patch, (S, h, w), or None.
        gt_depth: (S, H, W) metres, 0 where unknown.
        gt_extrinsics: (S, 3, 4) metres.
        gt_motion: fraction of every patch that moves, (S, h, w).
    """
    abs_rel, delta, ratio = depth_errors(depth, gt_depth)
    known = np.isfinite(gt_motion)
    predicted = np.zeros(known.sum()) if motion is None else motion[known]
    return WindowScore(
        abs_rel,
        delta,
        *pose_errors(relative_poses(extrinsics), relative_poses(gt_extrinsics), ratio),
        predicted.astype(np.float64),
        gt_motion[known] > MOVING,
    )


def depth_errors(depth: NDArray, truth: NDArray) -> tuple[float, float, float]:
    """AbsRel, fraction within a factor of 1.25, and the scale applied before both.

    The scale is the median ratio over the window; without a valid pixel it is 1 and the errors
    are NaN.

    Args:
        depth: (S, H, W) in any unit.
        truth: (S, H, W) metres, 0 where unknown.
    """
    valid = (truth > 0) & np.isfinite(depth) & (depth > 0)
    if not valid.any():
        return np.nan, np.nan, 1.0
    ratio = float(np.median(truth[valid] / depth[valid]))
    pred, gt = depth[valid] * ratio, truth[valid]
    delta = np.mean(np.maximum(pred / gt, gt / pred) < 1.25)
    return float(np.mean(np.abs(pred - gt) / gt)), float(delta), ratio


def relative_poses(extrinsics: NDArray) -> NDArray[np.float64]:
    """Transforms (P, 3, 4) from camera i to camera j for all i < j, from world -> camera."""
    E = np.asarray(extrinsics, np.float64)
    i, j = np.triu_indices(len(E), 1)
    R = E[j, :, :3] @ np.swapaxes(E[i, :, :3], 1, 2)
    return np.concatenate([R, E[j, :, 3:] - R @ E[i, :, 3:]], axis=2)


def pose_errors(
    relative: NDArray, truth: NDArray, ratio: float = 1.0
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Errors of relative poses (P, 3, 4), whose unit is `ratio` metres.

    Returns:
        Rotation error (P,) and true rotation (P,) in degrees, and translation error over baseline
        (Q,) of the pairs that are MIN_BASELINE apart.
    """
    turn = np.degrees(rotation_angle(np.swapaxes(relative[:, :, :3], 1, 2) @ truth[:, :, :3]))
    baseline = np.linalg.norm(truth[:, :, 3], axis=1)
    shift = np.linalg.norm(ratio * relative[:, :, 3] - truth[:, :, 3], axis=1)
    apart = baseline > MIN_BASELINE
    true_turn = np.degrees(rotation_angle(truth[:, :, :3]))
    return turn, true_turn, shift[apart] / baseline[apart]


class WindowScores:
    """Collects the scores of many windows."""

    def __init__(self) -> None:
        self.all: list[WindowScore] = []

    def add(self, score: WindowScore) -> None:
        """Add one window."""
        self.all.append(score)

    def summary(self, threshold: float = 0.5) -> dict[str, float]:
        """Means of depth errors, medians of pose errors, and quality of the motion mask."""
        columns = WindowScore(*zip(*self.all, strict=True))
        moving = np.concatenate(columns.moving)
        probability = np.concatenate(columns.probability)
        called = probability > threshold
        union = (called | moving).sum()
        still = [s.probability > threshold for s in self.all if not s.moving.any()]
        return {
            'abs_rel': float(np.nanmean(columns.abs_rel)),
            'delta': float(np.nanmean(columns.delta)),
            'rotation_deg': _median(columns.rotation_deg),
            'turn_deg': _median(columns.turn_deg),
            'translation': _median(columns.translation),
            'mask_ap': average_precision(moving, probability),
            'mask_iou': float((called & moving).sum() / union) if union else 1.0,
            'moving': float(moving.mean()),
            'still_called_moving': float(np.concatenate(still).mean()) if still else np.nan,
        }


def average_precision(truth: NDArray, score: NDArray) -> float:
    """Area under precision over recall, as a sum of steps; NaN without a true element.

    Equals scikit-learn's, whose argument checks would take minutes in a bootstrap.

    Args:
        truth: (N,) bool.
        score: (N,), higher is more likely.
    """
    if not truth.any():
        return np.nan
    order = np.argsort(-score)
    last = np.append(np.diff(score[order]) != 0, True)  # equal scores are one step
    hits = np.cumsum(truth[order])[last]
    precision = hits / (np.flatnonzero(last) + 1)
    return float(np.diff(hits, prepend=0) @ precision / hits[-1])


def _median(values: tuple[NDArray, ...]) -> float:
    return float(np.median(np.concatenate(values)))
