"""Device and arithmetic of the network, from the settings."""

from __future__ import annotations

import torch

from page4d_ros.errors import ConfigError

PRECISIONS = {'fp32': None, 'bf16': torch.bfloat16, 'fp16': torch.float16}


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


def precision_name(half: torch.dtype | None) -> str:
    """Name in ``model.precision`` of what `choose_precision` returns."""
    return next(name for name, dtype in PRECISIONS.items() if dtype is half)


def choose_precision(name: str, device: torch.device) -> torch.dtype | None:
    """Autocast type of ``model.precision``; None for float32."""
    if name != 'auto':
        return PRECISIONS[name]
    if device.type != 'cuda':
        return None
    return torch.bfloat16 if torch.cuda.get_device_capability(device)[0] >= 8 else torch.float16
