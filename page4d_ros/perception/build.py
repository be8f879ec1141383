"""From settings to a running perception."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from page4d_ros.backends.graphs import Graphs
from page4d_ros.backends.recorded import RecordedGraphs
from page4d_ros.config import SMALL
from page4d_ros.errors import CheckpointError
from page4d_ros.model import checkpoint as checkpoints
from page4d_ros.model.checkpoint import load_network, untrained_network
from page4d_ros.model.config import NetworkConfig
from page4d_ros.model.network import UNTRAINED
from page4d_ros.model.variants import VARIANTS
from page4d_ros.perception.devices import choose_device
from page4d_ros.perception.dynamics import Dynamics
from page4d_ros.perception.graphs import open_graphs, stream_graphs
from page4d_ros.perception.motion_classifier import SUFFIX, MotionClassifier
from page4d_ros.perception.pipeline import Perception
from page4d_ros.perception.window_engine import WindowEngine
from page4d_ros.process import use_threads

if TYPE_CHECKING:
    from collections.abc import Callable

    from page4d_ros.config import Config, ModelConfig
    from page4d_ros.model.network import Network

SMALL_FILE = Path(__file__).parents[1] / 'data' / f'{SMALL}.safetensors'
CHUNK = 1 << 24  # bytes
NOWHERE = torch.device('meta')
MASK_ATTENTION = {'auto': None, 'on': True, 'off': False}


def build_network(config: ModelConfig) -> Network:
    """Network of ``model.checkpoint`` on ``model.device``.

    Raises:
        CheckpointError: none is named, or the file cannot be used.
        ConfigError: there is no such device.
    """
    device = choose_device(config.device)  # before gigabytes are read for nothing
    mask_enabled = MASK_ATTENTION[config.mask_attention]
    _check_named(config.checkpoint)
    if config.checkpoint == UNTRAINED:
        return untrained_network(replace(NetworkConfig.tiny(), mask_enabled=bool(mask_enabled)))
    return load_network(weight_file(config.checkpoint), mask_enabled=mask_enabled, device=device)


def inspect_network(config: ModelConfig) -> Network:
    """Network of ``model.checkpoint`` without its weights, on `NOWHERE`.

    Raises:
        CheckpointError: none is named, or the file cannot be used.
    """
    mask_enabled = MASK_ATTENTION[config.mask_attention]
    _check_named(config.checkpoint)
    if config.checkpoint == UNTRAINED:
        with NOWHERE:
            return untrained_network(NetworkConfig.tiny())
    network, _ = checkpoints.inspect_network(
        weight_file(config.checkpoint), mask_enabled=mask_enabled
    )
    return network


def _check_named(checkpoint: str) -> None:
    if not checkpoint:
        raise CheckpointError(
            'model.checkpoint is empty: give a weight file (README.md, "Weights", says which to '
            f'download), {SMALL!r}, or {UNTRAINED!r}'
        )


def build_perception(
    config: Config, *, wait: bool = False, say: Callable[[str], None] = lambda _: None
) -> Perception:
    """Perception with the configured network and backend.

    Args:
        config: all settings.
        wait: wait for each graph of the backend, so that the same input gives the same output;
            otherwise torch runs until it is ready.
        say: takes lines for the user, from any thread.

    Raises:
        CheckpointError: the weights cannot be used.
        ConfigError: the device cannot.
    """
    engine = build_engine(config)
    classifier = MotionClassifier.of(classifier_file(config.model.checkpoint))
    perception = Perception(config, engine, Dynamics(config.mask, classifier))
    graphs = open_graphs(engine, config.model, wait=wait, say=say)
    if isinstance(graphs, RecordedGraphs):  # which are ready after the warm-up
        engine.graphs = graphs
    if config.model.compile or engine.device.type == 'cuda':
        engine.warm_up(gram=perception.dynamics.gram)
    engine.graphs = graphs
    if isinstance(graphs, Graphs):
        _load_last(graphs, perception)
    return perception


def renewed(perception: Perception) -> Perception:
    """Perception without memory on the same network: as new, and there at once."""
    config, engine = perception.config, perception.engine
    engine.clear()
    classifier = MotionClassifier.of(classifier_file(config.model.checkpoint))
    return Perception(config, engine, Dynamics(config.mask, classifier))


def _load_last(graphs: Graphs, perception: Perception) -> None:
    """Have the graphs ready that were used last: most cameras are those of the last time."""
    config, engine, grid = perception.config, perception.engine, graphs.last_grid
    if grid is None or grid[1] * engine.patch_size != engine.resolution:
        return
    gram = perception.dynamics.gram
    if graphs.load(stream_graphs(config, grid, gram=gram)):
        engine.warm_up(gram=gram, views=max(1, len(config.cameras)), grid=grid)


def build_engine(config: Config) -> WindowEngine:
    """Engine with the configured network.

    Raises:
        CheckpointError: the weights cannot be used.
        ConfigError: the device cannot.
    """
    use_threads(config.model.threads)
    variant = VARIANTS[config.model.variant]
    return WindowEngine(build_network(config.model), config.model, config.window.size, variant)


def classifier_file(checkpoint: str) -> Path:
    """Path of the motion classifier that was fitted to ``model.checkpoint``."""
    path = weight_file(checkpoint)
    return path.with_name(path.stem + SUFFIX)


def digest(checkpoint: str) -> str:
    """SHA-256 of the file of ``model.checkpoint``, in hexadecimal; "" of random weights."""
    if checkpoint == UNTRAINED:
        return ''
    out = hashlib.sha256()
    with weight_file(checkpoint).open('rb') as file:
        while part := file.read(CHUNK):
            out.update(part)
    return out.hexdigest()


def weight_file(checkpoint: str) -> Path:
    """File of ``model.checkpoint``; random weights have none."""
    return SMALL_FILE if checkpoint == SMALL else Path(checkpoint).expanduser()
