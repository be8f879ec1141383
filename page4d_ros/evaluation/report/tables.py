"""Metrics as tables and tiles of text, with the better value marked."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable

UNKNOWN = '–'
Rows = tuple[tuple[str, str, int], ...]


class Column(NamedTuple):
    """A figure in a table: key (path) below its section, head, and True if less is better."""

    key: str
    head: str
    less: bool


class Cell(NamedTuple):
    """A number as text; `hint` says why there is none, `best` marks the winner of its column."""

    text: str
    hint: str = ''
    best: bool = False


class Table(NamedTuple):
    """A table: title, column heads, rows of a name and cells, and a note below."""

    title: str
    heads: list[str]
    rows: list[tuple[str, list[Cell]]]
    note: str = ''


class Tile(NamedTuple):
    """A key figure: name, value, and what to compare it with."""

    name: str
    value: str
    note: str


# (key below the section, name of the row, rows that are compared with each other)
TRAJECTORY = (
    ('sim3', 'estimate, aligned by rotation, translation and scale', 0),
    ('se3', 'estimate, aligned without scale', 0),
    ('standing_still', 'standing still', 0),
    ('constant_velocity', 'constant velocity, told the mean', 0),
)
DEPTH = (
    ('per_frame', 'estimate, a scale per frame', 0),
    ('per_frame_flat_wall', 'flat wall, a scale per frame', 0),
    ('per_sequence', 'estimate, one scale', 1),
    ('per_sequence_flat_wall', 'flat wall, one scale', 1),
    ('unscaled', 'estimate as published, in metres', 1),
)
MASK = (
    ('estimate', 'estimate', 0),
    ('all_static', 'everything static', 0),
    ('all_moving', 'everything moving', 0),
)
POSE_COLUMNS = (
    Column('ate_m', 'ATE [m]', True),
    Column('rpe_translation_m', 'RPE [m]', True),
    Column('rpe_rotation_deg', 'RPE [°]', True),
)
DEPTH_COLUMNS = (Column('abs_rel', 'AbsRel', True), Column('delta_1_25', 'δ < 1.25', False))
MASK_COLUMNS = tuple(Column(key, key, False) for key in ('precision', 'recall', 'accuracy'))
MASK_COLUMNS += (Column('iou', 'IoU', False),)
# region (J) and boundary (F) measures of DAVIS
MOTION_COLUMNS = (
    Column('JM', 'JM', False),
    Column('JR', 'JR', False),
    Column('FM', 'FM', False),
    Column('FR', 'FR', False),
    Column('precision', 'precision', False),
    Column('recall', 'recall', False),
)


def number(value: float | None, digits: int = 3) -> str:
    """Short text of a number; a dash where it is not known."""
    if value is None:
        return UNKNOWN
    if isinstance(value, int):
        return f'{value:,}'.replace(',', ' ')
    if abs(value) < 5e-5:
        return '0'
    return f'{value:.{digits}g}' if abs(value) < 1000 else f'{value:.0f}'


def is_best(value: float | None, rivals: Iterable[float | None], *, less: bool) -> bool:
    """True if a value is the best of its rivals, itself among them; None does not count."""
    known = [rival for rival in rivals if rival is not None]
    return value is not None and value == (min if less else max)(known)


def markdown(table: Table) -> str:
    """The table as GitHub writes it, with its title above and its note below."""
    lines = [f'## {table.title}', '']
    lines += [f'| method | {" | ".join(table.heads)} |', '|---' * (len(table.heads) + 1) + '|']
    for label, cells in table.rows:
        texts = [f'**{cell.text}**' if cell.best else cell.text for cell in cells]
        full = [f'{text} {cell.hint}'.rstrip() for text, cell in zip(texts, cells, strict=True)]
        lines.append(f'| {label} | {" | ".join(full)} |')
    return '\n'.join([*lines, '', table.note, ''] if table.note else [*lines, ''])


def accuracy_tables(metrics: dict[str, Any]) -> list[Table]:
    """Pose, depth and mask beside their baselines; absent where there is no ground truth."""
    out = []
    if section := metrics['trajectory']:
        truth = section['truth']
        note = (
            f'{section["poses"]} poses of {section["frame"]}; the true path is '
            f'{number(truth["path_length_m"])} m long, {number(truth["extent_m"])} m across, and '
            f'turns by {number(truth["rotation_deg"])}°. RMSE; RPE from one pose to the next. '
            'Computed by evo.'
        )
        out.append(_table('Trajectory', metrics, 'trajectory', TRAJECTORY, POSE_COLUMNS, note))
    if section := metrics['depth']:
        note = (
            f'{section["frames"]} frames; {section["coverage"]:.0%} of the pixels with a true '
            'depth have a published one, and only these count. A flat wall is one depth '
            'everywhere, scaled in the same way.'
        )
        out.append(_table('Depth', metrics, 'depth', DEPTH, DEPTH_COLUMNS, note))
    if section := metrics['mask']:
        note = (
            f'{section["frames"]} frames; {section["moving_share"]:.1%} of the pixels truly move. '
            'Every pixel of the sequence counts the same.'
        )
        out.append(_table('Motion mask', metrics, 'mask', MASK, MASK_COLUMNS, note))
    return out


def _table(
    title: str,
    metrics: dict[str, Any],
    name: str,
    rows: Rows,
    columns: tuple[Column, ...],
    note: str,
) -> Table:
    section, reasons = metrics[name], metrics['reasons']
    values = {
        (row, key): section[row][key] if section[row] else None
        for row, _, _ in rows
        for key, _, _ in columns
    }

    def cell(row: str, group: int, key: str, *, less: bool) -> Cell:
        value = values[row, key]
        rivals = [values[other, key] for other, _, same in rows if same == group]
        wins = is_best(value, rivals, less=less)
        why = reasons.get(f'{name}.{row}.{key}') or reasons.get(f'{name}.{row}', '')
        return Cell(number(value), why, wins and metrics['run']['trained'] is not False)

    lines = [
        (label, [cell(row, group, key, less=less) for key, _, less in columns])
        for row, label, group in rows
    ]
    return Table(title, [head for _, head, _ in columns], lines, note)


def tiles(metrics: dict[str, Any]) -> list[Tile]:
    """Key figures of the first screen."""
    run, timing = metrics['run'], metrics['timing'] or {}
    images = '' if run['images'] is None else f'of {number(run["images"])} images'
    out = [Tile('estimates', number(run['estimates']), images)]
    out.append(Tile('rate', f'{number(run["rate_hz"])} Hz', 'by the clock of the recording'))
    age = timing.get('frame_age_s', {})
    if age.get('median') is not None:
        note = f'median; 95 % below {1e3 * age["p95"]:.0f} ms'
        out.append(Tile('frame age', f'{1e3 * age["median"]:.0f} ms', note))
    elif timing:
        forward = timing['forward_ms']
        note = f'median; 95 % below {number(forward["p95"])}\u00a0ms'
        out.append(Tile('network', f'{number(forward["median"])} ms', note))
    return out + accuracy_tiles(metrics)


def accuracy_tiles(metrics: dict[str, Any]) -> list[Tile]:
    """Errors of pose, depth and mask beside those of their baselines; only what is known."""
    out = []
    if (pose := metrics['trajectory']) and pose['sim3']:
        note = f'standing still: {number(pose["standing_still"]["ate_m"])}\u00a0m'
        out.append(Tile('path error (ATE)', f'{number(pose["sim3"]["ate_m"])} m', note))
    if depth := metrics['depth']:
        value = number(depth['per_sequence']['abs_rel'])
        wall = number(depth['per_sequence_flat_wall']['abs_rel'])
        out.append(Tile('depth error (AbsRel)', value, f'flat wall: {wall}'))
    if mask := metrics['mask']:
        note = f'everything moving: {number(mask["all_moving"]["iou"])}'
        out.append(Tile('motion mask (IoU)', number(mask['estimate']['iou']), note))
    return out


def run_rows(metrics: dict[str, Any]) -> list[tuple[str, str]]:
    """Facts of the run, as (name, value)."""
    run = metrics['run']
    yes = {True: 'yes', False: 'no', None: UNKNOWN}
    counts = ('received', 'dropped', 'lost', 'window_size')
    return [
        ('weights', run['checkpoint'] or UNKNOWN),
        ('SHA-256', run['sha256'] or UNKNOWN),
        ('trained', yes[run['trained']]),
        ('device', run['device'] or UNKNOWN),
        ('lengths in metres', yes[run['metric']]),
        ('camera calibrated', yes[run['calibrated']]),
        *((name.replace('_', ' '), number(run[name])) for name in counts),
    ]
