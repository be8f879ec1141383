"""Graphs for the engine, by the settings."""

from __future__ import annotations

import copy
import importlib.util
import json
import os
import platform
import subprocess
import sys
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from page4d_ros.backends import calibration
from page4d_ros.backends.building import FP32, build, find, fingerprint
from page4d_ros.backends.cache import GraphCache
from page4d_ros.backends.eight_bits import EIGHT_BITS
from page4d_ros.backends.graph import FrameGraph, StepGraph
from page4d_ros.backends.graphs import Graphs
from page4d_ros.backends.recorded import RecordedGraphs
from page4d_ros.backends.runtimes import open_runtime
from page4d_ros.config import ModelConfig
from page4d_ros.errors import BackendError, ConfigError
from page4d_ros.model.blocks import Block
from page4d_ros.model.camera_head import CameraHead
from page4d_ros.model.dpt_head import DPTHead
from page4d_ros.model.network import StepPlan, full_cells
from page4d_ros.model.runtime import compile_parts
from page4d_ros.model.variants import VARIANTS
from page4d_ros.perception.devices import choose_device, choose_precision, precision_name

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from torch import Tensor

    from page4d_ros.backends.graph import Graph
    from page4d_ros.backends.runtimes import Runtime
    from page4d_ros.config import Config
    from page4d_ros.model.network import Network
    from page4d_ros.perception.window_engine import WindowEngine

TORCH, RECORDED, AUTO = 'torch', 'cudagraphs', 'auto'
MEANT = 'PAGE4D_BACKEND'  # environment variable: the backend that `auto` stands for
WITH_ANCHOR = 2  # sets that get depth: the newest, and the anchor of odometry
# what a process runs that builds: of this package, whatever else the working directory holds
BUILDING = (
    f'import sys; sys.path.insert(0, {str(Path(__file__).parents[2])!r}); '
    'from page4d_ros.perception.graph_building import main; main()'
)


def choose_backend(config: ModelConfig, device: torch.device) -> str:
    """Backend of ``model.backend`` for a device; `auto` takes what is quickest and installed.

    Raises:
        ConfigError: torch is to run eight bits.
    """
    name = config.backend
    if name == AUTO:
        name = os.environ.get(MEANT, AUTO)
    if name == AUTO:
        name = _quickest(config, device)
    if name == TORCH and config.precision in EIGHT_BITS:
        raise ConfigError(
            f'model.precision {config.precision} is not for model.backend torch; set the backend '
            'to auto, openvino or onnxruntime, or the precision to fp32 or bf16'
        )
    return name


def _quickest(config: ModelConfig, device: torch.device) -> str:
    if device.type == 'cuda':
        return RECORDED
    known = platform.machine() in {'x86_64', 'AMD64'}  # to OpenVINO, as of all processors
    if config.precision in EIGHT_BITS:
        return 'openvino' if known else 'onnxruntime'
    plain = not config.compile and config.precision in {'auto', 'fp32', 'bf16'}
    installed = all(map(importlib.util.find_spec, ('openvino', 'onnx', 'onnxscript')))
    return 'openvino' if device.type == 'cpu' and known and plain and installed else TORCH


def usable_backend(config: ModelConfig) -> str:
    """Library that will run full windows, with its version where it has one.

    Raises:
        BackendError: that of ``model.backend`` cannot be used, and torch will run.
        ConfigError: device and precision contradict each other.
    """
    device = choose_device(config.device)
    name = choose_backend(config, device)
    if name in {TORCH, RECORDED}:
        return name
    runtime = open_runtime(name)
    half = choose_precision(config.precision, device)
    check(runtime, device, precision_name(config.precision, half))
    return runtime.title


