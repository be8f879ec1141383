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
from page4d_ros.backends import calibration, eight_bits, mixed
from page4d_ros.backends import graph as graphs
from page4d_ros.backends.eight_bits import INT8, INT8_WEIGHTS
from page4d_ros.backends.graph import largest_difference, named, write_onnx
from page4d_ros.backends.runtimes import MODEL
from page4d_ros.errors import BackendError

if TYPE_CHECKING:
    from torch import Tensor

    from page4d_ros.backends.cache import GraphCache
    from page4d_ros.backends.calibration import Calibration
    from page4d_ros.backends.graph import Graph
    from page4d_ros.backends.runtimes import Runtime
    from page4d_ros.model.network import Network

FP32 = 'fp32'
# largest difference from torch in the same precision, relative to the largest value of an output;
# for eight bits, from torch in 32: it tells a broken graph from a coarse one
TOLERANCE = {FP32: 1e-4, 'fp16': 1e-2, 'bf16': 5e-2, INT8_WEIGHTS: 0.2, INT8: 0.5}


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
        precision: of the matrix products; fp16 and bf16 are the network's, and eight bits are made
            here from one of 32.

    Returns:
        Facts of the entry: its ``grid``, names of the ``outputs``, their largest relative
        ``difference`` from torch for random images (for int8 those of the calibration), and
        ``seconds`` that it took.

    Raises:
        BackendError: the graph cannot be built, is not calibrated, or differs by more than its
            `TOLERANCE`.
        OSError: the cache cannot be written.
    """
    facts: dict[str, Any] = {}
    start = time.perf_counter()
    images = calibration.kept(store, graph.grid, weights) if precision == INT8 else None
    if precision == INT8 and images is None:
        raise BackendError(
            f'model.precision {INT8} is not calibrated for these weights and images; run `page4d '
            'build` with the same settings'
        )

    def write(folder: Path) -> dict[str, Any]:
        with tempfile.TemporaryDirectory() as scratch:
            file = Path(scratch) / MODEL
            outputs, example = write_onnx(network, graph, file, simplified=runtime.simplified)
            if precision == INT8_WEIGHTS:
                eight_bits.round_weights(file)
            if images is not None:
                outputs, example = _calibrate(file, network, graph, images)
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
        facts.update(grid=list(graph.grid), outputs=list(outputs))
        facts.update(difference=difference, seconds=seconds)
        return facts

    store.store(key(graph, runtime, weights, precision, images), write)
    return facts


def _calibrate(
    file: Path, network: Network, graph: Graph, images: Calibration
) -> tuple[dict[str, Tensor], tuple[Tensor, ...]]:
    """Round a graph; what torch makes of inputs of the calibration, by name, and these inputs."""
    eight_bits.calibrate(file, images.inputs(network, graph))
    example = next(images.inputs(network, graph))
    with torch.no_grad():
        return named(graph.compute(network, *example)), example


def find(
    graph: Graph, runtime: Runtime, store: GraphCache, weights: str, precision: str = FP32
) -> tuple[Path, dict[str, Any]] | None:
    """Folder and facts of a graph in the cache; None where it has to be built."""
    images = calibration.kept(store, graph.grid, weights) if precision == INT8 else None
    if precision == INT8 and images is None:
        return None
    return store.find(key(graph, runtime, weights, precision, images))


def key(
    graph: Graph,
    runtime: Runtime,
    weights: str,
    precision: str = FP32,
    images: Calibration | None = None,
) -> dict[str, str]:
    """All that a compiled graph depends on."""
    return key_of_all(runtime, weights, precision) | {
        'calibration': '' if images is None else images.digest,
        'graph': graph.name,
    }


def last_grid(
    runtime: Runtime, store: GraphCache, weights: str, precision: str = FP32
) -> tuple[int, int] | None:
    """Patches (h, w) of the graphs of a network that were used last; None without any."""
    facts = store.last(key_of_all(runtime, weights, precision))
    return tuple(facts['grid']) if facts else None


def key_of_all(runtime: Runtime, weights: str, precision: str) -> dict[str, str]:
    """The part of the key that all graphs of a network have in common."""
    return {
        'weights': weights,
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
    ours = (Path(each.__file__) for each in (graphs, mixed, eight_bits, calibration))
    for file in [*sorted(Path(model.__file__).parent.glob('*.py')), *ours]:
        out.update(file.read_bytes())
    return out.hexdigest()
