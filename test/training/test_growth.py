"""A grown network begins as the one that it grew from."""

from dataclasses import replace

import pytest
import torch

from page4d_ros.errors import TrainingError
from page4d_ros.model.checkpoint import load_network, save_network, untrained_network
from page4d_ros.model.config import NetworkConfig
from page4d_ros.training.growth import grow
from page4d_ros.training.recipe import Recipe
from page4d_ros.training.trainer import initial_network

SMALL = NetworkConfig.small()


@pytest.fixture(scope='module')
def before():
    network = untrained_network(replace(NetworkConfig.tiny(), mask_enabled=True))
    for name, value in network.named_parameters():
        if name.endswith('gamma'):
            torch.nn.init.normal_(value, 1.0, 0.1)
    return network.double().eval()


@torch.no_grad()
def test_poses_and_masks_stay(before):
    images = torch.rand(1, 3, 3, 84, 112, dtype=torch.float64)
    after = grow(before, replace(SMALL, mask_enabled=True)).double().eval()
    for alpha in (0.0, 1.0):
        old, new = before(images, mask_alpha=alpha), after(images, mask_alpha=alpha)
        torch.testing.assert_close(new.mask_score, old.mask_score, rtol=0, atol=1e-6)
        if not alpha:  # the bias reaches other blocks
            torch.testing.assert_close(new.pose_enc, old.pose_enc, rtol=0, atol=1e-6)
        assert new.depth.shape == old.depth.shape


@torch.no_grad()
def test_a_dense_head_of_the_same_size_is_kept(before):
    config = before.config
    taps = {'depth': 6, 'dpt_taps': (1, 2, 4, 5), 'mask_layer': 4, 'masked_layers': (4, 5)}
    after = grow(before, replace(config, encoder_depth=4, **taps)).double().eval()
    images = torch.rand(1, 2, 3, 84, 112, dtype=torch.float64)
    torch.testing.assert_close(after(images).depth, before(images).depth, rtol=0, atol=1e-6)


def test_new_blocks_learn(before):
    after = grow(before.float(), SMALL)
    after(torch.rand(1, 2, 3, 84, 112)).pose_enc.sum().backward()
    added = after.aggregator.global_blocks[0]
    assert not added.ls1.gamma.any()
    assert added.ls1.gamma.grad.any()
    before.double()


@pytest.mark.parametrize(
    ('sizes', 'reason'),
    [
        (replace(SMALL, encoder_depth=2), 'encoder_depth would shrink from 3 to 2'),
        (replace(SMALL, embed_dim=64), 'only blocks are added'),
        (replace(SMALL, camera_depth=3), 'only blocks are added'),
        (replace(SMALL, mask_head=False, masked_layers=()), 'has no place for'),
    ],
)
def test_what_cannot_grow_is_one_line(before, sizes, reason):
    with pytest.raises(TrainingError, match=reason):
        grow(before, sizes)


def test_a_recipe_grows_its_weights(before, tmp_path):
    file = tmp_path / 'small.safetensors'
    save_network(before.float(), file, name='small')
    grown = initial_network(Recipe(weights=str(file), network='small', grow=True))
    assert grown.config == SMALL
    assert initial_network(Recipe(weights=str(file), network='small')).config == before.config
    assert load_network(file).name == 'small'
    before.double()
