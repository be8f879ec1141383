"""Rotary position embedding of the patch grid (VGGT, section 3.2; Su et al., RoFormer)."""

from __future__ import annotations

import torch
from torch import Tensor

from page4d_ros.model.runtime import cached_table

Rope = tuple[Tensor, Tensor]


def rope_angles(positions: Tensor, head_dim: int, base: float = 100.0) -> Rope:
    """Cosines and sines by which `apply_rope` turns the channel pairs of each token.

    Args:
        positions: integer (y, x) of each token, (..., 2).
        head_dim: channels of a head; the first half turns with y, the second with x.
        base: ratio of the fastest to the slowest frequency, nearly.

    Returns:
        Cosines and sines, each (..., 2, head_dim / 4), float32.
    """
    pairs = head_dim // 4
    exponent = torch.arange(pairs, device=positions.device, dtype=torch.float32) / pairs
    angles = positions[..., None].float() * base**-exponent
    return angles.cos(), angles.sin()


@cached_table
def rope_table(
    height: int,
    width: int,
    specials: int,
    head_dim: int,
    base: float,
    device: torch.device,
    dtype: torch.dtype,
) -> Rope:
    """Angles of one frame's tokens: `specials` at (0, 0), then the patch grid from (1, 1)."""
    rows = torch.arange(1, height + 1, device=device)
    columns = torch.arange(1, width + 1, device=device)
    patches = torch.cartesian_prod(rows, columns)  # [h*w, 2], row-major
    origin = torch.zeros(specials, 2, device=device, dtype=patches.dtype)
    cos, sin = rope_angles(torch.cat([origin, patches]), head_dim, base)
    return cos.to(dtype), sin.to(dtype)


def apply_rope(x: Tensor, rope: Rope) -> Tensor:
    """Rotate queries or keys by their tokens' positions.

    Args:
        x: (B, heads, N, D); N is a whole number of frames of P tokens each.
        rope: cosines and sines, (P, 2, D / 4), alike for every frame.
    """
    cos, sin = rope
    tokens, _, pairs = cos.shape[-3:]
    x = x.unflatten(-2, (-1, tokens)).unflatten(-1, (2, 2, pairs))  # [B, heads, S, P, yx, ab, D/4]
    a, b = x.unbind(-2)
    turned = torch.stack([a * cos - b * sin, b * cos + a * sin], dim=-2)
    return turned.flatten(-3).flatten(-3, -2)  # [B, heads, N, D]
