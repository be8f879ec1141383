"""How the network behaves: inputs, devices, types, and what the mask changes."""

import copy
import math
from dataclasses import replace

import pytest
import torch
from torch.nn import functional

from page4d_ros.errors import ConfigError
from page4d_ros.model.blocks import (
    Block,
    LayerScale,
    SpecialTokenBias,
    replace_special_rows,
)
from page4d_ros.model.checkpoint import untrained_network
from page4d_ros.model.config import NetworkConfig
from page4d_ros.model.dpt_head import DPTHead
from page4d_ros.model.mask_head import dynamic_probability, mask_alpha
from page4d_ros.model.page4d import Page4D
from page4d_ros.model.rope import rope_table
from page4d_ros.model.runtime import compile_parts


def test_output_shapes_and_an_untrained_answer_that_is_sane(tiny, window):
    with torch.no_grad():
        out = tiny(window)
    assert out.pose_enc.shape == (1, 4, 9)
    assert out.pose_enc_iters.shape == (4, 1, 4, 9)
    assert (
        out.depth.shape == out.depth_conf.shape == out.world_points_conf.shape == (1, 4, 84, 112)
    )
    assert out.world_points.shape == (1, 4, 84, 112, 3)
    assert out.mask_score.shape == (1, 4, 6, 8)
    assert out.gram is None
    assert all(value.isfinite().all() for value in out[:-1])
    probability = dynamic_probability(out.mask_score)
    assert ((probability > 0) & (probability < 1)).all()
    torch.testing.assert_close(out.pose_enc[..., 7:], torch.ones(1, 4, 2), atol=0.2, rtol=0)
    quaternion = functional.normalize(out.pose_enc[..., 3:7], dim=-1)
    assert (quaternion[..., 3] > math.cos(0.05)).all()


def test_folded_blocks_give_the_same_outputs_without_layer_scales(tiny, window):
    folded = copy.deepcopy(tiny).double()
    with torch.no_grad():
        for block in (each for each in folded.modules() if isinstance(each, Block)):
            block.ls2.gamma.uniform_(0.5, 2)  # untrained ones are all alike
        expected = folded(window.double())
        for _ in range(2):
            folded.prepare(torch.device('cpu'), None, points=True)
        found = folded(window.double())
    assert not any(isinstance(each, LayerScale) for each in folded.modules())
    for one, other in zip(found[:-1], expected[:-1], strict=True):
        torch.testing.assert_close(one, other, atol=1e-12, rtol=1e-12)


def test_untrained_network_follows_its_seed():
    before = torch.get_rng_state()
    one, same, other = (untrained_network(seed=seed).state_dict() for seed in (0, 0, 1))
    assert torch.equal(torch.get_rng_state(), before)
    assert all(torch.equal(value, same[key]) for key, value in one.items())
    assert not torch.equal(one['aggregator.camera_token'], other['aggregator.camera_token'])


@pytest.mark.parametrize('alpha', [0.0, 1.0])
@pytest.mark.parametrize('config', [NetworkConfig.tiny(), NetworkConfig.published()])
def test_forward_never_looks_at_values(config, alpha):
    """On the meta device, reading a value (a synchronisation with a GPU) raises."""
    with torch.device('meta'):
        network, images = Page4D(config), torch.rand(2, 3, 3, 84, 112)
    out = network(images, mask_alpha=alpha)
    assert out.depth.device.type == 'meta'
    assert out.depth.shape == (2, 3, 84, 112)
    with pytest.raises((RuntimeError, NotImplementedError)):
        out.depth.max().item()


def test_one_graph_without_breaks(tiny, window):
    compiled = torch.compile(tiny, backend='eager', fullgraph=True)
    with torch.no_grad():
        out, wanted = compiled(window, mask_alpha=1.0), tiny(window, mask_alpha=1.0)
    torch.testing.assert_close(out.pose_enc, wanted.pose_enc)
    torch.testing.assert_close(out.depth, wanted.depth)


