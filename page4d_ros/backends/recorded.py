"""Graphs that a GPU records while torch runs them, and replays without torch.

Nothing is compiled or kept: a recording takes as long as a few steps, and lives as long as the
process. https://docs.pytorch.org/docs/stable/notes/cuda.html#cuda-graphs
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from page4d_ros.backends.graph import named

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from torch import Tensor

    from page4d_ros.backends.graph import Graph
    from page4d_ros.model.network import Network

WARM_UP = 3  # runs before a recording: libraries choose and load their kernels


class RecordedGraphs:
    """CUDA graphs of a network; a graph that cannot be recorded is reported and left to torch.

    For the thread that runs the network, in the precision of the context that it calls from. The
    graphs are those of one grid of patches: the network keeps no tables of the grids before.

    Args:
        network: on a GPU.
        device: the GPU.
        say: takes a line of text for the user.

    Attributes:
        title: name and version of what runs the graphs.
    """

    def __init__(
        self,
        network: Network,
        device: torch.device,
        *,
        say: Callable[[str], None] = lambda _: None,
    ) -> None:
        self.title = f'torch {torch.__version__} with CUDA graphs'
        self._network, self._say = network, say
        self._recordings: dict[str, _Recording | None] = {}  # None: failed
        self._grid: tuple[int, int] | None = None
        self._stream = torch.cuda.Stream(device)
        self._pool: object = None  # of memory, for one graph after the other

    @property
    def ready(self) -> bool:
        """True if a graph runs here."""
        return any(self._recordings.values())

    def close(self) -> None:
        """Give the graphs' memory back."""
        self._recordings.clear()

    def prepare(self, graph: Graph) -> None:
        """Do nothing: a graph is recorded with its first inputs."""

    def call(self, graph: Graph, inputs: Sequence[Tensor]) -> dict[str, Tensor] | None:
        """Outputs of a graph by name; None where torch has to run it."""
        name = graph.name
        if graph.grid != self._grid:
            self._recordings.clear()
            self._grid, self._pool = graph.grid, torch.cuda.graph_pool_handle()
        try:
            if name not in self._recordings:
                self._recordings[name] = self._record(graph, inputs)
            recording = self._recordings[name]
            return recording and recording.replay(inputs)
        except Exception as error:  # of CUDA and its libraries, in many forms
            self._recordings[name] = None
            reason = (str(error).splitlines() or [type(error).__name__])[0]
            self._say(f'no CUDA graph of {name}, torch runs it: {reason}')
            return None

    def _record(self, graph: Graph, inputs: Sequence[Tensor]) -> _Recording:
        def run(*given: Tensor) -> dict[str, Tensor]:
            return named(graph.compute(self._network, *given))

        return _Recording(run, inputs, self._stream, self._pool)


class _Recording:
    """A function at fixed places in memory: inputs are copied there, outputs from there.

    Args:
        run: from tensors to tensors by name.
        inputs: of the first run.
        stream: to warm up and record on.
        pool: of memory.
    """

    def __init__(
        self,
        run: Callable[..., dict[str, Tensor]],
        inputs: Sequence[Tensor],
        stream: torch.cuda.Stream,
        pool: object,
    ) -> None:
        self._inputs = [each.clone() for each in inputs]
        self._graph = torch.cuda.CUDAGraph()
        caller = torch.cuda.current_stream(stream.device)
        stream.wait_stream(caller)
        with torch.cuda.stream(stream):
            for _ in range(WARM_UP):
                run(*self._inputs)
        caller.wait_stream(stream)
        # other threads of the process may use the GPU meanwhile
        with torch.cuda.graph(
            self._graph, pool=pool, stream=stream, capture_error_mode='thread_local'
        ):
            self._outputs = run(*self._inputs)

    def replay(self, inputs: Sequence[Tensor]) -> dict[str, Tensor]:
        for place, each in zip(self._inputs, inputs, strict=True):
            place.copy_(each)
        self._graph.replay()
        return {name: each.clone() for name, each in self._outputs.items()}
