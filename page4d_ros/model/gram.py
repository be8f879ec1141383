"""Motion mined from attention without training: Gram statistics of queries and keys (VGGT4D, 3.1).

Where things move, tokens agree less with those of other times. The statistics are those of the
published maps over all layers, heads, sources and source tokens, but without a token x token x
head tensor: layers and heads are channels of one long vector per token, and sources are averaged
before the product.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from page4d_ros.model.runtime import full_precision

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


GramSums = dict[str, list[Tensor]]  # by statistic: the sum over layers for each reference


@dataclass(frozen=True)
class GramStatistics:
    """Statistics of the queries and keys of a window; it holds no tensors itself.

    Attributes:
        layers: global blocks that are used.
        references: frames whose dynamic map is wanted; none needs nothing.
        specials: tokens at the head of each frame that are no patches.
        frames: of the window or clip.
    """

    layers: GramLayers
    references: tuple[int, ...]
    specials: int
    frames: int

    def wants(self, layer: int) -> bool:
        """True if a global block's queries and keys are needed."""
        chosen = self.layers
        used = *chosen.shallow, *chosen.middle, *chosen.deep, *chosen.spread
        return bool(self.references) and self.frames > 1 and layer in used

    def add(self, sums: GramSums, layer: int, q: Tensor, k: Tensor) -> None:
        """Add a wanted layer's share to the sums over layers.

        Args:
            sums: of the layers before, {} at first; changed in place.
            layer: index of the global block.
            q: normalised and rotated queries, (1, heads, S * P, D).
            k: keys likewise.
        """
        heads = q.shape[1]
        with full_precision(q):  # the sums run over thousands of channels
            q, k = self._patches(q), self._patches(k)
            for at, frame in enumerate(self.references):
                for name, share in self._compare(layer, q, k, heads, frame).items():
                    rows = sums.setdefault(name, [])
                    if at == len(rows):  # the first of the statistic's layers
                        rows.append(share)
                    else:
                        rows[at] = rows[at] + share

    def _compare(
        self, layer: int, q: Tensor, k: Tensor, heads: int, frame: int
    ) -> dict[str, Tensor]:
        """One layer's share of a frame's statistics: (P,), or (P, P) where a spread is taken."""
        layers, seen = self.layers, sources(frame, self.frames)
        # a list as index would be uploaded to a GPU, which no CUDA graph allows
        q_seen, k_seen = (torch.stack([x[each] for each in seen]).mean(0) for x in (q, k))
        out = {}
        if layer in layers.shallow:
            out['shallow'] = k[frame] @ k_seen.mean(0) / heads / len(layers.shallow)
            out['shallow_spread'] = q[frame] @ k_seen.T / heads / len(layers.shallow)
        if layer in layers.middle:
            out['middle'] = q[frame] @ q_seen.mean(0) / heads / len(layers.middle)
        if layer in layers.deep:
            out['deep'] = q[frame] @ q_seen.mean(0) / heads / len(layers.deep)
        if layer in layers.spread:
            out['spread'] = q[frame] @ q_seen.T / heads / len(layers.spread)
        return out

    def _patches(self, x: Tensor) -> Tensor:
        """(1, heads, S * P, D) to (S, patches, heads * D) in 32 bits."""
        x = x[0].transpose(0, 1).flatten(1).unflatten(0, (self.frames, -1))
        return x[:, self.specials :].to(torch.promote_types(x.dtype, torch.float32))

    def parts(self, sums: GramSums, grid: tuple[int, int]) -> dict[str, Tensor]:
        """Each statistic by name, (references, h, w), from 0 to 1 within its frame."""
        out = {}
        for name, values in sums.items():
            rows = [value.std(-1) if value.ndim == 2 else value for value in values]
            out[name] = unit(torch.stack(rows)).unflatten(1, grid)
        return out

    def dynamic_map(
        self, sums: GramSums, grid: tuple[int, int], device: torch.device | None = None
    ) -> Tensor:
        """High where things move, (references, h, w), from 0 to 1 within each frame.

        A frame without others to compare it with is 0 everywhere.
        """
        if not sums:
            return torch.zeros(len(self.references), *grid, device=device)
        part = self.parts(sums, grid)
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