def test_parts_are_compiled_in_place(window):
    plain, fused = untrained_network().eval(), untrained_network().eval()
    compile_parts(fused, (Block, DPTHead), backend='eager')
    with torch.no_grad():
        out, wanted = fused(window), plain(window)
    assert fused.depth_head._compiled_call_impl is not None
    assert fused.camera_head._compiled_call_impl is None
    torch.testing.assert_close(out.pose_enc, wanted.pose_enc)
    torch.testing.assert_close(out.depth, wanted.depth)


def test_tables_made_in_inference_mode_serve_training(window):
    rope_table.cache_clear()
    network = untrained_network(replace(NetworkConfig.tiny(), point_head=True))
    with torch.inference_mode():
        network(window)
    out = network(window, mask_alpha=1.0)
    (out.pose_enc.sum() + out.depth.sum() + out.world_points.sum()).backward()
    mask_head = network.aggregator.spatial_mask_head
    assert all(p.grad is not None for p in mask_head.parameters())
    assert network.aggregator.patch_embed.patch_embed.proj.weight.grad.isfinite().all()


def test_the_mask_teaches_only_its_head(window):
    network = untrained_network()
    network(window).mask_score.sum().backward()
    taught = {key for key, value in network.named_parameters() if value.grad is not None}
    assert taught
    assert all(key.startswith('aggregator.spatial_mask_head.') for key in taught)


def test_a_pose_is_no_teacher_of_the_next_iteration(tiny, window):
    bias = tiny.camera_head.pose_branch.fc2.bias
    second = tiny(window).pose_enc_iters[1, 0, 0, 0]
    (grad,) = torch.autograd.grad(second, bias)
    # Both iterations add the bias; a path through the fed-back pose would add to this.
    assert torch.equal(grad, 2.0 * torch.eye(9)[0])