def open_graphs(
    engine: WindowEngine, config: ModelConfig, *, wait: bool, say: Callable[[str], None]
) -> Graphs | RecordedGraphs | None:
    """Graphs of an engine's network; None where torch runs all as it is.

    Those that have to be built are built by a process of their own.

    Args:
        engine: of these settings.
        config: names the backend and the precision.
        wait: wait for each graph, instead of going on in torch.
        say: takes lines for the user.

    Raises:
        ConfigError: torch is to run eight bits.
    """
    name = choose_backend(config, engine.device)
    if name == TORCH:
        return None
    precision = precision_name(config.precision, engine.half)
    if config.compile and name != RECORDED:
        say(f'torch runs the network: model.backend {name} goes without model.compile')
        return None
    try:
        if name == RECORDED:
            return recorded_graphs(engine, say, fused=config.compile)
        runtime = open_runtime(name)
        check(runtime, engine.device, precision)
    except BackendError as error:
        say(f'torch runs the network: {error}')
        return None
    config = replace(config, backend=name, precision=precision)
    return Graphs(
        engine.network,
        runtime,
        GraphCache(),
        BuildProcess(config),
        threads=torch.get_num_threads(),
        precision=precision,
        wait=wait,
        say=say,
    )


def recorded_graphs(
    engine: WindowEngine, say: Callable[[str], None] = lambda _: None, *, fused: bool = False
) -> RecordedGraphs:
    """CUDA graphs of an engine's network.

    Args:
        engine: of the network.
        say: takes lines for the user.
        fused: have torch's compiler fuse the kernels of blocks and heads first.

    Raises:
        BackendError: it runs on no GPU.
    """
    if engine.device.type != 'cuda':
        raise BackendError(f'model.backend {RECORDED} is for GPUs, not for {engine.device}')
    if fused:
        compile_parts(engine.network, (Block, CameraHead, DPTHead))
    return RecordedGraphs(engine.network, engine.device, say=say)


def check(runtime: Runtime, device: torch.device, precision: str) -> None:
    """Make sure that a runtime is for a device and a precision.

    Raises:
        BackendError: it is not.
    """
    theirs = runtime.memory
    fits = (device.type, device.index or 0) == (theirs.type, theirs.index or 0)
    if not fits or precision not in runtime.precisions:
        raise BackendError(
            f'model.backend {runtime.name} is for {theirs} in {" or ".join(runtime.precisions)}, '
            f'not for {device} in {precision}'
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
            [sys.executable, '-c', BUILDING],
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
        network: as `build` wants it; a copy on the CPU is used.
        backend: name of a runtime.
        store: gets them.
        precision: of the graphs.

    Attributes:
        runtime: of that name.

    Raises:
        BackendError: the runtime is not installed.
    """

    def __init__(
        self, network: Network, backend: str, store: GraphCache, precision: str = FP32
    ) -> None:
        self.runtime = open_runtime(backend)
        self._network, self._store, self._precision = network, store, precision
        if any(each.device.type != 'cpu' for each in network.state_dict().values()):
            self._network = copy.deepcopy(network).cpu()
        self._weights = fingerprint(network)

    def __call__(self, graph: Graph) -> dict[str, Any]:
        """Build a graph; see `build`."""
        parts = self._network, graph, self.runtime, self._store, self._weights
        return build(*parts, self._precision)

    def keep_images(self, images: Tensor, grid: tuple[int, int]) -> None:
        """Calibrate int8 by images from now on; see `calibration.keep`."""
        calibration.keep(self._store, images, grid, self._weights)

    def calibrated(self, grid: tuple[int, int]) -> bool:
        """True if int8 can be built."""
        return calibration.kept(self._store, grid, self._weights) is not None

    def known(self, graph: Graph) -> dict[str, Any] | None:
        """Facts of a graph that is in the cache."""
        found = find(graph, self.runtime, self._store, self._weights, self._precision)
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


def stream_graphs(config: Config, grid: tuple[int, int], *, gram: bool) -> list[Graph]:
    """Graphs of a perception's settings, for images of a grid of patches (h, w).

    Args:
        config: all settings.
        grid: of the images.
        gram: True if steps are asked for dynamic maps.
    """
    views = 1 if config.apart else max(1, len(config.cameras))
    hides = VARIANTS[config.model.variant].mines_motion
    newest = WITH_ANCHOR * views
    size = config.window.size
    return window_graphs(grid, size, views, newest=newest, gram=gram or hides, hides=hides)


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
