"""Two runs over the same frames: what differs, and by more than chance."""

from __future__ import annotations

import json
from itertools import chain
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from page4d_ros.errors import BagError
from page4d_ros.evaluation.metrics.blocks import figure
from page4d_ros.evaluation.metrics.figures import Metric, difference
from page4d_ros.evaluation.metrics.figures import figure as resampled
from page4d_ros.evaluation.plans.data import FORMAT, KIND
from page4d_ros.evaluation.plans.data_tables import COLUMNS, TITLES, value
from page4d_ros.evaluation.report.page import METRICS_FILE
from page4d_ros.evaluation.report.tables import UNKNOWN, Column, Row, Table, as_cell, number, table

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

CHANGES = (
    Column('first', 'A'),
    Column('second', 'B'),
    Column('change', 'B - A'),
    Column('interval', '95 % interval'),
    Column('verdict', ''),
)
SEQUENCES = 5  # from so many on they are resampled as wholes
Sums = tuple[float, float]  # sum and weight


class Difference(NamedTuple):
    """Difference of a figure, second run minus first.

    Attributes:
        section, head: what is compared.
        method: way of running.
        first, second: figures; None where not known.
        low, high: 95 % interval of second - first; NaN where it cannot be resampled.
        less: whether less is better.
    """

    section: str
    head: str
    method: str
    first: float | None
    second: float | None
    low: float
    high: float
    less: bool

    @property
    def sure(self) -> bool:
        """True if the interval excludes 0."""
        return bool(self.low > 0 or self.high < 0)


def read_metrics(path: Path) -> dict[str, Any]:
    """Read what `page4d evaluate data` wrote, from its folder or the file itself.

    Raises:
        BagError: it is missing or something else.
    """
    path = path.expanduser()
    file = path / METRICS_FILE if path.is_dir() else path
    if not file.is_file():
        raise BagError(f'{path}: no {METRICS_FILE} here; give what {KIND} has written')
    try:
        metrics = json.loads(file.read_text(encoding='utf-8'))
    except ValueError as error:
        raise BagError(f'{file}: is no JSON, or a damaged one ({error})') from error
    found = (metrics.get('kind'), metrics.get('format')) if isinstance(metrics, dict) else None
    if found != (KIND, FORMAT):
        raise BagError(f'{file}: is not of {KIND}, or of another version of it; run that again')
    return metrics


def compare(first: dict[str, Any], second: dict[str, Any]) -> list[Difference]:
    """Differences of all figures and ways of running that both have.

    With five sequences or more, sequences are drawn with replacement, the same of both runs;
    with fewer, stretches of about sqrt(n) frames within each (see `Shares`). Poses are aligned
    once, not for each draw.

    Raises:
        BagError: they are not of the same frames; says how they differ.
    """
    _check(first, second)
    out = []
    for section, columns in COLUMNS.items():
        for method in _methods(first, section):
            if method not in _methods(second, section):
                continue
            for column in columns:
                found = _difference(first, second, section, method, column)
                out += [found] if found is not None else []
    return out


def _check(first: dict[str, Any], second: dict[str, Any]) -> None:
    def facts(metrics: dict[str, Any]) -> dict[str, Any]:
        protocol = {k: v for k, v in metrics['protocol'].items() if k != 'modes'}
        frames = {name: sequence['frames'] for name, sequence in metrics['sequences'].items()}
        return {'data set': metrics['dataset'], **protocol, 'sequences and frames': frames}

    ours, theirs = facts(first), facts(second)
    if wrong := [name for name in ours if ours[name] != theirs[name]]:
        name = wrong[0]
        raise BagError(
            f'cannot be compared, {name} differs: {ours[name]} and {theirs[name]}; '
            'measure both in the same way'
        )


def _methods(metrics: dict[str, Any], section: str) -> list[str]:
    """Networks' ways of running that have a section."""
    known = dict.fromkeys(
        method
        for sequence in metrics['sequences'].values()
        for method, tree in sequence['methods'].items()
        if tree and 'blocks' in tree and tree[section]
    )
    return list(known)


