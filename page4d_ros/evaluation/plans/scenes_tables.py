"""The figures of ``metrics.json`` as tables: methods in rows, metrics in columns."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from page4d_ros.datasets.rendered_plan import Group
from page4d_ros.evaluation.metrics.figures import METRICS
from page4d_ros.evaluation.plans.scenes_result import MEASURED
from page4d_ros.evaluation.report.tables import UNKNOWN, Cell, Table, is_best, markdown, number

if TYPE_CHECKING:
    from collections.abc import Callable

Column = tuple[str, str]  # group, metric

TITLES = {
    Group.KNOWN: 'Unseen drives and movers in known rooms',
    Group.CROWDED: 'Many movers in known rooms, cameras that move',
    Group.UNSEEN: 'Unseen rooms',
    Group.STREAM: 'Streams through known rooms',
}


def tables(metrics: dict[str, Any]) -> list[Table]:
    """Means, with 95 % intervals as hints, a table for each kind of drives, the best marked.

    Args:
        metrics: settled content of ``metrics.json``.
    """
    return [_table(metrics, group) for group in TITLES if group.value in metrics['figures']]


def block_tables(metrics: dict[str, Any]) -> list[Table]:
    """The figures of each block."""

    def cell(column: Column, label: str) -> Cell:
        row = _row(metrics, column)
        blocks = row[label]['blocks'] if label in row else []
        return Cell(' / '.join(number(value) for value in blocks) or UNKNOWN)

    return [
        Table(f'{title}, block by block', *_body(metrics, group, cell))
        for group, title in TITLES.items()
        if group.value in metrics['figures']
    ]


def difference_tables(metrics: dict[str, Any]) -> list[Table]:
    """Differences of the other networks to the first; significant improvements are marked."""
    if not metrics['differences']:
        return []
    first = metrics['checkpoints'][0]['label']

    def cell(column: Column, label: str) -> Cell:
        found = metrics['differences'][label][column[0]][column[1]]
        less = METRICS[column[1]].less
        better = found['mean'] is not None and (found['high'] < 0 if less else found['low'] > 0)
        return _shown(found, best=better, sign='+')

    note = 'Bold: better, and the interval of the paired bootstrap excludes zero.'
    return [
        Table(
            f'{title}: difference to {first}',
            *_body(metrics, group, cell, list(metrics['differences'])),
            note,
        )
        for group, title in TITLES.items()
        if group.value in metrics['figures']
    ]


def document(metrics: dict[str, Any]) -> str:
    """All tables, with what they rest on."""
    lines = ['# Evaluation on rendered drives', '', f'`{metrics["command"]}`', '']
    for network in metrics['checkpoints']:
        facts = [f'`{network["file"]}`', network['sha256'] and f'sha256 `{network["sha256"]}`']
        lines.append(f'- **{network["label"]}**: {", ".join(fact for fact in facts if fact)}')
    versions = ', '.join(f'{name} {version}' for name, version in metrics['versions'].items())
    lines += ['', *(f'- {text}' for text in metrics['remarks']), '', f'Versions: {versions}.', '']
    every = [*tables(metrics), *difference_tables(metrics), *block_tables(metrics)]
    shown = {name for names in MEASURED.values() for name in names}
    meanings = [f'- **{m.head}** – {m.meaning}.' for n, m in METRICS.items() if n in shown]
    lines += [*map(markdown, every), '## What the columns mean', '', *meanings]
    return '\n'.join(lines) + '\n'


def _columns(metrics: dict[str, Any], group: Group) -> list[Column]:
    groups = (group, Group.STATIC) if group is Group.KNOWN else (group,)
    return [
        (g.value, name) for g in groups if g.value in metrics['figures'] for name in MEASURED[g]
    ]


def _row(metrics: dict[str, Any], column: Column) -> dict[str, Any]:
    return metrics['figures'][column[0]][column[1]]


def _body(
    metrics: dict[str, Any],
    group: Group,
    cell: Callable[[Column, str], Cell],
    labels: list[str] | None = None,
) -> tuple[list[str], list[tuple[str, list[Cell]]]]:
    """Heads and rows; methods that answer nothing are left out."""
    columns = _columns(metrics, group)
    heads = [METRICS[name].head for _, name in columns]
    rows = [
        (label, [cell(column, label) for column in columns])
        for label in (metrics['methods'] if labels is None else labels)
    ]
    return heads, [row for row in rows if any(cell.text != UNKNOWN for cell in row[1])]


def _table(metrics: dict[str, Any], group: Group) -> Table:
    def cell(column: Column, label: str) -> Cell:
        row = _row(metrics, column)
        found = row.get(label)
        if found is None or found['mean'] is None:
            return Cell(UNKNOWN)
        rivals = [value['mean'] for value in row.values()]
        best = is_best(found['mean'], rivals, less=METRICS[column[1]].less)
        return _shown(found, best=best)

    return Table(TITLES[group], *_body(metrics, group, cell), _note(metrics, group))


def _shown(found: dict[str, Any], *, best: bool, sign: str = '') -> Cell:
    if found['mean'] is None:
        return Cell(UNKNOWN)
    plus = sign if found['mean'] > 0 else ''
    interval = f'[{number(found["low"])}, {number(found["high"])}]'
    return Cell(f'{plus}{number(found["mean"])}', interval, best)


def _note(metrics: dict[str, Any], group: Group) -> str:
    counts = metrics['counts'][group.value]
    rooms = ', '.join(map(str, counts['rooms']))
    text = f'{counts["drives"]} drives in {counts["blocks"]} block(s), rooms {rooms}'
    if group is Group.STREAM:
        return '; '.join([f'{text}, {counts["frames"]} frames', *_losses(metrics, counts)]) + '.'
    out = [f'{text}; {counts["moving_patches"]:.1%} of the patches move.']
    if lost := _listed(counts['failed_pairs']):
        out.append(f'Of {counts["pairs"]} pairs without a pose, hence identity: {lost}.')
    static = metrics['counts'].get(Group.STATIC.value)
    if group is Group.KNOWN and static:
        out.append(f'Last column: {static["drives"]} further drives in which nothing moves.')
    return ' '.join(out)


def _losses(metrics: dict[str, Any], counts: dict[str, Any]) -> list[str]:
    """Lost frames of the networks; simple methods stand still on purpose."""
    labels = [network['label'] for network in metrics['checkpoints']]
    lost = _listed({name: counts['frames'] - counts['poses'][name] for name in labels})
    flat = _listed({name: counts['collapsed'][name] for name in labels})
    out = [f'frames without a pose: {lost}'] * bool(lost)
    return out + [f'paths without extent, hence standing still: {flat}'] * bool(flat)


def _listed(counts: dict[str, int]) -> str:
    return ', '.join(f'{name} {count}' for name, count in counts.items() if count)
