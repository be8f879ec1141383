"""Device and arithmetic of the network, from the settings."""

from __future__ import annotations

import torch

from page4d_ros.backends.eight_bits import EIGHT_BITS
from page4d_ros.errors import ConfigError

# type under which torch runs; eight bits are for graphs, and torch beside them runs in 32
PRECISIONS = {
    'fp32': None,
    'bf16': torch.bfloat16,
    'fp16': torch.float16,
    **dict.fromkeys(EIGHT_BITS),
}


def choose_device(name: str) -> torch.device:
    """Device of ``model.device``.

    Raises:
        ConfigError: no such device on this machine.
    """
    if name == 'auto':
        return torch.device('cuda' if torch.cuda.is_available() else 'cpu')
    try:
        device = torch.device(name)
        torch.empty(1, device=device).cpu()
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise ConfigError(
            f'model.device {name!r} cannot be used ({reason}); set it to cpu or auto, or install '
            'a torch that fits the GPU'
        ) from error
    return device


def precision_name(name: str, half: torch.dtype | None) -> str:
    """Precision of graphs: ``model.precision``, or for `auto` what `choose_precision` returned."""
    known = [each for each, dtype in PRECISIONS.items() if dtype is half]
    return known[0] if name == 'auto' else name


def choose_precision(name: str, device: torch.device) -> torch.dtype | None:
    """Autocast type of ``model.precision``; None for float32.

    Raises:
        ConfigError: the precision is not for the device.
    """
    if name in EIGHT_BITS and device.type != 'cpu':
        raise ConfigError(
            f'model.precision {name} is for the CPU, not for {device}; set it to auto, or '
            'model.device to cpu'
        )
    if name != 'auto':
        return PRECISIONS[name]
    if device.type != 'cuda':
        return None
    return torch.bfloat16 if torch.cuda.get_device_capability(device)[0] >= 8 else torch.float16
