"""Networks from and to files; `.safetensors` that are written here carry their sizes."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import torch
from safetensors import SafetensorError
from safetensors.torch import save_file

from page4d_ros.errors import CheckpointError, ConfigError, printable
from page4d_ros.model.config import CONFIG_KEY, NetworkConfig
from page4d_ros.model.families import family_of, network_of
from page4d_ros.model.weight_file import check_keys, is_finite, read_weights

if TYPE_CHECKING:
    from page4d_ros.model.network import Network
    from page4d_ros.model.page4d import Page4D
    from page4d_ros.model.weight_file import WeightFile


def untrained_network(config: NetworkConfig | None = None, seed: int = 0) -> Page4D:
    """Network with random weights, the same for the same seed; `NetworkConfig.tiny()` by default.

    It shows that a machine can run the pipeline; its estimates mean nothing.
    """
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        return network_of(config or NetworkConfig.tiny()).eval()


def load_network(
    path: str | Path, *, mask_enabled: bool | None = None, device: str | torch.device = 'cpu'
) -> Network:
    """Build the network that a weight file belongs to, in float32 and evaluation mode.

    Args:
        path: a published `.pt` or `.pth`, or a `.safetensors`.
        mask_enabled: True if the mask is to bias attention; None keeps the file's own setting,
            which for published files is False.
        device: for the weights.

    Raises:
        CheckpointError: the file is missing, damaged or belongs to another network.
    """
    network, file = inspect_network(path, mask_enabled=mask_enabled)
    state, unusable = file.state, []
    # One tensor at a time: a memory-mapped file is never in memory twice, nor needed afterwards.
    for name, value in state.items():
        unusable += [] if is_finite(value) else [name]
        state[name] = value.to(device, torch.float32, copy=True)
    if unusable:
        raise CheckpointError(
            f'{file.path}: {len(unusable)} tensors hold NaN or infinite numbers, such as '
            f'{unusable[0]}; get it again'
        )
    network.load_state_dict(state, assign=True)
    return network


def inspect_network(
    path: str | Path, *, mask_enabled: bool | None = None
) -> tuple[Network, WeightFile]:
    """Build the network that a weight file belongs to without its weights, on torch's meta device.

    Args:
        path: as of `load_network`.
        mask_enabled: likewise.

    Returns:
        The network, and the file, whose tensors have the network's names.

    Raises:
        CheckpointError: the file is missing, damaged or belongs to another network.
    """
    file = read_weights(Path(path).expanduser())
    family = family_of(file)
    try:
        with torch.device('meta'):
            network = family.build(file, mask_enabled)
    except ConfigError as error:
        raise CheckpointError(f'{file.path}: {error}') from error
    state = {family.our_name(key): file.state.pop(key) for key in list(file.state)}
    file = file._replace(state=state)
    check_keys(file, network.state_dict())
    network.name = printable(str(file.metadata.get('name', file.path.stem)))
    network.purpose = printable(str(file.metadata.get('purpose', '')))
    return network.eval(), file


def save_network(network: Page4D, path: str | Path, *, name: str, **metadata: object) -> None:
    """Write weights and sizes to one `.safetensors` file.

    Args:
        network: the network, written in its own floating-point type.
        path: file to write.
        name: of these weights in reports.
        metadata: further facts about them, written as text; `purpose` names their use.
    """
    path = Path(path)
    if path.suffix != '.safetensors':
        raise CheckpointError(f'{path}: networks are saved as .safetensors; change the name')
    part = path.with_name(path.name + '.part')
    state = {key: value.contiguous() for key, value in network.state_dict().items()}
    facts = {key: str(value) for key, value in metadata.items()}
    facts |= {'format': 'pt', 'name': name, 'architecture': network.architecture}
    facts[CONFIG_KEY] = network.config.to_json()
    try:
        part.touch()
        mode = part.stat().st_mode  # safetensors would keep everybody else from reading
        save_file(state, part, metadata=facts)
        part.chmod(mode)
        part.replace(path)  # an interrupted run leaves the older file whole
    except (OSError, SafetensorError) as error:
        raise CheckpointError(f'{path}: cannot be written: {error}') from error
