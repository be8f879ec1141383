"""Building of the graphs that a node will ask for, and the process for one that it asks for."""

from __future__ import annotations

import json
import os
import re
import sys
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch

from page4d_ros.backends.cache import GraphCache
from page4d_ros.backends.eight_bits import INT8
from page4d_ros.backends.runtimes import RUNTIMES
from page4d_ros.config import ModelConfig
from page4d_ros.errors import ConfigError, Page4dError
from page4d_ros.geometry.camera import ImageTransform
from page4d_ros.model.preprocess import image_to_network
from page4d_ros.perception.build import build_engine, build_network, classifier_file
from page4d_ros.perception.devices import choose_device, choose_precision, precision_name
from page4d_ros.perception.dynamics import Dynamics
from page4d_ros.perception.graphs import (
    BuildHere,
    check,
    choose_backend,
    graph_of,
    stream_graphs,
)
from page4d_ros.perception.motion_classifier import MotionClassifier

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor

    from page4d_ros.backends.graph import Graph
    from page4d_ros.config import Config
    from page4d_ros.model.network import Network

POLITE = 10  # niceness of a build beside a running node


def build_missing(
    config: Config,
    size: str,
    *,
    images: Callable[[], Sequence[NDArray[np.uint8]]],
    again: bool = False,
    say: Callable[[str], None],
) -> tuple[str, dict[str, dict[str, Any]]]:
    """Build the graphs of a node that the cache lacks.

    Args:
        config: all settings.
        size: of the camera's images, such as ``640x480``.
        images: gives images (H, W, 3) of RGB that calibrate int8, in the order of time.
        again: calibrate even if that was done before.
        say: takes a line before each graph that is built.

    Returns:
        Title of the runtime, and facts of all graphs by name; none where nothing is built.

    Raises:
        BackendError: a graph cannot be built.
        ConfigError: the size is none, or the images do not calibrate.
    """
    device = choose_device(config.model.device)
    backend = choose_backend(config.model, device)
    if backend not in RUNTIMES:
        return backend, {}
    precision = precision_name(
        config.model.precision, choose_precision(config.model.precision, device)
    )
    network, graphs = node_graphs(on_cpu(config, precision), size)
    builder = BuildHere(network, backend, GraphCache(), precision)
    check(builder.runtime, device, precision)
    grid = graphs[0].grid
    if precision == INT8 and (again or not builder.calibrated(grid)):
        say('reading images that calibrate')
        builder.keep_images(_scaled(images(), grid, network.patch_size), grid)
    rows = {}
    for graph in graphs:
        if (facts := builder.known(graph)) is None:
            say(f'building {graph.name} for {builder.runtime.title}')
            facts = builder(graph)
        rows[graph.name] = facts
    return builder.runtime.title, rows


def _scaled(images: Sequence[NDArray[np.uint8]], grid: tuple[int, int], patch_size: int) -> Tensor:
    """Images as the network sees them, (N, 3, H, W) of bytes.

    Raises:
        ConfigError: there are none, or they have another shape than those of the node.
    """
    height, width = (side * patch_size for side in grid)
    out = []
    for image in images:
        fit = ImageTransform.crop(image.shape[1], image.shape[0], width, patch_size)
        if fit.height != height:
            raise ConfigError(
                f'images of {image.shape[1]}x{image.shape[0]} pixels cannot calibrate a network '
                f'for {width}x{height}; give --size as they are'
            )
        out.append(image_to_network(image, fit, 'cpu'))
    if not out:
        raise ConfigError('there are no images to calibrate with')
    return torch.stack(out)


def on_cpu(config: Config, precision: str) -> Config:
    """Settings of a network to make graphs from; a GPU's memory is for the runtime alone."""
    return config.with_values(
        {'model.device': 'cpu', 'model.precision': precision, 'model.compile': False}
    )


def node_graphs(config: Config, size: str) -> tuple[Network, list[Graph]]:
    """Network of the settings, and its graphs for images of a size; see `build_missing`."""
    if not (match := re.fullmatch(r'(\d+)x(\d+)', size)):
        raise ConfigError(f'{size} is no size of images; give width and height, such as 640x480')
    engine = build_engine(config)
    classifier = MotionClassifier.of(classifier_file(config.model.checkpoint))
    patch = engine.patch_size
    fit = ImageTransform.crop(int(match[1]), int(match[2]), engine.resolution, patch)
    grid = fit.height // patch, fit.width // patch
    gram = Dynamics(config.mask, classifier).gram
    return engine.network, stream_graphs(config, grid, gram=gram)


def main() -> None:
    """Build the graph that the standard input describes."""
    os.nice(POLITE)
    task = json.load(sys.stdin)
    config = ModelConfig(**task['model'])
    try:
        cpu = torch.device('cpu')
        network = build_network(replace(config, device='cpu'))
        half = choose_precision(config.precision, cpu)
        network.prepare(cpu, half, points=config.point_head)
        precision = precision_name(config.precision, half)
        builder = BuildHere(network, config.backend, GraphCache(), precision)
        builder(graph_of(**task['graph']))
    except (Page4dError, OSError) as error:
        sys.exit(str(error))
