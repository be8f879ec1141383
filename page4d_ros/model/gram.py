"""Motion mined from attention without training: Gram statistics of queries and keys (VGGT4D, 3.1).

Where things move, tokens agree less with those of other times. The statistics are those of the
published maps over all layers, heads, sources and source tokens, but without a token x token x
head tensor: layers and heads are channels of one long vector per token, and sources are averaged
before the product.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch.nn import functional

from page4d_ros.model.runtime import full_precision

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

PUBLISHED_DEPTH = 24
OFFSETS = -6, -4, -2, 2, 4, 6
NEAREST = -1, 1  # for clips too short for the published offsets
EPSILON = 1e-6


@dataclass(frozen=True)
class GramLayers:
    """Global blocks whose queries and keys are compared (VGGT4D, table 7, counted from 0)."""

    shallow: tuple[int, ...] = (0,)
    middle: tuple[int, ...] = (3, 4, 5, 6, 7)
    deep: tuple[int, ...] = (17, 18, 19, 20, 21)
    spread: tuple[int, ...] = (18, 19)
    early: tuple[int, ...] = (0, 1, 2, 3, 4)  # that do not see what moves

    @classmethod
    def of(cls, depth: int) -> GramLayers:
        """The same relative depths in a network of so many blocks, but never its last one."""

        def scaled(layers: tuple[int, ...]) -> tuple[int, ...]:
            moved = {min(i * depth // PUBLISHED_DEPTH, max(depth - 2, 0)) for i in layers}
            return tuple(sorted(moved))

        published = cls()
        return cls(
            *(
                scaled(layers)
                for layers in (
                    published.shallow,
                    published.middle,
                    published.deep,
                    published.spread,
                    published.early,
                )
            )
        )


def sources(frame: int, frames: int) -> list[int]:
    """Frames that a frame is compared with; none only where it is alone."""
    for offsets in (OFFSETS, NEAREST):
        found = [frame + offset for offset in offsets if 0 <= frame + offset < frames]
        if found:
            return found
    return []


class GramStatistics:
    """Takes in queries and keys, layer by layer, and gives the dynamic map.

    Args:
        layers: which are used.
        references: frames whose map is wanted.
        specials: tokens at the head of each frame that are no patches.
        frames: of the window or clip.
    """

    def __init__(
        self, layers: GramLayers, references: Sequence[int], *, specials: int, frames: int
    ) -> None:
        self.layers, self.references = layers, list(references)
        self._specials, self._frames = specials, frames
        self._sums: dict[str, Tensor] = {}
        self._device: torch.device | None = None

    def wants(self, layer: int) -> bool:
        """Whether a global block's queries and keys are needed."""
        chosen = self.layers
        return layer in {*chosen.shallow, *chosen.middle, *chosen.deep, *chosen.spread}

    def add(self, layer: int, q: Tensor, k: Tensor) -> None:
        """Take in what a global block compares: normalised and rotated, (1, heads, S * P, D)."""
        self._device = q.device
        heads = q.shape[1]
        with full_precision(q):  # the sums run over thousands of channels
            self._compare(layer, self._patches(q), self._patches(k), heads)

    def _compare(self, layer: int, q: Tensor, k: Tensor, heads: int) -> None:
        layers = self.layers
        for at, frame in enumerate(self.references):
            seen = sources(frame, self._frames)
            if not seen:
                continue
            q_seen, k_seen = q[seen].mean(0), k[seen].mean(0)
            if layer in layers.shallow:
                self._add('shallow', at, k[frame] @ k_seen.mean(0) / heads, layers.shallow)
                self._add('shallow_spread', at, q[frame] @ k_seen.T / heads, layers.shallow)
            if layer in layers.middle:
                self._add('middle', at, q[frame] @ q_seen.mean(0) / heads, layers.middle)
            if layer in layers.deep:
                self._add('deep', at, q[frame] @ q_seen.mean(0) / heads, layers.deep)
            if layer in layers.spread:
                self._add('spread', at, q[frame] @ q_seen.T / heads, layers.spread)

    def _patches(self, x: Tensor) -> Tensor:
        """(1, heads, S * P, D) to (S, patches, heads * D) in 32 bits."""
        x = x[0].transpose(0, 1).flatten(1).unflatten(0, (self._frames, -1))
        return x[:, self._specials :].to(torch.promote_types(x.dtype, torch.float32))

    def _add(self, name: str, at: int, value: Tensor, layers: tuple[int, ...]) -> None:
        if name not in self._sums:
            self._sums[name] = value.new_zeros(len(self.references), *value.shape)
        self._sums[name][at] += value / len(layers)

    def parts(self, grid: tuple[int, int]) -> dict[str, Tensor]:
        """Each statistic by name, (references, h, w), from 0 to 1 within its frame."""
        return {
            name: unit(value.std(-1) if value.ndim == 3 else value).unflatten(1, grid)
            for name, value in self._sums.items()
        }

    def dynamic_map(self, grid: tuple[int, int]) -> Tensor:
        """High where things move, (references, h, w), from 0 to 1 within each frame.

        A frame without others to compare it with is 0 everywhere.
        """
        if not self._sums:
            return torch.zeros(len(self.references), *grid, device=self._device)
        part = self.parts(grid)
        product = (
            (1 - part['shallow'])
            * part['shallow_spread']
            * (1 - part['middle'])
            * (1 - part['spread'])
            * part['deep']
        )
        return unit(product.flatten(1)).unflatten(1, grid)


def unit(x: Tensor) -> Tensor:
    """Rows (n, m), each from 0 to 1."""
    low, high = x.amin(1, keepdim=True), x.amax(1, keepdim=True)
    return (x - low) / (high - low + EPSILON)


def token_mask(mask: Tensor, patch: int) -> Tensor:
    """Patches (..., h, w) that show any moving pixel of a mask (..., H, W) of bool."""
    planes = mask.reshape(-1, 1, *mask.shape[-2:]).float()
    pooled = functional.max_pool2d(planes, patch) > 0.5
    return pooled.view(*mask.shape[:-2], *pooled.shape[-2:])
