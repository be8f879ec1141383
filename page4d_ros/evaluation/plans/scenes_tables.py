"""The figures of ``metrics.json`` as tables: methods in rows, metrics in columns."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from page4d_ros.datasets.rendered_plan import Group
from page4d_ros.evaluation.metrics.figures import METRICS
from page4d_ros.evaluation.plans.scenes_figures import MEASURED
from page4d_ros.evaluation.report.tables import (
    Cell,
    Column,
    Row,
    Table,
    as_cell,
    lookup,
    number,
    table,
)

if TYPE_CHECKING:
    from collections.abc import Callable

TITLES = {
    Group.KNOWN: 'Unseen drives and movers in known rooms',
    Group.CROWDED: 'Many movers in known rooms, cameras that move',
    Group.UNSEEN: 'Unseen rooms',
    Group.PLACE: 'Places of many kinds, each seen once',
    Group.STREAM: 'Streams through known rooms',
}
STILL = {Group.KNOWN: Group.STATIC, Group.PLACE: Group.STATIC_PLACE}  # where nothing moves

MEANINGS = [
    (metric.head, metric.meaning)
    for name, metric in METRICS.items()
    if any(name in names for names in MEASURED.values())
]


def tables(metrics: dict[str, Any]) -> list[Table]:
    """Means, with 95 % intervals as hints, a table for each kind of drives, the best marked.

    Args:
        metrics: settled content of ``metrics.json``.
    """
    return [
        _table(metrics, group, TITLES[group], metrics['methods'], _note(metrics, group))
        for group in _groups(metrics)
    ]


def block_tables(metrics: dict[str, Any]) -> list[Table]:
    """The figures of each block."""

    def blocks(found: dict[str, Any]) -> str | None:
        return ' / '.join(map(number, found['blocks'])) or None

    return [
        _table(metrics, group, f'{TITLES[group]}, block by block', metrics['methods'], cell=blocks)
        for group in _groups(metrics)
    ]


def difference_tables(metrics: dict[str, Any]) -> list[Table]:
    """Differences of the other networks to the first; significant improvements are marked."""
    if not metrics['differences']:
        return []
    first = metrics['checkpoints'][0]['label']
    note = 'Bold: better, and the interval of the paired bootstrap excludes zero.'
    out = []
    for group in _groups(metrics):
        columns = _columns(metrics, group)
        rows = []
        for label, found in metrics['differences'].items():
            tree = {c.key: _difference(lookup(found, c.key), less=c.less) for c in columns}
            rows.append(Row(label, tree))
        out.append(table(f'{TITLES[group]}: difference to {first}', rows, columns, note))
    return out


def _difference(found: dict[str, Any], *, less: bool) -> Cell | None:
    if found['mean'] is None:
        return None
    return as_cell(found, best=found['high'] < 0 if less else found['low'] > 0, sign='+')


def _groups(metrics: dict[str, Any]) -> list[Group]:
    return [group for group in TITLES if group.value in metrics['figures']]


def _columns(metrics: dict[str, Any], group: Group) -> list[Column]:
    """Metrics of a kind of drives; those of drives in which nothing moves join them."""
    groups = (group, STILL[group]) if group in STILL else (group,)
    return [
        Column(f'{kind}.{name}', METRICS[name].head, METRICS[name].less)
        for kind in (g.value for g in groups)
        if kind in metrics['figures']
        for name in MEASURED[kind]
    ]


def _table(
    metrics: dict[str, Any],
    group: Group,
    title: str,
    labels: list[str],
    note: str = '',
    cell: Callable[[dict[str, Any]], Any] = lambda found: found,
) -> Table:
    """Methods in rows; those that answer nothing are left out."""
    columns, rows = _columns(metrics, group), []
    for label in labels:
        found = {c.key: lookup(metrics['figures'], c.key).get(label) for c in columns}
        known = {key: cell(f) for key, f in found.items() if f is not None}
        if any(f['mean'] is not None for f in found.values() if f is not None):
            rows.append(Row(label, known))
    return table(title, rows, columns, note)


def _note(metrics: dict[str, Any], group: Group) -> str:
    counts = metrics['counts'][group.value]
    text = f'{counts["drives"]} drives in {counts["blocks"]} block(s)'
    if group is not Group.PLACE:
        text += f', rooms {", ".join(map(str, counts["rooms"]))}'
    if group is Group.STREAM:
        return '; '.join([f'{text}, {counts["frames"]} frames', *_losses(metrics, counts)]) + '.'
    out = [f'{text}; {counts["moving_patches"]:.1%} of the patches move.']
    if lost := _listed(counts['failed_pairs']):
        out.append(f'Of {counts["pairs"]} pairs without a pose, hence identity: {lost}.')
    still = STILL.get(group)
    if still and (static := metrics['counts'].get(still.value)):
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
