"""Attention within frames and over the window, in turn (VGGT, 3.2; PAGE-4D, 3)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from page4d_ros.model.blocks import Block, SpecialTokenBias
from page4d_ros.model.config import NetworkConfig
from page4d_ros.model.encoder import Encoder, PatchEncoder
from page4d_ros.model.gram import GramLayers, GramStatistics, GramSums
from page4d_ros.model.mask_head import SpatialMaskHead
from page4d_ros.model.rope import Rope, rope_table


class Features(NamedTuple):
    """Inputs of the heads.

    Attributes:
        taps: tokens after the blocks `dpt_taps`, frame attention's channels before global
            attention's, four times (B, S', P, 2 C) for the S' newest frames that were asked for;
            P is the special tokens, then the patches.
        camera_tokens: camera token of each frame after the last block, (B, S, 2 C).
        mask_score: score of each patch in (-0.5, 0.5), high where static, (B, S, h, w); None
            without a mask head.
        gram: dynamic map of the frames it was asked for, (R, h, w); None without any.
    """

    taps: list[Tensor]
    camera_tokens: Tensor
    mask_score: Tensor | None
    gram: Tensor | None = None


class Aggregator(nn.Module):
    """Encoder and alternating blocks.

    `forward` holds all that relates frames to each other; the encoder, `patch_embed`, and `enter`
    come before it, so that a sliding window runs them once per frame.
    """

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        self.config = config
        dim = config.embed_dim
        self.patch_embed = (
            Encoder(config) if config.encoder_depth else PatchEncoder(dim, config.patch_size)
        )
        # Index 0 serves the first frame, whose camera is the origin, index 1 all others.
        self.camera_token = nn.Parameter(torch.empty(1, 2, 1, dim))
        self.register_token = nn.Parameter(torch.empty(1, 2, config.num_register_tokens, dim))
        self.frame_blocks = nn.ModuleList(Block.of(config) for _ in range(config.depth))
        self.global_blocks = nn.ModuleList(Block.of(config) for _ in range(config.depth))
        self.spatial_mask_head = SpatialMaskHead(config) if config.mask_head else None
        self.gram_layers = GramLayers.of(config.depth)
        nn.init.normal_(self.camera_token, std=1e-6)
        nn.init.normal_(self.register_token, std=1e-6)

    def enter(
        self,
        patches: Tensor,
        grid: tuple[int, int],
        *,
        first: bool,
        hidden: Tensor | None = None,
    ) -> Tensor:
        """Give frames their special tokens and let each run through the first frame block.

        Args:
            patches: tokens of the encoder, (B, S, h * w, C).
            grid: patches as (h, w).
            first: True if the first of the frames is the first of its window.
            hidden: as in `forward`.

        Returns:
            Tokens (B, S, P, C): special tokens, then patches.
        """
        x = self.with_specials(patches, first=first)
        keys = None if hidden is None else self._keys(hidden).flatten(0, 1)
        local = self.frame_blocks[0](x.flatten(0, 1), self.rope(x, grid), hidden=keys)
        return local.unflatten(0, x.shape[:2])

    def with_specials(self, patches: Tensor, *, first: bool) -> Tensor:
        """Tokens (B, S, P, C) of frames before all blocks; see `enter`."""
        batch, frames = patches.shape[:2]
        kinds = torch.cat([self.camera_token, self.register_token], dim=2)  # [1, 2, 5, C]
        special = kinds[:, 1:].expand(-1, frames, -1, -1)
        if first:
            special = torch.cat([kinds[:, :1], special[:, 1:]], dim=1)
        special = special.expand(batch, -1, -1, -1).to(patches.dtype)
        return torch.cat([special, patches], dim=2)

    def _keys(self, hidden: Tensor) -> Tensor:
        """Hidden tokens (B, S, P) of hidden patches (B, S, h, w); special ones never are."""
        return functional.pad(hidden.flatten(2), (self.config.num_special_tokens, 0))

    def rope(self, x: Tensor, grid: tuple[int, int]) -> Rope:
        """Rotation table of one frame's tokens for a patch grid (h, w)."""
        config = self.config
        head_dim = config.embed_dim // config.num_heads
        specials = config.num_special_tokens
        return rope_table(*grid, specials, head_dim, config.rope_base, x.device, x.dtype)

    def forward(
        self,
        local: Tensor,
        grid: tuple[int, int],
        mask_alpha: float = 0.0,
        newest: int | None = None,
        hidden: Tensor | None = None,
        references: Sequence[int] = (),
    ) -> Features:
        """Let the frames of a window attend to each other.

        Args:
            local: tokens of all frames as `enter` returns them, (B, S, P, C).
            grid: patches as (h, w).
            mask_alpha: strength of the attention bias in [0, 1]; 0 leaves it out altogether.
            newest: number of frames, counted from the last, that the dense heads will read; what
                only the others would need is left out. None reads all.
            hidden: (B, S, h, w) bool, patches that no token of an early block attends to
                (VGGT4D, 3.3).
            references: frames whose dynamic map is wanted, in a batch of one.
        """
        config = self.config
        specials = config.num_special_tokens
        batch, frames = local.shape[:2]
        read = slice(frames - (frames if newest is None else newest), None)
        rope = self.rope(local, grid)
        taps, score, bias = [], None, None
        keys = None if hidden is None else self._keys(hidden)
        gram = GramStatistics(self.gram_layers, tuple(references), specials, frames)
        sums: GramSums = {}
        x = None
        for i, global_block in enumerate(self.global_blocks):
            unseen = keys if i in self.gram_layers.early else None
            if x is not None:
                within = None if unseen is None else unseen.flatten(0, 1)
                local = self.frame_blocks[i](x.flatten(0, 1), rope, hidden=within)
                local = local.unflatten(0, (batch, frames))
            if i == config.mask_layer and self.spatial_mask_head is not None:
                score = self.spatial_mask_head(local[:, :, specials:], grid)
                if mask_alpha:
                    logits = self.spatial_mask_head.key_bias(score, mask_alpha)
                    bias = SpecialTokenBias(logits, frames, specials)
            masked = bias if i in config.masked_layers else None
            if i + 1 < config.depth or not read.start:
                across = None if unseen is None else unseen.flatten(1)
                x = local.flatten(1, 2)
                if gram.wants(i):
                    q, k, v = global_block.project(x, rope)
                    gram.add(sums, i, q, k)
                    attended = global_block.attn.attend(q, k, v, masked, across)
                    del q, k, v  # the MLP needs their memory
                    x = global_block.update(x, attended)
                else:
                    x = global_block(x, rope, masked, hidden=across)
                x = x.unflatten(1, (frames, -1))
                camera, seen = x[:, :, 0], x[:, read]
            else:
                camera, seen = read_last(global_block, local, read.start, rope, masked)
            if i in config.dpt_taps:
                taps.append(torch.cat([local[:, read], seen], dim=-1))  # [B, S', P, 2C]
        dynamic = gram.dynamic_map(sums, grid, local.device) if references else None
        return Features(taps, torch.cat([local[:, :, 0], camera], dim=-1), score, dynamic)


def read_last(
    block: Block, local: Tensor, start: int, rope: Rope, bias: SpecialTokenBias | None
) -> tuple[Tensor, Tensor]:
    """The last global block for the tokens that are read: every camera, and the newest frames.

    Args:
        block: the block.
        local: tokens of all frames, (B, S, P, C).
        start: index of the first frame whose patches are read.
        rope: of one frame's tokens.
        bias: as the block would get it for all tokens.

    Returns:
        Camera tokens (B, S, C) and the tokens of the frames from `start` on, (B, S', P, C).
    """
    everybody = block.keys_values(local.flatten(1, 2), rope)
    cos, sin = rope
    older = bias and bias._replace(frames=start, specials=1)
    cameras = block(local[:, :start, 0], (cos[:1], sin[:1]), older, everybody)
    newer = bias and bias._replace(frames=local.shape[1] - start)
    seen = block(local[:, start:].flatten(1, 2), rope, newer, everybody)
    seen = seen.unflatten(1, (-1, local.shape[2]))
    return torch.cat([cameras, seen[:, :, 0]], dim=1), seen
