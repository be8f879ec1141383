"""Attention within frames and over the window, in turn (VGGT, 3.2; PAGE-4D, 3)."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from page4d_ros.model.blocks import Block, SpecialTokenBias
from page4d_ros.model.config import NetworkConfig
from page4d_ros.model.encoder import Encoder
from page4d_ros.model.mask_head import SpatialMaskHead
from page4d_ros.model.rope import Rope, rope_table


class Features(NamedTuple):
    """What the heads read.

    Attributes:
        taps: tokens after the blocks `dpt_taps`, frame attention's channels before global
            attention's, four times (B, S, P, 2 C); P is the special tokens, then the patches.
        camera_tokens: camera token of each frame after the last block, (B, S, 2 C).
        mask_score: score of each patch in (-0.5, 0.5), high where static, (B, S, h, w); None
            without a mask head.
    """

    taps: list[Tensor]
    camera_tokens: Tensor
    mask_score: Tensor | None


class Aggregator(nn.Module):
    """Encoder and alternating blocks.

    The encoder, `patch_embed`, is called apart from `forward`, so that a sliding window encodes
    each frame once.
    """

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        self.config = config
        dim = config.embed_dim
        self.patch_embed = Encoder(config)
        # Index 0 serves the first frame, whose camera is the origin, index 1 all others.
        self.camera_token = nn.Parameter(torch.empty(1, 2, 1, dim))
        self.register_token = nn.Parameter(torch.empty(1, 2, config.num_register_tokens, dim))
        self.frame_blocks = nn.ModuleList(self._block() for _ in range(config.depth))
        self.global_blocks = nn.ModuleList(self._block() for _ in range(config.depth))
        self.spatial_mask_head = SpatialMaskHead(config) if config.mask_head else None
        nn.init.normal_(self.camera_token, std=1e-6)
        nn.init.normal_(self.register_token, std=1e-6)

    def _block(self) -> Block:
        config = self.config
        return Block(
            config.embed_dim,
            config.num_heads,
            mlp_ratio=config.mlp_ratio,
            layer_scale_init=config.layer_scale_init,
            qk_norm=True,
        )

    def add_special_tokens(self, patches: Tensor) -> Tensor:
        """Put camera and register tokens before patch tokens (B, S, h * w, C)."""
        batch, frames = patches.shape[:2]
        special = torch.cat([self.camera_token, self.register_token], dim=2)  # [1, 2, 5, C]
        special = torch.cat([special[:, :1], special[:, 1:].expand(-1, frames - 1, -1, -1)], dim=1)
        return torch.cat([special.expand(batch, -1, -1, -1).to(patches.dtype), patches], dim=2)

    def rope(self, x: Tensor, grid: tuple[int, int]) -> Rope:
        """Rotation table of one frame's tokens for a patch grid (h, w)."""
        config = self.config
        head_dim = config.embed_dim // config.num_heads
        specials = config.num_special_tokens
        return rope_table(*grid, specials, head_dim, config.rope_base, x.device, x.dtype)

    def forward(self, patches: Tensor, grid: tuple[int, int], mask_alpha: float = 0.0) -> Features:
        """Let the frames of a window see each other.

        Args:
            patches: tokens of the encoder, (B, S, h * w, C).
            grid: patches as (h, w).
            mask_alpha: strength of the attention bias in [0, 1]; 0 leaves it out altogether.
        """
        config = self.config
        specials = config.num_special_tokens
        x = self.add_special_tokens(patches)
        batch, frames = x.shape[:2]
        rope = self.rope(x, grid)
        taps, score, bias = [], None, None
        blocks = zip(self.frame_blocks, self.global_blocks, strict=True)
        for i, (frame_block, global_block) in enumerate(blocks):
            local = frame_block(x.flatten(0, 1), rope).unflatten(0, (batch, frames))
            if i == config.mask_layer and self.spatial_mask_head is not None:
                score = self.spatial_mask_head(local[:, :, specials:], grid)
                if mask_alpha:
                    logits = self.spatial_mask_head.key_bias(score, mask_alpha)
                    bias = SpecialTokenBias(logits, frames, specials)
            masked = bias if i in config.masked_layers else None
            x = global_block(local.flatten(1, 2), rope, masked).unflatten(1, (frames, -1))
            if i in config.dpt_taps:
                taps.append(torch.cat([local, x], dim=-1))  # [B, S, P, 2C]
        return Features(taps, torch.cat([local[:, :, 0], x[:, :, 0]], dim=-1), score)
