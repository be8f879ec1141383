"""Which parameters learn, and how fast at each step."""

from __future__ import annotations

import math
from fnmatch import fnmatchcase

import torch
from torch import nn

from page4d_ros.errors import TrainingError
from page4d_ros.training.recipe import GroupConfig, Recipe


def make_optimiser(module: nn.Module, recipe: Recipe) -> torch.optim.AdamW:
    """AdamW over the recipe's groups; what is in none is frozen.

    A parameter belongs to the first group with a pattern that fits its name.

    Raises:
        TrainingError: a pattern fits nothing, or nothing is trained.
    """
    taken: dict[str, nn.Parameter] = {}
    groups = []
    for config in recipe.groups:
        fitting = {
            name: parameter
            for name, parameter in module.named_parameters()
            if name not in taken and any(fnmatchcase(name, p) for p in config.parameters)
        }
        if not fitting:
            raise TrainingError(
                f'groups: no parameter fits {list(config.parameters)}; names look like '
                f'{next(iter(module.named_parameters()))[0]!r}'
            )
        taken |= fitting
        groups.append({'params': list(fitting.values()), 'weight_decay': config.weight_decay})
    for name, parameter in module.named_parameters():
        parameter.requires_grad_(name in taken)
    return torch.optim.AdamW(groups, lr=0.0, betas=recipe.betas)


def set_learning_rates(optimiser: torch.optim.Optimizer, recipe: Recipe, step: int) -> None:
    """Give every group its learning rate for a step."""
    where = step / max(1, recipe.steps)
    for group, config in zip(optimiser.param_groups, recipe.groups, strict=True):
        group['lr'] = learning_rate(config, where)


def learning_rate(config: GroupConfig, where: float) -> float:
    """Learning rate at a fraction `where` of the run: rise, hold, fall."""
    if where < config.warmup:
        return config.lr_ends + (config.lr - config.lr_ends) * where / config.warmup
    if where <= config.hold or config.hold >= 1:
        return config.lr
    fallen = min(1.0, (where - config.hold) / (1 - config.hold))
    left = 0.5 * (1 + math.cos(math.pi * fallen)) if config.fall == 'cosine' else 1 - fallen
    return config.lr_ends + (config.lr - config.lr_ends) * left


def clip_gradients(module: nn.Module, recipe: Recipe) -> float:
    """Clip, and give the norm before; with `clip_parts` the largest of the parts' norms."""
    parts: dict[str, list[nn.Parameter]] = {}
    for name, parameter in module.named_parameters():
        if parameter.grad is not None:
            part = '.'.join(name.split('.')[:2]) if recipe.clip_parts else ''
            parts.setdefault(part, []).append(parameter)
    norms = [nn.utils.clip_grad_norm_(part, recipe.clip) for part in parts.values()]
    # unlike Python's max, torch's keeps NaN wherever it stands
    return float(torch.stack(norms).max()) if norms else 0.0
