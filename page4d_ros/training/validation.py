"""Metrics on windows of drives that are not trained on."""

from __future__ import annotations

import warnings
from collections.abc import Iterator

import numpy as np
import torch

from page4d_ros.errors import TrainingError
from page4d_ros.evaluation.metrics.windows import WindowScores, score_window
from page4d_ros.model.mask_head import dynamic_probability
from page4d_ros.model.page4d import Page4D
from page4d_ros.model.pose_encoding import decode_pose
from page4d_ros.training.batch import Batch
from page4d_ros.training.recipe import DataConfig
from page4d_ros.training.shards import check_size, find_shards, make_views

FRAMES = 4
STRIDES = (1, 2, 4)


class Validation:
    """A fixed set of windows, one per drive, without disturbances.

    Windows of 4 frames have strides of 1, 2 and 4 in turn, or what their drive is long enough for.

    Args:
        config: where the shards are, and sizes.
        patch_size: of the network.

    Attributes:
        shards: the drives; none where the recipe names no folder.

    Raises:
        TrainingError: the folder holds no shards, or one that is damaged or too short.
    """

    def __init__(self, config: DataConfig, patch_size: int) -> None:
        self.config, self.patch_size = config, patch_size
        check_size(config, patch_size)
        self.shards = find_shards(config.validation) if config.validation else []
        for shard in self.shards:
            if shard.frames < FRAMES:
                raise TrainingError(
                    f'{shard.path}: has {shard.frames} frames; validation takes {FRAMES}'
                )

    def windows(self) -> Iterator[Batch]:
        """Batches of one window each; only one is in memory."""
        for index, shard in enumerate(self.shards):
            stride = min(STRIDES[index % len(STRIDES)], (shard.frames - 1) // (FRAMES - 1))
            indices = stride * np.arange(FRAMES)
            views = make_views(shard, indices, self.config, self.patch_size, rng=None)
            yield Batch(*(torch.from_numpy(view)[None] for view in views))

    @torch.inference_mode()
    def run(self, network: Page4D) -> dict[str, float]:
        """Metrics of a network in evaluation mode, as `WindowScores.summary` names them."""
        device = next(network.parameters()).device
        scores = WindowScores()
        for window in self.windows():
            output = network(window.images.to(device))
            extrinsics, _ = decode_pose(output.pose_enc[0].float().cpu(), window.size)
            motion = output.mask_score
            scores.add(
                score_window(
                    depth=output.depth[0].float().cpu().numpy(),
                    extrinsics=extrinsics.numpy(),
                    motion=None
                    if motion is None
                    else dynamic_probability(motion[0].float()).cpu().numpy(),
                    gt_depth=window.depth[0].numpy(),
                    gt_extrinsics=window.extrinsics[0].numpy(),
                    gt_motion=window.motion[0].numpy(),
                )
            )
        with warnings.catch_warnings():  # means of nothing, where no drive has a motion mask
            warnings.simplefilter('ignore', RuntimeWarning)
            return scores.summary()
