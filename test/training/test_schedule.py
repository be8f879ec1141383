"""Trained parameters, learning rates and clipped gradients, against the specification."""

from pathlib import Path

import pytest
import torch
from torch import nn

from page4d_ros.errors import TrainingError
from page4d_ros.model.config import NetworkConfig
from page4d_ros.model.page4d import Page4D
from page4d_ros.training.objective import Objective
from page4d_ros.training.recipe import GroupConfig, Recipe, load_recipe
from page4d_ros.training.schedule import (
    clip_gradients,
    learning_rate,
    make_optimiser,
    set_learning_rates,
)

RECIPES = Path(__file__).parents[2] / 'config' / 'training'
LOW = 1e-8


@pytest.fixture(scope='module')
def finetune():
    return load_recipe(RECIPES / 'finetune.yaml')


@pytest.fixture(scope='module')
def published(finetune):
    """The whole network without memory, and its optimiser."""
    with torch.device('meta'):
        objective = Objective(Page4D(NetworkConfig.published()), finetune.loss)
    return objective, make_optimiser(objective, finetune)


def test_finetuning_trains_exactly_what_was_published(published):
    objective, _ = published
    names = dict(objective.named_parameters())
    blocks = [
        f'network.aggregator.{kind}_blocks.{i}.'
        for kind in ('frame', 'global')
        for i in range(10, 20)
    ]
    wanted = (*blocks, 'network.aggregator.spatial_mask_head.')
    trained = {name for name, value in names.items() if value.requires_grad}
    assert trained == {name for name in names if name.startswith(wanted)}
    assert sum(names[name].numel() for name in trained) == pytest.approx(252.3e6, rel=1e-3)
    assert sum(value.numel() for value in names.values()) == pytest.approx(1.19e9, rel=1e-2)


def test_groups_have_their_own_rates_and_decay(published, finetune):
    objective, optimiser = published
    head = {id(p) for p in objective.network.aggregator.spatial_mask_head.parameters()}
    for group, is_head in zip(optimiser.param_groups, (True, False), strict=True):
        assert {id(p) in head for p in group['params']} == {is_head}
        assert group['weight_decay'] == (0.02 if is_head else 0.01)
    set_learning_rates(optimiser, finetune, round(0.15 * finetune.steps))
    head_rate, block_rate = (group['lr'] for group in optimiser.param_groups)
    assert head_rate == pytest.approx(2e-5)
    assert 0.96e-5 < block_rate < 1e-5  # already falling: (1 + cos(pi / 9.5)) / 2 = 0.973


@pytest.mark.parametrize(
    ('group', 'where', 'wanted'),
    [
        (0, 0.0, LOW),
        (0, 0.075, (LOW + 2e-5) / 2),
        (0, 0.15, 2e-5),
        (0, 0.15 + 0.85 / 4, LOW + (2e-5 - LOW) * 0.8535534),
        (0, 0.15 + 0.85 / 2, (LOW + 2e-5) / 2),
        (0, 1.0, LOW),
        (1, 0.0, LOW),
        (1, 0.025, (LOW + 1e-5) / 2),
        (1, 0.05, 1e-5),
        (1, 0.05 + 0.95 / 2, (LOW + 1e-5) / 2),
        (1, 1.0, LOW),
    ],
)
def test_published_learning_rates(finetune, group, where, wanted):
    assert learning_rate(finetune.groups[group], where) == pytest.approx(wanted, rel=1e-5)


def test_the_mask_fades_after_as_many_batches_as_published(finetune):
    batches = 21
    assert finetune.steps == 1600 * batches
    assert finetune.mask.hold_start / batches == pytest.approx(143, abs=0.5)
    assert finetune.mask.hold_end / batches == pytest.approx(238, abs=0.5)


def test_tiny_rates_hold_then_fall_in_a_line():
    (group,) = load_recipe(RECIPES / 'tiny.yaml').groups
    assert learning_rate(group, group.warmup) == learning_rate(group, group.hold) == group.lr
    half = learning_rate(group, (1 + group.hold) / 2)
    assert half == pytest.approx((group.lr + group.lr_ends) / 2)


def test_the_first_fitting_group_takes_a_parameter():
    module = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    groups = (GroupConfig(('0.bias',), lr=1.0), GroupConfig(('0.*',), lr=2.0))
    optimiser = make_optimiser(module, Recipe(groups=groups))
    assert [len(group['params']) for group in optimiser.param_groups] == [1, 1]
    assert [p.requires_grad for p in module.parameters()] == [True, True, False, False]


def test_a_pattern_that_fits_nothing_is_refused():
    module = nn.Linear(2, 2)
    with pytest.raises(TrainingError, match=r"no parameter matches \['aggregator.*'weight'"):
        make_optimiser(module, Recipe(groups=(GroupConfig(('aggregator.*',)),)))


def with_gradients(*values):
    module = nn.ModuleDict(
        {name: nn.ModuleDict({'x': nn.Linear(1, 1, bias=False)}) for name in 'ab'}
    )
    for parameter, value in zip(module.parameters(), values, strict=True):
        parameter.grad = torch.full_like(parameter, value)
    return module


def gradients(module):
    return [p.grad.item() for p in module.parameters()]


def test_parts_are_clipped_by_themselves_or_all_together():
    module = with_gradients(3.0, 0.5)
    assert clip_gradients(module, Recipe(clip=1.0, clip_parts=True)) == pytest.approx(3.0)
    assert gradients(module) == pytest.approx([1.0, 0.5], rel=1e-4)
    module = with_gradients(3.0, 4.0)
    assert clip_gradients(module, Recipe(clip=1.0, clip_parts=False)) == pytest.approx(5.0)
    assert gradients(module) == pytest.approx([0.6, 0.8], rel=1e-4)


@pytest.mark.parametrize('values', [(1.0, torch.nan), (torch.nan, 1.0), (torch.inf, 1.0)])
def test_a_broken_gradient_of_any_part_is_seen(values):
    norm = clip_gradients(with_gradients(*values), Recipe(clip_parts=True))
    assert not torch.isfinite(norm)
