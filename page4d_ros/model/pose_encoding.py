"""Between the network's pose encoding and camera matrices (VGGT, section 3.1).

The encoding is translation, quaternion (x, y, z, w), vertical and horizontal field of view.
Extrinsics map world points into the camera's OpenCV axes: x right, y down, z forward.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional

# Narrowest field of view in radians; the network may answer 0, an infinite focal length.
MIN_FOV = 1e-3


def quaternion_to_matrix(quaternion: Tensor) -> Tensor:
    """Rotation matrices (..., 3, 3) of quaternions (..., 4) as x, y, z, w of any length.

    The zero quaternion gives the identity.
    """
    tiny = torch.finfo(quaternion.dtype).tiny
    square = quaternion.square().sum(-1, keepdim=True)
    scaled = torch.where(square > tiny, 2 * quaternion / square.clamp_min(tiny), 0)
    x, y, z, w = quaternion.unbind(-1)
    sx, sy, sz, _ = scaled.unbind(-1)
    rows = [
        [1 - y * sy - z * sz, x * sy - w * sz, x * sz + w * sy],
        [x * sy + w * sz, 1 - x * sx - z * sz, y * sz - w * sx],
        [x * sz - w * sy, y * sz + w * sx, 1 - x * sx - y * sy],
    ]
    return torch.stack([torch.stack(row, dim=-1) for row in rows], dim=-2)


def matrix_to_quaternion(rotation: Tensor) -> Tensor:
    """Unit quaternions (..., 4) as x, y, z, w with w >= 0 of rotation matrices (..., 3, 3)."""
    (a, b, c), (d, e, f), (g, h, i) = (row.unbind(-1) for row in rotation.unbind(-2))
    # 4 q q^T; its row with the largest diagonal entry is q, well away from rounding.
    outer = [
        [1 + a - e - i, b + d, c + g, h - f],
        [b + d, 1 - a + e - i, f + h, c - g],
        [c + g, f + h, 1 - a - e + i, d - b],
        [h - f, c - g, d - b, 1 + a + e + i],
    ]
    outer = torch.stack([torch.stack(row, dim=-1) for row in outer], dim=-2)
    best = outer.diagonal(dim1=-2, dim2=-1).argmax(-1)[..., None, None]
    quaternion = functional.normalize(outer.take_along_dim(best, dim=-2).squeeze(-2), dim=-1)
    return torch.where(quaternion[..., 3:] < 0, -quaternion, quaternion)


def decode_pose(pose_enc: Tensor, image_size: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """Camera matrices of pose encodings.

    Args:
        pose_enc: encodings (..., 9).
        image_size: height and width of the network's input in pixels.

    Returns:
        Extrinsics world -> camera (..., 3, 4) and intrinsics (..., 3, 3) in pixels.
    """
    rotation = quaternion_to_matrix(pose_enc[..., 3:7])
    extrinsics = torch.cat([rotation, pose_enc[..., :3, None]], dim=-1)
    height, width = image_size
    fov_h, fov_w = pose_enc[..., 7:].clamp(MIN_FOV, math.pi - MIN_FOV).unbind(-1)
    fx, fy = width / 2 / (fov_w / 2).tan(), height / 2 / (fov_h / 2).tan()
    zero, one = torch.zeros_like(fx), torch.ones_like(fx)
    values = [fx, zero, one * (width / 2), zero, fy, one * (height / 2), zero, zero, one]
    return extrinsics, torch.stack(values, dim=-1).unflatten(-1, (3, 3))


def encode_pose(extrinsics: Tensor, intrinsics: Tensor, image_size: tuple[int, int]) -> Tensor:
    """Pose encodings (..., 9) of camera matrices; inverse of `decode_pose`."""
    height, width = image_size
    fov_h = 2 * torch.atan(height / 2 / intrinsics[..., 1, 1])
    fov_w = 2 * torch.atan(width / 2 / intrinsics[..., 0, 0])
    quaternion = matrix_to_quaternion(extrinsics[..., :3])
    fov = torch.stack([fov_h, fov_w], dim=-1)
    return torch.cat([extrinsics[..., 3], quaternion, fov], dim=-1)


def unproject(depth: Tensor, extrinsics: Tensor, intrinsics: Tensor) -> Tensor:
    """World points of depth maps, one per pixel centre at integer coordinates.

    Args:
        depth: depth along z, (..., H, W).
        extrinsics: world -> camera, (..., 3, 4).
        intrinsics: (..., 3, 3) in pixels.

    Returns:
        Points (..., H, W, 3) in the unit of the depth.
    """
    height, width = depth.shape[-2:]
    u = torch.arange(width, device=depth.device, dtype=depth.dtype)
    v = torch.arange(height, device=depth.device, dtype=depth.dtype)[:, None]
    K = intrinsics[..., None, None, :, :]
    x = (u - K[..., 0, 2]) / K[..., 0, 0] * depth
    y = (v - K[..., 1, 2]) / K[..., 1, 1] * depth
    camera = torch.stack([x, y, depth], dim=-1)  # [..., H, W, 3]
    offset = camera - extrinsics[..., None, None, :, 3]
    R = extrinsics[..., None, None, :, :3]
    # Rows of R weighted by the offset: R^T (p - t), without a matrix product autocast would round.
    return sum(offset[..., i, None] * R[..., i, :] for i in range(3))
