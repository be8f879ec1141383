"""Pose encodings: inverses, and answers no untrained network may break."""

import math

import pytest
import torch

from page4d_ros.model.pose_encoding import (
    decode_pose,
    encode_pose,
    matrix_to_quaternion,
    quaternion_to_matrix,
    unproject,
)


def test_quaternions_of_any_length_are_rotations():
    q = torch.randn(500, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    R = quaternion_to_matrix(q * 3)
    torch.testing.assert_close(R @ R.mT, torch.eye(3, dtype=q.dtype).expand_as(R))
    torch.testing.assert_close(torch.linalg.det(R), torch.ones(500, dtype=q.dtype))
    back = matrix_to_quaternion(R)
    assert (back[:, 3] >= 0).all()
    torch.testing.assert_close(quaternion_to_matrix(back), R)


def test_a_quarter_turn_about_z():
    R = quaternion_to_matrix(
        torch.tensor([0.0, 0.0, math.sin(math.pi / 4), math.cos(math.pi / 4)])
    )
    torch.testing.assert_close(R @ torch.tensor([1.0, 0, 0]), torch.tensor([0.0, 1, 0]))


def test_nothing_degenerate_comes_out():
    pose = torch.zeros(3, 9)
    pose[1, 3:7] = 1e-30
    pose[2, 7:] = 10.0
    pose.requires_grad_()
    extrinsics, intrinsics = decode_pose(pose, (84, 112))
    torch.testing.assert_close(extrinsics[0, :, :3], torch.eye(3))
    assert extrinsics.isfinite().all()
    assert intrinsics.isfinite().all()
    assert (intrinsics[:, 0, 0] > 0).all()
    (extrinsics.sum() + intrinsics.sum()).backward()
    assert pose.grad.isfinite().all()


def test_encode_inverts_decode():
    generator = torch.Generator().manual_seed(1)
    pose = torch.randn(2, 5, 9, generator=generator, dtype=torch.float64)
    pose[..., 3:7] = matrix_to_quaternion(quaternion_to_matrix(pose[..., 3:7]))
    pose[..., 7:] = 0.3 + torch.rand(2, 5, 2, generator=generator, dtype=torch.float64)
    torch.testing.assert_close(encode_pose(*decode_pose(pose, (84, 112)), (84, 112)), pose)


@pytest.mark.parametrize('batch', [(), (2,), (2, 3)])
def test_unprojected_points_project_back(batch):
    generator = torch.Generator().manual_seed(2)
    pose = torch.randn(*batch, 9, generator=generator, dtype=torch.float64)
    pose[..., 7:] = 1.0
    extrinsics, intrinsics = decode_pose(pose, (6, 8))
    depth = 1 + torch.rand(*batch, 6, 8, generator=generator, dtype=torch.float64)
    points = unproject(depth, extrinsics, intrinsics)
    R, t = extrinsics[..., None, None, :, :3], extrinsics[..., None, None, :, 3:]
    pixels = intrinsics[..., None, None, :, :] @ (R @ points[..., None] + t)
    v, u = torch.meshgrid(torch.arange(6.0), torch.arange(8.0), indexing='ij')
    expected = torch.stack([u, v, torch.ones(6, 8)], -1).double() * depth[..., None]
    torch.testing.assert_close(pixels[..., 0], expected)
