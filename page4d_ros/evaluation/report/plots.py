"""Plots as inline SVG that takes its colours from the page: light, dark and on paper."""

from __future__ import annotations

import re
from io import StringIO
from typing import TYPE_CHECKING

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure

from page4d_ros.evaluation.metrics.trajectory import POSITION_ERROR
from page4d_ros.perception.types import NETWORK, NETWORK_AND_POINTS, NOTHING, POINTS
from page4d_ros.units import NS_PER_S

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from numpy.typing import NDArray

    from page4d_ros.evaluation.report.scene import Scene
    from page4d_ros.evaluation.result import Aligned

NO_UNIT = 'units, not metres'
GREY = '#7d8590'
INK, FAINT = '#010203', '#040506'  # become the page's text and line colours
TRUTH, ESTIMATE, THIRD, MOVING = '#10b981', '#3b82f6', '#f59e0b', '#ef4444'
METHODS = ESTIMATE, '#8b5cf6', '#ec4899', THIRD
RELIED = {NETWORK_AND_POINTS: ESTIMATE, POINTS: TRUTH, NETWORK: THIRD, NOTHING: MOVING}
STYLE = {
    'axes.edgecolor': FAINT,
    'axes.facecolor': 'none',
    'axes.grid': True,
    'axes.labelcolor': INK,
    'axes.spines.right': False,
    'axes.spines.top': False,
    'figure.constrained_layout.use': True,
    'figure.facecolor': 'none',
    'font.size': 10.5,
    'grid.color': FAINT,
    'grid.linewidth': 0.7,
    'legend.frameon': False,
    'legend.labelcolor': INK,
    'lines.linewidth': 1.8,
    'savefig.facecolor': 'none',
    'svg.fonttype': 'none',
    'svg.hashsalt': 'page4d',
    'text.color': INK,
    'xtick.color': FAINT,
    'xtick.labelcolor': INK,
    'ytick.color': FAINT,
    'ytick.labelcolor': INK,
}
SIZE = (5.4, 3.3)
MOST_POINTS = 600  # per line
SMALLEST = 1e-3  # of an axis: rounding errors are no curves


def trajectory_plot(scene: Scene, unit: str) -> str:
    """Estimated path and true path from above, in the odom frame."""
    with mpl.rc_context(STYLE):
        figure, axes = _figure()
        _paths(axes, scene, (0, 1))
        axes.set(xlabel=f'x [{unit}]', ylabel=f'y [{unit}]')
        axes.set_aspect('equal', adjustable='datalim')
        axes.legend()
        return _svg(figure, 'path', 'Estimated and true path, seen from above')


def paths_plot(name: str, paths: dict[str, Aligned]) -> str:
    """Aligned paths and the true one, on the two axes along which it is longest."""
    truth = next(iter(paths.values())).truth
    across = np.sort(np.argsort(np.ptp(truth, axis=0))[-2:])
    with mpl.rc_context(STYLE):
        figure, axes = _figure()
        axes.plot(*truth[:, across].T, color=TRUTH, lw=5, alpha=0.5, label='truth')
        for (label, aligned), colour in zip(paths.items(), METHODS, strict=False):
            axes.plot(*aligned.estimate[:, across].T, color=colour, label=label, lw=1.2)
        axes.set(xlabel=f'{"xyz"[across[0]]} [m]', ylabel=f'{"xyz"[across[1]]} [m]')
        axes.set_aspect('equal', adjustable='datalim')
        axes.legend(fontsize=8)
        return _svg(figure, name, 'Aligned paths and the true one')


def position_plot(aligned: Aligned) -> str:
    """Each coordinate of the aligned trajectory and of the truth over time."""
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(SIZE[0], 1.25 * SIZE[1]))
        for row, axes in enumerate(figure.subplots(3, 1, sharex=True)):
            axes.plot(*_thin(aligned.seconds, aligned.truth[:, row]), color=TRUTH, lw=5, alpha=0.5)
            axes.plot(*_thin(aligned.seconds, aligned.estimate[:, row]), color=ESTIMATE, ls='--')
            axes.set_ylabel(f'{"xyz"[row]} [m]')
            axes.locator_params(axis='y', nbins=4)
        axes.set_xlabel('time [s]')
        figure.legend(
            ['truth', 'estimate, aligned'], loc='outside upper center', ncols=2, labelcolor=INK
        )
        return _svg(figure, 'position', 'Position over time, estimate and truth')


