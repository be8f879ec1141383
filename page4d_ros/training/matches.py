"""Correspondences of patches with the window's first view."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from page4d_ros.training.targets import Targets

STILL = 0.2  # fraction of a patch that may move
SAME = 0.05  # relative difference of depth up to which two pixels show the same point
NEAR = 0.05  # depth in the unit of the targets below which nothing is visible


class Matches(NamedTuple):
    """Patch centres of all views but the first, and their projections into the first.

    Attributes:
        centres: (h * w, 2) pixels as (u, v).
        pixels: positions of the same points in the first view, (B, S - 1, h * w, 2).
        visible: (B, S - 1, h * w) bool; True if depth is known, the patch does not move, and the
            point is not occluded in the first view.
    """

    centres: Tensor
    pixels: Tensor
    visible: Tensor


def first_view_matches(targets: Targets, motion: Tensor) -> Matches:
    """Project patch centres into the first view.

    Args:
        targets: depth, points and cameras.
        motion: fraction of each patch that moves, (B, S, h, w); NaN counts as still.
    """
    height, width = targets.depth.shape[-2:]
    rows, columns = motion.shape[-2:]
    v, u = (
        (2 * torch.arange(count, device=motion.device) + 1) * (size // count) // 2
        for count, size in ((rows, height), (columns, width))
    )
    centres = torch.stack(torch.meshgrid(v, u, indexing='ij')[::-1], -1).flatten(0, 1)
    points = targets.world_points[:, 1:, v][:, :, :, u].flatten(2, 3)  # [B, S-1, h*w, 3]
    known = targets.valid[:, 1:, v][:, :, :, u].flatten(2) & ~(motion[:, 1:].flatten(2) > STILL)
    R, t = targets.extrinsics[:, :1, :, :3], targets.extrinsics[:, :1, None, :, 3]
    there = points @ R.transpose(-1, -2) + t  # in the first camera's frame
    z = there[..., 2]
    pixels = there @ targets.intrinsics[:, :1].transpose(-1, -2) / z.clamp_min(1e-6)[..., None]
    x, y = pixels[..., :2].round().long().unbind(-1)
    inside = (x >= 0) & (x < width) & (y >= 0) & (y < height) & (z > NEAR)
    index = y.clamp(0, height - 1) * width + x.clamp(0, width - 1)
    depth = targets.depth[:, 0].flatten(1).gather(1, index.flatten(1)).view_as(z)
    return Matches(centres, pixels[..., :2], known & inside & ((depth - z).abs() < SAME * z))
