"""Tables of the evaluation of odometry."""

from __future__ import annotations

from typing import Any

from page4d_ros.evaluation.plans.odometry_gates import gate_table
from page4d_ros.evaluation.report.tables import (
    POSE_COLUMNS,
    Column,
    Row,
    Table,
    lookup,
    number,
    table,
)
from page4d_ros.perception.types import RELIANCE

STILL = 'standing still'
DRIVE_COLUMNS = (
    *POSE_COLUMNS,
    Column('percent_of_path', 'ATE / path [%]'),
    Column('percent_of_extent', 'ATE / extent [%]'),
    Column('network_trust', 'trust'),
    Column('relied', 'relies on [%]'),
    Column('cpu_ms', 'CPU [ms]'),
)
HONESTY_COLUMNS = (
    Column('percent_lost', 'lost [%]'),
    Column('percent_jump', 'jump / depth [%]'),
    Column('percent_drift', 'drift / depth [%]'),
    *(
        Column(f'{kind}.{key}', f'{kind[:3]}. {head}')
        for kind, unit in (('position', '[m]'), ('orientation', '[°]'))
        for key, head in (
            ('error', f'error {unit}'),
            ('deviation_bare', f'σ {unit}'),
            ('within', 'within 3σ'),
            ('within_bare', 'no floor'),
        )
    ),
)
HONESTY_NOTE = (
    'The estimate is laid over the truth at one pose, the first one or the last before the bad '
    'time; errors are the largest from there on. σ: median standard deviation without the floor '
    'of the settings (odometry.position_covariance, odometry.orientation_covariance). Shares of '
    'the frames with a pose, whose error is within three published standard deviations, with the '
    'floor and without.'
)
SWITCH_COLUMNS = (
    Column('before', 'trust before'),
    Column('frames', 'frames until noticed'),
    Column('seconds', 'time until noticed [s]'),
    Column('room.ate_m', 'ATE in the room [m]', True),
    Column('place.ate_m', 'ATE after it [m]', True),
)
SWITCH_NOTE = (
    'A known room, then the recording, in one stream. The switch is noticed when the network is '
    'not trusted any more (trust below 0.3). Each part is aligned by itself.'
)
TRIAL_COLUMNS = (
    Column('windows', 'windows'),
    Column('ate_m', 'ATE [m]'),
    Column('extent_m', 'extent [m]'),
    Column('scale_drift', 'scale drift'),
    Column('largest_step', 'largest step / median'),
    Column('wander', 'wander / depth'),
    Column('step_ms', 'first tenth [ms]'),
    Column('last_step_ms', 'last tenth [ms]'),
    Column('growth_mib', 'memory growth [MiB]'),
)
TRIAL_NOTE = (
    'Windows of a camera in a room, each in a random gauge (rotation, translation, scale 0.3 to '
    '3), without a network. ATE after Sim(3); scale drift: logarithm, first frame to last; '
    'wander: of a camera that stands still; the times are of odometry alone, here and now; memory '
    'from the end of the first tenth to the last frame.'
)


def tables(metrics: dict[str, Any]) -> list[Table]:
    """Gates, a table for each recording, switches, trials, as far as they are."""
    out = [gate_table(metrics['gates'])] if metrics['gates'] else []
    if len(metrics['drives']) > 1:
        out.append(_summary(metrics['drives']))
    out += [drive_table(metrics, name) for name in metrics['drives']]
    if metrics['switches']:
        out.append(_switch_table(metrics))
    rows = [Row(name, row) for name, row in metrics['trials'].items()]
    if rows:
        out.append(table('Windows that are known', rows, TRIAL_COLUMNS, TRIAL_NOTE))
    return out


def honesty_tables(metrics: dict[str, Any]) -> list[Table]:
    """A table for recordings, and one for stressed streams, as far as they are."""
    drives = {name: drive['honesty'] for name, drive in metrics['drives'].items()}
    out = []
    for title, group, path in (
        ('Errors and published variances', drives, 'drives.{}.honesty'),
        ('Stressed streams', metrics['stress'], 'stress.{}'),
    ):
        rows = [
            Row(f'{name}: {label}', _in_per_cent(tree), None, f'{path.format(name)}.{label}')
            for name, methods in group.items()
            for label, tree in methods.items()
        ]
        if rows:
            reasons = metrics['reasons']
            out.append(table(title, rows, HONESTY_COLUMNS, HONESTY_NOTE, reasons=reasons))
    return out


def _summary(drives: dict[str, Any]) -> Table:
    """Error of every method on every recording."""
    labels = list(dict.fromkeys(label for drive in drives.values() for label in drive['methods']))
    rows = []
    for name, drive in drives.items():
        shares = {label: lookup(drive['methods'].get(label), 'ate_per_path') for label in labels}
        shown = {label: 100 * share for label, share in shares.items() if share is not None}
        rows.append(Row(name, shown | {'length': drive['truth']['path_length_m']}))
    columns = [Column('length', 'path [m]'), *(Column(label, label) for label in labels)]
    return table('ATE / path [%]', rows, columns, 'After Sim(3).')


def drive_table(metrics: dict[str, Any], name: str) -> Table:
    """Methods on one recording."""
    drive = metrics['drives'][name]
    path = f'drives.{name}.methods'
    rows = [
        Row(
            label,
            row and _shown(row),
            None if label.startswith('oracle') else 0,
            f'{path}.{label}',
        )
        for label, row in drive['methods'].items()
    ]
    rows.append(Row(STILL, drive['standing_still']))
    truth = drive['truth']
    note = (
        f'{drive["frames"]} frames; the true path is {number(truth["path_length_m"])} m long, '
        f'{number(truth["extent_m"])} m across. After Sim(3), by evo; RPE from one frame to the '
        f'next. Relies on: {", ".join(RELIANCE)}. CPU: of corners and fusion, median, all '
        f'threads. Weights: {metrics["checkpoint"]}. {metrics["caution"]}'.strip()
    )
    return table(name, rows, DRIVE_COLUMNS, note, reasons=metrics['reasons'])


def _shown(row: dict[str, Any]) -> dict[str, Any]:
    """Figures of a method, with shares in per cent."""
    out = row | {
        f'percent_of_{name}': 100 * row[f'ate_per_{name}']
        for name in ('path', 'extent')
        if row.get(f'ate_per_{name}') is not None
    }
    if row.get('relies_on') is not None:
        out['relied'] = '/'.join(f'{100 * row["relies_on"][name]:.0f}' for name in RELIANCE)
    return out


def _in_per_cent(tree: dict[str, Any] | None) -> dict[str, Any] | None:
    shares = {
        f'percent_{key}': 100 * tree[key]
        for key in ('lost', 'jump', 'drift')
        if tree and tree[key] is not None
    }
    return tree and tree | shares


def _switch_table(metrics: dict[str, Any]) -> Table:
    rows = [
        Row(f'{name}: {label}', tree, name, f'switches.{name}.{label}')
        for name, methods in metrics['switches'].items()
        for label, tree in methods.items()
    ]
    title = 'From a known room to another place'
    return table(title, rows, SWITCH_COLUMNS, SWITCH_NOTE, reasons=metrics['reasons'])
