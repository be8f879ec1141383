"""Mean of two networks' weights: what the second learnt, and most of what the first knew."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, NamedTuple

import torch

from page4d_ros.errors import CheckpointError
from page4d_ros.model.checkpoint import load_network, save_network
from page4d_ros.model.weight_file import read_weights
from page4d_ros.perception.build import digest

if TYPE_CHECKING:
    from pathlib import Path

    from page4d_ros.model.page4d import Page4D

KEPT = {'step', 'recipe', 'averaged', 'taught'}  # metadata that tell how weights came about


class Mean(NamedTuple):
    """Settings of a mean of two networks.

    Attributes:
        share: of the second; the first has the rest.
        confidence_shift: added to log(c - 1), of the depth's confidence c >= 1. Order and depths
            stay; what c says of an error depends on the loss of the training.
        half: True if 16 bits are written.
        name: of the mean; "" takes the second's.
        purpose: of the mean; "" takes the second's.
    """

    share: float = 0.5
    confidence_shift: float = 0.0
    half: bool = False
    name: str = ''
    purpose: str = ''


def write_mean(first: Path, second: Path, output: Path, mean: Mean) -> None:
    """Write the weights on the straight line between two files'.

    A network that was trained on from another one, with new data, forgets part of what the other
    knew; a mean of both keeps most of old and new (WiSE-FT: Wortsman et al., Robust fine-tuning
    of zero-shot models, CVPR 2022).

    Raises:
        CheckpointError: a file cannot be used or written, or the networks differ in architecture
            or size.
    """
    old, new = load_network(first), load_network(second)
    if (old.architecture, old.config) != (new.architecture, new.config):
        raise CheckpointError(f'{first} and {second}: networks of different sizes have no mean')
    sources = [
        {'name': network.name, 'sha256': digest(str(path)), 'share': share}
        | {key: value for key, value in read_weights(path).metadata.items() if key in KEPT}
        for network, path, share in ((old, first, 1 - mean.share), (new, second, mean.share))
    ]
    _interpolate(old, new, mean)
    save_network(
        new.half() if mean.half else new,
        output,
        name=mean.name or new.name,
        purpose=mean.purpose or new.purpose,
        averaged=json.dumps(sources),
        confidence_shift=mean.confidence_shift,
    )


@torch.no_grad()
def _interpolate(old: Page4D, new: Page4D, mean: Mean) -> None:
    for own, other in zip(new.parameters(), old.parameters(), strict=True):
        own.lerp_(other, 1 - mean.share)
    new.depth_head.scratch.output_conv2[-1].bias[-1] += mean.confidence_shift
