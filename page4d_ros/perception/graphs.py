"""Graphs for the engine, by the settings."""

from __future__ import annotations

import importlib.util
import json
import os
import platform
import subprocess
import sys
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any

import torch

from page4d_ros.backends.building import build, fingerprint, key
from page4d_ros.backends.cache import GraphCache
from page4d_ros.backends.graph import FrameGraph, StepGraph
from page4d_ros.backends.graphs import Graphs
from page4d_ros.backends.runtimes import open_runtime
from page4d_ros.config import ModelConfig
from page4d_ros.errors import BackendError
from page4d_ros.model.network import StepPlan, full_cells

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from page4d_ros.backends.graph import Graph
    from page4d_ros.model.network import Network
    from page4d_ros.perception.window_engine import WindowEngine

TORCH, AUTO = 'torch', 'auto'
MEANT = 'PAGE4D_BACKEND'  # environment variable: the backend that `auto` stands for
BUILDING = 'page4d_ros.perception.graph_building'  # module that a process runs


def choose_backend(config: ModelConfig, device: torch.device) -> str:
    """Backend of ``model.backend`` for a device; `auto` takes what is quickest and installed."""
    name = config.backend
    if name == AUTO:
        name = os.environ.get(MEANT, AUTO)
    if name != AUTO:
        return name
    quick = device.type == 'cpu' and platform.machine() in {'x86_64', 'AMD64'}
    plain = not config.compile and config.precision in {'auto', 'fp32'}
    installed = all(map(importlib.util.find_spec, ('openvino', 'onnx', 'onnxscript')))
    return 'openvino' if quick and plain and installed else TORCH


def open_graphs(
    engine: WindowEngine, config: ModelConfig, *, wait: bool, say: Callable[[str], None]
) -> Graphs | None:
    """Graphs of an engine's network, built by a process of their own; None where torch runs all.

    Args:
        engine: of these settings.
        config: names the backend.
        wait: wait for each graph, instead of going on in torch.
        say: takes lines for the user.
    """
    name = choose_backend(config, engine.device)
    if name == TORCH:
        return None
    if engine.device.type != 'cpu' or engine.half is not None or config.compile:
        say(
            f'torch runs the network: model.backend {name} is for float32 on the CPU, not compiled'
        )
        return None
    try:
        runtime = open_runtime(name)
    except BackendError as error:
        say(f'torch runs the network: {error}')
        return None
    config = replace(config, backend=name)
    return Graphs(
        engine.network,
        runtime,
        GraphCache(),
        BuildProcess(config),
        threads=torch.get_num_threads(),
        wait=wait,
        say=say,
    )


class BuildProcess:
    """Builds graphs in another process, so that a node beside it is not held up.

    Args:
        config: of the network, with the name of a backend.
    """

    def __init__(self, config: ModelConfig) -> None:
        self._config = config
        self._running: subprocess.Popen | None = None

    def __call__(self, graph: Graph) -> None:
        """Build a graph.

        Raises:
            BackendError: the process failed; its own last words.
        """
        task = json.dumps({'model': asdict(self._config), 'graph': described(graph)})
        self._running = subprocess.Popen(
            [sys.executable, '-m', BUILDING],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            env=os.environ | {'OMP_NUM_THREADS': '1'},
        )
        _, errors = self._running.communicate(task)
        if self._running.returncode:
            lines = errors.strip().splitlines()
            raise BackendError(lines[-1] if lines else f'building {graph.name} was interrupted')

    def close(self) -> None:
        """Stop."""
        if self._running is not None:
            self._running.terminate()


class BuildHere:
    """Builds graphs of a network in this process.

    Args:
        network: as `build` wants it.
        backend: name of a runtime.
        store: gets them.

    Attributes:
        runtime: of that name.

    Raises:
        BackendError: the runtime is not installed.
    """

    def __init__(self, network: Network, backend: str, store: GraphCache) -> None:
        self.runtime = open_runtime(backend)
        self._network, self._store = network, store
        self._weights = fingerprint(network)

    def __call__(self, graph: Graph) -> dict[str, Any]:
        """Build a graph; see `build`."""
        return build(self._network, graph, self.runtime, self._store, self._weights)

    def known(self, graph: Graph) -> dict[str, Any] | None:
        """Facts of a graph that is in the cache."""
        found = self._store.find(key(graph, self.runtime, self._weights))
        return found and found[1]

    def close(self) -> None:
        """Do nothing: it runs in the thread that called it."""


def window_graphs(
    grid: tuple[int, int], sets: int, views: int, *, newest: int, gram: bool, hides: bool
) -> list[Graph]:
    """Graphs of the frames and the full windows of a stream.

    Args:
        grid: patches as (h, w).
        sets: per window.
        views: frames per set.
        newest: frames that get depth.
        gram: True if the newest set gets dynamic maps.
        hides: True if the variant hides what moves.
    """
    frames = sets * views
    references = tuple(range(frames - views, frames)) if gram else ()
    plan = StepPlan(grid, newest, references, full_cells(views, sets))
    return [FrameGraph(grid), StepGraph(frames, plan, hides)]


def described(graph: Graph) -> dict[str, Any]:
    """Plain values that `graph_of` takes."""
    if isinstance(graph, FrameGraph):
        return {'grid': graph.grid}
    return {'frames': graph.frames, 'plan': graph.plan, 'hides': graph.hides}


def graph_of(
    grid: Sequence[int] = (), frames: int = 0, plan: Sequence = (), *, hides: bool = False
) -> Graph:
    """Graph of what `described` says."""
    if not frames:
        return FrameGraph(tuple(grid))
    grid, newest, references, cells = plan
    cells = tuple(map(tuple, cells))
    return StepGraph(frames, StepPlan(tuple(grid), newest, tuple(references), cells), hides)
