"""Rows of papers, to be printed beside ours."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

FILE = Path(__file__).with_name('quoted.json')


def quotes(dataset: str, protocol: str) -> list[dict[str, Any]]:
    """Figures that papers print for this data set and protocol.

    Returns:
        For each row `source`, `method`, a `note` on how far it can be compared, and `figures` by
        section and key, as in the tables.
    """
    known = json.loads(FILE.read_text(encoding='utf-8'))
    wanted = ('source', 'method', 'note', 'figures')
    return [
        {name: row[name] for name in wanted}
        for row in known
        if row['dataset'] == dataset and protocol in row['protocols']
    ]
