"""The option --rrd: what is estimated, as a recording for the viewer Rerun."""

from __future__ import annotations

import contextlib
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from typer import Option

from page4d_ros.errors import Page4dError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from page4d_ros.perception.engine import Engine
    from page4d_ros.perception.types import Estimate
    from page4d_ros.rrd import RrdWriter

Rrd = Annotated[
    Path | None,
    Option('--rrd', metavar='FILE.rrd', help='Write a recording for the viewer Rerun, too.'),
]


def check_rrd(path: Path | None) -> Path | None:
    """The file with ~ resolved.

    Raises:
        Page4dError: Rerun is not installed, or the name is not that of a recording.
    """
    if path is None:
        return None
    if find_spec('rerun') is None:
        raise Page4dError('--rrd needs Rerun: pip install rerun-sdk')
    if path.suffix != '.rrd':
        raise Page4dError(f'--rrd {path}: the name has to end in .rrd')
    return path.expanduser()


def open_rrd(path: Path, name: str, engine: Engine) -> RrdWriter:
    """Begin a recording of what an engine makes of a sequence with that name.

    Raises:
        Page4dError: the file cannot be written.
    """
    from page4d_ros.rrd import RrdWriter

    return RrdWriter(path, name, f'# {name}\n\nWeights: {engine.name}. {engine.caution}')


@contextlib.contextmanager
def written(path: Path | None, name: str, engine: Engine) -> Iterator[Callable[[Estimate], None]]:
    """A function that takes estimates; without a path they go nowhere."""
    if path is None:
        yield lambda _estimate: None
        return
    with open_rrd(path, name, engine) as writer:
        yield writer.add