def test_float64(tiny, window):
    double = copy.deepcopy(tiny).double()
    with torch.no_grad():
        out, single = double(window.double(), mask_alpha=1.0), tiny(window, mask_alpha=1.0)
    assert all(value.dtype == torch.float64 for value in out[:-1])
    torch.testing.assert_close(out.depth.float(), single.depth, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(out.pose_enc.float(), single.pose_enc, atol=1e-5, rtol=1e-5)


def test_autocast_leaves_the_heads_in_float32(tiny, window):
    with torch.no_grad():
        exact = tiny(window, mask_alpha=1.0)
        with torch.autocast('cpu', torch.bfloat16):
            out = tiny(window, mask_alpha=1.0)
    assert out.depth.dtype == out.pose_enc.dtype == out.world_points.dtype == torch.float32
    torch.testing.assert_close(out.depth, exact.depth, atol=0.02, rtol=0)
    torch.testing.assert_close(out.pose_enc, exact.pose_enc, atol=0.02, rtol=0)


def test_frames_do_not_depend_on_their_chunk(window):
    whole = untrained_network()
    parts = untrained_network(replace(NetworkConfig.tiny(), frames_chunk=3))
    with torch.no_grad():
        torch.testing.assert_close(whole(window).depth, parts(window).depth, atol=1e-6, rtol=0)


def test_batches_do_not_mix(tiny):
    images = torch.rand(2, 2, 3, 56, 56, generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        both, second = tiny(images, mask_alpha=1.0), tiny(images[1], mask_alpha=1.0)
    torch.testing.assert_close(both.depth[1:], second.depth, atol=1e-6, rtol=0)
    torch.testing.assert_close(both.pose_enc[1:], second.pose_enc, atol=1e-6, rtol=0)


def test_split_attention_equals_a_dense_bias():
    generator = torch.Generator().manual_seed(3)
    frames, tokens, specials = 3, 11, 5
    q, k, v = torch.randn(3, 2, 4, frames * tokens, 16, generator=generator, dtype=torch.float64)
    logits = 20 * torch.randn(2, frames * tokens, generator=generator, dtype=torch.float64)
    bias = SpecialTokenBias(logits, frames, specials)
    plain = functional.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)
    is_special = (torch.arange(frames * tokens) % tokens < specials).double()
    dense = is_special[None, None, :, None] * logits[:, None, None]
    wanted = functional.scaled_dot_product_attention(q, k, v, attn_mask=dense)
    torch.testing.assert_close(
        replace_special_rows(plain, q, k, v, bias),
        wanted.transpose(1, 2).flatten(2),
        atol=1e-13,
        rtol=0,
    )


def test_the_mask_hides_what_scores_low():
    """Polarity: a key with a low score hardly reaches the special tokens, one with a high does."""
    generator = torch.Generator().manual_seed(4)
    q, k, v = torch.randn(3, 1, 1, 8, 4, generator=generator)
    head = untrained_network().aggregator.spatial_mask_head
    score = torch.tensor([-0.4, 0.4, 0.4]).view(1, 1, 1, 3)
    bias = SpecialTokenBias(head.key_bias(score, 1.0), 1, 5)
    y = torch.zeros(1, 8, 4)
    hidden, seen = v.clone(), v.clone()
    hidden[:, :, 5] += 1
    seen[:, :, 6] += 1
    before = replace_special_rows(y, q, k, v, bias)
    assert torch.equal(before[:, 5:], y[:, 5:])
    torch.testing.assert_close(replace_special_rows(y, q, k, hidden, bias), before)
    change = replace_special_rows(y, q, k, seen, bias) - before
    assert (change[:, :5] > 1e-3).all()


def test_the_mask_moves_the_pose(small):
    images = torch.rand(2, 3, 42, 56, generator=torch.Generator().manual_seed(5))
    with torch.no_grad():
        off, on = small(images), small(images, mask_alpha=1.0)
        half = small(images, mask_alpha=0.5)
    assert torch.equal(off.mask_score, on.mask_score)
    assert (off.pose_enc - on.pose_enc).abs().max() > 1e-2
    assert (half.pose_enc - on.pose_enc).abs().max() > 1e-3


def test_the_setting_chooses_the_mask(window):
    masked = untrained_network(replace(NetworkConfig.tiny(), mask_enabled=True))
    with torch.no_grad():
        assert torch.equal(masked(window).pose_enc, masked(window, mask_alpha=1.0).pose_enc)
        assert not torch.equal(masked(window).pose_enc, masked(window, mask_alpha=0.0).pose_enc)


def test_optional_heads(window):
    config = replace(NetworkConfig.tiny(), mask_head=False)
    network = untrained_network(config)
    with torch.no_grad():
        out = network(window)
    assert out.mask_score is None
    assert out.world_points is None
    assert out.world_points_conf is None
    with pytest.raises(ConfigError, match='mask head'):
        network(window, mask_alpha=1.0)


@pytest.mark.parametrize(
    ('images', 'said'),
    [
        (torch.zeros(2, 3, 84, 100), 'multiples of 14'),
        (torch.zeros(2, 3, 80, 112), 'multiples of 14'),
        (torch.zeros(3, 84, 112), 'shape'),
        (torch.zeros(2, 84, 112, 3), 'shape'),
        (torch.zeros(0, 3, 84, 112), 'shape'),
        (torch.zeros(2, 3, 84, 112, dtype=torch.uint8), 'floating point'),
        (torch.zeros(2, 3, 14, 14), 'two patches'),
    ],
)
def test_bad_images(tiny, images, said):
    with pytest.raises(ValueError, match=said):
        tiny(images)


def test_strided_images(tiny, window):
    strided = window.permute(0, 2, 3, 1).contiguous().permute(0, 3, 1, 2)
    with torch.no_grad():
        torch.testing.assert_close(tiny(strided).depth, tiny(window).depth)


def test_mask_schedule():
    assert mask_alpha(0, 0, 0) == 0
    assert mask_alpha(4, 5, 9) == 1
    assert mask_alpha(7, 5, 9) == pytest.approx(0.5)
    assert mask_alpha(9, 5, 9) == 0
