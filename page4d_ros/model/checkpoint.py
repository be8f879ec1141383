"""Weights in and out of files: published .pt files, and .safetensors that carry their sizes."""

from __future__ import annotations

import pickle
import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from page4d_ros.errors import CheckpointError, ConfigError
from page4d_ros.model.config import NetworkConfig
from page4d_ros.model.page4d import Page4D

CONFIG_KEY = 'page4d_config'
HOW_TO_GET_WEIGHTS = (
    'download one, such as checkpoint_mask.pt, as the README\'s section "Weights" says'
)
# Neither is part of this network: the tracker is optional, the wrapper is of distributed training.
IGNORED_PREFIX = 'track_head.'
WRAPPER_PREFIX = 'module.'
MASK_PREFIX = 'aggregator.spatial_mask_head.'


def untrained_network(config: NetworkConfig | None = None, seed: int = 0) -> Page4D:
    """Network with random weights, the same for the same seed; `NetworkConfig.tiny()` by default.

    It shows that a machine can run the pipeline; its estimates mean nothing.
    """
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        return Page4D(config or NetworkConfig.tiny()).eval()


def load_network(
    path: str | Path, *, mask_enabled: bool | None = None, device: str | torch.device = 'cpu'
) -> Page4D:
    """Build the network that a weight file belongs to, in float32 and evaluation mode.

    Args:
        path: a published `.pt` or `.pth`, or a `.safetensors`.
        mask_enabled: whether inference biases attention with the mask; None keeps what the file
            says, which for published files is no.
        device: where the weights go.

    Raises:
        CheckpointError: the file is missing, damaged or belongs to another network.
    """
    path = Path(path).expanduser()
    _check_file(path)
    if path.suffix == '.safetensors':
        state, metadata = _read_safetensors(path)
    else:
        state, metadata = _read_torch(path), {}
    state = {
        name: value
        for key, value in state.items()
        if not (name := key.removeprefix(WRAPPER_PREFIX)).startswith(IGNORED_PREFIX)
    }
    try:
        if CONFIG_KEY in metadata:
            config = NetworkConfig.from_json(metadata[CONFIG_KEY])
        else:
            config = infer_config(state)
        if mask_enabled and not config.mask_head:
            raise CheckpointError(
                f'{path}: has no mask head ({MASK_PREFIX}*); set mask_enabled to false, '
                'or take a file that has one'
            )
        if mask_enabled is not None:
            config = replace(config, mask_enabled=mask_enabled)
    except ConfigError as error:
        raise CheckpointError(f'{path}: {error}') from error
    with torch.device('meta'):
        network = Page4D(config)
    _check_keys(path, state, network.state_dict())
    # One tensor at a time: a memory-mapped file is never in memory twice, nor needed afterwards.
    for name, value in state.items():
        state[name] = value.to(device, torch.float32, copy=True)
    network.load_state_dict(state, assign=True)
    network.name = metadata.get('name', path.stem)
    network.purpose = metadata.get('purpose', '')
    return network.eval()


def save_network(network: Page4D, path: str | Path, *, name: str, **metadata: object) -> None:
    """Write weights and sizes to one `.safetensors` file.

    Args:
        network: what to write, in its own floating-point type.
        path: file to write.
        name: what reports call these weights.
        metadata: further facts about them, written as text; `purpose` says what they are for.
    """
    path = Path(path)
    if path.suffix != '.safetensors':
        raise CheckpointError(f'{path}: networks are saved as .safetensors; change the name')
    part = path.with_name(path.name + '.part')
    state = {key: value.contiguous() for key, value in network.state_dict().items()}
    facts = {key: str(value) for key, value in metadata.items()}
    facts |= {'format': 'pt', 'name': name, CONFIG_KEY: network.config.to_json()}
    try:
        part.touch()
        mode = part.stat().st_mode  # safetensors would keep everybody else from reading
        save_file(state, part, metadata=facts)
        part.chmod(mode)
        part.replace(path)  # an interrupted run leaves the older file whole
    except (OSError, SafetensorError) as error:
        raise CheckpointError(f'{path}: cannot be written: {error}') from error


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


def _check_file(path: Path) -> None:
    if path.is_dir():
        raise CheckpointError(f'{path}: is a directory; name the weight file inside it')
    if not path.exists():
        raise CheckpointError(f'{path}: no such weight file; {HOW_TO_GET_WEIGHTS}')
    if path.suffix not in {'.pt', '.pth', '.safetensors'}:
        raise CheckpointError(f'{path}: weight files end in .pt, .pth or .safetensors')
    try:
        with path.open('rb') as file:
            head = file.read(256).lstrip().lower()
    except OSError as error:
        raise CheckpointError(f'{path}: cannot be read: {error}') from error
    if not head:
        raise CheckpointError(f'{path}: is empty; download it again')
    if head.startswith((b'<!doctype', b'<html', b'<?xml')):
        raise CheckpointError(f'{path}: is a web page, not weights; {HOW_TO_GET_WEIGHTS}')
    if head.startswith(b'version https://git-lfs'):
        raise CheckpointError(f'{path}: is a Git LFS pointer, not weights; run `git lfs pull`')


def _read_safetensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    try:
        with safe_open(path, 'pt') as file:
            return {key: file.get_tensor(key) for key in file.keys()}, file.metadata() or {}  # noqa: SIM118
    except (OSError, SafetensorError) as error:
        raise CheckpointError(
            f'{path}: is damaged or incomplete; get it again ({error})'
        ) from error


def _read_torch(path: Path) -> dict[str, Tensor]:
    try:
        try:
            content = torch.load(path, map_location='cpu', weights_only=True, mmap=True)
        except RuntimeError as error:
            if 'mmap' not in str(error):
                raise
            content = torch.load(path, map_location='cpu', weights_only=True)
    # torch's own messages advise loading without its safeguard, so they are not passed on.
    except pickle.UnpicklingError as error:
        raise CheckpointError(
            f'{path}: is damaged, or holds Python objects, which are never run; '
            'get a file that holds tensors only'
        ) from error
    except Exception as error:  # torch.load raises whatever its readers meet in a broken file
        raise CheckpointError(
            f'{path}: is damaged, incomplete or no file of tensors; download it again'
        ) from error
    if isinstance(content, Mapping) and isinstance(content.get('model'), Mapping):
        content = content['model']
    tensors = isinstance(content, Mapping) and all(
        isinstance(key, str) and isinstance(value, Tensor) for key, value in content.items()
    )
    if not tensors or not content:
        raise CheckpointError(
            f'{path}: holds no state dict; expected tensors by name, or {{"model": such}}'
        )
    return dict(content)


def _check_keys(path: Path, found: Mapping[str, Tensor], wanted: Mapping[str, Tensor]) -> None:
    problems = {
        'missing': sorted(wanted.keys() - found.keys()),
        'unexpected': sorted(found.keys() - wanted.keys()),
        'of a wrong shape': [
            f'{key} {tuple(found[key].shape)} instead of {tuple(wanted[key].shape)}'
            for key in sorted(wanted.keys() & found.keys())
            if found[key].shape != wanted[key].shape
        ],
    }
    lines = [
        f'{len(names)} {problem}: {", ".join(names[:3])}{", ..." if len(names) > 3 else ""}'
        for problem, names in problems.items()
        if names
    ]
    if lines:
        raise CheckpointError(
            f'{path}: tensors do not fit the network; {"; ".join(lines)}; {HOW_TO_GET_WEIGHTS}'
        )
