"""What only training needs: questions to tokens and attention whose answers are known.

A pose is one answer for a window, and a network from scratch may learn for hours without it. These
ask every token, after every block, for what the pose follows from.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from page4d_ros.model.blocks import Block
from page4d_ros.model.config import NetworkConfig
from page4d_ros.model.page4d import Page4D
from page4d_ros.model.rope import Rope
from page4d_ros.training.gauge import Target
from page4d_ros.training.matches import Matches


class CoordinateHead(nn.Module):
    """Where each patch is in the gauge, read off the encoder's and the last tokens."""

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        self.early = nn.Linear(config.embed_dim, 3)
        self.late = nn.Linear(2 * config.embed_dim, 3)

    def forward(self, encoded: Tensor, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """Encoder tokens (B, S, h * w, C) and last tokens (B, S, h * w, 2 C) to (..., 3)."""
        return self.early(encoded), self.late(tokens)


def coordinate_loss(
    guesses: tuple[Tensor, ...], answer: Target, grid: tuple[int, int], unit: float
) -> Tensor:
    """L1 of each patch's mean point; patches with unknown pixels are left out."""
    points = answer.world_points.flatten(0, 1).permute(0, 3, 1, 2) / unit
    valid = answer.valid.flatten(0, 1)[:, None].float()
    points = functional.adaptive_avg_pool2d(points, grid).flatten(2).transpose(1, 2)
    known = functional.adaptive_avg_pool2d(valid, grid).flatten(2).squeeze(1) > 0.999
    if not known.any():
        return sum(guess.sum() for guess in guesses) * 0
    errors = [(guess.flatten(0, 1)[known] - points[known]).abs().mean() for guess in guesses]
    return sum(errors) / len(errors)


class CameraProbe(nn.Module):
    """Where each camera is and looks, read off its token after each block.

    A token that knows its own frame lets the camera head tell the frames of a window apart.
    """

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(config.embed_dim, 9) for _ in config.dpt_taps)

    def forward(self, taps: list[Tensor]) -> list[Tensor]:
        """Tokens after blocks, each (B, S, P, 2 C), to centre and two axes, (B, S, 9)."""
        return [
            layer(tap[:, :, 0, : layer.in_features].float())
            for layer, tap in zip(self.layers, taps, strict=True)
        ]


def camera_probe_loss(guesses: list[Tensor], answer: Target, unit: float) -> Tensor:
    """L1 of each camera's centre and of its right and forward axes in the gauge."""
    rotation = answer.extrinsics[..., :3]  # its rows are the camera's axes
    centre = -(rotation.transpose(-1, -2) @ answer.extrinsics[..., 3:]).squeeze(-1) / unit
    wanted = torch.cat([centre, rotation[..., 0, :], rotation[..., 2, :]], dim=-1)
    return sum((guess - wanted).abs().mean() for guess in guesses) / len(guesses)


class CorrespondenceProbe(nn.Module):
    """Where each patch of a view is in the first view, read off the patches after each block."""

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(2 * config.embed_dim, 2) for _ in config.dpt_taps)
        self.specials = config.num_special_tokens

    def forward(self, taps: list[Tensor]) -> list[Tensor]:
        """Tokens after blocks, each (B, S, P, 2 C), to displacements (B, S - 1, h * w, 2)."""
        return [
            layer(tap[:, 1:, self.specials :].float())
            for layer, tap in zip(self.layers, taps, strict=True)
        ]


def correspondence_loss(guesses: list[Tensor], matches: Matches, width: int) -> Tensor:
    """L1 of the displacements, in units of the image's width in pixels."""
    if not matches.seen.any():
        return sum(guess.sum() for guess in guesses) * 0
    wanted = ((matches.pixels - matches.middles) / width)[matches.seen]
    return sum((guess[matches.seen] - wanted).abs().mean() for guess in guesses) / len(guesses)


class AttentionProbe:
    """What the first head of some global blocks attends to.

    Args:
        network: its blocks are listened to while gradients are recorded.
        blocks: which.
    """

    def __init__(self, network: Page4D, blocks: tuple[int, ...]) -> None:
        self._blocks = [network.aggregator.global_blocks[i] for i in blocks]
        self._inputs: list[tuple[Tensor, Rope]] = []
        self._specials = network.config.num_special_tokens
        for block in self._blocks:
            block.register_forward_pre_hook(self._listen)

    def _listen(self, _: Block, arguments: tuple) -> None:
        if torch.is_grad_enabled():
            self._inputs.append(arguments[:2])

    def logits(self, frames: int) -> list[Tensor]:
        """Of the last forward pass, later views' patches to all: (B, S - 1, h * w, S * P)."""
        out = []
        for block, (x, rope) in zip(self._blocks, self._inputs, strict=True):
            q, k, _ = block.attn.project(block.norm1(x), rope)
            q = q[:, 0].unflatten(1, (frames, -1))[:, 1:, self._specials :]
            out.append(torch.einsum('bspc,bnc->bspn', q, k[:, 0]) * q.shape[-1] ** -0.5)
        self._inputs.clear()
        return out


def attention_loss(
    logits: list[Tensor], matches: Matches, grid: tuple[int, int], size: tuple[int, int]
) -> Tensor:
    """Cross-entropy of the attention against the true place in the first view.

    Args:
        logits: towards all tokens, (B, S - 1, h * w, S * P) each.
        matches: the true places.
        grid: patches as (h, w).
        size: of the image, (H, W) pixels.
    """
    if not matches.seen.any():
        return sum(logit.sum() for logit in logits) * 0
    weights = []  # of a patch's row and column among the four whose middles are around the place
    for axis in (0, 1):
        side = size[axis] / grid[axis]
        place = (matches.pixels[matches.seen][:, 1 - axis] + 0.5) / side - 0.5
        place = place.clamp(0, grid[axis] - 1)[:, None]
        steps = torch.arange(grid[axis], device=place.device)
        weights.append((1 - (place - steps).abs()).clamp_min(0))
    wanted = (weights[0][:, :, None] * weights[1][:, None, :]).flatten(1)
    frames = logits[0].shape[1] + 1
    specials = logits[0].shape[-1] // frames - grid[0] * grid[1]
    first = slice(specials, specials + grid[0] * grid[1])
    chosen = [logit[matches.seen].float().log_softmax(-1)[:, first] for logit in logits]
    return sum(-(wanted * log).sum(-1).mean() for log in chosen) / len(chosen)