def error_plot(name: str, errors: list[tuple[int, float]], label: str) -> str:
    """One error over time, from zero up; `errors` holds (stamp, error)."""
    stamps, error = (np.array(column) for column in zip(*errors, strict=True))
    seconds = (stamps - stamps[0]) / NS_PER_S
    with mpl.rc_context(STYLE):
        figure, axes = _figure()
        axes.fill_between(*_thin(seconds, error), color=THIRD, alpha=0.25, linewidth=0)
        axes.plot(*_thin(seconds, error), color=THIRD)
        axes.set(xlabel='time [s]', ylabel=label)
        axes.set_ylim(0, max(1.1 * float(error.max()), SMALLEST))
        return _svg(figure, name, f'{label} over time')


def reliance_plot(
    name: str,
    seconds: NDArray,
    trust: NDArray,
    relies_on: list[str],
    errors: dict[str, tuple[NDArray, NDArray]],
) -> str:
    """Trust in the network over a band of what the pose relies on, and errors below.

    Args:
        name: on the page.
        seconds: (n,) since the camera came to another place.
        trust: (n,), 0 to 1.
        relies_on: n names of `RELIANCE`.
        errors: (seconds, metres) by method.
    """
    ends = np.append(seconds[1:], 2 * seconds[-1] - seconds[-2])
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(1.4 * SIZE[0], 1.25 * SIZE[1]))
        above, below = figure.subplots(2, 1, sharex=True)
        for relied, colour in RELIED.items():
            here = [
                (a, b - a) for a, b, r in zip(seconds, ends, relies_on, strict=True) if r == relied
            ]
            if here:
                above.broken_barh(here, (0, 1), color=colour, alpha=0.3, lw=0, label=relied)
        above.plot(seconds, trust, color=INK)
        above.set(ylabel='trust in the network', ylim=(0, 1))
        for (label, (at, error)), colour in zip(errors.items(), METHODS[::2], strict=False):
            below.plot(at, error, color=colour, label=label)
        below.set(xlabel='time since the switch [s]', ylabel=POSITION_ERROR)
        below.set_ylim(bottom=0)
        for axes in (above, below):
            axes.axvline(0.0, color=INK, lw=1, ls='--')
            axes.grid(visible=False, axis='x')
        bands = above.get_legend_handles_labels()
        figure.legend(
            *bands, loc='outside upper center', ncols=len(RELIED), title='pose relies on'
        )
        below.legend(loc='upper left', fontsize=9)
        return _svg(figure, name, 'Trust in the network, reliance and errors over time')


def latency_plot(series: dict[str, tuple[NDArray, NDArray]]) -> str:
    """Frame age and time per stage over time; `series` holds (seconds, milliseconds)."""
    colours = {'frame age': ESTIMATE, 'forward': THIRD}
    with mpl.rc_context(STYLE):
        figure, axes = _figure()
        for name, (seconds, milliseconds) in series.items():
            axes.plot(*_thin(seconds, milliseconds), color=colours.get(name, FAINT), label=name)
        axes.set(xlabel='time [s]', ylabel='[ms]')
        axes.set_ylim(bottom=0)
        axes.legend()
        return _svg(figure, 'latency', 'Latency over time')


def stages_plot(stages: dict[str, tuple[float, float]]) -> str:
    """Bars of (median, 95th percentile) in milliseconds."""
    names = list(stages)[::-1]
    median, p95 = (np.array([stages[name][i] for name in names]) for i in (0, 1))
    with mpl.rc_context(STYLE):
        figure, axes = _figure()
        axes.barh(names, p95, color=ESTIMATE, alpha=0.3, height=0.62, label='95th percentile')
        axes.barh(names, median, color=ESTIMATE, height=0.62, label='median')
        for row, value in enumerate(median):
            axes.text(max(p95[row], value), row, f'  {value:.1f} ms', va='center')
        axes.set_xlim(0, max(float(p95.max()) * 1.25, 1e-3))
        axes.grid(visible=False, axis='y')
        axes.set_xlabel('[ms]')
        figure.legend(loc='outside upper center', ncols=2, labelcolor=INK)
        return _svg(figure, 'stages', 'Time per stage, median and 95th percentile')


