"""Files that an evaluation writes: metrics, tables, and a self-contained page."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from page4d_ros.evaluation.report.plots import error_plot, paths_plot
from page4d_ros.evaluation.report.tables import markdown
from page4d_ros.evaluation.report.view import library

if TYPE_CHECKING:
    from collections.abc import Sequence

    from page4d_ros.evaluation.report.pictures import Bar, Columns
    from page4d_ros.evaluation.report.tables import Table, Tile
    from page4d_ros.evaluation.result import Aligned, Errors

METRICS_FILE, TABLES_FILE, REPORT_FILE = 'metrics.json', 'tables.md', 'report.html'
HERE = Path(__file__).parent


class Plot(NamedTuple):
    """A plot of the page: SVG, caption, and True if only paper shows it."""

    svg: str
    caption: str
    paper: bool = False


class Failure(NamedTuple):
    """An error over time (name and SVG), and pictures of the frames where it is largest."""

    name: str
    svg: str
    columns: Columns


class Section(NamedTuple):
    """A section of the page; what is empty is left out.

    Attributes:
        title: of the section.
        id: by which it can be linked.
        tiles: key figures.
        texts: paragraphs; "" is left out.
        columns: captions and pictures of frames.
        bar: colours of depth in the pictures.
        scene: JSON of the view to turn around, see `view`.
        plots: beside each other.
        failures: errors over time.
        tables: below each other.
        links: to other pages, as (text, relative address).
    """

    title: str
    id: str = ''
    tiles: Sequence[Tile] = ()
    texts: Sequence[str] = ()
    columns: Columns = ()
    bar: Bar | None = None
    scene: Markup | None = None
    plots: Sequence[Plot] = ()
    failures: Sequence[Failure] = ()
    tables: Sequence[Table] = ()
    links: Sequence[tuple[str, str]] = ()


class Page(NamedTuple):
    """A page; verdict, remarks, versions and command come from the metrics.

    Attributes:
        kind: small line above everything.
        title: of the page, in large letters where there is no verdict.
        sections: in order.
        facts: what ran, by name.
        tiles: key figures below the verdict.
        banner: a warning that concerns every number; "" without.
        untrained: True if the weights are, so that no number means anything.
    """

    kind: str
    title: str
    sections: Sequence[Section]
    facts: Sequence[tuple[str, str]] = ()
    tiles: Sequence[Tile] = ()
    banner: str = ''
    untrained: bool = False


def path_plots(name: str, paths: dict[str, Aligned]) -> list[Plot]:
    """Aligned paths of all methods, named `name` on the page; nothing without paths."""
    caption = 'Each path aligned to the truth by rotation, translation and scale.'
    return [Plot(paths_plot(name, paths), caption)] if paths else []


def failures(name: str, errors: dict[str, Errors], worst: dict[str, Columns]) -> list[Failure]:
    """Errors over time beside the frames where they are largest, named `name` on the page."""
    return [
        Failure(error, error_plot(f'{name}-{i}', known, error), worst[error])
        for i, (error, known) in enumerate(errors.items())
    ]


def write_metrics(output: Path, metrics: dict[str, Any]) -> None:
    """Write ``metrics.json`` into a folder; what is unknown must be None by now.

    Raises:
        OSError: the file cannot be written.
    """
    text = json.dumps(metrics, indent=1, allow_nan=False)
    (output / METRICS_FILE).write_text(text + '\n', encoding='utf-8')


def write_tables(output: Path, title: str, notes: Sequence[str], tables: Sequence[Table]) -> None:
    """Write ``tables.md`` into a folder.

    Raises:
        OSError: the file cannot be written.
    """
    lines = [f'# {title}', '', *notes, *map(markdown, tables)]
    (output / TABLES_FILE).write_text('\n'.join(lines) + '\n', encoding='utf-8')


def write_page(output: Path, page: Page, metrics: dict[str, Any]) -> None:
    """Write ``report.html`` into a folder.

    Raises:
        OSError: the file cannot be written.
    """
    environment = Environment(
        loader=FileSystemLoader(HERE),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals |= {'plotly': library, 'page': page, 'm': metrics}
    style = Markup((HERE / 'page.css').read_text(encoding='utf-8'))  # noqa: S704
    text = environment.get_template('page.html').render(style=style)
    (output / REPORT_FILE).write_text(text.lstrip(), encoding='utf-8')
