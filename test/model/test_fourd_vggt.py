"""4D-VGGT: its fixtures, its files, its band, and the grid of views and times."""

import json
from functools import lru_cache

import fourd_vggt_file as published
import parity
import pytest
import torch
from data_folders import OWN_PARITY, parity_params
from parity import assert_close
from torch.nn import functional

from page4d_ros.errors import CheckpointError
from page4d_ros.model.checkpoint import load_network, save_network, untrained_network
from page4d_ros.model.config import FourDVGGTConfig
from page4d_ros.model.fourd_vggt import FourDVGGT
from page4d_ros.model.network import StepPlan, full_cells
from page4d_ros.model.reference import Reference
from page4d_ros.model.temporal import bands

SETTINGS = published.SETTINGS


@pytest.fixture(autouse=True)
def _no_gradients():
    with torch.no_grad():
        yield


@pytest.fixture(scope='module')
def network_of(tmp_path_factory):
    """The network of the fixtures for a salt, through a file in the published format."""

    @lru_cache(maxsize=2)
    def load(salt):
        folder = tmp_path_factory.mktemp('weights')
        return load_network(published.write(folder / '4d-vggt.pt', salt=salt))

    return load


@pytest.fixture(scope='module')
def network(network_of):
    return network_of('')


@pytest.mark.parametrize('path', parity_params('4dvggt/tiny_*.npz', further=True))
def test_whole_network(path, network_of):
    data = parity.read(path)
    network, seen = network_of(data['salt']), {}
    hooks = [
        module.register_forward_hook(lambda *a, name=name: seen.update({name: a[-1]}))
        for name, module in network.named_children()
    ]
    out = network(data['images'])
    for hook in hooks:
        hook.remove()

    assert seen.keys() == {*dict(network.named_children())}
    outputs = {
        'spatial': seen['aggregator'].taps,
        'temporal': seen['temporal'],
        'dense': seen['fusion'],
    }
    for name, taps in outputs.items():
        for layer, tap in zip(network.config.dpt_taps, taps, strict=True):
            stored = data[f'{name}_L{layer}']
            assert_close(tap[..., :: tap.shape[-1] // stored.shape[-1]], stored)
    assert_close(out.pose_enc_iters, data['pose_enc_iters'])
    assert_close(out.depth, data['depth'][..., 0])
    assert_close(out.depth_conf, data['depth_conf'])
    assert_close(out.world_points, data['world_points'])
    assert_close(out.world_points_conf, data['world_points_conf'])
    assert out.mask_score is None
    reference = Reference(network)(data['images'][0])
    assert_close(reference.pose_enc_iters, data['pose_enc_iters'])
    assert_close(reference.depth, data['depth'][..., 0])


@pytest.mark.parametrize('path', parity_params('4dvggt/tiny_*.npz', further=True))
def test_attention_over_a_window_of_times(path, network_of):
    data = parity.read(path)
    network = network_of(data['salt'])
    x = data['window_attn_in']
    frames, block = x.shape[1], network.temporal.temporal_blocks[0]
    (band,) = bands([(0, time) for time in range(frames)], 5, 1, range(frames))
    rope = network.aggregator.rope(x, network.grid(data['images']))
    got = block.attend(x, rope, band)
    assert_close(got.unflatten(1, x.shape[1:3]), data['window_attn_out'])


def test_keys_are_the_published_ones():
    wanted = json.loads((OWN_PARITY / '4dvggt/keys_tiny.json').read_text())
    state = untrained_network(published.CONFIG).state_dict()
    assert {published.published_name(key): list(v.shape) for key, v in state.items()} == wanted


def test_the_published_sizes():
    with torch.device('meta'):
        network = FourDVGGT(FourDVGGTConfig.published())
    assert network.parameter_count == 1_803_726_236


def message(tmp_path, **values):
    path = published.write(tmp_path / 'wrong.pt', **values)
    with pytest.raises(CheckpointError) as error:
        load_network(path)
    assert str(path) in str(error.value)
    assert '\n' not in str(error.value)
    return str(error.value)


def test_a_published_file(network):
    assert network.config == published.CONFIG
    assert network.name == '4d-vggt'
    assert not network.training
    assert torch.equal(
        network.fusion.alpha, published.published_weights('')['spatiotemporal_dense_fusion.alpha']
    )


def test_published_settings_are_the_defaults(tmp_path):
    settings = SETTINGS | {
        'embed_dim': 1024,
        'depth': 24,
        'num_heads': 16,
        'patch_embed': 'dinov2_vitl14_reg',
        'cached_layer_indices': (4, 11, 17, 23),  # as lists in a file
        'spatial_head_options': {},
        'dense_head_options': {'intermediate_layer_idx': [4, 11, 17, 23]},
    }
    # the settings are accepted, so that what is missing is weights
    assert 'tensors do not fit the network' in message(tmp_path, model_config=settings)


@pytest.mark.parametrize(
    ('changes', 'said'),
    [
        ({'window_size': 4}, 'time_window must be odd'),
        ({'window_size': 7}, 'relative_time_bias (4, 5) instead of (4, 7)'),
        ({'aa_block_size': 2}, 'aa_block_size is 2; 1 is known here'),
        ({'enable_dense_fusion': False}, 'enable_dense_fusion is False'),
        ({'patch_embed': 'dinov3'}, "patch_embed 'dinov3' is not known"),
        ({'patch_embed': ['conv']}, 'is not known'),
        ({'cached_layer_indices': 5}, 'other layers than those cached'),
        ({'img_size': None}, 'img_size must be a int, not None'),
        ({'embed_dim': 'wide'}, "embed_dim must be a int, not 'wide'"),
        ({'dense_head_options': {'pos_embed': False}}, 'dense_head_options'),
        ({'spatial_head_options': None}, 'spatial_head_options'),
        ({'cached_layer_indices': [0, 1, 2, 5]}, 'other layers than those cached'),
        ({'more': 1}, "unknown settings ['more'] and lacks []"),
        ({'depth': 5}, 'must rise strictly and stay below depth'),
    ],
)
def test_settings_that_are_not_known(tmp_path, changes, said):
    assert said in message(tmp_path, model_config=SETTINGS | changes)


@pytest.mark.parametrize(
    ('changes', 'said'),
    [
        ({'model_config': None}, 'there is no model_config'),
        ({'model_config': {'depth': 6}}, 'lacks'),
        ({'architecture_schema_version': 3}, 'architecture_schema_version is 3; 2 is known'),
        ({'architecture_schema_version': None}, 'architecture_schema_version is None'),
        ({'released_tasks': ['camera', 'depth']}, 'released_tasks'),
        ({'released_tasks': ['camera', 'depth', 'point', 'track']}, 'released_tasks'),
        ({'released_tasks': None}, 'released_tasks'),
        ({'architecture': '4d-vggt-geometry-v2'}, "architecture '4d-vggt-geometry-v2'"),
    ],
)
def test_files_that_are_of_another_release(tmp_path, changes, said):
    assert said in message(tmp_path, **changes)


def test_other_weights_than_the_settings_say(tmp_path):
    weights = published.published_weights('')
    del weights['spatiotemporal_dense_fusion.alpha']
    weights['dense_head.track_head.weight'] = torch.zeros(1)
    said = message(tmp_path, model=weights)
    assert '1 missing: fusion.alpha' in said
    assert '1 unexpected: dense_head.track_head.weight' in said


def test_there_is_no_mask(tmp_path, network):
    path = published.write(tmp_path / 'weights.pt')
    with pytest.raises(CheckpointError, match='no mask head'):
        load_network(path, mask_enabled=True)
    assert load_network(path, mask_enabled=False).config == network.config


def test_a_file_of_ours(tmp_path, network):
    path = tmp_path / 'tiny.safetensors'
    save_network(network, path, name='tiny-4d')
    loaded = load_network(path)
    assert loaded.config == network.config
    assert loaded.name == 'tiny-4d'
    state = loaded.state_dict()
    assert all(torch.equal(value, state[key]) for key, value in network.state_dict().items())


def test_the_band_of_a_layer_is_what_is_read_of_it():
    """Eight frames of one view, of which the last is read: 1, 3, 5 frames, from the end."""
    chain = bands([(0, time) for time in range(8)], 5, 3, [7])
    assert [band.inputs for band in chain] == [tuple(range(1, 8)), tuple(range(3, 8)), (5, 6, 7)]
    assert [len(band.outputs) for band in chain] == [5, 3, 1]
    assert chain[-1] == ((5, 6, 7), (2,), (0,), ((0, 1, 2),))
    assert chain[0].offsets == (
        (0, 1, 2, 3, 4), (0, 1, 2, 3, 4), (0, 1, 2, 3, 4), (0, 1, 2, 3), (0, 1, 2),
    )  # fmt: skip


def test_bands_are_linear_in_the_frames():
    def pairs(frames):
        (band,) = bands([(0, time) for time in range(frames)], 5, 1, range(frames))
        return sum(map(len, band.offsets))

    assert pairs(200) - pairs(100) == 5 * 100


def by_definition(network, local, rope, cells):
    """The temporal branch with one attention of all frames, forbidden but within the windows."""
    config, tokens = network.config, local.shape[2]
    view, time = torch.tensor(cells).T
    offset = time[None] - time[:, None] + config.time_window // 2  # [query, key]
    near = (offset >= 0) & (offset < config.time_window) & (view[None] == view[:, None])
    x, taps = None, []
    for i, block in enumerate(network.temporal.temporal_blocks):
        if i:
            local = network.temporal.within(i, x, rope)
        bias = block.attn.relative_time_bias[:, offset.clamp(0, config.time_window - 1)]
        bias = bias.masked_fill(~near, -torch.inf)
        bias = bias.repeat_interleave(tokens, 1).repeat_interleave(tokens, 2)
        q, k, v = block.project(local.flatten(1, 2), rope)
        y = functional.scaled_dot_product_attention(q, k, v, attn_mask=bias[None])
        y = block.attn.proj(y.transpose(1, 2).flatten(2)).unflatten(1, (-1, tokens))
        x = block.update(local, y)
        taps.append(torch.cat([local, x], dim=-1))
    return [taps[i] for i in config.dpt_taps]


GRIDS = {
    'one view': full_cells(1, 7),
    'two views': full_cells(2, 4),
    'three views': full_cells(3, 6),
    'a gap': ((0, 0), (1, 0), (0, 1), (0, 2), (1, 2), (0, 3), (1, 3)),
    'a view that went': ((0, 0), (1, 0), (0, 1), (1, 1), (0, 2), (0, 3), (0, 4), (0, 5), (1, 5)),
    'no view at every time': ((0, 0), (1, 1), (0, 2), (2, 3), (1, 4), (2, 4)),
}


@pytest.mark.parametrize('newest', [1, 2, 5])
@pytest.mark.parametrize('name', GRIDS)
def test_the_temporal_branch_stays_within_a_view(network, name, newest):
    cells = GRIDS[name]
    frames = len(cells) or 7
    generator = torch.Generator().manual_seed(1)
    network = double(network)
    local = torch.randn(1, frames, 11, 128, generator=generator, dtype=torch.float64)
    rope = network.aggregator.rope(local, (2, 3))
    got = network.temporal(local, rope, StepPlan((2, 3), newest, cells=cells))
    wanted = by_definition(network, local, rope, cells or [(0, time) for time in range(7)])
    for ours, theirs in zip(got, wanted, strict=True):
        torch.testing.assert_close(ours, theirs[:, -newest:], rtol=0, atol=1e-12)


def double(network):
    twin = untrained_network(network.config).double()
    twin.load_state_dict(network.state_dict())
    return twin


def test_each_view_alone_gives_the_same_temporal_features(network):
    network = double(network)
    generator = torch.Generator().manual_seed(2)
    local = torch.randn(1, 8, 11, 128, generator=generator, dtype=torch.float64)
    rope = network.aggregator.rope(local, (2, 3))
    both = network.temporal(local, rope, StepPlan((2, 3), 8, cells=full_cells(2, 4)))
    for view in range(2):
        alone = network.temporal(local[:, view::2], rope, StepPlan((2, 3), 4))
        for ours, theirs in zip(both, alone, strict=True):
            torch.testing.assert_close(ours[:, view::2], theirs, rtol=0, atol=1e-12)


def test_poses_do_not_depend_on_the_layout_and_depths_do(network):
    generator = torch.Generator().manual_seed(3)
    encoded = torch.randn(1, 4, 6, 128, generator=generator)
    tokens = network.enter(encoded, (2, 3), first=True)
    one, two = (
        network.step(tokens, StepPlan((2, 3), 4, cells=cells)) for cells in ((), full_cells(2, 2))
    )
    assert torch.equal(one.pose_enc, two.pose_enc)
    assert not torch.equal(one.depth, two.depth)
