"""Every fixture of the published network, whole and in pieces."""

import json

import parity
import pytest
import torch
from data_folders import OWN_PARITY, parity_file, parity_params
from parity import assert_close

from page4d_ros.model.blocks import SpecialTokenBias
from page4d_ros.model.config import NetworkConfig
from page4d_ros.model.dpt_head import add_positions, confidence, inverse_log
from page4d_ros.model.encoder import interpolate_positions, normalise
from page4d_ros.model.mask_head import dynamic_probability, mask_alpha
from page4d_ros.model.page4d import Page4D
from page4d_ros.model.pose_encoding import (
    decode_pose,
    encode_pose,
    matrix_to_quaternion,
    quaternion_to_matrix,
    unproject,
)
from page4d_ros.model.rope import apply_rope, rope_angles


@pytest.fixture(autouse=True)
def _no_gradients():
    with torch.no_grad():
        yield


@pytest.mark.parametrize('path', parity_params('*_on.npz', '*_off.npz', further=True))
def test_whole_network(path, network_of):
    data = parity.read(path)
    network = network_of(data['salt'])
    seen = {}
    hooks = [
        network.aggregator.register_forward_hook(lambda *a: seen.update(features=a[-1])),
        network.aggregator.patch_embed.register_forward_hook(lambda *a: seen.update(dino=a[-1])),
    ]
    alpha = mask_alpha(0, int(data['mask_hold']), int(data['mask_hold']))
    out = network(data['images'], mask_alpha=alpha)
    for hook in hooks:
        hook.remove()

    assert_close(seen['dino'][..., ::16], data['dino_patchtokens_slice'])
    for layer, tap in zip(data['layers'].tolist(), seen['features'].taps, strict=True):
        stored = data[f'tokens_L{layer}']
        assert_close(tap[..., :: tap.shape[-1] // stored.shape[-1]], stored)
    assert_close(out.pose_enc_iters, data['pose_enc_iters'])
    assert_close(out.pose_enc, data['pose_enc_iters'][-1])
    assert_close(out.depth, data['depth'][..., 0])
    assert_close(out.depth_conf, data['depth_conf'])
    assert_close(out.world_points, data['world_points'])
    assert_close(out.world_points_conf, data['world_points_conf'])
    check_mask(network.aggregator.spatial_mask_head, out.mask_score, alpha, data)


def check_mask(head, score, alpha, data):
    """Compare the bias of all rows, r_i c_j, with ours, which only special rows see."""
    c, r = data['mask_c'], data['mask_r']
    batch, frames = score.shape[:2]
    rows = r.unflatten(1, (frames, -1))
    assert not rows[:, :, head.specials :].any()
    assert_close(score.flatten(1), c.view(batch, frames, -1)[:, :, head.specials :].flatten(1))
    ours = head.key_bias(score, alpha)[:, None]
    wanted = rows[:, :, : head.specials].flatten(1)[..., None] * c
    # The bias is the score times 64, and so is its rounding.
    assert_close(ours.expand_as(wanted), wanted, 64 * parity.TOLERANCE)


def test_rope(piece):
    data = piece('rope2d')
    for dim in (64, 48):
        angles = rope_angles(data['positions_yx'], dim, float(data['base']))
        rope = tuple(table[:, None, None] for table in angles)
        assert_close(apply_rope(data[f'tokens_d{dim}'], rope), data[f'out_d{dim}'])


def test_position_interpolation(piece):
    data = piece('dino_posembed_interp')
    sizes = [key.removeprefix('out_') for key in data if key.startswith('out_')]
    assert sizes
    for size in sizes:
        height, width = map(int, size.split('x'))
        got = interpolate_positions(data['pos_embed'], (height // 14, width // 14))
        assert_close(got, data[f'out_{size}'])


def test_encoder(piece, network_of):
    data = piece('dino_alone')
    encoder = network_of(data['salt']).aggregator.patch_embed
    assert_close(normalise(data['images_01']), data['images_normalised'])
    assert_close(encoder(data['images_01']), data['x_norm_patchtokens'])
    tokens = encoder.tokens(data['images_01'])
    stored = data['prenorm_slice']
    assert_close(tokens[..., :: tokens.shape[-1] // stored.shape[-1]], stored)
    assert_close(encoder.norm(tokens)[:, 0], data['x_norm_clstoken'])
    assert_close(encoder.norm(tokens)[:, 1:5], data['x_norm_regtokens'])


def test_biased_attention(piece, network_of):
    data = piece('attn_global10')
    block = network_of(data['salt']).aggregator.global_blocks[10]
    rope = rope_angles(data['pos'][0], 64)
    frames = int((data['r'][0] > 0).sum()) // 5
    bias = SpecialTokenBias(data['r'].max() * data['c'][:, 0], frames, 5)
    assert_close(block.attn(data['x'], rope), data['attn_out_nomask'])
    assert_close(block.attn(data['x'], rope, bias), data['attn_out_mask'])
    assert_close(block(data['x'], rope), data['block_out_nomask'])
    assert_close(block(data['x'], rope, bias), data['block_out_mask'])


def test_mask_head(piece, network_of):
    data = piece('mask_head_alone')
    head = network_of(data['salt']).aggregator.spatial_mask_head
    grid = tuple(data['hw'].tolist())
    score = head(data['x'][:, :, head.specials :], grid)
    renamed = {'mask_c': data['c'], 'mask_r': data['r']}
    check_mask(head, score, float(data['r'].max()) / 64, renamed)
    wanted = data['p_dynamic_suggested'].view(*score.shape[:2], -1)[:, :, head.specials :]
    assert_close(dynamic_probability(score).flatten(2), wanted)


def test_mask_schedule(piece):
    data = piece('mask_alpha_table')
    got = [mask_alpha(*row) for row in data['step_start_end'].tolist()]
    assert_close(torch.tensor(got), data['alpha'], 1e-6)


def test_camera_head(piece, network_of):
    data = piece('camera_head_alone')
    head = network_of(data['salt']).camera_head
    assert_close(data['tokens_last'][:, :, 0], data['camera_tokens'])
    assert_close(head(data['camera_tokens']), data['pose_enc_iters'])


def test_dense_heads(piece, network_of):
    data = piece('dpt_alone')
    network = network_of(data['salt'])
    taps = [data[f'tokens_L{layer}'] for layer in network.config.dpt_taps]
    grid = tuple(data['hw_patches'].tolist())
    depth, depth_conf = network.depth_head(taps, grid)
    points, points_conf = network.point_head(taps, grid)
    assert_close(depth, data['depth'])
    assert_close(depth_conf, data['depth_conf'])
    assert_close(points, data['world_points'])
    assert_close(points_conf, data['world_points_conf'])
    newest, _ = network.depth_head(taps, grid, slice(-1, None))
    assert_close(newest, data['depth'][:, -1:])


def test_dense_position_embedding(piece):
    data = piece('dpt_pos_embed')
    width, height = data['wh'].tolist()
    empty = torch.zeros(1, data['embed_c32'].shape[-1], height, width)
    got = add_positions(empty, float(data['aspect']))[0].permute(1, 2, 0)
    assert_close(10 * got, data['embed_c32'])


def test_fusion(piece, network_of):
    data = piece('dpt_refinenet1_block')
    fusion = network_of(data['salt']).depth_head.scratch.refinenet1
    assert_close(fusion(data['x0'], tuple(data['out'].shape[-2:]), data['x1']), data['out'])
    assert_close(fusion.resConfUnit2(data['x0']), data['rcu2_out'])


def test_activations(piece):
    data = piece('head_activations')
    raw = data['raw_bchw'].movedim(1, -1)
    assert_close(inverse_log(raw[..., :-1]), data['inv_log'])
    assert_close(confidence(raw[..., -1]), data['conf_expp1'])
    assert_close(raw[..., :-1].exp(), data['exp'])


def test_pose_encoding(piece):
    data = piece('pose_encoding')
    size = tuple(data['image_hw'].tolist())
    extrinsics, intrinsics = decode_pose(data['pose_enc'], size)
    assert_close(extrinsics, data['extrinsics_w2c'])
    assert_close(intrinsics / max(size), data['intrinsics'] / max(size))
    assert_close(encode_pose(extrinsics, intrinsics, size), data['pose_enc_roundtrip'])
    assert_close(quaternion_to_matrix(data['quats_xyzw']), data['mats'])
    assert_close(matrix_to_quaternion(data['mats']), data['quats_back'])


def test_unproject(piece):
    data = piece('unproject')
    got = unproject(data['depth'][..., 0], data['extrinsics_w2c'], data['intrinsics'])
    assert_close(got, data['world_points'])


def test_filled_weights(small):
    state = small.state_dict()
    wanted = json.loads(parity_file('weights_checksum.json').read_text())
    assert state.keys() == wanted.keys()
    for key, facts in wanted.items():
        value = state[key].double()
        assert list(value.shape) == facts['shape']
        assert value.flatten()[:3].tolist() == facts['first'][: value.numel()]
        assert abs(value.abs().sum() - facts['abssum']) <= 1e-5 * facts['abssum']
        assert abs(value.sum() - facts['sum']) <= 1e-5 * facts['abssum']


@pytest.mark.parametrize(
    ('name', 'config', 'count'),
    [('vit_l', NetworkConfig.published(), 1409), ('small', parity.SMALL, 1241)],
)
def test_keys_are_the_published_ones(name, config, count):
    with torch.device('meta'):
        state = Page4D(config).state_dict()
    wanted = {
        key: facts['shape']
        for key, facts in json.loads((OWN_PARITY / 'keymap.json').read_text())[name].items()
    }
    assert len(wanted) == count
    assert {key: list(value.shape) for key, value in state.items()} == wanted
