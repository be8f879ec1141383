"""PAGE-4D: poses, depth, points and a motion score of a window of images, in one pass."""

from __future__ import annotations

from copy import copy
from dataclasses import replace

import torch
from torch import Tensor, nn

from page4d_ros.errors import ConfigError
from page4d_ros.model.aggregator import Aggregator, Features
from page4d_ros.model.blocks import Block, halve
from page4d_ros.model.camera_head import CameraHead
from page4d_ros.model.config import NetworkConfig
from page4d_ros.model.dpt_head import DPTHead, inverse_log
from page4d_ros.model.memory import Memory, activations
from page4d_ros.model.network import UNTRAINED, NetworkOutput, StepPlan


class Page4D(nn.Module):
    """The whole network, a `Network`; `forward` runs its parts one after the other.

    Attributes:
        config: sizes and settings.
        name: of the weights; reports carry it.
        purpose: use the weights were made for, in words; "" where their file does not say.
        architecture: in weight files, by which they choose their family.
    """

    architecture = 'page4d'
    branches = 1  # that the trunk runs a frame's tokens through

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        self.config = config
        self.name = UNTRAINED
        self.purpose = ''
        self.aggregator = Aggregator(config)
        self.camera_head = CameraHead(config)
        self.depth_head = DPTHead(config, outputs=2, activation=torch.exp)
        self.point_head = (
            DPTHead(config, outputs=4, activation=inverse_log) if config.point_head else None
        )

    def forward(self, images: Tensor, *, mask_alpha: float | None = None) -> NetworkOutput:
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
        encoded = self.encode(images.flatten(0, 1)).unflatten(0, images.shape[:2])
        plan = StepPlan(grid, images.shape[1])
        return self.step(self.enter(encoded, grid, first=True), plan, mask_alpha=mask_alpha)

    def encode(self, images: Tensor) -> Tensor:
        """Patch tokens (N, h * w, C) of images (N, 3, H, W); see `Network.encode`."""
        return self.aggregator.patch_embed(images)

    def enter(
        self,
        encoded: Tensor,
        grid: tuple[int, int],
        *,
        first: bool,
        hidden: Tensor | None = None,
    ) -> Tensor:
        """Window tokens (B, S, P, C) of encoded frames; see `Network.enter`."""
        return self.aggregator.enter(encoded, grid, first=first, hidden=hidden)

    def step(
        self,
        tokens: Tensor,
        plan: StepPlan,
        hidden: Tensor | None = None,
        mask_alpha: float | None = None,
    ) -> NetworkOutput:
        """Estimate a window from its tokens; see `Network.step`, `forward` for `mask_alpha`."""
        if mask_alpha is None:
            mask_alpha = float(self.config.mask_enabled)
        grid = plan.grid
        features = self.features(tokens, plan, hidden, mask_alpha)
        poses = self.camera_head(features.camera_tokens)
        depth, depth_conf = self.depth_head(features.taps, grid)
        points = points_conf = None
        if self.point_head is not None:
            points, points_conf = self.point_head(features.taps, grid)
        return NetworkOutput(
            pose_enc=poses[-1],
            pose_enc_iters=poses,
            depth=depth.squeeze(-1),
            depth_conf=depth_conf,
            world_points=points,
            world_points_conf=points_conf,
            mask_score=features.mask_score,
            gram=features.gram,
        )

    def features(
        self, tokens: Tensor, plan: StepPlan, hidden: Tensor | None, mask_alpha: float
    ) -> Features:
        """Inputs of the heads; see `step`."""
        grid, newest, references = plan[:3]  # to it, views are frames like all others
        return self.aggregator(tokens, grid, mask_alpha, newest, hidden, references)

    @property
    def trunk(self) -> tuple[nn.Module, ...]:
        """Modules before the heads, which half precision concerns."""
        return (self.aggregator,)

    @property
    def patch_size(self) -> int:
        """Side of a patch in pixels."""
        return self.config.patch_size

    @property
    def image_size(self) -> int:
        """Width in pixels of the images that the weights were made for."""
        return self.config.img_size

    @property
    def mask_in_attention(self) -> bool:
        """True if the motion mask biases attention."""
        return self.config.mask_enabled

    @property
    def parameter_count(self) -> int:
        """Number of weights."""
        return sum(weight.numel() for weight in self.parameters())

    def with_mask_in_attention(self, *, on: bool) -> Page4D:
        """Network of the same weights, with the mask's bias on or off.

        Raises:
            ConfigError: it is to be on, and the weights have no mask head.
        """
        if on and not self.config.mask_head:
            raise ConfigError('the weights have no mask head')
        twin = copy(self)  # shares the weights
        twin.config = replace(self.config, mask_enabled=on)
        return twin

    def prepare(self, device: torch.device, half: torch.dtype | None, *, points: bool) -> None:
        """Make ready for inference in place; see `Network.prepare`.

        Raises:
            ConfigError: points are wanted, and the weights have no such head.
        """
        if not points:
            self.point_head = None
        elif self.point_head is None:
            raise ConfigError(f'model.point_head: weights {self.name} have no such head')
        self.to(device).eval()
        for module in self.modules():
            if isinstance(module, Block):
                module.fold()
        for module in self.trunk if half is not None else ():
            halve(module, half)
        if device.type == 'cpu':
            self.depth_head.to(memory_format=torch.channels_last)

    def attention_shape(self, frames: int, grid: tuple[int, int]) -> tuple[int, int, int, int]:
        """Shape (B, heads, N, D) of a global block's queries."""
        config = self.config
        tokens = frames * (grid[0] * grid[1] + config.num_special_tokens)
        return 1, config.num_heads, tokens, config.embed_dim // config.num_heads

    def memory(
        self, frames: int, size: tuple[int, int], newest: int | None, references: int = 0
    ) -> Memory:
        """Memory that a step needs; see `Network.memory`."""
        cache, working = activations(
            self.config,
            frames,
            size,
            newest,
            references=references,
            matrix_bytes=self.aggregator.frame_blocks[0].mlp.fc1.weight.element_size(),
            points=self.point_head is not None,
            branches=self.branches,
        )
        weights = sum(weight.numel() * weight.element_size() for weight in self.parameters())
        return Memory(weights, cache, working)

    def stages(self) -> list[tuple[str, nn.Module]]:
        """Modules by stage, in order."""
        aggregator = self.aggregator
        modules = [('encoder', aggregator.patch_embed), ('camera head', self.camera_head)]
        modules += [('frame blocks', block) for block in aggregator.frame_blocks]
        modules += [('global blocks', block) for block in aggregator.global_blocks]
        if aggregator.spatial_mask_head is not None:
            modules.append(('mask head', aggregator.spatial_mask_head))
        modules.append(('depth head', self.depth_head))
        return modules + ([] if self.point_head is None else [('point head', self.point_head)])

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
