"""Training objective: the network's forward pass and the weighted sum of the losses."""

from __future__ import annotations

import sys

import torch
from torch import Tensor, nn
from torch.nn import functional

from page4d_ros.errors import TrainingError
from page4d_ros.model.mask_head import dynamic_probability
from page4d_ros.model.network import NetworkOutput
from page4d_ros.model.page4d import Page4D
from page4d_ros.model.pose_encoding import encode_pose, quaternion_to_matrix
from page4d_ros.training.auxiliary import (
    AttentionRecorder,
    CameraTokenHead,
    CoordinateHead,
    CorrespondenceHead,
    attention_loss,
    camera_token_loss,
    coordinate_loss,
    correspondence_loss,
)
from page4d_ros.training.batch import Batch
from page4d_ros.training.losses import (
    camera_loss,
    depth_loss,
    finite,
    iteration_weights,
    point_loss,
)
from page4d_ros.training.matches import first_view_matches
from page4d_ros.training.recipe import LossConfig
from page4d_ros.training.targets import Targets, compose, invert, targets


class Objective(nn.Module):
    """The network together with its auxiliary heads, which are not written to weight files.

    Args:
        network: the network to train.
        config: weights of the losses.

    Raises:
        TrainingError: ``attention_blocks`` names a block that the network does not have.
    """

    def __init__(self, network: Page4D, config: LossConfig) -> None:
        super().__init__()
        self.network, self.config = network, config
        for head in (network.depth_head, network.point_head):
            if head is not None:  # chunks save nothing where gradients keep every frame's maps
                head.frames_chunk = sys.maxsize
        sizes = network.config
        self.coordinates = CoordinateHead(sizes) if config.coordinates else None
        self.cameras = CameraTokenHead(sizes) if config.camera_tokens else None
        self.matches = CorrespondenceHead(sizes) if config.correspondence else None
        self.attention = None
        if config.attention:
            if max(config.attention_blocks) >= sizes.depth:
                raise TrainingError(
                    f'loss.attention_blocks {config.attention_blocks}: the network has '
                    f'{sizes.depth} blocks, numbered from 0'
                )
            self.attention = AttentionRecorder(network, config.attention_blocks)

    def forward(self, batch: Batch, mask_alpha: float = 0.0, step: int = 0) -> dict[str, Tensor]:
        """Losses of a batch by name; ``total`` is their weighted sum.

        Args:
            batch: windows on the network's device.
            mask_alpha: strength of the mask's bias in attention.
            step: selects the views that `dense_stride` takes.

        Raises:
            TrainingError: no loss of this network has a weight.
        """
        network, config = self.network, self.config
        stride = min(config.dense_stride, batch.images.shape[1])
        dense = slice(step % stride, None, stride)
        grid = network.grid(batch.images)
        encoded = network.aggregator.patch_embed(batch.images.flatten(0, 1))
        encoded = encoded.unflatten(0, batch.images.shape[:2])
        local = network.aggregator.enter(encoded, grid, first=True)
        features = network.aggregator(local, grid, mask_alpha)
        tokens = features.camera_tokens
        if tokens.requires_grad and config.either_sign:
            tokens.register_hook(limit_windows)
        poses = network.camera_head(tokens)
        depth, confidence = network.depth_head(features.taps, grid, dense)
        points = points_confidence = None
        if network.point_head is not None and config.points:
            points, points_confidence = network.point_head(features.taps, grid, dense)
        output = NetworkOutput(
            poses[-1], poses, depth.squeeze(-1), confidence, points, points_confidence,
            features.mask_score,
        )  # fmt: skip
        with torch.autocast(batch.images.device.type, enabled=False):
            truth = targets(batch, config.targets)
            losses = self._losses(output, batch, truth, dense)
            losses |= self._auxiliary(encoded, features.taps, batch, truth)
        if not losses:
            raise TrainingError('loss: nothing to train; give a loss of this network a weight')
        losses['total'] = sum(getattr(config, name) * value for name, value in losses.items())
        return losses

    def _auxiliary(
        self, encoded: Tensor, taps: list[Tensor], batch: Batch, truth: Targets
    ) -> dict[str, Tensor]:
        """Losses of the auxiliary heads and of the recorded attention."""
        grid, unit, losses = self.network.grid(batch.images), self.config.length_unit, {}
        if self.coordinates is not None:
            late = taps[-1][:, :, self.network.config.num_special_tokens :]
            predictions = self.coordinates(encoded.float(), late.float())
            losses['coordinates'] = coordinate_loss(predictions, truth, grid, unit)
        if self.cameras is not None:
            losses['camera_tokens'] = camera_token_loss(self.cameras(taps), truth, unit)
        frames = batch.images.shape[1]
        logits = [] if self.attention is None else self.attention.logits(frames)
        if frames == 1 or not (logits or self.matches):
            return losses
        matches = first_view_matches(truth, batch.motion)
        if logits:
            losses['attention'] = attention_loss(logits, matches, grid, batch.size)
        if self.matches is not None:
            predictions = self.matches(taps)
            losses['correspondence'] = correspondence_loss(predictions, matches, batch.size[1])
        return losses

    def _losses(
        self, output: NetworkOutput, batch: Batch, truth: Targets, dense: slice
    ) -> dict[str, Tensor]:
        config, unit = self.config, self.config.length_unit
        poses = in_unit(output.pose_enc_iters.float(), unit)
        extrinsics = torch.cat(
            [truth.extrinsics[..., :3], truth.extrinsics[..., 3:] / unit], dim=-1
        )
        losses = {}
        if config.camera:
            gt = encode_pose(extrinsics, truth.intrinsics, batch.size)
            camera = camera_loss(
                poses,
                gt,
                truth.valid,
                either_sign=config.either_sign,
                weight=batch.pose_weight,
            )
            losses['camera'] = camera['camera']
        if config.relative:
            poses = output.pose_enc_iters.float()
            losses['relative'] = relative_loss(poses, truth.extrinsics, batch.pose_weight)
        if config.depth:
            by = mean_depth(truth) if config.depth_by_window else unit
            parts = depth_loss(
                output.depth.float() / by,
                output.depth_conf.float(),
                truth.depth[:, dense] / by,
                truth.valid[:, dense],
                batch.depth_weight[:, dense],
            )
            losses['depth'] = sum(parts.values())
        if output.world_points is not None:
            parts = point_loss(
                output.world_points.float() / unit,
                output.world_points_conf.float(),
                truth.world_points[:, dense] / unit,
                truth.valid[:, dense],
                batch.depth_weight[:, dense],
            )
            losses['points'] = sum(parts.values())
        if config.motion and output.mask_score is not None:
            losses['motion'] = motion_loss(
                output.mask_score.float(), batch.motion, batch.motion_weight
            )
        return losses


