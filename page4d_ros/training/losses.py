"""PAGE-4D's losses on poses, depth and points (its section 3.3; released training recipe)."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

LIMIT = 100.0
ITERATION_DECAY = 0.6
FIELD_OF_VIEW_WEIGHT = 0.5
QUANTILE = 0.98
ENOUGH = 1000  # values from which the outlier filter works
MIN_VALID = 100  # pixels below which a term is left out


def camera_loss(
    pose_enc_iters: Tensor,
    gt_pose_enc: Tensor,
    valid: Tensor,
    *,
    either_sign: bool = False,
    weight: Tensor | None = None,
) -> dict[str, Tensor]:
    """L1 of the pose encodings after every iteration, later ones weighted more.

    Args:
        pose_enc_iters: predictions, (iterations, B, S, 9).
        gt_pose_enc: targets, (B, S, 9).
        valid: pixels with ground truth, (B, S, H, W) bool; a window whose first view has at most
            MIN_VALID of them is left out.
        either_sign: accept a quaternion and its negative; the published loss wants w >= 0.
        weight: of each view's error, (B, S); None is 1.

    Returns:
        ``translation``, ``rotation``, ``field_of_view`` and their weighted sum ``camera``.
    """
    use = valid[:, 0].flatten(1).sum(1) > MIN_VALID
    if not use.any():
        zero = pose_enc_iters.sum() * 0
        return dict.fromkeys(('translation', 'rotation', 'field_of_view', 'camera'), zero)
    pred, gt = pose_enc_iters[:, use], gt_pose_enc[use]
    weights = iteration_weights(len(pred), pred.device)
    if either_sign:
        agree = (pred[..., 3:7] * gt[..., 3:7]).sum(-1, keepdim=True) >= 0
        sign = torch.where(agree, 1.0, -1.0)
        gt = torch.cat([gt[..., :3].expand_as(pred[..., :3]), sign * gt[..., 3:7],
                        gt[..., 7:].expand_as(pred[..., 7:])], dim=-1)  # fmt: skip
    difference = finite(pred - gt).abs()
    if weight is not None:
        difference = difference * weight[use][..., None]
    parts = {
        'translation': difference[..., :3].clamp(max=LIMIT),
        'rotation': difference[..., 3:7],
        'field_of_view': difference[..., 7:],
    }
    losses = {name: (part.flatten(1).mean(1) * weights).sum() for name, part in parts.items()}
    losses['camera'] = (
        losses['translation'] + losses['rotation'] + FIELD_OF_VIEW_WEIGHT * losses['field_of_view']
    )
    return losses


def iteration_weights(count: int, device: torch.device) -> Tensor:
    """Weights (count,) of the losses after each refinement of the pose: later ones count more."""
    return ITERATION_DECAY ** torch.arange(count - 1, -1, -1, device=device) / count


def depth_loss(
    depth: Tensor, confidence: Tensor, gt: Tensor, valid: Tensor, weight: Tensor | None = None
) -> dict[str, Tensor]:
    """Loss of depth (B, S, H, W) with confidence, as `dense_loss`, and gradients at 4 scales."""
    losses = dense_loss(
        depth[..., None], confidence, gt[..., None], valid, weight, gamma=0.3, alpha=0.06
    )
    maps = (depth, gt, valid) if weight is None else (depth, gt, valid, weight)
    flat = [tensor.flatten(0, 1) for tensor in maps]
    scales = [gradient_loss(*(x[:, :: 2**i, :: 2**i] for x in flat)) for i in range(4)]
    enough = valid.sum() >= MIN_VALID
    losses['gradient'] = torch.stack(scales).mean() if enough else depth.sum() * 0
    return losses


def point_loss(
    points: Tensor, confidence: Tensor, gt: Tensor, valid: Tensor, weight: Tensor | None = None
) -> dict[str, Tensor]:
    """Loss of points (B, S, H, W, 3) with confidence, and of their normals at 3 scales."""
    losses = dense_loss(points, confidence, gt, valid, weight, gamma=1.0, alpha=0.2)
    flat = [tensor.flatten(0, 1) for tensor in (points, gt, valid)]
    scales = [normal_loss(*(x[:, :: 2**i, :: 2**i] for x in flat)) for i in range(3)]
    enough = valid.sum() >= MIN_VALID
    losses['gradient'] = torch.stack(scales).mean() if enough else points.sum() * 0
    return losses


def dense_loss(
    pred: Tensor,
    confidence: Tensor,
    gt: Tensor,
    valid: Tensor,
    weight: Tensor | None = None,
    *,
    gamma: float,
    alpha: float,
) -> dict[str, Tensor]:
    """Error of dense predictions (..., C), plain and weighted by predicted confidence.

    Each pixel's terms are multiplied by its `weight` (...), 1 where there is none.

    Returns:
        ``regression`` and ``confidence``, zero with less than MIN_VALID pixels of ground truth.
    """
    if valid.sum() < MIN_VALID:
        zero = (pred.sum() + confidence.sum()) * 0
        return {'regression': zero, 'confidence': zero}
    error = (finite(pred).clamp(-LIMIT, LIMIT) - gt)[valid].norm(dim=-1)
    sure = confidence[valid]
    weighted = gamma * error * sure - alpha * sure.clamp_min(1e-6).log()
    if weight is not None:
        error, weighted = error * weight[valid], weighted * weight[valid]
    return {'regression': trimmed_mean(error), 'confidence': trimmed_mean(weighted)}


def trimmed_mean(values: Tensor) -> Tensor:
    """Mean of values (N,); without the largest 2 % where there are more than ENOUGH values."""
    values = finite(values)
    if values.numel() > ENOUGH:
        values = values.clamp(max=LIMIT)
        rank = max(1, round(QUANTILE * values.numel()))
        kept = values[values < values.detach().kthvalue(rank).values]
        values = kept if kept.numel() > ENOUGH else values
    return values.mean()


def gradient_loss(pred: Tensor, gt: Tensor, valid: Tensor, weight: Tensor | None = None) -> Tensor:
    """L1 of the horizontal and vertical gradients of the error of maps (N, H, W).

    A gradient has the product of its two pixels' weights.
    """
    inside = valid.to(pred.dtype)
    sure = inside if weight is None else inside * weight
    error = finite(pred - gt) * inside
    total = 0
    for dim in (1, 2):
        step = error.diff(dim=dim).abs().clamp(max=LIMIT)
        size = step.shape[dim]
        both = sure.narrow(dim, 1, size) * sure.narrow(dim, 0, size)
        total = total + (step * both).sum()
    return total / inside.sum().clamp_min(1)


def normal_loss(pred: Tensor, gt: Tensor, valid: Tensor) -> Tensor:
    """1 - cosine between the normals of point maps (N, H, W, 3)."""
    pred_normals, known = _normals(finite(pred), valid)
    gt_normals, _ = _normals(gt, valid)
    if known.sum() < 10:
        return pred.sum() * 0
    cosine = (pred_normals[known] * gt_normals[known]).sum(-1)
    return (1 - cosine).mean()


def _normals(points: Tensor, valid: Tensor) -> tuple[Tensor, Tensor]:
    """Normals (4, N, H, W, 3) of the four triangles around each pixel, and which are known."""
    padded = functional.pad(points, (0, 0, 1, 1, 1, 1))
    inside = functional.pad(valid, (1, 1, 1, 1))
    shifts = ((0, 1), (1, 0), (2, 1), (1, 2))  # up, left, down, right
    height, width = valid.shape[1:]
    arms, known = [], []
    for row, column in shifts:
        rows, columns = slice(row, row + height), slice(column, column + width)
        arms.append(padded[:, rows, columns] - points)
        known.append(inside[:, rows, columns] & valid)
    normals = [torch.linalg.cross(arms[i], arms[(i + 1) % 4], dim=-1) for i in range(4)]
    pairs = [known[i] & known[(i + 1) % 4] for i in range(4)]
    return functional.normalize(torch.stack(normals), dim=-1, eps=1e-12), torch.stack(pairs)


def finite(values: Tensor) -> Tensor:
    """Replace NaN and infinity by zero."""
    return torch.nan_to_num(values, nan=0.0, posinf=0.0, neginf=0.0)
