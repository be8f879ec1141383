"""Attention of each view to its own frames of nearby times, and its fusion (4D-VGGT, 3)."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from page4d_ros.model.blocks import Block

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from page4d_ros.model.config import FourDVGGTConfig
    from page4d_ros.model.network import StepPlan
    from page4d_ros.model.rope import Rope


class Band(NamedTuple):
    """Frames that one layer computes, and those that they attend to.

    Attributes:
        inputs: indices in the window of the frames that the layer reads, view after view and by
            increasing time, so that the neighbours of a frame follow each other.
        outputs: positions in `inputs` of the frames that it computes, in the same order.
        neighbours: of each output the first of its neighbours, as a position in `inputs`.
        offsets: of each output the times of its neighbours relative to its own, from 0 for the
            earliest time of attention's window on.
    """

    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    neighbours: tuple[int, ...]
    offsets: tuple[tuple[int, ...], ...]


def bands(
    cells: Sequence[tuple[int, int]], window: int, layers: int, read: Sequence[int]
) -> list[Band]:
    """Band of each layer: what the frames that are read depend on, and nothing else.

    A layer reaches half a window further than the next one needs, and never into another view.

    Args:
        cells: view and time of each frame.
        window: times that attention spans, odd.
        layers: number of them.
        read: indices of the frames whose last output is wanted.
    """
    views = defaultdict(list)
    for index, (view, _) in sorted(enumerate(cells), key=lambda item: item[1]):
        views[view].append(index)
    near = {
        index: [other for other in group if abs(cells[other][1] - cells[index][1]) <= window // 2]
        for group in views.values()
        for index in group
    }
    order = places(near)  # by view, then by time
    times = [time for _, time in cells]
    out, wanted = [], sorted(read, key=order.__getitem__)
    for _ in range(layers):
        inputs = sorted({other for i in wanted for other in near[i]}, key=order.__getitem__)
        place = places(inputs)
        out.append(
            Band(
                inputs=tuple(inputs),
                outputs=tuple(place[i] for i in wanted),
                neighbours=tuple(place[near[i][0]] for i in wanted),
                offsets=tuple(
                    tuple(times[other] - times[i] + window // 2 for other in near[i])
                    for i in wanted
                ),
            )
        )
        wanted = inputs
    return out[::-1]


def places(indices: Iterable[int]) -> dict[int, int]:
    """Position of each index."""
    return {index: position for position, index in enumerate(indices)}


def frames_of(x: Tensor, indices: Sequence[int]) -> Tensor:
    """Frames of x, (B, S, ...), without a copy where they follow each other."""
    first, count = indices[0], len(indices)
    if tuple(indices) == tuple(range(first, first + count)):
        return x[:, first : first + count]
    return torch.stack([x[:, index] for index in indices], dim=1)


class WindowBlock(Block):
    """Block in which each frame attends to the frames of its view at nearby times."""

    @classmethod
    def of(cls, config: FourDVGGTConfig) -> WindowBlock:
        """Block of a network, with the learned bias of each offset in time."""
        block = super().of(config)
        bias = torch.zeros(config.num_heads, config.time_window)
        block.attn.relative_time_bias = nn.Parameter(bias)
        return block

    def forward(self, x: Tensor, rope: Rope, band: Band) -> Tensor:
        """Update the band's outputs, (B, S', P, C), which attend to its inputs x, (B, S, P, C)."""
        attended = self.attend(self.norm1(x), rope, band).unflatten(1, (-1, x.shape[2]))
        return self.update(frames_of(x, band.outputs), attended)

    def attend(self, x: Tensor, rope: Rope, band: Band) -> Tensor:
        """Attention's output (B, S' * P, C) of the band's outputs, for its normalised inputs x.

        Each frame has a small attention of its own, so that time and memory are linear in S.
        """
        tokens = x.shape[2]
        q = self.attn.queries(frames_of(x, band.outputs).flatten(1, 2), rope)
        k, v = self.attn.keys_values(x.flatten(1, 2), rope)  # [B, heads, S*P, D]
        biases = self.attn.relative_time_bias.to(q.dtype).unbind(1)  # of each offset, [heads]
        rows = []
        for asks, first, offsets in zip(
            q.split(tokens, dim=2), band.neighbours, band.offsets, strict=True
        ):
            seen = slice(first * tokens, (first + len(offsets)) * tokens)
            bias = torch.stack([biases[each] for each in offsets], dim=1)
            bias = bias.repeat_interleave(tokens, dim=1)[None, :, None]  # [1, heads, 1, N']
            rows.append(
                functional.scaled_dot_product_attention(
                    asks, k[:, :, seen], v[:, :, seen], attn_mask=bias
                )
            )
        return self.attn.proj(torch.cat(rows, dim=2).transpose(1, 2).flatten(2))


class TemporalBranch(nn.Module):
    """Attention within frames and over nearby times of a view, in turn (4D-VGGT, 3).

    It starts from the same tokens as the `Aggregator`, beside it.
    """

    def __init__(self, config: FourDVGGTConfig) -> None:
        super().__init__()
        self.config = config
        self.frame_blocks = nn.ModuleList(Block.of(config) for _ in range(config.depth))
        self.temporal_blocks = nn.ModuleList(WindowBlock.of(config) for _ in range(config.depth))

    def within(self, layer: int, x: Tensor, rope: Rope) -> Tensor:
        """Let tokens of frames, (B, S, P, C), run through a frame block."""
        return self.frame_blocks[layer](x.flatten(0, 1), rope).unflatten(0, x.shape[:2])

    def forward(self, local: Tensor, rope: Rope, plan: StepPlan) -> list[Tensor]:
        """Tokens after the blocks `dpt_taps`, four times (B, S', P, 2 C) for the S' newest frames.

        Frame attention's channels come before temporal attention's.

        Args:
            local: tokens of all frames after the first frame block, (B, S, P, C).
            rope: of one frame's tokens.
            plan: of the step.
        """
        frames, taps = local.shape[1], self.config.dpt_taps
        cells = plan.cells or tuple((0, time) for time in range(frames))
        read = range(frames - plan.newest, frames)
        chain = bands(cells, self.config.time_window, taps[-1] + 1, read)
        out, x = [], frames_of(local, chain[0].inputs)
        for i, band in enumerate(chain):
            x = self.within(i, x, rope) if i else x
            across = self.temporal_blocks[i](x, rope, band)
            if i in taps:
                computed = places(band.inputs[position] for position in band.outputs)
                newest = [computed[index] for index in read]
                pair = frames_of(frames_of(x, band.outputs), newest), frames_of(across, newest)
                out.append(torch.cat(pair, dim=-1))
            x = across
        return out


class DenseFusion(nn.Module):
    """Spatial features with gated temporal ones added; all taps share the projection."""

    def __init__(self, config: FourDVGGTConfig) -> None:
        super().__init__()
        dim = 2 * config.embed_dim
        self.norm = nn.LayerNorm(2 * dim)
        self.projection = nn.Linear(2 * dim, dim)
        self.alpha = nn.Parameter(torch.zeros(len(config.dpt_taps)))

    def forward(self, spatial: Sequence[Tensor], temporal: Sequence[Tensor]) -> list[Tensor]:
        """Fuse tokens of each tap, (B, S', P, 2 C) of both."""
        out = []
        for x, other, gate in zip(spatial, temporal, self.alpha.unbind(), strict=True):
            added = self.projection(self.norm(torch.cat([x, other], dim=-1)))
            out.append(x + gate.to(x.dtype) * added.to(x.dtype))
        return out