def mean_depth(truth: Targets) -> Tensor:
    """Mean of each window's known depth, (B, 1, 1, 1); 1 where none is known."""
    known = truth.valid.sum((1, 2, 3), keepdim=True)
    return torch.where(known > 0, truth.depth.sum((1, 2, 3), keepdim=True) / known, 1.0)


def limit_windows(gradient: Tensor) -> Tensor:
    """Limit each window's gradient (B, S, C) to three times the median over windows.

    With `either_sign` the loss has a kink where the sign changes; near it the gradient of one
    window would outweigh all others.
    """
    norm = gradient.flatten(1).norm(dim=1)
    limit = 3 * norm.median().clamp_min(1e-12) / norm.clamp_min(1e-12)
    return gradient * limit.clamp(max=1)[:, None, None]


def in_unit(pose_enc: Tensor, unit: float) -> Tensor:
    """Divide the translation of pose encodings (..., 9) by a unit of length."""
    return torch.cat([pose_enc[..., :3] / unit, pose_enc[..., 3:]], dim=-1)


def relative_loss(
    pose_enc_iters: Tensor, extrinsics: Tensor, weight: Tensor | None = None
) -> Tensor:
    """L1 of the relative poses of all pairs of views, after every iteration.

    Args:
        pose_enc_iters: predictions, (iterations, B, S, 9).
        extrinsics: targets, world -> camera in the same unit, (B, S, 3, 4).
        weight: of each view, (B, S), whose products pairs have; None is 1.
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
    if weight is not None:
        difference = difference * (weight[:, i] * weight[:, j])[..., None, None]
    return (difference.abs().flatten(1).mean(1) * weights).sum()


def motion_loss(mask_score: Tensor, motion: Tensor, weight: Tensor | None = None) -> Tensor:
    """Weighted cross-entropy between dynamic probability (B, S, h, w) and moving fraction."""
    known = torch.isfinite(motion)
    if not known.any():
        return mask_score.sum() * 0
    # torch aborts the process on a NaN probability; the gradient will be NaN and reported instead
    probability = finite(dynamic_probability(mask_score)[known]).clamp(1e-6, 1 - 1e-6)
    weight = None if weight is None else weight[known]
    return functional.binary_cross_entropy(probability, motion[known], weight)
