"""Optimiser, learning-rate schedule and gradient clipping."""

from __future__ import annotations

import math
from fnmatch import fnmatchcase

import torch
from torch import Tensor, nn

from page4d_ros.errors import TrainingError
from page4d_ros.training.recipe import GroupConfig, Recipe


def make_optimiser(module: nn.Module, recipe: Recipe) -> torch.optim.AdamW:
    """Make AdamW over the recipe's groups, and freeze all other parameters.

    A parameter belongs to the first group with a pattern that matches its name.

    Raises:
        TrainingError: the patterns of a group match no parameter.
    """
    taken: dict[str, nn.Parameter] = {}
    groups = []
    for config in recipe.groups:
        matching = {
            name: parameter
            for name, parameter in module.named_parameters()
            if name not in taken and any(fnmatchcase(name, p) for p in config.parameters)
        }
        if not matching:
            raise TrainingError(
                f'groups: no parameter matches {list(config.parameters)}; names look like '
                f'{next(iter(module.named_parameters()))[0]!r}'
            )
        taken |= matching
        groups.append({'params': list(matching.values()), 'weight_decay': config.weight_decay})
    for name, parameter in module.named_parameters():
        parameter.requires_grad_(name in taken)
    on_gpu = next(module.parameters()).is_cuda
    return torch.optim.AdamW(groups, lr=0.0, betas=recipe.betas, fused=on_gpu or None)


def set_learning_rates(optimiser: torch.optim.Optimizer, recipe: Recipe, step: int) -> None:
    """Set every group's learning rate for a step."""
    progress = step / max(1, recipe.steps)
    for group, config in zip(optimiser.param_groups, recipe.groups, strict=True):
        group['lr'] = learning_rate(config, progress)


def learning_rate(config: GroupConfig, progress: float) -> float:
    """Learning rate after a fraction `progress` of the run: rise, hold, fall."""
    if progress < config.warmup:
        return config.lr_ends + (config.lr - config.lr_ends) * progress / config.warmup
    if progress <= config.hold or config.hold >= 1:
        return config.lr
    fallen = min(1.0, (progress - config.hold) / (1 - config.hold))
    left = 0.5 * (1 + math.cos(math.pi * fallen)) if config.fall == 'cosine' else 1 - fallen
    return config.lr_ends + (config.lr - config.lr_ends) * left


def clip_gradients(module: nn.Module, recipe: Recipe) -> Tensor:
    """Clip gradients; return the norm before, with `clip_parts` the largest norm of a part."""
    parts: dict[str, list[nn.Parameter]] = {}
    for name, parameter in module.named_parameters():
        if parameter.grad is not None:
            part = '.'.join(name.split('.')[:2]) if recipe.clip_parts else ''
            parts.setdefault(part, []).append(parameter)
    norms = [nn.utils.clip_grad_norm_(part, recipe.clip) for part in parts.values()]
    # unlike Python's max, torch's returns NaN if any norm is NaN
    return torch.stack(norms).max() if norms else torch.zeros(())
