"""Index of a destination in Parquet: a row a recording, and a row a minute."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq

from page4d_ros.fleet.store import MANIFESTS, Store

if TYPE_CHECKING:
    from collections.abc import Iterator

INDEX, MINUTES = 'index.parquet', 'minutes.parquet'
ROWS = 2000  # that are written at once
FIGURES = [
    ('seconds', pa.float64()),
    ('estimates', pa.int64()),
    ('path', pa.float64()),
    ('metric', pa.bool_()),
    ('moving', pa.float64()),
    ('bodies', pa.int64()),
    ('network_trust', pa.float64()),
    ('scale_state', pa.string()),
    ('lost_seconds', pa.float64()),
    ('worst', pa.list_(pa.int64())),
    ('badness', pa.float64()),
]
WHO = [('recording', pa.string()), ('key', pa.string()), ('output', pa.string())]
FACTS = [
    ('size', pa.int64()),
    ('finished', pa.float64()),
    ('work_seconds', pa.float64()),
    ('version', pa.string()),
    ('weights', pa.string()),
    ('parts', pa.int64()),
    ('tries', pa.int64()),
    ('reduced', pa.string()),
    ('frames', pa.int64()),
    ('labelled', pa.int64()),
    ('warnings', pa.list_(pa.string())),
]
RECORDING_ROWS = pa.schema([*WHO, *FIGURES, *FACTS])
MINUTE_ROWS = pa.schema([*WHO, ('minute', pa.int64()), *FIGURES])


def newest(store: Store) -> dict[str, str]:
    """Key of the newest result of each recording, by its address."""
    times: dict[str, tuple[float, str]] = {}
    for manifest in store.read_all(MANIFESTS):
        stamp = manifest['finished'], manifest['key']
        times[manifest['recording']] = max(times.get(manifest['recording'], (0.0, '')), stamp)
    return {address: key for address, (_, key) in times.items()}


def rows(store: Store) -> Iterator[tuple[dict[str, Any], list[dict[str, Any]]]]:
    """Row of each recording and rows of its minutes, of the newest result of each."""
    chosen = newest(store)
    for manifest in store.read_all(MANIFESTS):
        if chosen.get(manifest['recording']) != manifest['key']:
            continue
        manifest['output'] = (store.place / manifest['output']).address
        row = manifest | manifest['figures']
        who = {name: manifest[name] for name, _ in WHO}
        yield row, [who | minute for minute in manifest['minutes']]


def write_index(store: Store) -> int:
    """Write both tables of a destination anew; returns the number of recordings."""
    count = 0
    with tempfile.TemporaryDirectory(prefix='page4d-') as folder:
        paths = Path(folder) / INDEX, Path(folder) / MINUTES
        with (
            pq.ParquetWriter(paths[0], RECORDING_ROWS) as index,
            pq.ParquetWriter(paths[1], MINUTE_ROWS) as minutes,
        ):
            some: list[dict[str, Any]] = []
            parts: list[dict[str, Any]] = []
            for row, of_minutes in rows(store):
                count += 1
                some.append(row)
                parts += of_minutes
                if len(some) >= ROWS:
                    _write(index, some)
                    _write(minutes, parts)
            _write(index, some)
            _write(minutes, parts)
        for path in paths:
            store.write(path.name, path.read_bytes())
    return count


def _write(writer: pq.ParquetWriter, some: list[dict[str, Any]]) -> None:
    """Write gathered rows, and forget them."""
    if some:
        writer.write_table(pa.Table.from_pylist(some, schema=writer.schema))
        some.clear()
