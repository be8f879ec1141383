"""Growth of a trained network into a larger one that computes the same poses and masks."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from page4d_ros.errors import TrainingError
from page4d_ros.model.page4d import Page4D

if TYPE_CHECKING:
    from page4d_ros.model.config import NetworkConfig

DEPTHS = {
    'aggregator.patch_embed.blocks.': 'encoder_depth',
    'aggregator.frame_blocks.': 'depth',
    'aggregator.global_blocks.': 'depth',
}
NEW = 'depth_head.'  # of other sizes it starts from random weights: convolutions learn fast


@torch.no_grad()
def grow(network: Page4D, sizes: NetworkConfig) -> Page4D:
    """Network of larger sizes that starts as the given one.

    Blocks are spread evenly over the larger depth, the last to the last; the blocks between them
    start with a LayerScale of zero, so that they change nothing (Net2Net: Chen et al., ICLR
    2016). A dense head of other sizes starts from random weights.

    Args:
        network: the smaller network.
        sizes: of the result; widths of the tokens are those of `network`.

    Raises:
        TrainingError: the result is not as deep, or other layers differ in size.
    """
    for field in sorted(set(DEPTHS.values())):
        if getattr(sizes, field) < getattr(network.config, field):
            raise TrainingError(
                f'grow: {field} would shrink from {getattr(network.config, field)} to '
                f'{getattr(sizes, field)}; take the weights without growing'
            )
    grown = Page4D(sizes)
    grown.name, grown.purpose = network.name, network.purpose
    old = {_renamed(name, network.config, sizes): x for name, x in network.state_dict().items()}
    for name, value in grown.state_dict().items():
        source = old.pop(name, None)
        if source is not None and source.shape == value.shape:
            value.copy_(source)
        elif source is None and name.startswith(tuple(DEPTHS)):
            if name.endswith(('.ls1.gamma', '.ls2.gamma')):
                value.zero_()
        elif not name.startswith(NEW):
            raise TrainingError(
                f'grow: {name} is {tuple(value.shape)}, and {network.name} has '
                f'{"none" if source is None else tuple(source.shape)}; only blocks are added, '
                'and the dense head is widened'
            )
    if left := [name for name in old if not name.startswith(NEW)]:
        raise TrainingError(f'grow: the larger network has no place for {left[0]}')
    return grown


def _renamed(name: str, before: NetworkConfig, after: NetworkConfig) -> str:
    """Name that a weight has in the larger network."""
    for prefix, field in DEPTHS.items():
        if name.startswith(prefix):
            number, rest = name.removeprefix(prefix).split('.', 1)
            place = _place(int(number), getattr(before, field), getattr(after, field))
            return f'{prefix}{place}.{rest}'
    return name


def _place(number: int, before: int, after: int) -> int:
    """Index of a block among `after` blocks; the last stays last."""
    return -(-(number + 1) * after // before) - 1
