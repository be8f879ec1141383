"""HTML pages that need nothing else: one file, the style in it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from page4d_ros.evaluation.tables import number

HERE = Path(__file__).parent


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
    style = Markup((HERE / 'report.css').read_text(encoding='utf-8'))  # noqa: S704
    text = environment.get_template(template).render(style=style, **values)
    path.write_text(text, encoding='utf-8')
