"""PAGE-4D and VGGT in weight files: recognising them and reading their sizes."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING

from page4d_ros.errors import ConfigError
from page4d_ros.model.config import CONFIG_KEY, NetworkConfig
from page4d_ros.model.page4d import Page4D

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor

    from page4d_ros.model.weight_file import WeightFile

MASK_PREFIX = 'aggregator.spatial_mask_head.'


def recognises(file: WeightFile) -> bool:
    """True for weights of PAGE-4D, and of VGGT, which is PAGE-4D without the mask head."""
    if file.metadata.get('architecture', Page4D.architecture) != Page4D.architecture:
        return False
    return CONFIG_KEY in file.metadata or any(key.startswith('aggregator.') for key in file.state)


def build(file: WeightFile, mask_enabled: bool | None) -> Page4D:  # noqa: FBT001
    """Network of the file's sizes, its weights not yet set.

    Args:
        file: recognised weights.
        mask_enabled: True if the mask is to bias attention; None keeps the file's own setting,
            which for published files is False.

    Raises:
        ConfigError: the sizes cannot be read, or the mask is asked for and not there.
    """
    if CONFIG_KEY in file.metadata:
        config = NetworkConfig.from_json(file.metadata[CONFIG_KEY])
    else:
        config = infer_config(file.state)
    if mask_enabled and not config.mask_head:
        raise ConfigError(
            f'has no mask head ({MASK_PREFIX}*); set mask_enabled to false, or take a file that '
            'has one'
        )
    if mask_enabled is not None:
        config = replace(config, mask_enabled=mask_enabled)
    return Page4D(config)


def infer_config(state: Mapping[str, Tensor]) -> NetworkConfig:
    """Read the sizes of a network of the published family off its tensors' shapes.

    Heads of the blocks have 64 channels. What no shape shows is as published.

    Raises:
        ConfigError: a tensor that shows a size is missing, or has an impossible shape.
    """
    try:
        width = state['aggregator.camera_token'].shape[-1]
        side = round((state['aggregator.patch_embed.pos_embed'].shape[1] - 1) ** 0.5)
        patch = state['aggregator.patch_embed.patch_embed.proj.weight'].shape[-1]
        hidden = state['aggregator.frame_blocks.0.mlp.fc1.weight'].shape[0]
        head_dim = state['aggregator.frame_blocks.0.attn.q_norm.weight'].shape[0]
        scratch = 'depth_head.scratch.'
        mask = state.get(MASK_PREFIX + 'head0.2.weight')
        published = NetworkConfig()
        depth = _count(state, 'aggregator.frame_blocks.')
        if depth != published.depth:
            raise ConfigError(
                f'these weights have {depth} alternating blocks instead of {published.depth}, so '
                'that the layers of mask and heads are unknown; use the .safetensors written here'
            )
        return NetworkConfig(
            img_size=side * patch,
            patch_size=patch,
            embed_dim=width,
            num_heads=width // head_dim,
            mlp_ratio=hidden / width,
            num_register_tokens=state['aggregator.register_token'].shape[2],
            encoder_depth=_count(state, 'aggregator.patch_embed.blocks.'),
            encoder_heads=width // 64,
            mask_head=any(key.startswith(MASK_PREFIX) for key in state),
            mask_hidden=published.mask_hidden if mask is None else mask.shape[0],
            camera_depth=_count(state, 'camera_head.trunk.'),
            dpt_features=state[scratch + 'layer1_rn.weight'].shape[0],
            dpt_channels=tuple(
                state[f'depth_head.projects.{i}.weight'].shape[0] for i in range(4)
            ),
            dpt_head_channels=state[scratch + 'output_conv2.0.weight'].shape[0],
            point_head=any(key.startswith('point_head.') for key in state),
        )
    except KeyError as error:
        raise ConfigError(f'these are not PAGE-4D weights: no tensor {error}') from error
    except (IndexError, ZeroDivisionError) as error:
        raise ConfigError('these are not PAGE-4D weights: shapes do not fit') from error


def _count(state: Mapping[str, Tensor], prefix: str) -> int:
    indices = [int(m[1]) for key in state if (m := re.match(re.escape(prefix) + r'(\d+)\.', key))]
    if not indices:
        raise KeyError(prefix)
    return max(indices) + 1
