"""Files that an evaluation writes: metrics, tables, and a self-contained page."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from page4d_ros.evaluation.metrics.running import command_line, versions
from page4d_ros.evaluation.report.tables import markdown, number
from page4d_ros.evaluation.report.view import library
from page4d_ros.evaluation.result import settle

if TYPE_CHECKING:
    from collections.abc import Callable

    from page4d_ros.evaluation.report.tables import Table

METRICS_FILE, TABLES_FILE, REPORT_FILE = 'metrics.json', 'tables.md', 'report.html'
HERE = Path(__file__).parent


def write_results(
    output: Path,
    title: str,
    facts: dict[str, Any],
    tables: Callable[[dict[str, Any]], list[Table]],
    template: str,
    **values: Any,
) -> dict[str, Any]:
    """Write ``metrics.json``, ``tables.md`` and ``report.html``.

    Args:
        output: folder that is there.
        title: of the tables.
        facts: what was measured; command, versions and reasons join them.
        tables: makes them of the metrics.
        template: of the page.
        values: what the template needs besides metrics and tables.

    Returns:
        The content of ``metrics.json``.

    Raises:
        OSError: a file cannot be written.
    """
    command = command_line()
    metrics, reasons = settle({'command': command, **facts, 'versions': versions()})
    metrics['reasons'] = reasons
    write_metrics(output, metrics)
    shown = tables(metrics)
    lines = [f'# {title}', '', f'`{command}`', '', *map(markdown, shown)]
    (output / TABLES_FILE).write_text('\n'.join(lines) + '\n', encoding='utf-8')
    write_page(output / REPORT_FILE, template, m=metrics, tables=shown, **values)
    return metrics


def write_metrics(output: Path, metrics: dict[str, Any]) -> None:
    """Write ``metrics.json`` into a folder; what is unknown must be None by now.

    Raises:
        OSError: the file cannot be written.
    """
    text = json.dumps(metrics, indent=1, allow_nan=False)
    (output / METRICS_FILE).write_text(text + '\n', encoding='utf-8')


def write_page(path: Path, template: str, **values: Any) -> None:
    """Fill a template of this folder and write it.

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
    environment.filters['number'] = number
    environment.globals['plotly'] = library
    style = Markup((HERE / 'report.css').read_text(encoding='utf-8'))  # noqa: S704
    text = environment.get_template(template).render(style=style, **values)
    path.write_text(text, encoding='utf-8')
