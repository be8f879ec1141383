"""Dashboard of nodes in a terminal: what their status topics say, drawn by rich."""

from __future__ import annotations

import time
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from rich.bar import Bar
from rich.console import Group
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from page4d_ros.errors import printable
from page4d_ros.messages.status import LOST, PAUSED, STAGES, TRACKING
from page4d_ros.perception.trust import TRUSTED

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from rich.console import RenderableType

STATES = 'waiting', 'filling', 'tracking', 'lost', 'paused'  # of msg/PerceptionStatus.msg
COLOURS = {TRACKING: 'green', LOST: 'red', PAUSED: 'dim'}
SPAN = 5.0  # seconds over which rates are taken
SILENT = 3.0  # seconds after which a node counts as silent
BAR, LABEL, VALUE = 24, 9, 12  # characters
VIEW = 30, 12  # characters of the view from above, as columns and rows
MOST_POSITIONS = 2000
LEAST_EXTENT = 0.5  # of the view, in metres or units of the trajectory
# dots of a braille character, by row and column
DOTS = np.array([[0x01, 0x08], [0x02, 0x10], [0x04, 0x20], [0x40, 0x80]])
BRAILLE = 0x2800


@dataclass
class NodeState:
    """Recent messages of one node.

    Attributes:
        name: fully qualified.
        status: newest page4d_ros/PerceptionStatus; None before the first.
        positions: x and y in odom, oldest first.
    """

    name: str
    status: Any = None
    positions: deque[tuple[float, float]] = field(
        default_factory=lambda: deque(maxlen=MOST_POSITIONS)
    )
    _counts: deque[tuple[float, int, int]] = field(default_factory=deque)

    def saw_status(self, message: Any, now: float | None = None) -> None:
        """Note a status, which came at `now` seconds of the monotonic clock."""
        now = time.monotonic() if now is None else now
        if self._counts and message.received < self._counts[-1][1]:  # another node of this name
            self._counts.clear()
            self.positions.clear()
        self.status = message
        self._counts.append((now, int(message.received), int(message.processed)))
        while now - self._counts[0][0] > SPAN:
            self._counts.popleft()

    def saw_pose(self, pose: Any) -> None:
        """Note a geometry_msgs/Pose in odom."""
        self.positions.append((pose.position.x, pose.position.y))

    def tracks(self) -> bool:
        """True if its newest status says so."""
        return self.status is not None and self.status.state == TRACKING

    def rates(self) -> tuple[float, float]:
        """Images and estimates per second; NaN while that is not known."""
        if len(self._counts) < 2:
            return np.nan, np.nan
        (start, *before), (end, *after) = self._counts[0], self._counts[-1]
        seconds = max(end - start, 1e-3)
        images, estimates = ((b - a) / seconds for a, b in zip(before, after, strict=True))
        return images, estimates

    def silence(self, now: float | None = None) -> float:
        """Seconds since the last status."""
        now = time.monotonic() if now is None else now
        return now - self._counts[-1][0] if self._counts else np.inf


def dashboard(nodes: Iterable[NodeState]) -> RenderableType:
    """Panels of nodes, by name."""
    return Group(*(_panel(node) for node in sorted(nodes, key=lambda node: node.name)))


def _panel(node: NodeState) -> RenderableType:
    status = node.status
    if status is None:
        return Panel(Text('no status yet', style='dim'), title=printable(node.name))
    state = STATES[status.state] if status.state < len(STATES) else str(status.state)
    colour = COLOURS.get(status.state, 'yellow')
    if node.silence() > SILENT:
        state, colour = f'silent for {node.silence():.0f} s', 'red'
    grid = Table.grid(padding=(0, 3))
    unit = 'm' if status.metric else 'units'
    grid.add_row(Group(*_lines(node)), _seen_from_above(node.positions, unit))
    network = printable(f'{status.checkpoint} on {status.device}')
    title = Text.assemble(printable(node.name), '  ', (state, f'bold {colour}'))
    return Panel(grid, title=title, title_align='left', subtitle=network, subtitle_align='left')


