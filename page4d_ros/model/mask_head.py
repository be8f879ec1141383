"""The dynamics-aware mask head: which patches the camera should trust (PAGE-4D, section 3)."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from page4d_ros.model.config import NetworkConfig


def mask_alpha(step: int, hold_start: int, hold_end: int) -> float:
    """Strength of the attention bias at a training step: held at 1, then a cosine down to 0."""
    if step < hold_start:
        return 1.0
    if step >= hold_end:
        return 0.0
    return 0.5 * (1.0 + math.cos(math.pi * (step - hold_start) / (hold_end - hold_start)))


def dynamic_probability(mask_score: Tensor) -> Tensor:
    """Score in (-0.5, 0.5), high where static, to a value in (0, 1) that is high where moving.

    The score was never supervised: it ranks the patches of one image and is not calibrated.
    """
    return 0.5 - mask_score


class SpatialMaskHead(nn.Module):
    """Score of every patch from one frame's tokens, standardised within that frame.

    Attributes:
        detached: whether gradients stop before the tokens, as in the published training.
    """

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        dim, hidden = config.embed_dim, config.mask_hidden
        self.detached = True
        self.scale = config.mask_scale
        self.specials = config.num_special_tokens
        self.head0 = nn.Sequential(
            nn.Conv2d(dim, dim, 3, padding=1, groups=dim),
            nn.GELU(),
            nn.Conv2d(dim, hidden, 1),
            nn.GELU(),
            nn.Conv2d(hidden, 1, 1),
        )

    def forward(self, patches: Tensor, grid: tuple[int, int]) -> Tensor:
        """Score the patches; high means static.

        Args:
            patches: patch tokens (B, S, h * w, C).
            grid: patches as (h, w), at least two of them.

        Returns:
            Scores (B, S, h, w) in (-0.5, 0.5).
        """
        x = patches.detach() if self.detached else patches
        x = x.flatten(0, 1).transpose(1, 2).unflatten(2, grid)  # [B*S, C, h, w]
        std, mean = torch.std_mean(x, dim=(2, 3), keepdim=True)
        x = (x - mean) / std.clamp_min(1e-6)
        logit = self.head0(x) + x.mean(1, keepdim=True)  # [B*S, 1, h, w]
        return (logit.sigmoid() - 0.5).squeeze(1).unflatten(0, patches.shape[:2])

    def key_bias(self, score: Tensor, alpha: float) -> Tensor:
        """Bias on the attention logits of every key, (B, S * P); zero on special tokens."""
        key_score = functional.pad(score.flatten(2), (self.specials, 0)).flatten(1)
        return alpha * self.scale * key_score
