"""Auxiliary losses on tokens and attention, used in training only.

The pose loss is one number for a window, and a network trained from scratch may need hours before
it falls. The auxiliary losses supervise every token after every block with the quantities that
determine the pose.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from page4d_ros.model.blocks import Block
from page4d_ros.model.config import NetworkConfig
from page4d_ros.model.page4d import Page4D
from page4d_ros.model.rope import Rope
from page4d_ros.training.matches import Matches
from page4d_ros.training.targets import Targets


class CoordinateHead(nn.Module):
    """Linear layers from the encoder's and the last tokens to each patch's 3D position."""

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        self.early = nn.Linear(config.embed_dim, 3)
        self.late = nn.Linear(2 * config.embed_dim, 3)

    def forward(self, encoded: Tensor, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """Predict positions (..., 3) from encoder (B, S, h * w, C) and last (..., 2 C) tokens."""
        return self.early(encoded), self.late(tokens)


def coordinate_loss(
    predictions: tuple[Tensor, ...], truth: Targets, grid: tuple[int, int], unit: float
) -> Tensor:
    """L1 of each patch's mean point; patches with unknown pixels do not count."""
    points = truth.world_points.flatten(0, 1).permute(0, 3, 1, 2) / unit
    valid = truth.valid.flatten(0, 1)[:, None].float()
    points = functional.adaptive_avg_pool2d(points, grid).flatten(2).transpose(1, 2)
    known = functional.adaptive_avg_pool2d(valid, grid).flatten(2).squeeze(1) > 0.999
    if not known.any():
        return sum(p.sum() for p in predictions) * 0
    errors = [
        (prediction.flatten(0, 1)[known] - points[known]).abs().mean()
        for prediction in predictions
    ]
    return sum(errors) / len(errors)


class CameraTokenHead(nn.Module):
    """Linear layers from each camera token, after each block, to the camera's position and axes.

    Tokens that encode their own pose let the camera head tell the frames of a window apart.
    """

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(config.embed_dim, 9) for _ in config.dpt_taps)

    def forward(self, taps: list[Tensor]) -> list[Tensor]:
        """Predict centre and two axes (B, S, 9) from tokens (B, S, P, 2 C) after each block."""
        return [
            layer(tap[:, :, 0, : layer.in_features].float())
            for layer, tap in zip(self.layers, taps, strict=True)
        ]


def camera_token_loss(predictions: list[Tensor], truth: Targets, unit: float) -> Tensor:
    """L1 of each camera's centre and of its right and forward axes in the target frame."""
    rotation = truth.extrinsics[..., :3]  # its rows are the camera's axes
    centre = -(rotation.transpose(-1, -2) @ truth.extrinsics[..., 3:]).squeeze(-1) / unit
    wanted = torch.cat([centre, rotation[..., 0, :], rotation[..., 2, :]], dim=-1)
    return sum((p - wanted).abs().mean() for p in predictions) / len(predictions)


class CorrespondenceHead(nn.Module):
    """Linear layers from patch tokens, after each block, to positions in the first view."""

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(2 * config.embed_dim, 2) for _ in config.dpt_taps)
        self.specials = config.num_special_tokens

    def forward(self, taps: list[Tensor]) -> list[Tensor]:
        """Predict displacements (B, S - 1, h * w, 2) from the tokens after each block."""
        return [
            layer(tap[:, 1:, self.specials :].float())
            for layer, tap in zip(self.layers, taps, strict=True)
        ]


def correspondence_loss(predictions: list[Tensor], matches: Matches, width: int) -> Tensor:
    """L1 of the displacements, as fractions of the image width in pixels."""
    if not matches.visible.any():
        return sum(p.sum() for p in predictions) * 0
    wanted = ((matches.pixels - matches.centres) / width)[matches.visible]
    return sum(
        (prediction[matches.visible] - wanted).abs().mean() for prediction in predictions
    ) / len(predictions)


class AttentionRecorder:
    """Attention logits of the first head of some global blocks.

    Args:
        network: inputs of its blocks are recorded by hooks while gradients are enabled.
        blocks: indices of the global blocks.
    """

    def __init__(self, network: Page4D, blocks: tuple[int, ...]) -> None:
        self._blocks = [network.aggregator.global_blocks[i] for i in blocks]
        self._inputs: list[tuple[Tensor, Rope]] = []
        self._specials = network.config.num_special_tokens
        for block in self._blocks:
            block.register_forward_pre_hook(self._record)

    def _record(self, _: Block, arguments: tuple) -> None:
        if torch.is_grad_enabled():
            self._inputs.append(arguments[:2])

    def logits(self, frames: int) -> list[Tensor]:
        """Logits of the last forward pass, from later views' patches to all tokens.

        Args:
            frames: S, views per window.

        Returns:
            (B, S - 1, h * w, S * P) for each block.
        """
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
    """Cross-entropy between the attention and the true position in the first view.

    Args:
        logits: to all tokens, (B, S - 1, h * w, S * P) for each block.
        matches: true positions.
        grid: number of patches, (h, w).
        size: height and width of the image in pixels.
    """
    if not matches.visible.any():
        return sum(logit.sum() for logit in logits) * 0
    weights = []  # bilinear, of the four patches whose centres surround the position
    for axis in (0, 1):
        side = size[axis] / grid[axis]
        place = (matches.pixels[matches.visible][:, 1 - axis] + 0.5) / side - 0.5
        place = place.clamp(0, grid[axis] - 1)[:, None]
        steps = torch.arange(grid[axis], device=place.device)
        weights.append((1 - (place - steps).abs()).clamp_min(0))
    wanted = (weights[0][:, :, None] * weights[1][:, None, :]).flatten(1)
    frames = logits[0].shape[1] + 1
    specials = logits[0].shape[-1] // frames - grid[0] * grid[1]
    first = slice(specials, specials + grid[0] * grid[1])
    chosen = [logit[matches.visible].float().log_softmax(-1)[:, first] for logit in logits]
    return sum(-(wanted * log).sum(-1).mean() for log in chosen) / len(chosen)
