"""Fixtures of the published networks, and the recipe of the weights that they were made with."""

import re
import zlib
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from page4d_ros.model.config import NetworkConfig
from page4d_ros.model.page4d import Page4D

TOLERANCE = 2e-5

SMALL = replace(
    NetworkConfig.published(), embed_dim=384, num_heads=6, encoder_depth=12, encoder_heads=6
)

# (regex on the key, mean, standard deviation): the first that matches counts.
FILL_RULES = [
    (r'\.gamma$', 0.10, 0.02),
    (r'(^|\.)(norm|norm1|norm2|q_norm|k_norm|token_norm|trunk_norm)\.weight$', 1.0, 0.02),
    (
        r'(pos_embed|cls_token|register_tokens|mask_token|camera_token|register_token'
        r'|empty_pose_tokens)$',
        0.0,
        0.2,
    ),
    (r'attn\.qkv\.weight$', 0.0, 0.05),
    (r'spatial_mask_head\.head0\.0\.weight$', 0.0, 0.3),
    (r'spatial_mask_head\.head0\.2\.weight$', 0.0, 0.1),
    (r'spatial_mask_head\.head0\.4\.weight$', 0.0, 0.2),
    (r'camera_head\.embed_pose\.weight$', 0.0, 0.3),
    (r'camera_head\.poseLN_modulation\.1\.weight$', 0.0, 0.05),
    (r'camera_head\.pose_branch\.fc2\.weight$', 0.0, 0.05),
    (r'camera_head\.pose_branch\.fc2\.bias$', 0.25, 0.02),
    (r'_head\.projects\.\d\.weight$', 0.0, 0.05),
    (r'_head\.resize_layers\.[013]\.weight$', 0.0, 0.03),
    (
        r'scratch\.(layer\d_rn|refinenet\d\.resConfUnit[12]\.conv[12]|output_conv1'
        r'|output_conv2\.0)\.weight$',
        0.0,
        0.025,
    ),
    (r'scratch\.refinenet\d\.out_conv\.weight$', 0.0, 0.04),
    (r'scratch\.output_conv2\.2\.weight$', 0.0, 0.05),
    (r'', 0.0, 0.02),
]


def fixture_weight(key: str, shape: torch.Size, salt: str) -> torch.Tensor:
    _, mean, std = next(rule for rule in FILL_RULES if re.search(rule[0], key))
    random = np.random.RandomState(zlib.crc32((salt + key).encode()) & 0xFFFFFFFF)
    weight = random.standard_normal(size=tuple(shape))
    weight *= std
    weight += mean
    return torch.from_numpy(weight.astype(np.float32))


def build_network(salt: str, config: NetworkConfig = SMALL) -> Page4D:
    with torch.device('meta'):
        network = Page4D(config)
    shapes = {key: value.shape for key, value in network.state_dict().items()}
    with ThreadPoolExecutor(2) as pool:  # NumPy draws outside the interpreter's lock
        weights = pool.map(lambda item: fixture_weight(*item, salt), shapes.items())
        network.load_state_dict(dict(zip(shapes, weights, strict=True)), assign=True)
    return network.eval()


def read(path: Path) -> dict:
    """Arrays as tensors, in 32 bits where floating point; the salt as text."""
    with np.load(path) as file:
        return {
            key: str(file[key]) if file[key].dtype.kind == 'U' else torch.from_numpy(file[key])
            for key in file.files
        }


def assert_close(got: torch.Tensor, wanted: torch.Tensor, tolerance: float = TOLERANCE) -> None:
    assert got.shape == wanted.shape
    error = (got - wanted).abs().max().item()
    assert error <= tolerance, f'max-abs {error:.2e} > {tolerance:.0e}'
