"""Limits that the figures of an evaluation of odometry have to keep."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from page4d_ros.evaluation.report.tables import Cell, Table, lookup, number

if TYPE_CHECKING:
    from collections.abc import Iterator

RATIO, FOOLED_RATIO = 1.1, 1.3
CPU_MS, CPU_PIXELS = 12.0, 640 * 480
JUMP, WITHIN, DRIFT, FALSE = 0.02, 0.95, 0.005, 0.02
STILL_M = 1e-3  # path of a camera on a tripod, at most
SECONDS, GROWTH_MIB = 1.0, 5.0
# of recordings of a data set: method ('' is the joined one), figure, limit
OF_DATASET = {
    'kitti': (', corners alone', 'ate_per_path', 0.005),
    '7scenes': (', corners alone', 'ate_per_path', 0.03),
    'tum': ('', 'ate_m', 0.02),
}
NAMES = {'ate_m': 'ATE [m]', 'ate_per_path': 'ATE / path'}
NOTE = (
    'Untrained weights, and the given ones, may not make the pose worse than corners alone do. A '
    'jump is the largest error of the motion from one frame to the next, over the depth of the '
    'scene. A pose is within its variance if its error is below three standard deviations.'
)


class Gate(NamedTuple):
    """A figure and its limit.

    Attributes:
        name: of the figure.
        value: None where it is not known.
        limit: largest value, or least one.
        least: True if the value has to be at least the limit.
    """

    name: str
    value: float | None
    limit: float
    least: bool = False

    @property
    def met(self) -> bool | None:
        """True if the limit is kept; None if the figure is not known."""
        if self.value is None:
            return None
        return self.value >= self.limit if self.least else self.value <= self.limit


def gates(metrics: dict[str, Any], weights: str, untrained: str) -> list[dict[str, Any]]:
    """All limits that apply to settled metrics.

    Args:
        metrics: of an `OdometryPlan`.
        weights: label of the given weights.
        untrained: label of random weights.
    """
    found = [
        *_of_drives(metrics['drives'], weights, untrained),
        *_of_stress(metrics, weights),
        *_of_switches(metrics, weights),
        *_of_trials(metrics['trials']),
    ]
    return [{**gate._asdict(), 'met': gate.met} for gate in found]


def _of_drives(drives: dict[str, Any], weights: str, untrained: str) -> Iterator[Gate]:
    for name, drive in drives.items():
        methods, still = drive['methods'], drive['truth']['path_length_m'] < STILL_M
        alone, fooled = f'{weights}, corners alone', 'oracle, 30 % of windows fooled'
        pairs = [(untrained, alone, RATIO), (weights, alone, RATIO)]
        pairs += [(fooled, 'oracle', FOOLED_RATIO)]
        for one, other, limit in dict.fromkeys(pairs):
            if one in methods and other in methods and not still:
                ratio = _ratio(*(lookup(methods[each], 'ate_m') for each in (one, other)))
                yield Gate(f'{name}: ATE of {one} / {other}', ratio, limit)
        if drive['dataset'] in OF_DATASET:
            way, key, limit = OF_DATASET[drive['dataset']]
            value = lookup(methods[weights + way], key)
            yield Gate(f'{name}: {NAMES[key]} of {weights}{way}', value, limit)
        if still:
            yield from _of_still(name, drive['honesty'], drive['false_motion'], weights)
        if drive['pixels'] >= CPU_PIXELS:
            value = lookup(methods[weights], 'cpu_ms')
            yield Gate(f'{name}: CPU time of corners and fusion [ms]', value, CPU_MS)


def _of_stress(metrics: dict[str, Any], weights: str) -> Iterator[Gate]:
    for name, methods in metrics['stress'].items():
        tree = methods[weights]
        yield Gate(f'{name}: jump / depth', lookup(tree, 'jump'), JUMP)
        shares = [lookup(tree, f'{kind}.within') for kind in ('position', 'orientation')]
        within = None if None in shares else min(shares)
        yield Gate(f'{name}: share of frames within 3 sigma', within, WITHIN, least=True)
    for name, methods in metrics['false_motion'].items():
        yield from _of_still(name, metrics['stress'][name], methods, weights)


def _of_still(
    name: str, honesty: dict[str, Any], motion: dict[str, Any], weights: str
) -> Iterator[Gate]:
    """A camera that stands still while something moves."""
    yield Gate(f'{name}: drift / depth', lookup(honesty[weights], 'drift'), DRIFT)
    called = f'{name}: share of static pixels called moving (mask without its margin)'
    yield Gate(called, motion[weights], FALSE)


def _of_switches(metrics: dict[str, Any], weights: str) -> Iterator[Gate]:
    for name, methods in metrics['switches'].items():
        value = lookup(methods[weights], 'seconds')
        yield Gate(f'from a known room to {name}: time until noticed [s]', value, SECONDS)


def _of_trials(trials: dict[str, Any]) -> Iterator[Gate]:
    for name, figures in trials.items():
        if name.startswith('30 min'):
            yield Gate(f'{name}: memory growth [MiB]', figures['growth_mib'], GROWTH_MIB)


def _ratio(value: float | None, by: float | None) -> float | None:
    return value / by if value is not None and by else None


def gate_table(found: list[dict[str, Any]]) -> Table:
    """Measured value, limit, and whether it is kept."""
    words = {True: 'yes', False: 'no', None: '–'}
    rows = [
        (
            gate['name'],
            [
                Cell(number(gate['value'])),
                Cell(f'{"≥" if gate["least"] else "≤"} {number(gate["limit"])}'),
                Cell(words[gate['met']]),
            ],
        )
        for gate in found
    ]
    return Table('Gates', ['measured', 'must', 'met'], rows, NOTE)
