"""Images that show the ranges of values in a graph, kept beside the graphs."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch

from page4d_ros.backends.graph import FrameGraph

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from torch import Tensor

    from page4d_ros.backends.cache import GraphCache
    from page4d_ros.backends.graph import Graph
    from page4d_ros.model.network import Network

IMAGES = 'images.npy'
WINDOWS = 16  # at most, of each recording's images


class Calibration(NamedTuple):
    """Images in the size of the network's input.

    Attributes:
        images: (N, 3, H, W) of bytes, in the order of time.
        digest: hash of them.
    """

    images: Tensor
    digest: str

    def inputs(self, network: Network, graph: Graph) -> Iterator[tuple[Tensor, ...]]:
        """Inputs of a graph: images, or windows that slide over them; nothing is hidden."""
        if isinstance(graph, FrameGraph):
            yield from ((image[None],) for image in self.images)
            return
        with torch.no_grad():
            encoded = [network.encode(image[None])[None] for image in self.images]
            first, later = (
                [network.enter(each, graph.grid, first=first) for each in encoded]
                for first in (True, False)
            )
        count = len(encoded)
        starts = np.linspace(0, max(count - graph.frames, 0), min(WINDOWS, count)).astype(int)
        hidden = torch.zeros(1, graph.frames, *graph.grid, dtype=torch.bool)
        for start in dict.fromkeys(starts):
            others = [later[(start + n) % count] for n in range(1, graph.frames)]
            tokens = torch.cat([first[start], *others], dim=1)
            yield (tokens, hidden) if graph.hides else (tokens,)


def keep(store: GraphCache, images: Tensor, grid: tuple[int, int], weights: str) -> None:
    """Calibrate graphs of a network and a grid of patches by images from now on.

    Raises:
        OSError: the cache cannot be written.
    """
    digest = hashlib.sha256(images.numpy().tobytes()).hexdigest()

    def write(folder: Path) -> dict[str, Any]:
        np.save(folder / IMAGES, images.numpy())
        return {'digest': digest}

    store.store(_key(grid, weights), write)


def kept(store: GraphCache, grid: tuple[int, int], weights: str) -> Calibration | None:
    """Images that were kept last."""
    found = store.find(_key(grid, weights))
    if found is None:
        return None
    folder, facts = found
    return Calibration(torch.from_numpy(np.load(folder / IMAGES)), facts['digest'])


def _key(grid: tuple[int, int], weights: str) -> dict[str, Any]:
    return {'calibration': weights, 'grid': grid}
