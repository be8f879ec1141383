"""Page of a whole fleet: what came out, what failed, and the worst minutes as pictures."""

from __future__ import annotations

import base64
import heapq
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pyarrow.parquet as pq
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from page4d_ros.fleet.frames import thumbnail
from page4d_ros.fleet.index import INDEX, MINUTES
from page4d_ros.fleet.store import QUARANTINE

if TYPE_CHECKING:
    from collections.abc import Iterator

    from page4d_ros.fleet.store import Store

REPORT = 'report.html'
MOST_ROWS = 2000  # of the table; the index has all
PICTURES = 24  # worst minutes
BINS = 20
COLUMNS = (
    'recording', 'output', 'seconds', 'estimates', 'frames', 'path', 'metric', 'moving', 'bodies',
    'network_trust', 'scale_state', 'lost_seconds', 'badness', 'reduced',
)  # fmt: skip


class Histogram(NamedTuple):
    """Counts over equal bins from `low` to `high`."""

    title: str
    low: str
    high: str
    counts: list[int]

    @property
    def most(self) -> int:
        """Largest count, at least one."""
        return max(1, *self.counts)


def write_report(store: Store) -> None:
    """Write ``report.html`` of a destination from its index; `write_index` comes first."""
    with tempfile.TemporaryDirectory(prefix='page4d-') as folder:
        paths = [Path(folder) / name for name in (INDEX, MINUTES)]
        for path in paths:
            path.write_bytes(store.bytes_of(path.name))
        environment = Environment(
            loader=FileSystemLoader(Path(__file__).parent),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        text = environment.get_template(REPORT).render(
            **_numbers(paths[0]),
            worst=list(_pictures(store, paths[1])),
            failures=_failures(store, paths[0]),
            made=time.strftime('%Y-%m-%d %H:%M:%S %Z'),
            shown=MOST_ROWS,
        )
    store.write(REPORT, text.encode())


def _failures(store: Store, path: Path) -> list[dict[str, Any]]:
    """Facts of what was given up, but for recordings that have a later result."""
    table = pq.read_table(path, columns=['recording', 'finished'])
    names, times = (table[name].to_pylist() for name in table.column_names)
    done = dict(zip(names, times, strict=True))
    found = store.read_all(QUARANTINE)
    return [facts for facts in found if facts['time'] > done.get(facts['recording'], 0.0)]


def _numbers(path: Path) -> dict[str, Any]:
    """Totals, histograms, and the rows of the table, the worst first."""
    names = ('seconds', 'network_trust', 'moving', 'lost_seconds', 'frames')
    table = pq.read_table(path, columns=list(names))
    columns = {name: table[name].to_numpy() for name in names}
    seconds = columns['seconds']
    share = columns['lost_seconds'] / np.maximum(seconds, 1e-9)
    return {
        'recordings': len(seconds),
        'hours': float(seconds.sum()) / 3600,
        'lost': float(columns['lost_seconds'].sum() / max(seconds.sum(), 1e-9)),
        'frames': int(columns['frames'].sum()),
        'histograms': [
            _histogram('Length, minutes', seconds / 60, None),
            _histogram('Trust in the network', columns['network_trust'], 1.0),
            _histogram('Share of pixels that move', columns['moving'], 1.0),
            _histogram('Share of time lost', share, 1.0),
        ],
        'rows': heapq.nlargest(MOST_ROWS, _rows(path), key=lambda row: row['badness']),
    }


def _histogram(title: str, values: Any, high: float | None) -> Histogram:
    top = high or float(max(values.max(initial=0.0), 1e-3))
    counts, _ = np.histogram(np.clip(values, 0, top), BINS, (0.0, top))
    return Histogram(title, '0', f'{top:.3g}', counts.tolist())


def _rows(path: Path) -> Iterator[dict[str, Any]]:
    for batch in pq.ParquetFile(path).iter_batches(columns=list(COLUMNS)):
        yield from batch.to_pylist()


def _pictures(store: Store, path: Path) -> Iterator[dict[str, Any]]:
    """Worst minutes with their pictures as data URIs."""
    names = ['recording', 'output', 'minute', 'badness', 'lost_seconds', 'network_trust', 'moving']
    batches = pq.ParquetFile(path).iter_batches(columns=names)
    rows = (row for batch in batches for row in batch.to_pylist())
    for row in heapq.nlargest(PICTURES, rows, key=lambda row: row['badness']):
        output = row['output'].removeprefix(store.place.address).lstrip('/')
        data = store.bytes_of(f'{output}/{thumbnail(row["minute"])}')
        uri = f'data:image/jpeg;base64,{base64.b64encode(data).decode()}' if data else ''
        yield row | {'picture': uri}
