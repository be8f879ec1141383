"""The figures of data sets as tables: sequences and methods in rows, and what papers print."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from page4d_ros.evaluation.metrics.blocks import figure
from page4d_ros.evaluation.report.tables import (
    MOTION_COLUMNS,
    POSE_COLUMNS,
    Column,
    Row,
    Table,
    lookup,
    table,
)

# section, label, and where the answers lie in the section of any method
SIMPLE = {
    'pose': {
        'standing still': {'sim3': 'standing_still'},
        'constant velocity, told the mean': {'sim3': 'constant_velocity'},
    },
    'depth': {
        'flat wall': {'per_frame': 'per_frame_flat_wall', 'per_sequence': 'per_sequence_flat_wall'}
    },
}
MEAN = 'mean'
QUOTED = Path(__file__).with_name('quoted.json')
COLUMNS = {
    'pose': POSE_COLUMNS,
    'depth': (
        Column('per_frame.abs_rel', 'AbsRel, scale per frame', True),
        Column('per_frame.delta_1_25', 'δ < 1.25, scale per frame', False),
        Column('per_frame_scale_shift.abs_rel', 'AbsRel, scale and shift per frame', True),
        Column('per_sequence.abs_rel', 'AbsRel, one scale', True),
        Column('per_sequence.delta_1_25', 'δ < 1.25, one scale', False),
        Column('per_sequence_scale_shift.abs_rel', 'AbsRel, one scale and shift', True),
        Column('unscaled.abs_rel', 'AbsRel, as it is', True),
        Column('coverage', 'valid pixels', False),
    ),
    'points': (
        Column('mean.accuracy_m', 'Acc [m]', True),
        Column('median.accuracy_m', 'Acc median [m]', True),
        Column('mean.completeness_m', 'Comp [m]', True),
        Column('median.completeness_m', 'Comp median [m]', True),
        Column('mean.overall_m', 'Overall [m]', True),
        Column('median.overall_m', 'Overall median [m]', True),
        Column('mean.normal_consistency', 'NC', False),
    ),
    'mask': MOTION_COLUMNS,
}
TITLES = {
    'pose': 'Pose, after Sim(3) alignment',
    'depth': 'Depth',
    'points': 'Point maps, after Sim(3) alignment',
    'mask': 'What moves',
}


def tables(metrics: dict[str, Any]) -> list[Table]:
    """For pose, depth, points and mask a table: sequences and methods, their mean, quoted rows."""
    return [found for section in COLUMNS if (found := _table(metrics, section))]


def _table(metrics: dict[str, Any], section: str) -> Table | None:
    columns, found = COLUMNS[section], _rows(metrics, section)
    if not found:
        return None
    rows = [Row(f'{name}: {method}', tree, name) for (name, method), tree in found.items()]
    if len(metrics['sequences']) > 1:
        for method in dict.fromkeys(method for _, method in found):
            means = {c.key: _mean(metrics, section, method, c.key) for c in columns}
            rows.append(Row(f'{MEAN}: {method}', means, rivals=(MEAN,)))
    for quote in metrics['quoted']:
        if section in quote['figures']:
            label = f'quoted ({quote["source"]}): {quote["method"]}'
            rows.append(Row(label, quote['figures'][section], rivals=None))
    state = 'on' if metrics['mask_in_attention'] else 'off, which is how VGGT runs'
    notes = [f'Weights: {metrics["checkpoint"]["label"]}.', metrics['caution']]
    notes.append(f'The mask in attention is {state}, where a row does not say otherwise.')
    notes += sorted({q['note'] for q in metrics['quoted'] if section in q['figures']})
    notes += metrics['remarks']
    text = ' '.join(f'{note.rstrip(".")}.' for note in notes if note)
    return table(TITLES[section], rows, columns, text)


def _rows(metrics: dict[str, Any], section: str) -> dict[tuple[str, str], dict[str, Any]]:
    """Figures by sequence and method; trivial answers stand below the first network."""
    out = {}
    for name, sequence in metrics['sequences'].items():
        simple: dict[str, Any] = {}
        for method, tree in sequence['methods'].items():
            if not tree or not tree.get(section):
                continue
            out[name, method] = tree[section]
            simple = simple or {
                label: {key: tree[section][source] for key, source in where.items()}
                for label, where in SIMPLE.get(section, {}).items()
            }
        out |= {(name, label): tree for label, tree in simple.items()}
    return {row: figures(section, tree) for row, tree in out.items()}


def figures(section: str, tree: dict[str, Any]) -> dict[str, Any] | None:
    """The part of a method's section that the table shows."""
    return tree.get('sim3') if section == 'pose' else tree


def value(section: str, tree: dict[str, Any], key: str) -> float | None:
    """A figure of a method's section; None where it is not known."""
    return lookup(figures(section, tree), key)


def _mean(metrics: dict[str, Any], section: str, method: str, key: str) -> float | None:
    """Over sequences; as PAGE-4D's code has it each pixel of their depths counts the same."""
    trees = [s['methods'].get(method) or {} for s in metrics['sequences'].values()]
    name = f'{section}.{key}'
    if section == 'depth' and metrics['protocol']['as_published']:
        blocks = [t['blocks'][name] for t in trees if name in t.get('blocks', {})]
        total, weight = (sum(sum(b[part]) for b in blocks) for part in ('sum', 'weight'))
        return figure(name, total, weight) if weight else None
    rows = _rows(metrics, section)
    known = [lookup(tree, key) for (_, other), tree in rows.items() if other == method]
    known = [x for x in known if x is not None]
    return float(np.mean(known)) if known else None


def quotes(dataset: str, protocol: str) -> list[dict[str, Any]]:
    """Figures that papers print for this data set and protocol.

    Returns:
        For each row `source`, `method`, a `note` on how far it can be compared, and `figures` by
        section and key, as in the tables.
    """
    known = json.loads(QUOTED.read_text(encoding='utf-8'))
    wanted = ('source', 'method', 'note', 'figures')
    return [
        {name: row[name] for name in wanted}
        for row in known
        if row['dataset'] == dataset and protocol in row['protocols']
    ]
