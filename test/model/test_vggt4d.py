"""VGGT4D against the fixtures of its published functions, and where these say nothing."""

import parity
import pytest
import torch
from data_folders import parity_file
from parity import assert_close

from page4d_ros.model.blocks import Attention
from page4d_ros.model.config import NetworkConfig
from page4d_ros.model.gram import GramLayers, GramStatistics, sources, token_mask
from page4d_ros.model.rope import rope_angles
from page4d_ros.model.vggt4d import (
    FORCED,
    adaptive_threshold,
    cluster_map,
    lift,
    mean_by_label,
    mine,
    refine,
    residuals,
)

PARTS = {
    'shallow': 'part_mean3',
    'shallow_spread': 'part_var3',
    'middle': 'part_mean1',
    'deep': 'part_mean2',
    'spread': 'part_var1',
}


@pytest.fixture
def fixture():
    def load(name):
        return parity.read(parity_file(f'vggt4d/{name}.npz'))

    return load


def statistics(q, k, layers=None):
    """Statistics, and their sums over layers, of (frames, layers, heads, tokens, channels)."""
    frames, depth = q.shape[:2]
    references = tuple(range(frames))
    gram = GramStatistics(layers or GramLayers(), references, specials=0, frames=frames)
    sums = {}
    for layer in filter(gram.wants, range(depth)):
        flat = (x[:, layer].transpose(0, 1).flatten(1, 2)[None] for x in (q, k))
        gram.add(sums, layer, *flat)
    return gram, sums


def test_dynamic_map(fixture):
    data = fixture('dyn_map')
    grid = tuple(data['grid_hw'].tolist())
    gram, sums = statistics(data['global_tok_q'], data['global_tok_k'])
    parts = gram.parts(sums, grid)
    for ours, theirs in PARTS.items():
        assert_close(parts[ours], data[theirs], 1e-5)
    assert_close(gram.dynamic_map(sums, grid), data['dyn_map'], 1e-5)


def test_masked_attention(fixture):
    data = fixture('masked_attention')
    attention = Attention(64, 4, qk_norm=True)
    attention.load_state_dict(
        {key[2:]: value for key, value in data.items() if key.startswith('w_')}
    )
    frames, patches = data['dyn_tokens'].shape[1:]
    specials = data['pos'].shape[1] - patches
    hidden = torch.nn.functional.pad(data['dyn_tokens'], (specials, 0))
    rope = rope_angles(data['pos'].flatten(0, 1), 16)
    across = attention(data['x'], rope, hidden=hidden.flatten(1))
    assert_close(across, data['out_global_layer0'], 1e-5)
    assert_close(attention(data['x'], rope), data['out_global_layer5_unmasked'], 1e-5)
    within = attention(
        data['x'][0].unflatten(0, (frames, -1)),
        rope_angles(data['pos'][0], 16),
        hidden=hidden[0],
    )
    assert_close(within, data['out_frame_layer4'], 1e-5)


def test_queries_and_keys_are_those_compared(fixture):
    data = fixture('masked_attention')
    attention = Attention(64, 4, qk_norm=True)
    attention.load_state_dict(
        {key[2:]: value for key, value in data.items() if key.startswith('w_')}
    )
    q, k, v = attention.project(data['x'], rope_angles(data['pos'].flatten(0, 1), 16))
    assert_close(q, data['q_after_rope'], 1e-5)
    assert_close(k, data['k_after_rope'], 1e-5)
    assert_close(attention.attend(q, k, v), data['out_global_layer5_unmasked'], 1e-5)


def test_pixels_to_tokens(fixture):
    data = fixture('mask_to_tokens')
    assert (token_mask(data['pixel_mask'], 14) == data['token_mask']).all()
    assert (token_mask(data['pixel_mask'][0, 0], 14) == data['token_mask'][0, 0]).all()


def test_thresholds(fixture):
    pytest.importorskip('skimage', reason='scikit-image is not installed')
    data = fixture('multiotsu')
    assert adaptive_threshold(data['img'].numpy()) == pytest.approx(float(data['adaptive']))
    clusters = fixture('cluster_otsu')
    low = adaptive_threshold(clusters['normalised_cluster_map'].numpy())
    assert low == pytest.approx(float(clusters['otsu_threshold_lowres']))
    assert adaptive_threshold(torch.full((4, 4), 0.3).numpy()) == pytest.approx(0.3)