def _difference(
    first: dict[str, Any], second: dict[str, Any], section: str, method: str, column: Column
) -> Difference | None:
    runs = first, second
    names = [
        name
        for name in first['sequences']
        if all(_known(run, name, method, section, column.key) is not None for run in runs)
    ]
    if not names:
        return None
    values = [
        float(np.mean([_known(run, name, method, section, column.key) for name in names]))
        for run in runs
    ]
    key = f'{section}.{column.key}'
    pooled = section == 'depth' and first['protocol']['as_published']
    sums = [[_sums(run, name, method, key) for name in names] for run in runs]
    low = high = np.nan
    if all(all(run) for run in sums):
        metric = Metric('', column.less, lambda units: _statistic(key, units, pooled=pooled), '')
        one, other = (resampled(_strata(run, pooled=pooled), metric) for run in sums)
        found = difference(other, one)
        values, low, high = [one.mean, other.mean], found['low'], found['high']
    return Difference(section, column.head, method, *values, low, high, column.less)


def _known(run: dict[str, Any], name: str, method: str, section: str, key: str) -> float | None:
    tree = run['sequences'][name]['methods'].get(method)
    return value(section, tree[section], key) if tree and tree[section] else None


def _sums(run: dict[str, Any], name: str, method: str, key: str) -> list[Sums]:
    known = run['sequences'][name]['methods'][method]['blocks'].get(key)
    return list(zip(known['sum'], known['weight'], strict=True)) if known else []


def _strata(sequences: list[list[Sums]], *, pooled: bool) -> list[list[Any]]:
    """Lists within which is drawn, of units, each a list of sums."""
    if len(sequences) >= SEQUENCES:
        return [sequences]
    units = [[[block] for block in blocks] for blocks in sequences]
    return [list(chain.from_iterable(units))] if pooled else units


def _statistic(key: str, units: Sequence[list[Sums]], *, pooled: bool) -> float:
    """Figure of the drawn: of all blocks together, or the mean over whole sequences."""
    if pooled or all(len(unit) == 1 for unit in units):
        return figure(key, *np.sum([block for unit in units for block in unit], axis=0))
    return float(np.mean([figure(key, *np.sum(unit, axis=0)) for unit in units]))


def difference_tables(paths: tuple[Path, Path]) -> list[Table]:
    """Two results of `page4d evaluate data`, a table for each section; what is sure is marked.

    Raises:
        BagError: one cannot be read, or they are not of the same frames.
    """
    first, second = map(read_metrics, paths)
    differences = compare(first, second)
    if not differences:
        raise BagError(f'{paths[0]} and {paths[1]} have no figure in common')
    how = 'sequences' if len(first['sequences']) >= SEQUENCES else 'stretches of each sequence'
    runs = zip('AB', (first, second), paths, strict=True)
    note = ', '.join(
        f'{name} is {run["checkpoint"]["label"]} in {path}' for name, run, path in runs
    )
    note += (
        f'. Interval: 95 % of a paired bootstrap over {how}. Bold: it excludes 0; then the last '
        'column says which way.'
    )
    out = []
    for section, title in TITLES.items():
        rows = [_row(found) for found in differences if found.section == section]
        out += [table(f'{title}: B against A', rows, CHANGES, note)] if rows else []
    return out


def _row(found: Difference) -> Row:
    change = found.second - found.first
    interval = f'[{number(found.low)}, {number(found.high)}]'
    verdict = 'better' if (change < 0) == found.less else 'worse'
    tree = {
        'first': found.first,
        'second': found.second,
        'change': as_cell(change, best=found.sure, sign='+'),
        'interval': UNKNOWN if np.isnan(found.low) else interval,
        'verdict': verdict if found.sure else '',
    }
    return Row(f'{found.method}: {found.head}', tree)
