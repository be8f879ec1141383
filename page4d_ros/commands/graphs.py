"""Commands that make graphs of the network for other libraries."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from rich import box
from rich.console import Console
from rich.table import Table
from typer import Argument, Option

from page4d_ros.commands.options import ImageTopic
from page4d_ros.commands.show import SAMPLE
from page4d_ros.config import Config
from page4d_ros.errors import Page4dError
from page4d_ros.settings import parse_assignment

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray


CALIBRATING = 32  # images of each recording
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
    calibrate: Annotated[
        list[Path] | None,
        Option(
            help='For model.precision int8: recording, folder of images or video of the camera; '
            'repeat it.',
            show_default='the sample drive, or what was given before',
        ),
    ] = None,
    image_topic: ImageTopic = '',
    settings: Settings = None,
) -> None:
    """Build what model.backend lacks ahead of time, so that the node starts with it.

    Settings must be the node's: weights, window.size, model.resolution and the like.
    """
    from page4d_ros.perception.graph_building import build_missing

    config = _config(settings)
    console = Console(stderr=True)
    with console.status('loading the network') as status:
        title, rows = build_missing(
            config,
            size,
            images=lambda: _calibrating(config, calibrate or [SAMPLE], image_topic),
            again=bool(calibrate),
            say=status.update,
        )
    if not rows:
        raise Page4dError(
            f'model.backend is {title} here, which needs no building; set it to openvino, or to '
            'tensorrt on a GPU'
        )
    table = Table(box=box.SIMPLE, title=title)
    for column in ('graph', 'built in, s', 'difference from torch'):
        table.add_column(column)
    for name, facts in rows.items():
        table.add_row(name, f'{facts["seconds"]:.1f}', f'{facts["difference"]:.1e}')
    Console().print(table)
    if check:
        _check(config, size)


def export(
    output: Annotated[Path, Argument(help='Folder for encoder.onnx, step.onnx, network.json.')],
    *,
    size: Size = '320x240',
    settings: Settings = None,
) -> None:
    """Write the network as ONNX for other programs, with a description of inputs and outputs."""
    from page4d_ros.backends.product import write_product
    from page4d_ros.perception.graph_building import node_graphs, on_cpu

    network, (frame, step) = node_graphs(on_cpu(_config(settings), 'fp32'), size)
    for file in write_product(network, frame, step, output):
        print(file)


def _config(settings: list[str] | None) -> Config:
    return Config().with_values(dict(map(parse_assignment, settings or [])))


def _calibrating(config: Config, recordings: list[Path], image_topic: str) -> list[NDArray]:
    """Images from the beginning of each recording, as many apart as the node takes them."""
    from itertools import islice

    from page4d_ros.bags.sources import open_source
    from page4d_ros.perception.types import Frame

    found = []
    for path in recordings:
        source = open_source(path, config, image_topic=image_topic)
        try:
            frames = (item for item in source.items() if isinstance(item, Frame))
            taken = islice(frames, 0, CALIBRATING * config.window.stride, config.window.stride)
            found += [frame.decode() for frame in taken]
        finally:
            source.close()
    return found


def _check(config: Config, size: str) -> None:
    from page4d_ros.benchmark.parity import differences
    from page4d_ros.perception.build import build_engine
    from page4d_ros.perception.graphs import open_graphs

    table = Table(box=box.SIMPLE, title='Largest relative difference from torch')
    rows: dict[str, dict[str, float]] = {}
    for name, images in (('noise', _noise(size)), ('sample drive', _sample())):
        ours, theirs = build_engine(config), build_engine(config)
        ours.graphs = open_graphs(ours, config.model, wait=True, say=print)
        rows[name] = differences(ours, theirs, images)
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
