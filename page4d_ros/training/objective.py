"""From a batch to one number: the network's forward pass and the weighted losses."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from page4d_ros.errors import TrainingError
from page4d_ros.model.config import NetworkConfig
from page4d_ros.model.mask_head import dynamic_probability
from page4d_ros.model.page4d import Page4D, Page4DOutput
from page4d_ros.model.pose_encoding import encode_pose, quaternion_to_matrix
from page4d_ros.training.batch import Batch
from page4d_ros.training.gauge import Target, compose, invert, target
from page4d_ros.training.losses import (
    camera_loss,
    depth_loss,
    finite,
    iteration_weights,
    point_loss,
)
from page4d_ros.training.recipe import LossConfig


class CoordinateHead(nn.Module):
    """Where each patch is in the scene, read off the tokens: only training needs it."""

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        self.early = nn.Linear(config.embed_dim, 3)
        self.late = nn.Linear(2 * config.embed_dim, 3)

    def forward(self, encoded: Tensor, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """Encoder tokens (B, S, h * w, C) and last tokens (B, S, h * w, 2 C) to (..., 3)."""
        return self.early(encoded), self.late(tokens)


class CameraProbe(nn.Module):
    """Where each camera is and looks, read off its token after each block: only for training.

    A token that knows its own frame lets the camera head tell the frames of a window apart.
    """

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(config.embed_dim, 9) for _ in config.dpt_taps)

    def forward(self, taps: list[Tensor]) -> list[Tensor]:
        """Tokens after blocks, each (B, S, P, 2 C), to centre and two axes, (B, S, 9)."""
        return [
            layer(tap[:, :, 0, : layer.in_features].float())
            for layer, tap in zip(self.layers, taps, strict=True)
        ]


class Objective(nn.Module):
    """The network together with what only training needs.

    Args:
        network: what is trained.
        config: weights of the losses.
    """

    def __init__(self, network: Page4D, config: LossConfig) -> None:
        super().__init__()
        self.network, self.config = network, config
        self.coordinates = CoordinateHead(network.config) if config.coordinates else None
        self.probe = CameraProbe(network.config) if config.camera_tokens else None

    def forward(self, batch: Batch, mask_alpha: float = 0.0, step: int = 0) -> dict[str, Tensor]:
        """Losses of a batch by name; ``total`` is their weighted sum.

        Args:
            batch: windows on the network's device.
            mask_alpha: strength of the mask's bias in attention.
            step: decides which views `dense_stride` takes.

        Raises:
            TrainingError: no loss has a weight that this network can learn.
        """
        network, config = self.network, self.config
        stride = min(config.dense_stride, batch.images.shape[1])
        dense = slice(step % stride, None, stride)
        grid = network.grid(batch.images)
        encoded = network.aggregator.patch_embed(batch.images.flatten(0, 1))
        encoded = encoded.unflatten(0, batch.images.shape[:2])
        features = network.aggregator(encoded, grid, mask_alpha)
        tokens = features.camera_tokens
        if tokens.requires_grad and config.either_sign:
            tokens.register_hook(limit_windows)
        poses = network.camera_head(tokens)
        depth, confidence = network.depth_head(features.taps, grid, dense)
        points = points_confidence = None
        if network.point_head is not None and config.points:
            points, points_confidence = network.point_head(features.taps, grid, dense)
        output = Page4DOutput(
            poses[-1], poses, depth.squeeze(-1), confidence, points, points_confidence,
            features.mask_score,
        )  # fmt: skip
        with torch.autocast(batch.images.device.type, enabled=False):
            answer = target(batch, config.gauge)
            losses = self._losses(output, batch, answer, dense)
            if self.coordinates is not None:
                late = features.taps[-1][:, :, network.config.num_special_tokens :]
                guesses = self.coordinates(encoded.float(), late.float())
                losses['coordinates'] = coordinate_loss(guesses, answer, grid, config.length_unit)
            if self.probe is not None:
                guesses = self.probe(features.taps)
                losses['camera_tokens'] = probe_loss(guesses, answer, config.length_unit)
        if not losses:
            raise TrainingError('loss: nothing to learn; give a part of this network a weight')
        losses['total'] = sum(getattr(config, name) * value for name, value in losses.items())
        return losses

    def _losses(
        self, output: Page4DOutput, batch: Batch, answer: Target, dense: slice
    ) -> dict[str, Tensor]:
        config, unit = self.config, self.config.length_unit
        poses = in_unit(output.pose_enc_iters.float(), unit)
        extrinsics = torch.cat(
            [answer.extrinsics[..., :3], answer.extrinsics[..., 3:] / unit], dim=-1
        )
        losses = {}
        if config.camera:
            gt = encode_pose(extrinsics, answer.intrinsics, batch.size)
            camera = camera_loss(poses, gt, answer.valid, either_sign=config.either_sign)
            losses['camera'] = camera['camera']
        if config.relative:
            losses['relative'] = relative_loss(poses, extrinsics)
        if config.depth:
            parts = depth_loss(
                output.depth.float() / unit,
                output.depth_conf.float(),
                answer.depth[:, dense] / unit,
                answer.valid[:, dense],
            )
            losses['depth'] = sum(parts.values())
        if output.world_points is not None:
            parts = point_loss(
                output.world_points.float() / unit,
                output.world_points_conf.float(),
                answer.world_points[:, dense] / unit,
                answer.valid[:, dense],
            )
            losses['points'] = sum(parts.values())
        if config.motion and output.mask_score is not None:
            losses['motion'] = motion_loss(output.mask_score.float(), batch.motion)
        return losses


def limit_windows(gradient: Tensor) -> Tensor:
    """Limit each window's gradient (B, S, C) to three times the median one.

    A quaternion of either sign must change it somewhere, and there the answer is so steep that one
    window would drown all others.
    """
    norm = gradient.flatten(1).norm(dim=1)
    limit = 3 * norm.median().clamp_min(1e-12) / norm.clamp_min(1e-12)
    return gradient * limit.clamp(max=1)[:, None, None]


def in_unit(pose_enc: Tensor, unit: float) -> Tensor:
    """Pose encodings (..., 9) with the translation in another unit."""
    return torch.cat([pose_enc[..., :3] / unit, pose_enc[..., 3:]], dim=-1)


def relative_loss(pose_enc_iters: Tensor, extrinsics: Tensor) -> Tensor:
    """L1 of the poses between all pairs of views, after every iteration.

    Args:
        pose_enc_iters: predictions, (iterations, B, S, 9).
        extrinsics: answers world -> camera in the same unit, (B, S, 3, 4).
    """
    frames = extrinsics.shape[1]
    if frames < 2:
        return pose_enc_iters.sum() * 0
    rotation = quaternion_to_matrix(pose_enc_iters[..., 3:7])
    pred = torch.cat([rotation, pose_enc_iters[..., :3, None]], dim=-1)
    i, j = torch.triu_indices(frames, frames, 1, device=extrinsics.device)
    difference = compose(pred[:, :, j], invert(pred[:, :, i])) - compose(
        extrinsics[:, j], invert(extrinsics[:, i])
    )
    weights = iteration_weights(len(pred), pred.device)
    return (difference.abs().flatten(1).mean(1) * weights).sum()


def motion_loss(mask_score: Tensor, motion: Tensor) -> Tensor:
    """Cross-entropy of the dynamic probability (B, S, h, w) against the moving fraction."""
    known = torch.isfinite(motion)
    if not known.any():
        return mask_score.sum() * 0
    # torch ends the process over a probability that is NaN; the gradient shall tell of it instead
    probability = finite(dynamic_probability(mask_score)[known]).clamp(1e-6, 1 - 1e-6)
    return functional.binary_cross_entropy(probability, motion[known])


def probe_loss(guesses: list[Tensor], answer: Target, unit: float) -> Tensor:
    """L1 of each camera's centre and of its right and forward axes in the gauge."""
    rotation = answer.extrinsics[..., :3]  # its rows are the camera's axes
    centre = -(rotation.transpose(-1, -2) @ answer.extrinsics[..., 3:]).squeeze(-1) / unit
    wanted = torch.cat([centre, rotation[..., 0, :], rotation[..., 2, :]], dim=-1)
    return sum((guess - wanted).abs().mean() for guess in guesses) / len(guesses)


def coordinate_loss(
    guesses: tuple[Tensor, ...], answer: Target, grid: tuple[int, int], unit: float
) -> Tensor:
    """L1 of each patch's mean point; patches with unknown pixels are left out."""
    points = answer.world_points.flatten(0, 1).permute(0, 3, 1, 2) / unit
    valid = answer.valid.flatten(0, 1)[:, None].float()
    points = functional.adaptive_avg_pool2d(points, grid).flatten(2).transpose(1, 2)
    known = functional.adaptive_avg_pool2d(valid, grid).flatten(2).squeeze(1) > 0.999
    if not known.any():
        return sum(guess.sum() for guess in guesses) * 0
    errors = [(guess.flatten(0, 1)[known] - points[known]).abs().mean() for guess in guesses]
    return sum(errors) / len(errors)
