"""Commands that make graphs of the network for other libraries."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from rich import box
from rich.console import Console
from rich.table import Table
from typer import Argument, Option

from page4d_ros.commands.show import SAMPLE
from page4d_ros.config import Config
from page4d_ros.errors import Page4dError
from page4d_ros.settings import parse_assignment

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray

    from page4d_ros.backends.graph import Graph
    from page4d_ros.perception.window_engine import WindowEngine

CHECKED = 32  # frames of each kind that `--check` slides a window over

Size = Annotated[
    str,
    Option(metavar='WIDTHxHEIGHT', help="The camera's images."),
]
Settings = Annotated[
    list[str] | None,
    Option('--set', metavar='NAME=VALUE', help='Parameter of the node; repeat it.'),
]


def build(
    *,
    size: Size = '320x240',
    check: Annotated[
        bool, Option('--check', help='Compare with torch, on noise and on the sample drive.')
    ] = False,
    settings: Settings = None,
) -> None:
    """Build what model.backend lacks ahead of time, so that the node starts with it.

    Settings must be the node's: weights, window.size, model.resolution and the like.
    """
    config = Config().with_values(dict(map(parse_assignment, settings or [])))
    console = Console(stderr=True)
    with console.status('loading the network') as status:
        title, rows = build_missing(config, size, say=status.update)
    if not rows:
        raise Page4dError('model.backend is torch here: nothing to build; set it to openvino')
    table = Table(box=box.SIMPLE, title=title)
    for column in ('graph', 'built in, s', 'difference from torch'):
        table.add_column(column)
    for name, facts in rows.items():
        table.add_row(name, f'{facts["seconds"]:.1f}', f'{facts["difference"]:.1e}')
    Console().print(table)
    if check:
        _check(settings, size)


def build_missing(
    config: Config, size: str, *, say: Callable[[str], None]
) -> tuple[str, dict[str, dict[str, Any]]]:
    """Build the graphs of a node that the cache lacks.

    Args:
        config: all settings.
        size: of the camera's images, such as ``640x480``.
        say: takes a line before each graph that is built.

    Returns:
        Title of the runtime, and facts of all graphs by name; none where torch runs them.

    Raises:
        BackendError: a graph cannot be built.
    """
    from page4d_ros.backends.cache import GraphCache
    from page4d_ros.perception.build import build_engine
    from page4d_ros.perception.graphs import TORCH, BuildHere, choose_backend

    engine = build_engine(config)
    backend = choose_backend(config.model, engine.device)
    if backend == TORCH:
        return TORCH, {}
    builder = BuildHere(engine.network, backend, GraphCache())
    rows = {}
    for graph in _graphs(engine, config, size):
        if (facts := builder.known(graph)) is None:
            say(f'building {graph.name} for {builder.runtime.title}')
            facts = builder(graph)
        rows[graph.name] = facts
    return builder.runtime.title, rows


def export(
    output: Annotated[Path, Argument(help='Folder for encoder.onnx, step.onnx, network.json.')],
    *,
    size: Size = '320x240',
    settings: Settings = None,
) -> None:
    """Write the network as ONNX for other programs, with a description of inputs and outputs."""
    from page4d_ros.backends.product import write_product

    config, engine = _engine(settings)
    frame, step = _graphs(engine, config, size)
    for file in write_product(engine.network, frame, step, output):
        print(file)


def _engine(settings: list[str] | None) -> tuple[Config, WindowEngine]:
    from page4d_ros.perception.build import build_engine

    config = Config().with_values(dict(map(parse_assignment, settings or [])))
    return config, build_engine(config)


def _graphs(engine: WindowEngine, config: Config, size: str) -> list[Graph]:
    """Graphs that the node runs for images of a size."""
    from page4d_ros.geometry.camera import ImageTransform
    from page4d_ros.model.variants import VARIANTS
    from page4d_ros.perception.build import classifier_file
    from page4d_ros.perception.dynamics import Dynamics
    from page4d_ros.perception.graphs import window_graphs
    from page4d_ros.perception.motion_classifier import MotionClassifier

    if not (match := re.fullmatch(r'(\d+)x(\d+)', size)):
        raise Page4dError(f'--size {size}: give width and height, such as 640x480')
    fit = ImageTransform.crop(int(match[1]), int(match[2]), engine.resolution, engine.patch_size)
    grid = fit.height // engine.patch_size, fit.width // engine.patch_size
    mines = VARIANTS[config.model.variant].mines_motion
    classifier = MotionClassifier.of(classifier_file(config.model.checkpoint))
    gram = mines or Dynamics(config.mask, classifier).gram
    return window_graphs(grid, config.window.size, 1, newest=2, gram=gram, hides=mines)


def _check(settings: list[str] | None, size: str) -> None:
    from page4d_ros.benchmark.parity import differences
    from page4d_ros.perception.graphs import open_graphs

    table = Table(box=box.SIMPLE, title='Largest relative difference from torch')
    rows: dict[str, dict[str, float]] = {}
    for name, images in (('noise', _noise(size)), ('sample drive', _sample())):
        config, ours = _engine(settings)
        ours.graphs = open_graphs(ours, config.model, wait=True, say=print)
        rows[name] = differences(ours, _engine(settings)[1], images)
    for column in ('', *rows['noise']):
        table.add_column(column)
    for name, found in rows.items():
        table.add_row(name, *(f'{value:.1e}' for value in found.values()))
    Console().print(table)


def _noise(size: str) -> Iterator[NDArray]:
    import numpy as np

    width, height = map(int, size.split('x'))
    for index in range(CHECKED):
        yield np.random.default_rng(index).integers(0, 256, (height, width, 3), np.uint8)


def _sample() -> Iterator[NDArray]:
    from itertools import islice

    from page4d_ros.datasets.registry import open_sequences

    (sequence,) = open_sequences('bag', SAMPLE)
    for frame in islice(sequence.frames(), CHECKED):
        yield frame.rgb
