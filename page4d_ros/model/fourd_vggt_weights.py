"""4D-VGGT in weight files: recognising them, and reading their sizes strictly."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from page4d_ros.errors import ConfigError
from page4d_ros.model.config import CONFIG_KEY, FourDVGGTConfig
from page4d_ros.model.fourd_vggt import FourDVGGT

if TYPE_CHECKING:
    from page4d_ros.model.weight_file import WeightFile

ARCHITECTURE = FourDVGGT.architecture
SCHEMA = 2
# prefix of published names -> ours
PREFIXES = {
    'cross_view_global_fusion.': 'aggregator.',
    'cross_time_local_fusion.': 'temporal.',
    'spatiotemporal_dense_fusion.': 'fusion.',
    'spatial_head.': 'camera_head.',
    'dense_head.depth_head.': 'depth_head.',
    'dense_head.point_head.': 'point_head.',
}
# published names of encoders -> blocks and heads
ENCODERS = {
    'conv': (0, 1),
    'dinov2_vits14_reg': (12, 6),
    'dinov2_vitb14_reg': (12, 12),
    'dinov2_vitl14_reg': (24, 16),
}
# settings of a published file that are sizes of ours
SIZES = {
    'img_size': 'img_size',
    'patch_size': 'patch_size',
    'embed_dim': 'embed_dim',
    'depth': 'depth',
    'num_heads': 'num_heads',
    'mlp_ratio': 'mlp_ratio',
    'num_register_tokens': 'num_register_tokens',
    'cached_layer_indices': 'dpt_taps',
    'rope_freq': 'rope_base',
    'init_values': 'layer_scale_init',
    'window_size': 'time_window',
    'enable_point': 'point_head',
}
# those that a network here has in one way only
FIXED = {
    'aa_block_size': 1,
    'qkv_bias': True,
    'proj_bias': True,
    'ffn_bias': True,
    'qk_norm': True,
    'enable_spatial': True,
    'enable_depth': True,
    'enable_cross_time': True,
    'enable_dense_fusion': True,
}
CAMERA = {'trunk_depth': 'camera_depth', 'num_heads': 'camera_heads'}
DENSE = {
    'intermediate_layer_idx': 'dpt_taps',
    'features': 'dpt_features',
    'out_channels': 'dpt_channels',
}
OTHERS = {'patch_embed', 'profile', 'spatial_head_options', 'dense_head_options'}


def recognises(file: WeightFile) -> bool:
    """True for weights that name this architecture."""
    return file.metadata.get('architecture') == ARCHITECTURE


def our_name(key: str) -> str:
    """Our name of a published weight; other names stay as they are."""
    for theirs, ours in PREFIXES.items():
        if key.startswith(theirs):
            return ours + key.removeprefix(theirs)
    return key


def build(file: WeightFile, mask_enabled: bool | None) -> FourDVGGT:  # noqa: FBT001
    """Network of the file's sizes, its weights not yet set.

    Args:
        file: recognised weights.
        mask_enabled: True asks for a mask, which the family lacks.

    Raises:
        ConfigError: the file's settings are not those of a network that is known here.
    """
    if mask_enabled:
        raise ConfigError('4D-VGGT has no mask head; set mask_enabled to false')
    if CONFIG_KEY in file.metadata:
        return FourDVGGT(FourDVGGTConfig.from_json(file.metadata[CONFIG_KEY]))
    if (schema := file.metadata.get('architecture_schema_version')) != SCHEMA:
        raise ConfigError(f'architecture_schema_version is {schema!r}; {SCHEMA} is known here')
    config = read_config(file.metadata.get('model_config'))
    tasks = file.metadata.get('released_tasks')
    wanted = ['camera', 'depth', *['point'] * config.point_head]
    if not isinstance(tasks, list | tuple) or sorted(map(str, tasks)) != wanted:
        raise ConfigError(
            f'released_tasks are {tasks!r}; a network of this model_config has {wanted}'
        )
    return FourDVGGT(config)


def read_config(settings: Any) -> FourDVGGTConfig:
    """Sizes from the ``model_config`` of a published file.

    Raises:
        ConfigError: a setting is missing, unknown, or not as it is known here.
    """
    if not isinstance(settings, dict):
        raise ConfigError('there is no model_config')
    known = {*SIZES, *FIXED, *OTHERS}
    unknown, missing = sorted(set(map(str, settings)) - known), sorted(known - set(settings))
    if unknown or missing:
        raise ConfigError(f'model_config has unknown settings {unknown} and lacks {missing}')
    for name, value in FIXED.items():
        if settings[name] != value:
            raise ConfigError(f'model_config: {name} is {settings[name]!r}; {value} is known here')
    if (encoder := str(settings['patch_embed'])) not in ENCODERS:
        raise ConfigError(f'model_config: patch_embed {encoder!r} is not known')
    blocks, heads = ENCODERS[encoder]
    values = {'encoder_depth': blocks, 'encoder_heads': heads}
    for name, sizes in (('spatial_head_options', CAMERA), ('dense_head_options', DENSE)):
        options = settings[name]
        if not isinstance(options, dict) or not options.keys() <= sizes.keys():
            raise ConfigError(f'model_config: {name} {options!r}: only {list(sizes)} are known')
        values |= {sizes[option]: _tuples(value) for option, value in options.items()}
    taps = _tuples(settings['cached_layer_indices'])
    if values.setdefault('dpt_taps', taps) != taps:
        raise ConfigError('model_config: the dense heads read other layers than those cached')
    values |= {ours: _tuples(settings[theirs]) for theirs, ours in SIZES.items()}
    return FourDVGGTConfig(**values)


def _tuples(value: Any) -> Any:
    """Lists, which tuples become in JSON, as tuples again."""
    return tuple(value) if isinstance(value, list) else value
