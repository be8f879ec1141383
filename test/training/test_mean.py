"""Means of two networks' weights."""

import json

import pytest
import small_network
import torch
from typer.testing import CliRunner

from page4d_ros.cli import app
from page4d_ros.model.checkpoint import load_network, save_network
from page4d_ros.model.config import FourDVGGTConfig, NetworkConfig
from page4d_ros.model.weight_file import read_weights


@pytest.fixture
def files(tmp_path):
    """Two files of one size, the second with weights of its own and a recipe."""
    old, new = small_network.network(), small_network.network()
    with torch.no_grad():
        for parameter in new.parameters():
            parameter.add_(1)
    paths = tmp_path / 'old.safetensors', tmp_path / 'new.safetensors'
    save_network(old, paths[0], name='old', purpose='rooms')
    save_network(new, paths[1], name='new', purpose='places', recipe='{"seed": 3}')
    return paths


def average(*words):
    return CliRunner().invoke(app, ['average', *map(str, words)])


@pytest.mark.parametrize('share', [0, 0.75, 1])
def test_every_weight_is_on_the_line_between_the_two(files, tmp_path, share):
    out = tmp_path / 'mean.safetensors'
    assert average(*files, '--share', share, '-o', out).exit_code == 0
    old, mean = load_network(files[0]).state_dict(), load_network(out).state_dict()
    for name, value in mean.items():
        torch.testing.assert_close(value, old[name] + share, atol=1e-5, rtol=0)


def test_the_file_says_of_what_it_was_made(files, tmp_path):
    out = tmp_path / 'mean.safetensors'
    assert average(*files, '--share', 0.75, '--name', 'mean', '--half', '-o', out).exit_code == 0
    file = read_weights(out)
    network = load_network(out)
    assert (network.name, network.purpose) == ('mean', 'places')
    assert {value.dtype for value in file.state.values()} == {torch.float16}
    first, second = json.loads(file.metadata['averaged'])
    assert (first['name'], first['share']) == ('old', 0.25)
    assert (second['name'], second['share'], second['recipe']) == ('new', 0.75, '{"seed": 3}')
    assert len(first['sha256']) == 64
    assert first['sha256'] != second['sha256']


@pytest.mark.parametrize('family', [NetworkConfig, FourDVGGTConfig])
def test_networks_of_other_sizes_have_no_mean(files, tmp_path, family):
    larger = small_network.network(family=family, depth=8)
    save_network(larger, tmp_path / 'larger.safetensors', name='larger')
    out = tmp_path / 'mean.safetensors'
    result = average(files[0], tmp_path / 'larger.safetensors', '-o', out)
    assert result.exit_code == 1
    assert not out.exists()


def test_a_shift_changes_how_sure_the_network_is_and_nothing_else(files, tmp_path):
    out, images = tmp_path / 'mean.safetensors', torch.rand(2, 3, 28, 28)
    assert average(*files, '--share', 0, '--confidence-shift', 2, '-o', out).exit_code == 0
    before, after = load_network(files[0])(images), load_network(out)(images)
    torch.testing.assert_close(after.depth, before.depth)
    shift = torch.log(after.depth_conf - 1) - torch.log(before.depth_conf - 1)
    torch.testing.assert_close(shift, torch.full_like(shift, 2), atol=0.05, rtol=0)
