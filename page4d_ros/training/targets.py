"""Training targets: ground truth in the frame and unit that the network predicts."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from page4d_ros.model.pose_encoding import unproject
from page4d_ros.training.batch import Batch


class Targets(NamedTuple):
    """Ground truth of a batch in the target frame.

    Attributes:
        depth: (B, S, H, W).
        valid: (B, S, H, W) bool, true where depth is known.
        extrinsics: target frame -> camera, (B, S, 3, 4).
        intrinsics: (B, S, 3, 3) in pixels.
        world_points: (B, S, H, W, 3) in the target frame.
    """

    depth: Tensor
    valid: Tensor
    extrinsics: Tensor
    intrinsics: Tensor
    world_points: Tensor


def compose(a: Tensor, b: Tensor) -> Tensor:
    """Compose rigid transforms (..., 3, 4); b is applied first."""
    rotation = a[..., :3] @ b[..., :3]
    translation = a[..., :3] @ b[..., 3:] + a[..., 3:]
    return torch.cat([rotation, translation], dim=-1)


def invert(a: Tensor) -> Tensor:
    """Invert rigid transforms (..., 3, 4)."""
    rotation = a[..., :3].transpose(-1, -2)
    return torch.cat([rotation, -rotation @ a[..., 3:]], dim=-1)


def into_first_camera(extrinsics: Tensor, world_points: Tensor) -> tuple[Tensor, Tensor]:
    """Express extrinsics (B, S, 3, 4) and points (B, S, H, W, 3) in the first camera's frame."""
    first = extrinsics[:, :1]
    points = world_points @ first[:, :, None, :, :3].transpose(-1, -2)
    return compose(extrinsics, invert(first)), points + first[:, :, None, None, :, 3]


def normalise_scene(
    extrinsics: Tensor, world_points: Tensor, depth: Tensor, valid: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Move the origin to the first camera and make the mean distance of points 1, as published.

    Args:
        extrinsics: world -> camera, (B, S, 3, 4).
        world_points: (B, S, H, W, 3).
        depth: (B, S, H, W).
        valid: (B, S, H, W) bool.

    Returns:
        Extrinsics, points and depth in that frame and unit, and the unit (B,).
    """
    local, points = into_first_camera(extrinsics, world_points)
    inside = valid.to(points.dtype)
    distance = points.norm(dim=-1)
    unit = (distance * inside).sum((1, 2, 3)) / (inside.sum((1, 2, 3)) + 1e-3)
    unit = unit.clamp(1e-6, 1e6)
    by = unit[:, None, None, None]
    local = torch.cat([local[..., :3], local[..., 3:] / by], dim=-1)
    return local, points / by[..., None], depth / by, unit


def targets(batch: Batch, frame: str) -> Targets:
    """Express the ground truth of a batch in a target frame.

    Args:
        batch: views with ground truth.
        frame: ``first_camera``, where the mean distance is 1 (published);
            ``first_camera_metres``; or ``scene``, the room's frame in metres.
    """
    valid = torch.isfinite(batch.depth) & (batch.depth > 1e-8)
    depth = torch.where(valid, batch.depth, 0)
    points = unproject(depth, batch.extrinsics, batch.intrinsics)
    extrinsics = batch.extrinsics
    if frame == 'first_camera':
        extrinsics, points, depth, _ = normalise_scene(extrinsics, points, depth, valid)
    elif frame == 'first_camera_metres':
        extrinsics, points = into_first_camera(extrinsics, points)
    return Targets(depth, valid, extrinsics, batch.intrinsics, points)