def test_clusters(fixture):
    pytest.importorskip('sklearn', reason='scikit-learn is not installed')
    data = fixture('cluster_otsu')
    by_label = mean_by_label(data['dyn_map'], data['cluster_labels'])
    assert_close(by_label, data['normalised_cluster_map'], 1e-5)
    ours = cluster_map(data['dyn_map'], data['features'].flatten(1, 2))
    # labels depend on the version of scikit-learn
    assert (ours - data['normalised_cluster_map']).abs().mean() < 0.05


def test_refinement_residuals(fixture):
    data = fixture('refine_loss')
    frame = int(data['cam_id'])
    poses, K = (data[name].double().numpy() for name in ('cam2world', 'intrinsics'))
    points = lift(data['depths'], poses, K)
    assert_close(torch.from_numpy(points), data['world_points_all'], 1e-5)
    labels = data['labels'].numpy()
    known = labels >= 0
    found = residuals(
        points[frame].reshape(-1, 3)[known],
        data['images'][frame].flatten(1).T.numpy()[known],
        labels[known],
        frame,
        data['coarse_masks'].numpy(),
        data['images'],
        data['depths'],
        poses,
        K,
    )
    wanted = data['label_depth_rgb_total'][:, 1:].double()
    assert ((wanted == FORCED) == torch.from_numpy(found == FORCED)).all()
    measured = wanted[:, 0] != FORCED
    assert measured.any()
    assert_close(torch.from_numpy(found)[measured], wanted[measured], 1e-5)


@pytest.mark.parametrize('frames', [1, 2, 3, 4])
def test_short_clips_have_an_answer(frames):
    """The published window is empty for some frames of clips with fewer than four."""
    g = torch.Generator().manual_seed(0)
    q, k = torch.rand(2, frames, 24, 2, 12, 8, generator=g)
    gram, sums = statistics(q, k)
    found = gram.dynamic_map(sums, (3, 4))
    assert found.shape == (frames, 3, 4)
    assert found.isfinite().all()
    assert found.any() == (frames > 1)


def test_sources_are_the_published_ones_where_there_are_any():
    assert sources(6, 13) == [0, 2, 4, 8, 10, 12]
    assert sources(1, 3) == [0, 2]
    assert sources(0, 1) == []


@pytest.mark.parametrize('depth', [2, 4, 24])
def test_layers_of_other_depths_lie_inside(depth):
    layers = GramLayers.of(depth)
    used = {*layers.shallow, *layers.middle, *layers.deep, *layers.spread}
    assert max(used) <= depth - 2
    assert (layers == GramLayers()) == (depth == 24)


def test_a_clip_from_end_to_end():
    pytest.importorskip('sklearn', reason='scikit-learn is not installed')
    pytest.importorskip('skimage', reason='scikit-image is not installed')
    network = parity.build_network('', NetworkConfig.tiny())
    images = torch.rand(4, 3, 84, 112, generator=torch.Generator().manual_seed(1))
    found = mine(network, images)
    assert found.masks.shape == (4, 84, 112)
    assert found.output.depth.shape == (1, 4, 84, 112)
    first = found.output.pose_enc[0]
    assert found.pose_enc.shape == first.shape
    assert not torch.equal(found.pose_enc, first)


def test_refinement_drops_what_others_see_at_rest():
    """A wall in front of a camera that stands still, with a false alarm on it."""
    pytest.importorskip('sklearn', reason='scikit-learn is not installed')
    frames, size = 4, (40, 56)
    depth = torch.full((frames, *size), 2.0)
    images = torch.linspace(0, 1, size[1]).expand(frames, 3, *size)
    K = torch.tensor([[50.0, 0, 28], [0, 50, 20], [0, 0, 1]]).repeat(frames, 1, 1).double().numpy()
    poses = torch.eye(4).repeat(frames, 1, 1).double().numpy()
    masks = torch.zeros(frames, *size, dtype=torch.bool).numpy()
    masks[0, 10:30, 10:30] = True
    assert not refine(masks, images, depth, poses, K).any()
    near = depth.clone()
    near[0, 10:30, 10:30] = 1.0  # now something stands there that nobody else saw
    assert refine(masks, images, near, poses, K)[0, 15:25, 15:25].all()
