"""PAGE-4D: poses, depth, points and a motion score of a window of images, in one pass."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from page4d_ros.errors import ConfigError
from page4d_ros.model.aggregator import Aggregator
from page4d_ros.model.camera_head import CameraHead
from page4d_ros.model.config import NetworkConfig
from page4d_ros.model.dpt_head import DPTHead, inverse_log
from page4d_ros.model.gram import GramStatistics


class Page4DOutput(NamedTuple):
    """Estimates of S frames; lengths share one unknown scale.

    Attributes:
        pose_enc: translation, quaternion (x, y, z, w), vertical and horizontal field of view in
            radians, (B, S, 9); see `pose_encoding`.
        pose_enc_iters: the same after every iteration, (iterations, B, S, 9).
        depth: along each camera's z axis, (B, S, H, W).
        depth_conf: confidence above 1, (B, S, H, W).
        world_points: points in the first camera's frame, (B, S, H, W, 3); None without that head.
        world_points_conf: confidence above 1, (B, S, H, W); None without that head.
        mask_score: score of each patch in (-0.5, 0.5), high where static, (B, S, h, w); None
            without a mask head. See `mask_head.dynamic_probability`.
    """

    pose_enc: Tensor
    pose_enc_iters: Tensor
    depth: Tensor
    depth_conf: Tensor
    world_points: Tensor | None
    world_points_conf: Tensor | None
    mask_score: Tensor | None


class Page4D(nn.Module):
    """The whole network; its parts can be called one by one as `forward` does.

    Attributes:
        config: sizes and settings.
        name: what the weights are called; reports carry it.
        purpose: what they are for, in words; "" where their file does not say.
    """

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        self.config = config
        self.name = 'untrained'
        self.purpose = ''
        self.aggregator = Aggregator(config)
        self.camera_head = CameraHead(config)
        self.depth_head = DPTHead(config, outputs=2, activation=torch.exp)
        self.point_head = (
            DPTHead(config, outputs=4, activation=inverse_log) if config.point_head else None
        )

    def forward(self, images: Tensor, *, mask_alpha: float | None = None) -> Page4DOutput:
        """Estimate one window.

        Args:
            images: RGB in [0, 1], (B, S, 3, H, W) or (S, 3, H, W); H and W whole patches.
            mask_alpha: strength of the mask's attention bias in [0, 1]; None takes 1 or 0 from
                `config.mask_enabled`, and 0 skips the bias altogether.

        Raises:
            ValueError: the images have a wrong shape or type.
            ConfigError: a mask is asked for that the network cannot predict.
        """
        images = self.check_images(images)
        if mask_alpha is None:
            mask_alpha = float(self.config.mask_enabled)
        if mask_alpha and not self.config.mask_head:
            raise ConfigError('mask_alpha needs a network with a mask head; set it to 0')
        grid = self.grid(images)
        patches = self.aggregator.patch_embed(images.flatten(0, 1))  # [B*S, h*w, C]
        patches = patches.unflatten(0, images.shape[:2])
        local = self.aggregator.enter(patches, grid, first=True)
        return self.estimate(local, grid, mask_alpha)

    def estimate(
        self,
        local: Tensor,
        grid: tuple[int, int],
        mask_alpha: float,
        newest: int | None = None,
        hidden: Tensor | None = None,
        gram: GramStatistics | None = None,
    ) -> Page4DOutput:
        """Estimate a window whose frames went through the encoder and `Aggregator.enter`.

        Args:
            local: tokens of all frames, (B, S, P, C).
            grid: patches as (h, w).
            mask_alpha: as in `forward`.
            newest: how many frames, counted from the last, get depth and points; None for all.
            hidden: as in `Aggregator.forward`.
            gram: takes in what attention says of motion.
        """
        features = self.aggregator(local, grid, mask_alpha, newest, hidden, gram)
        poses = self.camera_head(features.camera_tokens)
        depth, depth_conf = self.depth_head(features.taps, grid)
        points = points_conf = None
        if self.point_head is not None:
            points, points_conf = self.point_head(features.taps, grid)
        return Page4DOutput(
            pose_enc=poses[-1],
            pose_enc_iters=poses,
            depth=depth.squeeze(-1),
            depth_conf=depth_conf,
            world_points=points,
            world_points_conf=points_conf,
            mask_score=features.mask_score,
        )

    def grid(self, images: Tensor) -> tuple[int, int]:
        """Patches (h, w) of images (..., H, W)."""
        height, width = images.shape[-2:]
        return height // self.config.patch_size, width // self.config.patch_size

    def check_images(self, images: Tensor) -> Tensor:
        """Refuse what is no window of images; give the rest its batch dimension.

        Returns:
            Images (B, S, 3, H, W).
        """
        patch = self.config.patch_size
        shape = tuple(images.shape)
        if images.ndim not in {4, 5} or images.shape[-3] != 3 or 0 in shape:
            raise ValueError(
                f'images have the shape {shape}; expected (B, S, 3, H, W) or (S, 3, H, W) RGB'
            )
        if not images.is_floating_point():
            raise ValueError(f'images are {images.dtype}; expected floating point in [0, 1]')
        if shape[-2] % patch or shape[-1] % patch:
            raise ValueError(
                f'images are {shape[-1]} x {shape[-2]} (width x height); both must be multiples '
                f'of {patch}: resize or pad them, see page4d_ros.model.preprocess'
            )
        if self.config.mask_head and shape[-2] * shape[-1] < 2 * patch**2:
            raise ValueError('images need at least two patches: the mask compares patches')
        return images if images.ndim == 5 else images[None]
