"""Where what a view shows is in the window's first view."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from page4d_ros.training.gauge import Target

STILL = 0.2  # fraction of a patch that may move
SAME = 0.05  # relative difference of depth up to which two pixels show the same place
NEAR = 0.05  # depth in units of the gauge below which nothing is seen


class Matches(NamedTuple):
    """The middles of the patches of all views but the first.

    Attributes:
        middles: where they are, (h * w, 2) pixels as (u, v).
        pixels: where the same places are in the first view, (B, S - 1, h * w, 2).
        seen: whether that is known: depth is, the patch does not move, and the first view shows
            the place unoccluded, (B, S - 1, h * w).
    """

    middles: Tensor
    pixels: Tensor
    seen: Tensor


def first_view_matches(answer: Target, motion: Tensor) -> Matches:
    """Project patches into the first view.

    Args:
        answer: depth, points and cameras.
        motion: fraction of each patch that moves, (B, S, h, w); NaN counts as still.
    """
    height, width = answer.depth.shape[-2:]
    rows, columns = motion.shape[-2:]
    v, u = (
        (2 * torch.arange(count, device=motion.device) + 1) * (size // count) // 2
        for count, size in ((rows, height), (columns, width))
    )
    middles = torch.stack(torch.meshgrid(v, u, indexing='ij')[::-1], -1).flatten(0, 1)
    points = answer.world_points[:, 1:, v][:, :, :, u].flatten(2, 3)  # [B, S-1, h*w, 3]
    known = answer.valid[:, 1:, v][:, :, :, u].flatten(2) & ~(motion[:, 1:].flatten(2) > STILL)
    R, t = answer.extrinsics[:, :1, :, :3], answer.extrinsics[:, :1, None, :, 3]
    there = points @ R.transpose(-1, -2) + t  # in the first camera's frame
    z = there[..., 2]
    pixels = there @ answer.intrinsics[:, :1].transpose(-1, -2) / z.clamp_min(1e-6)[..., None]
    x, y = pixels[..., :2].round().long().unbind(-1)
    inside = (x >= 0) & (x < width) & (y >= 0) & (y < height) & (z > NEAR)
    index = y.clamp(0, height - 1) * width + x.clamp(0, width - 1)
    depth = answer.depth[:, 0].flatten(1).gather(1, index.flatten(1)).view_as(z)
    return Matches(middles, pixels[..., :2], known & inside & ((depth - z).abs() < SAME * z))
