"""The published way to run a window, for comparing numbers and times with the engine's."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from page4d_ros.model.blocks import Block
from page4d_ros.model.fourd_vggt import FourDVGGT
from page4d_ros.model.network import NetworkOutput
from page4d_ros.model.page4d import Page4D
from page4d_ros.model.rope import Rope
from page4d_ros.model.temporal import WindowBlock

EXTRA = 8  # channels that carry the bias: one, and zeros for the alignment of the kernels


class Reference:
    """The whole window, every block for every token, all intermediates kept, all heads.

    It stays as simple as it is: nothing is kept from one window to the next, and nothing is left
    out. The mask's bias travels in wider queries and keys (PAGE-4D's released form).

    Args:
        network: whose weights are used; nothing of it is changed.
    """

    def __init__(self, network: Page4D) -> None:
        self.network = network
        self.point_head = network.point_head

    @torch.inference_mode()
    def __call__(self, images: Tensor, mask_alpha: float = 0.0) -> NetworkOutput:
        """Estimate a window of images (S, 3, H, W) in [0, 1]."""
        network, grid = self.network, self.network.grid(images)
        entered = self._entered(images)
        intermediates, score = self._tokens(entered, grid, mask_alpha)
        poses = network.camera_head(intermediates[-1][:, :, 0])
        taps = [intermediates[i] for i in network.config.dpt_taps]
        if isinstance(network, FourDVGGT):
            taps = network.fusion(taps, temporal_taps(network, entered, grid))
        depth, depth_conf = network.depth_head(taps, grid)
        points = points_conf = None
        if self.point_head is not None:
            points, points_conf = self.point_head(taps, grid)
        return NetworkOutput(
            poses[-1], poses, depth.squeeze(-1), depth_conf, points, points_conf, score
        )

    def _entered(self, images: Tensor) -> Tensor:
        """Tokens (S, P, C) before all blocks."""
        aggregator = self.network.aggregator
        patches = aggregator.patch_embed(images)  # [S, h*w, C]
        special = torch.cat([aggregator.camera_token, aggregator.register_token], dim=2)[0]
        special = torch.cat([special[:1], special[1:].expand(len(images) - 1, -1, -1)])
        return torch.cat([special.to(patches.dtype), patches], dim=1)

    def _tokens(
        self, x: Tensor, grid: tuple[int, int], mask_alpha: float
    ) -> tuple[list[Tensor], Tensor | None]:
        aggregator, config = self.network.aggregator, self.network.config
        frames, specials = len(x), config.num_special_tokens
        rope = aggregator.rope(x, grid)
        intermediates, score, bias = [], None, None
        for i in range(config.depth):
            local = aggregator.frame_blocks[i](x, rope)
            if i == config.mask_layer and aggregator.spatial_mask_head is not None:
                score = aggregator.spatial_mask_head(local[None, :, specials:], grid)
                bias = mask_alpha * functional.pad(score[0].flatten(1), (specials, 0))
            block, x = aggregator.global_blocks[i], local.flatten(0, 1)[None]
            if mask_alpha and i in config.masked_layers:
                x = self._masked(block, x, rope, bias)
            else:
                x = block(x, rope)
            x = x[0].unflatten(0, (frames, -1))
            intermediates.append(torch.cat([local, x], dim=-1)[None])
        return intermediates, score

    def _masked(self, block: Block, x: Tensor, rope: Rope, bias: Tensor) -> Tensor:
        """A global block whose special tokens see the bias (S, P) on the keys."""
        frames, tokens = bias.shape
        q, k, v = block.attn.project(block.norm1(x), rope)
        width = q.shape[-1] + EXTRA
        asks = bias.new_zeros(frames, tokens)
        asks[:, : self.network.config.num_special_tokens] = self.network.config.mask_scale
        q = q * (width / q.shape[-1]) ** 0.5
        q = torch.cat([q, _channel(asks * width**0.5, q)], dim=-1)
        k = torch.cat([k, _channel(bias, k)], dim=-1)
        v = functional.pad(v, (0, EXTRA))
        y = functional.scaled_dot_product_attention(q, k, v)[..., :-EXTRA]
        x = x + block.ls1(block.attn.proj(y.transpose(1, 2).flatten(2)))
        return x + block.ls2(block.mlp(block.norm2(x)))


def temporal_taps(network: FourDVGGT, x: Tensor, grid: tuple[int, int]) -> list[Tensor]:
    """The temporal branch's share of the dense heads' inputs, of one view's tokens (S, P, C)."""
    rope, out = network.aggregator.rope(x, grid), []
    branch = network.temporal
    for frame_block, block in zip(branch.frame_blocks, branch.temporal_blocks, strict=True):
        local = frame_block(x, rope)
        x = _windows(block, local, rope)
        out.append(torch.cat([local, x], dim=-1)[None])
    return [out[i] for i in network.config.dpt_taps]


def _windows(block: WindowBlock, x: Tensor, rope: Rope) -> Tensor:
    """A temporal block, with the keys and values of every frame's window gathered."""
    frames, tokens = x.shape[:2]
    q, k, v = block.attn.project(block.norm1(x), rope)  # [S, heads, P, D]
    biases = block.attn.relative_time_bias.to(q.dtype)  # [heads, W]
    window = biases.shape[1]
    steps = torch.arange(window, device=x.device) - window // 2
    times = torch.arange(frames, device=x.device)[:, None] + steps  # [S, W]
    near = times.clamp(0, frames - 1)
    bias = biases.expand(frames, -1, -1).masked_fill((times != near)[:, None], -torch.inf)
    k, v = (each[near].transpose(1, 2).flatten(2, 3) for each in (k, v))  # [S, heads, W*P, D]
    mask = bias.repeat_interleave(tokens, dim=2)[:, :, None]
    y = functional.scaled_dot_product_attention(q, k, v, attn_mask=mask)
    return block.update(x, block.attn.proj(y.transpose(1, 2).flatten(2)))


def _channel(values: Tensor, like: Tensor) -> Tensor:
    """Values (S, P) as the first of EXTRA channels of every head, (1, heads, S * P, EXTRA)."""
    column = functional.pad(values.flatten()[:, None], (0, EXTRA - 1)).to(like.dtype)
    return column.expand(1, like.shape[1], -1, -1)
