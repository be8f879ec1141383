"""Metrics on windows of the validation drives."""

from __future__ import annotations

import warnings
from collections.abc import Iterator

import numpy as np
import torch

from page4d_ros.errors import TrainingError
from page4d_ros.model.mask_head import dynamic_probability
from page4d_ros.model.page4d import Page4D
from page4d_ros.model.pose_encoding import decode_pose
from page4d_ros.training.batch import Batch
from page4d_ros.training.recipe import DataConfig
from page4d_ros.training.window_sampling import check_size, find_shards, make_views
from page4d_ros.window_scores import WindowScores, score_window

FRAMES = 4
STRIDES = (1, 2, 4)


class Validation:
    """A fixed set of windows, one per drive, without augmentation.

    Windows of FRAMES frames have the STRIDES in turn, or the largest stride that the drive allows.

    Args:
        config: folder of the shards, and sizes.
        patch_size: of the network.

    Attributes:
        shards: the drives; empty where the recipe names no folder.

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
        """Batches of one window each, read one at a time."""
        for index, shard in enumerate(self.shards):
            stride = min(STRIDES[index % len(STRIDES)], (shard.frames - 1) // (FRAMES - 1))
            indices = stride * np.arange(FRAMES)
            views = make_views(shard, indices, self.config, self.patch_size, rng=None)
            yield Batch(*(torch.from_numpy(view)[None] for view in views))

    @torch.inference_mode()
    def run(self, network: Page4D) -> dict[str, float]:
        """Compute the metrics of `WindowScores.summary` for a network in evaluation mode."""
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
        with warnings.catch_warnings():  # empty means where no drive has a motion mask
            warnings.simplefilter('ignore', RuntimeWarning)
            return scores.summary()
