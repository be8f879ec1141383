"""Building of a graph: from the network to a checked entry of the cache."""

from __future__ import annotations

import hashlib
import tempfile
import time
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from page4d_ros import model
from page4d_ros.backends import graph as graphs
from page4d_ros.backends import mixed
from page4d_ros.backends.graph import largest_difference, write_onnx
from page4d_ros.backends.runtimes import MODEL
from page4d_ros.errors import BackendError

if TYPE_CHECKING:
    from page4d_ros.backends.cache import GraphCache
    from page4d_ros.backends.graph import Graph
    from page4d_ros.backends.runtimes import Runtime
    from page4d_ros.model.network import Network

FP32 = 'fp32'
# largest difference from torch in the same precision, relative to the largest value of an output
TOLERANCE = {FP32: 1e-4, 'fp16': 1e-2, 'bf16': 5e-2}


def build(
    network: Network,
    graph: Graph,
    runtime: Runtime,
    store: GraphCache,
    weights: str,
    precision: str = FP32,
) -> dict[str, Any]:
    """Compile a graph, compare it with torch, and put it into the cache.

    Args:
        network: on the CPU, and ready for inference in this precision.
        graph: the part of it.
        runtime: compiles.
        store: gets the entry.
        weights: `fingerprint` of the network.
        precision: of the matrix products: fp32, fp16, bf16 or int8.

    Returns:
        Facts of the entry: names of the ``outputs``, their largest relative ``difference`` from
        torch for random images, and ``seconds`` that it took.

    Raises:
        BackendError: the graph cannot be built, or differs by more than its `TOLERANCE`.
        OSError: the cache cannot be written.
    """
    facts: dict[str, Any] = {}
    start = time.perf_counter()

    def write(folder: Path) -> dict[str, Any]:
        with tempfile.TemporaryDirectory() as scratch:
            file = Path(scratch) / MODEL
            outputs, example = write_onnx(network, graph, file, simplified=runtime.simplified)
            runtime.compile(file, folder, precision)
        run = runtime.load(folder, torch.get_num_threads())
        found = [each.cpu() for each in run([each.to(runtime.memory) for each in example])]
        difference = largest_difference(found, list(outputs.values()))
        if not difference <= TOLERANCE[precision]:
            raise BackendError(
                f'{runtime.title} differs from torch by {difference:.1e} in {graph.name}; at most '
                f'{TOLERANCE[precision]:.0e} is right'
            )
        seconds = time.perf_counter() - start
        facts.update(outputs=list(outputs), difference=difference, seconds=seconds)
        return facts

    store.store(key(graph, runtime, weights, precision), write)
    return facts


def key(graph: Graph, runtime: Runtime, weights: str, precision: str = FP32) -> dict[str, str]:
    """All that a compiled graph depends on."""
    return {
        'weights': weights,
        'graph': graph.name,
        'precision': precision,
        'runtime': runtime.title,
        'device': runtime.device,
        'torch': torch.__version__,
        'code': _code(),
    }


def fingerprint(network: Network) -> str:
    """Hash of a network's weights and settings."""
    out = hashlib.sha256(repr(network.config).encode())
    for name, weight in sorted(network.state_dict().items()):
        out.update(f'{name} {weight.dtype} {tuple(weight.shape)}'.encode())
        flat = weight.detach().cpu().flatten().clone(memory_format=torch.contiguous_format)
        out.update(flat.view(torch.uint8).numpy())
    return out.hexdigest()


@cache
def _code() -> str:
    """Hash of the sources that the graphs are made from."""
    out = hashlib.sha256()
    made_from = Path(graphs.__file__), Path(mixed.__file__)
    for file in [*sorted(Path(model.__file__).parent.glob('*.py')), *made_from]:
        out.update(file.read_bytes())
    return out.hexdigest()