def cloud_plot(scene: Scene, view: str, unit: str, name: str = '') -> str:
    """Accumulated clouds and paths in the odom frame, from 'above' or from the 'side'."""
    across = (0, 1) if view == 'above' else (0, 2)
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(5.4, 4.4 if view == 'above' else 3.0))
        axes = figure.subplots()
        for points, red in ((scene.seen_from(view), False), (scene.dynamic, True)):
            colour = MOVING if red else points[:, 3:]
            axes.scatter(
                *points[:, across].T,
                s=1.6,
                c=colour,
                linewidths=0,
                rasterized=True,
                alpha=0.4 if red else 0.8,
            )
        _paths(axes, scene, across)
        (left, right), (low, high) = scene.limits()[list(across)]
        axes.set(xlim=(left, right), ylim=(low, high))
        axes.set_aspect('equal', adjustable='box')
        axes.set(xlabel=f'x [{unit}]', ylabel=f'{"xyz"[across[1]]} [{unit}]')
        axes.grid(visible=False)
        axes.scatter([], [], s=20, c=MOVING, label='moving')
        figure.legend(loc='outside upper center', ncols=3, labelcolor=INK)
        return _svg(figure, name or view, f'Clouds and paths seen from {view}')


def standalone(svg: str) -> str:
    """An SVG element of a page as a file of its own, legible on white and on black."""
    spaces = 'xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink"'
    out = svg.replace('currentColor', GREY).replace('var(--line)', f'{GREY}66')
    return out.replace('<svg', f'<svg {spaces} font-family="sans-serif"', 1)


def _figure() -> tuple[Figure, Axes]:
    figure = Figure(figsize=SIZE)
    return figure, figure.subplots()


def _paths(axes: Axes, scene: Scene, across: tuple[int, int]) -> None:
    if scene.truth is not None:
        axes.plot(*scene.truth[:, across].T, color=TRUTH, lw=5, alpha=0.5, label='truth')
    axes.plot(*scene.path[:, across].T, color=ESTIMATE, label='estimate')
    axes.plot(*scene.path[:1, across].T, 'o', color=ESTIMATE, ms=5)


def _thin(x: NDArray, y: NDArray) -> tuple[NDArray, NDArray]:
    step = -(-len(x) // MOST_POINTS)
    return x[::step], y[::step]


def _svg(figure: Figure, name: str, title: str) -> str:
    """SVG element for a page: no header, ids that are unique on the page, the page's colours."""
    out = StringIO()
    figure.savefig(out, format='svg', dpi=130, metadata={'Date': None})
    text = out.getvalue()
    text = text[text.index('<svg') :]
    text = re.sub(r'<metadata>.*?</metadata>', '', text, flags=re.DOTALL)
    text = re.sub(r' xmlns(:\w+)?="[^"]*"', '', text)
    wanted = set(re.findall(r'(?:url\(#|href="#)([^")]+)', text))

    def renamed(match: re.Match[str]) -> str:
        if match[1] not in wanted:
            return ''
        wanted.remove(match[1])  # the same mark may be defined twice
        return f' id="{name}-{match[1]}"'

    text = re.sub(r' id="([^"]+)"', renamed, text)
    text = re.sub(r'(url\(#|href="#)', rf'\g<1>{name}-', text)
    text = text.replace(INK, 'currentColor').replace(FAINT, 'var(--line)')
    text = re.sub(r'font: ([\d.]+)px [^;\"]*', r'font-size: \1px', text)
    text = re.sub(r' (?:width|height)="[\d.]+pt"', '', text, count=2)
    return text.replace('<svg', f'<svg role="img" aria-label="{title}"', 1)
