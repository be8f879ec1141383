"""Predictions of a method for a window, and their errors at the network's pixels."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from page4d_ros.geometry.poses import inverse
from page4d_ros.synthetic.options import Rig
from page4d_ros.truth import patch_shares
from page4d_ros.window_scores import (
    MOVING,
    WindowScore,
    depth_errors,
    pose_errors,
    relative_poses,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from page4d_ros.datasets.rendered import RenderedSequence
    from page4d_ros.geometry.camera import ImageTransform

EMPTY = np.zeros(0)
NOTHING = np.zeros(2, np.int64)


class Grid(NamedTuple):
    """Pixels and patches of a network: how its image comes from the camera's, side of a patch."""

    fit: ImageTransform
    patch: int


class Prediction(NamedTuple):
    """Predictions of a method for a window; None for what it does not predict.

    Attributes:
        grid: whose pixels and patches these are, (h, w) and (h', w').
        depth: (S, h, w) along z, in any unit.
        relative: (P, 3, 4) from camera i to camera j for all i < j, in the unit of depth, or in
            metres without depth.
        motion: (S, h', w') score of every patch, high where it moves.
        threshold: motion above it counts as moving.
        mask: (h, w) bool, whether the newest frame's pixels move.
        failures: pairs without an answer, which count as identity.
    """

    grid: Grid
    depth: NDArray | None = None
    relative: NDArray | None = None
    motion: NDArray | None = None
    threshold: float = 0.5
    mask: NDArray | None = None
    failures: int = 0


class Truth(NamedTuple):
    """Truth of a rendered window, at the pixels and patches of a network.

    Attributes:
        depth: (S, h, w) metres, where the ray through the pixel's centre ends.
        relative: (P, 3, 4) metres.
        motion: (S, h', w') fraction of every patch that moves.
        mask: (S, h, w) bool, at the pixels' centres.
    """

    depth: NDArray[np.float32]
    relative: NDArray[np.float64]
    motion: NDArray[np.float32]
    mask: NDArray[np.bool_]

    @classmethod
    def of(cls, sequence: RenderedSequence, grid: Grid) -> Truth:
        """Sample a window's truth at the network's pixels."""
        fit, patch = grid
        return cls(
            np.stack([fit.nearest(depth) for depth in sequence.depth]),
            relative_poses(inverse(sequence.T_world_camera)[:, :3]),
            np.stack([patch_shares(mask, fit, patch) for mask in sequence.mask]),
            np.stack([fit.nearest(mask) for mask in sequence.mask]),
        )


class Score(NamedTuple):
    """Errors of one answer; NaN or empty for what was not answered.

    Attributes:
        window: errors of depth, poses and patches.
        rolling: whether the camera moves.
        patches: (calls that are right, calls or truths) of moving patches.
        pixels: the same of the newest frame's mask.
        called: fraction of its pixels that are called moving.
        failures: pairs without an answer.
    """

    window: WindowScore
    rolling: bool
    patches: NDArray
    pixels: NDArray
    called: float
    failures: int

    @classmethod
    def of(cls, answer: Prediction, truth: Truth, rig: Rig) -> Score:
        """Compare."""
        abs_rel, delta, ratio = np.nan, np.nan, 1.0
        if answer.depth is not None:
            abs_rel, delta, ratio = depth_errors(answer.depth, truth.depth)
        _, true_turns, _ = pose_errors(truth.relative, truth.relative)
        turns, shifts, failures = EMPTY, EMPTY, answer.failures
        if answer.relative is not None:
            lost = ~np.isfinite(answer.relative).all((1, 2))
            relative = np.where(lost[:, None, None], np.eye(4)[:3], answer.relative)
            turns, _, shifts = pose_errors(relative, truth.relative, ratio)
            failures += int(lost.sum())
        moving = truth.motion.ravel() > MOVING
        probability, patches = EMPTY, NOTHING
        if answer.motion is not None:
            probability = answer.motion.ravel().astype(np.float64)
            patches = overlap(probability > answer.threshold, moving)
        pixels, called = NOTHING, np.nan
        if answer.mask is not None:
            pixels, called = overlap(answer.mask, truth.mask[-1]), float(answer.mask.mean())
        return cls(
            WindowScore(abs_rel, delta, turns, true_turns, shifts, probability, moving),
            rig is not Rig.TRIPOD,
            patches,
            pixels,
            called,
            failures,
        )


def overlap(called: NDArray, truth: NDArray) -> NDArray[np.int64]:
    """Sizes of intersection and union."""
    return np.array([(called & truth).sum(), (called | truth).sum()])
