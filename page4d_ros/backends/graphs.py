"""Graphs of one network that run where they are ready; torch runs the rest."""

from __future__ import annotations

import threading
from functools import cached_property
from typing import TYPE_CHECKING, Protocol

from page4d_ros.backends.building import FP32, find, fingerprint, last_grid
from page4d_ros.backends.eight_bits import EIGHT_BITS
from page4d_ros.errors import BackendError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from torch import Tensor

    from page4d_ros.backends.cache import GraphCache
    from page4d_ros.backends.graph import Graph
    from page4d_ros.backends.runtimes import Run, Runtime
    from page4d_ros.model.network import Network


class Builder(Protocol):
    """Makes entries of the cache."""

    def __call__(self, graph: Graph) -> object:
        """Build a graph.

        Raises:
            BackendError: it cannot be built.
            OSError: the cache cannot be written.
        """

    def close(self) -> None:
        """Stop."""


class Graphs:
    """Loads graphs from the cache, and has those that are missing built, in the background.

    For the thread that runs the network; a graph that fails is reported in one line and not tried
    again.

    Args:
        network: the graphs are parts of it.
        runtime: runs them.
        store: where they are kept.
        build: makes the entry of a graph that the cache lacks; called from another thread.
        threads: of the CPU.
        precision: of the graphs.
        wait: wait for a graph when it is first asked for, instead of going on in torch.
        say: takes a line of text for the user; called from another thread.
    """

    def __init__(
        self,
        network: Network,
        runtime: Runtime,
        store: GraphCache,
        build: Builder,
        *,
        threads: int,
        precision: str = FP32,
        wait: bool = False,
        say: Callable[[str], None] = lambda _: None,
    ) -> None:
        self.runtime, self.title = runtime, runtime.title
        self.title += f' with {precision}' if precision in EIGHT_BITS else ''
        self._network, self._store, self._build = network, store, build
        self._threads, self._precision, self._wait, self._say = threads, precision, wait, say
        self._ready: dict[str, tuple[Run, list[str]] | None] = {}  # None: not yet, or failed
        self._order = threading.Lock()  # one graph is loaded or built at a time

    @property
    def last_grid(self) -> tuple[int, int] | None:
        """Patches (h, w) of the graphs of this network that were used last; None without any."""
        return last_grid(self.runtime, self._store, self._fingerprint, self._precision)

    @property
    def ready(self) -> bool:
        """True if a graph runs here."""
        return any(self._ready.values())

    def close(self) -> None:
        """Stop building; torch runs all from now on."""
        self._say = lambda _: None
        self._ready.clear()
        self._build.close()

    def load(self, graphs: Sequence[Graph]) -> bool:
        """Load graphs that the cache has; True if it has all."""
        try:
            with self._order:
                for graph in graphs:
                    if (found := self._load(graph)) is None:
                        return False
                    self._ready[graph.name] = found
        except BackendError:  # whoever asks for this graph will have it built again
            return False
        return True

    def prepare(self, graph: Graph) -> None:
        """Have a graph loaded, and built where that is due, before it is called."""
        if graph.name in self._ready:
            return
        self._ready[graph.name] = None
        thread = threading.Thread(target=self._get, args=(graph,), daemon=True)
        thread.start()
        if self._wait:
            thread.join()

    def call(self, graph: Graph, inputs: Sequence[Tensor]) -> dict[str, Tensor] | None:
        """Outputs of a graph by name; None where torch has to run it."""
        self.prepare(graph)
        found = self._ready[graph.name]
        if found is None:
            return None
        run, names = found
        try:
            return dict(zip(names, run(inputs), strict=True))
        except Exception as error:  # a library of others raises what it likes
            self._ready[graph.name] = None
            self._say(f'{self.runtime.title} failed in {graph.name}, torch goes on: {error}')
            return None

    def _get(self, graph: Graph) -> None:
        """Load a graph; build it first where it is missing or cannot be loaded."""
        try:
            with self._order:
                try:
                    found = self._load(graph)
                except BackendError:
                    found = None
                if found is None:
                    self._say(f'building {graph.name} for {self.runtime.title}')
                    self._build(graph)
                    found = self._load(graph)
                self._ready[graph.name] = found
                if found is None:
                    self._say(
                        f'{graph.name} is of other weights or another version; torch runs instead'
                    )
        except (BackendError, OSError) as error:
            self._say(f'model.backend {self.runtime.name}: torch runs instead, because {error}')

    @cached_property
    def _fingerprint(self) -> str:
        return fingerprint(self._network)

    def _load(self, graph: Graph) -> tuple[Run, list[str]] | None:
        entry = find(graph, self.runtime, self._store, self._fingerprint, self._precision)
        if entry is None:
            return None
        folder, facts = entry
        return self.runtime.load(folder, self._threads), facts['outputs']
