"""Small 4D-VGGT network of the fixtures, as a file in the published format."""

import parity
import torch

from page4d_ros.model.checkpoint import untrained_network
from page4d_ros.model.config import FourDVGGTConfig
from page4d_ros.model.fourd_vggt_weights import PREFIXES

SETTINGS = {
    'profile': 'geometry',
    'img_size': 518,
    'patch_size': 14,
    'embed_dim': 128,
    'depth': 6,
    'num_heads': 4,
    'mlp_ratio': 4.0,
    'num_register_tokens': 4,
    'patch_embed': 'conv',
    'cached_layer_indices': [1, 2, 4, 5],
    'aa_block_size': 1,
    'qkv_bias': True,
    'proj_bias': True,
    'ffn_bias': True,
    'qk_norm': True,
    'rope_freq': 100,
    'init_values': 0.01,
    'window_size': 5,
    'enable_cross_time': True,
    'enable_dense_fusion': True,
    'enable_spatial': True,
    'enable_point': True,
    'enable_depth': True,
    'spatial_head_options': {'trunk_depth': 2, 'num_heads': 4},
    'dense_head_options': {
        'intermediate_layer_idx': [1, 2, 4, 5],
        'features': 32,
        'out_channels': [32, 64, 96, 96],
    },
}
CONFIG = FourDVGGTConfig(
    embed_dim=128,
    num_heads=4,
    encoder_depth=0,
    encoder_heads=1,
    depth=6,
    camera_depth=2,
    camera_heads=4,
    dpt_taps=(1, 2, 4, 5),
    dpt_features=32,
    dpt_channels=(32, 64, 96, 96),
)


def published_name(key):
    for theirs, ours in PREFIXES.items():
        if key.startswith(ours):
            return theirs + key.removeprefix(ours)
    raise KeyError(key)


def published_weights(salt):
    """Weights by their published names, filled by the rule of the fixtures."""
    out = {}
    for ours, value in untrained_network(CONFIG).state_dict().items():
        key = published_name(ours)
        weight = parity.fixture_weight(key, value.shape, salt)
        if 'relative_time_bias' in key:
            weight *= 50
        if key.endswith('dense_fusion.alpha'):
            weight = weight * 25 + 0.5
        out[key] = weight
    return out


def payload(salt='', **changes):
    """Content of a published file; `changes` replace entries, and None takes them away."""
    entries = {
        'model': published_weights(salt),
        'model_config': SETTINGS,
        'architecture': '4d-vggt-geometry-v1',
        'architecture_schema_version': 2,
        'naming_schema_version': 2,
        'model_name': '4D-VGGT',
        'released_tasks': ['camera', 'depth', 'point'],
    } | changes
    return {key: value for key, value in entries.items() if value is not None}


def write(path, **values):
    torch.save(payload(**values), path)
    return path
