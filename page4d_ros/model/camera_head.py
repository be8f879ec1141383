"""Pose and field of view of every frame, refined over a few iterations (VGGT, section 3.3)."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from page4d_ros.model.blocks import Block, Mlp
from page4d_ros.model.config import NetworkConfig
from page4d_ros.model.runtime import full_precision

POSE_DIM = 9


def activate_pose(raw: Tensor) -> Tensor:
    """Keep translation and quaternion as they are; fields of view are not negative."""
    return torch.cat([raw[..., :7], raw[..., 7:].relu()], dim=-1)


class CameraHead(nn.Module):
    """Camera tokens of a window to pose encodings; frames attend to each other."""

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        dim = 2 * config.embed_dim
        self.iterations = config.camera_iterations
        self.token_norm = nn.LayerNorm(dim)
        self.trunk = nn.Sequential(
            *(
                Block(
                    dim,
                    config.camera_heads,
                    mlp_ratio=config.mlp_ratio,
                    layer_scale_init=config.layer_scale_init,
                )
                for _ in range(config.camera_depth)
            )
        )
        self.trunk_norm = nn.LayerNorm(dim)
        self.empty_pose_tokens = nn.Parameter(torch.zeros(1, 1, POSE_DIM))
        self.embed_pose = nn.Linear(POSE_DIM, dim)
        self.poseLN_modulation = nn.Sequential(nn.SiLU(), nn.Linear(dim, 3 * dim))
        self.pose_branch = Mlp(dim, dim // 2, POSE_DIM)
        self.init_plausible_pose()

    def init_plausible_pose(self) -> None:
        """Make an untrained head answer with the identity rotation and a view of 1 rad.

        Every iteration adds the last layer's output, so that its bias is one iteration's share.
        """
        with torch.no_grad():
            self.pose_branch.fc2.weight.mul_(0.01)
            self.pose_branch.fc2.bias.zero_()
            self.pose_branch.fc2.bias[6:] = 1.0 / self.iterations

    def forward(self, camera_tokens: Tensor) -> Tensor:
        """Estimate the window's poses.

        Args:
            camera_tokens: the last block's camera tokens, (B, S, 2 C).

        Returns:
            Pose encodings after every iteration, (iterations, B, S, 9).
        """
        with full_precision(camera_tokens):
            tokens = self.token_norm(camera_tokens.to(self.token_norm.weight.dtype))
            plain = functional.layer_norm(tokens, tokens.shape[-1:], eps=1e-6)
            pose, known, poses = None, self.empty_pose_tokens.expand(*tokens.shape[:2], -1), []
            for _ in range(self.iterations):
                modulation = self.poseLN_modulation(self.embed_pose(known))
                shift, scale, gate = modulation.chunk(3, dim=-1)  # [B, S, 2C] each
                x = self.trunk(tokens + gate * (plain * (1 + scale) + shift))
                delta = self.pose_branch(self.trunk_norm(x))  # [B, S, 9]
                pose = delta if pose is None else pose + delta
                known = pose.detach()
                poses.append(activate_pose(pose))
            return torch.stack(poses)
