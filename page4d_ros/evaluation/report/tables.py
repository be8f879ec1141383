"""Tables and tiles of text, with the best value of each column marked."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterable, Mapping, Sequence

UNKNOWN = '–'


class Column(NamedTuple):
    """A figure in a table.

    Attributes:
        key: dotted path of the figure in a row's tree.
        head: of the column.
        less: True if less is better; None if its figures do not compete.
    """

    key: str
    head: str
    less: bool | None = None


class Row(NamedTuple):
    """Figures of a method in a table.

    Attributes:
        label: name of the row.
        tree: figures by key of the column, nested or by dotted path. Each is a number, None, a
            text, a `Cell`, or a figure with its interval (`mean`, `low` and `high`).
        rivals: rows with the same value compete for the best figure; None competes with nobody,
            as an oracle or a row of a paper does.
        where: path of the tree in ``metrics.json``, by which the reasons of unknowns are found.
    """

    label: str
    tree: Mapping[str, Any] | None
    rivals: Hashable = 0
    where: str = ''


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


POSE_COLUMNS = (
    Column('ate_m', 'ATE [m]', True),
    Column('rpe_translation_m', 'RPE [m]', True),
    Column('rpe_rotation_deg', 'RPE [°]', True),
)
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


def lookup(tree: Mapping[str, Any] | None, key: str) -> Any:
    """The value at a dotted path; None where there is none."""
    if tree is None or key in tree:
        return tree and tree[key]
    first, _, rest = key.partition('.')
    inner = tree.get(first)
    return lookup(inner, rest) if rest and isinstance(inner, dict) else None


def table(
    title: str,
    rows: Iterable[Row],
    columns: Sequence[Column],
    note: str = '',
    *,
    reasons: Mapping[str, str] | None = None,
    mark: bool = True,
) -> Table:
    """Make a table; the best of two or more figures that compete in a column is marked.

    Args:
        title: above it.
        rows: in order.
        columns: in order.
        note: below it.
        reasons: why figures are unknown, by path in ``metrics.json``; they become hints.
        mark: False marks nothing as best.
    """
    rows, reasons = list(rows), reasons or {}

    def cell(row: Row, column: Column) -> Cell:
        value = lookup(row.tree, column.key)
        if not isinstance(value, Cell | str | None):
            same = (lookup(r.tree, column.key) for r in rows if r.rivals == row.rivals)
            competes = mark and row.rivals is not None and column.less is not None
            best = competes and _is_best(_figure(value), map(_figure, same), less=column.less)
            return as_cell(value, best=best)
        why = reasons.get(f'{row.where}.{column.key}', '')
        if not why and column is columns[0]:  # once for the whole row
            why = reasons.get(row.where, '')
        return as_cell(value) if value is not None else Cell(UNKNOWN, why)

    lines = [(row.label, [cell(row, column) for column in columns]) for row in rows]
    return Table(title, [column.head for column in columns], lines, note)


def as_cell(value: Any, *, best: bool = False, sign: str = '') -> Cell:
    """Text of a value of a row.

    Args:
        value: see `Row`.
        best: mark it.
        sign: stands before a positive number.
    """
    if isinstance(value, Cell):
        return value
    if isinstance(value, str):
        return Cell(value)
    known = _figure(value)
    text = f'{sign if known is not None and known > 0 else ""}{number(known)}'
    if isinstance(value, dict) and known is not None:
        return Cell(text, f'[{number(value["low"])}, {number(value["high"])}]', best)
    return Cell(text, best=best)


def _figure(value: Any) -> float | None:
    """The number that competes; None of texts and finished cells."""
    if isinstance(value, dict):
        return value['mean']
    return None if isinstance(value, Cell | str) else value


def _is_best(value: float | None, rivals: Iterable[float | None], *, less: bool) -> bool:
    known = [rival for rival in rivals if rival is not None]
    return len(known) > 1 and value == (min if less else max)(known)


def markdown(table: Table) -> str:
    """The table as GitHub writes it, with its title above and its note below."""
    lines = [f'## {table.title}', '']
    lines += [f'| method | {" | ".join(table.heads)} |', '|---' * (len(table.heads) + 1) + '|']
    for label, cells in table.rows:
        texts = [f'**{cell.text}**' if cell.best else cell.text for cell in cells]
        full = [f'{text} {cell.hint}'.rstrip() for text, cell in zip(texts, cells, strict=True)]
        lines.append(f'| {label} | {" | ".join(full)} |')
    return '\n'.join([*lines, '', table.note, ''] if table.note else [*lines, ''])
