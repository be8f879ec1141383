"""Errors of paths along streams."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from scipy.spatial.distance import pdist

from page4d_ros.datasets.bag_index import Track
from page4d_ros.evaluation.metrics.trajectory import trajectory_metrics

if TYPE_CHECKING:
    from page4d_ros.datasets.rendered import RenderedSequence
    from page4d_ros.evaluation.metrics.trajectory import Path


class StreamScore(NamedTuple):
    """Errors of one path.

    Attributes:
        ate: RMSE of position after Sim(3) alignment, over the extent.
        rpe_translation_m: RMSE of the motion between frames, after that alignment.
        rpe_rotation_deg: the same of rotation.
        extent_m: largest distance between two true positions.
        poses: how many poses there are, of how many frames.
        frames: of the stream.
        collapsed: the path cannot be aligned because it has no extent of its own, so that its
            errors are those of the best answer that stands still.
    """

    ate: float
    rpe_translation_m: float
    rpe_rotation_deg: float
    extent_m: float
    poses: int
    frames: int
    collapsed: bool = False

    @classmethod
    def of(cls, path: Path, footage: RenderedSequence) -> StreamScore:
        """Compare; NaN with fewer than three poses."""
        extent = float(pdist(footage.T_world_camera[:, :3, 3]).max())
        frames = len(footage.stamps)
        truth = Track('world', 'camera', footage.stamps, footage.T_world_camera)
        estimate = Track('odom', 'camera', path.stamps, path.poses)
        tree, _ = trajectory_metrics(estimate, truth, metric=False)
        if isinstance(tree, str):  # says why not
            return cls(np.nan, np.nan, np.nan, extent, len(path.poses), frames)
        collapsed = isinstance(tree['sim3'], str)
        errors = tree['standing_still' if collapsed else 'sim3']
        return cls(
            errors['ate_m'] / extent,
            errors['rpe_translation_m'],
            errors['rpe_rotation_deg'],
            extent,
            len(path.poses),
            frames,
            collapsed,
        )