def _lines(node: NodeState) -> list[RenderableType]:
    status, (images, estimates) = node.status, node.rates()
    times = {name: getattr(status, f'{name}_ms') for name in STAGES}
    longest = max(*times.values(), 1e-3)
    trusted = 'green' if status.network_trust >= TRUSTED else 'yellow'
    metric = 'metres' if status.metric else 'not metric'
    drops = status.dropped / status.received if status.received else 0.0
    return [
        _text('rate', f'{_number(images)} images/s, {_number(estimates)} estimates/s'),
        _text('age', f'{1e3 * status.frame_age:.0f} ms when published'),
        *(_bar(name, ms, longest, f'{ms:.1f} ms', 'blue') for name, ms in times.items()),
        _bar(
            'window',
            status.window_fill,
            status.window_size,
            f'{status.window_fill} of {status.window_size}',
            'green',
        ),
        _bar('trust', status.network_trust, 1.0, f'{status.network_trust:.2f}', trusted),
        _text('pose by', printable(status.relies_on) or 'nothing yet'),
        _text('scale', f'{status.scale:.4g}, {printable(status.scale_state) or "-"}, {metric}'),
        _text('drops', f'{status.dropped} of {status.received} ({drops:.0%})'),
        _text('bodies', str(len(status.bodies))),
    ]


def _number(value: float) -> str:
    return f'{value:.1f}' if np.isfinite(value) else '-'


def _text(name: str, text: str) -> Text:
    return Text(f'{name:{LABEL}}{text}', no_wrap=True, overflow='ellipsis')


def _bar(name: str, value: float, most: float, text: str, colour: str) -> RenderableType:
    row = Table.grid()
    for width in (LABEL, BAR, VALUE):
        row.add_column(width=width)
    shown = min(max(value, 0.0), most) if np.isfinite(value) else 0.0
    bar = Bar(max(most, 1e-9), 0, shown, width=BAR, color=colour)
    row.add_row(name, bar, f' {text}')
    return row


def _seen_from_above(positions: Sequence[tuple[float, float]], unit: str) -> RenderableType:
    lines, extent = top_view(np.array(positions, float).reshape(-1, 2), *VIEW)
    text = '\n'.join([*lines, f'path from above, {extent:.3g} {unit} high'])
    return Text(text, style='cyan', no_wrap=True)


def top_view(positions: np.ndarray, columns: int, rows: int) -> tuple[list[str], float]:
    """Draw a path from above: x upwards, y to the left (REP 103), its newest point marked.

    Args:
        positions: (n, 2) of x and y; those that are not finite are left out.
        columns: of characters, each of two by four dots.
        rows: likewise.

    Returns:
        Lines, and the extent of x that they show.
    """
    positions = positions[np.isfinite(positions).all(1)]
    dots = np.zeros((4 * rows, 2 * columns), bool)
    if not len(positions):
        return [''.join(map(chr, [BRAILLE] * columns))] * rows, LEAST_EXTENT
    low, high = positions.min(0), positions.max(0)
    height, width = dots.shape
    step = max((high - low) / (height - 1, width - 1))  # of a dot
    step = max(float(step), LEAST_EXTENT / (height - 1))
    row, column = np.rint(((low + high) / 2 - positions) / step + (height / 2, width / 2)).T
    row = np.clip(row, 0, height - 1).astype(int)
    column = np.clip(column, 0, width - 1).astype(int)
    dots[row, column] = True
    codes = (dots.reshape(rows, 4, columns, 2) * DOTS[:, None]).sum((1, 3)) + BRAILLE
    lines = [[chr(code) for code in line] for line in codes]
    lines[row[-1] // 4][column[-1] // 2] = '●'
    return [''.join(line) for line in lines], step * (height - 1)
