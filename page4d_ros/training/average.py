"""Exponential moving average of the weights."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import get_ema_multi_avg_fn


class Average:
    """Moving average of a network's weights; nearly the plain mean in its first steps.

    Attributes:
        state: averaged tensors by name.
    """

    def __init__(self, network: nn.Module, decay: float = 0.0) -> None:
        self.decay = decay
        self.state: dict[str, Tensor] = {
            name: value.detach().clone() for name, value in network.state_dict().items()
        }

    @torch.no_grad()
    def update(self, network: nn.Module, step: int) -> None:
        """Include the weights after a step."""
        decay = min(self.decay, step / (step + 10))
        own, others = list(self.state.values()), list(network.state_dict().values())
        get_ema_multi_avg_fn(decay)(own, others, step)

    @contextmanager
    def applied(self, network: nn.Module) -> Iterator[nn.Module]:
        """Context in which the network has the average weights and is in evaluation mode."""
        own = {name: value.detach().clone() for name, value in network.state_dict().items()}
        network.load_state_dict(self.state)
        network.eval()
        try:
            yield network
        finally:
            network.load_state_dict(own)
            network.train()
