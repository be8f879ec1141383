"""A network that is small enough to export in seconds."""

from dataclasses import replace

import torch

from page4d_ros.model.checkpoint import untrained_network
from page4d_ros.model.config import NetworkConfig

SMALL = {'depth': 4, 'encoder_depth': 2, 'dpt_taps': (0, 1, 2, 3), 'camera_iterations': 2}


def network(*, mask=False, family=NetworkConfig, **sizes):
    """A network whose every part matters: random tokens, norms and gains."""
    config = replace(family.tiny(), mask_enabled=mask, **SMALL | sizes)
    out = untrained_network(config).eval()
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in out.parameters():
            parameter.add_(0.05 * torch.randn(parameter.shape, generator=generator))
    return out
