"""Input of a training step: windows of views with ground truth."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor


class Batch(NamedTuple):
    """B windows of S views of H x W pixels and h x w patches.

    The weights are 1 where truth is known, and less where a teacher was less sure of it.

    Attributes:
        images: RGB in [0, 1], (B, S, 3, H, W).
        depth: metres along the optical axis, (B, S, H, W); 0 where unknown.
        extrinsics: world -> camera, (B, S, 3, 4), metres; the world is the frame of the scene.
        intrinsics: (B, S, 3, 3) in pixels; integer coordinates are pixel centres.
        motion: fraction of each patch that shows a moving object, (B, S, h, w); NaN where unknown.
        depth_weight: of the losses of each depth, in [0, 1], (B, S, H, W).
        motion_weight: of the losses of each patch's motion, in [0, 1], (B, S, h, w).
        pose_weight: of the losses of each pose, in [0, 1], (B, S).
    """

    images: Tensor
    depth: Tensor
    extrinsics: Tensor
    intrinsics: Tensor
    motion: Tensor
    depth_weight: Tensor
    motion_weight: Tensor
    pose_weight: Tensor

    def to(self, device: torch.device) -> Batch:
        """Copy on a device."""
        return Batch(*(tensor.to(device, non_blocking=True) for tensor in self))

    def split(self, parts: int) -> list[Batch]:
        """Split along B into parts of nearly equal size, none empty."""
        columns = [tensor.chunk(parts) for tensor in self]
        return [Batch(*row) for row in zip(*columns, strict=True)]

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the images in pixels."""
        return tuple(self.images.shape[-2:])
