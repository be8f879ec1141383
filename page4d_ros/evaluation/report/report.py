"""The report: one HTML file that needs nothing else."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from markupsafe import Markup

from page4d_ros.evaluation.metrics.running import FRAME_AGE, timing_series
from page4d_ros.evaluation.report import plots, tables
from page4d_ros.evaluation.report.page import write_page
from page4d_ros.evaluation.report.pictures import spread, strip, worst_frames
from page4d_ros.evaluation.report.scene import build_scene
from page4d_ros.evaluation.report.verdict import comparisons
from page4d_ros.evaluation.report.view import view

if TYPE_CHECKING:
    from page4d_ros.evaluation.metrics.recording import Case
    from page4d_ros.evaluation.report.scene import Scene
    from page4d_ros.evaluation.result import Measured


def write_report(path: Path, metrics: dict[str, Any], case: Case, measured: Measured) -> None:
    """Draw and write the report.

    Args:
        path: HTML file to write.
        metrics: settled metrics with verdict and reasons.
        case: where pictures and clouds come from.
        measured: the curves.

    Raises:
        OSError: the file cannot be written.
    """
    metric = metrics['run']['metric']
    unit = 'm' if metric else 'units, not metres'
    depth = metrics['depth']
    scale = depth['scale'] if depth and not metric else 1.0
    scene = build_scene(case, measured.path)
    worst = {
        name: strip(case, scale, worst_frames(case, errors)).columns
        for name, errors in measured.errors.items()
    }
    write_page(
        path,
        'report.html',
        m=metrics,
        tiles=tables.tiles(metrics),
        tables=tables.accuracy_tables(metrics),
        run_rows=tables.run_rows(metrics),
        won=comparisons(metrics),
        strip=strip(case, scale, spread(case)),
        worst=worst,
        scene=view(scene, 'm' if metric else '') if scene else None,
        depth_unit='m' if metric or depth else unit,
        over_time={
            name: Markup(plots.error_plot(f'error{index}', errors, name))  # noqa: S704
            for index, (name, errors) in enumerate(measured.errors.items())
        },
        figures={name: Markup(svg) for name, svg in _figures(case, measured, scene, unit).items()},  # noqa: S704
    )


def _figures(case: Case, measured: Measured, scene: Scene | None, unit: str) -> dict[str, str]:
    """SVG by name; figures without data are absent."""
    out: dict[str, str] = {}
    if scene is not None:
        out['path'] = plots.trajectory_plot(scene, unit)
        if len(scene.static) + len(scene.dynamic):
            out['above'] = plots.cloud_plot(scene, 'above', unit)
            out['side'] = plots.cloud_plot(scene, 'side', unit)
    if (aligned := measured.path) is not None:
        out['position'] = plots.position_plot(aligned)
    timing = measured.tree['timing']
    if isinstance(timing, dict):
        stages = {
            name.removesuffix('_ms'): (row['median'], row['p95'])
            for name, row in timing.items()
            if name != FRAME_AGE and np.isfinite(row['p95'])
        }
        if stages:
            out['stages'] = plots.stages_plot(stages)
        series = timing_series(case.recording)
        curves = {'forward': series['forward_ms']}
        seconds, age = series[FRAME_AGE]
        if age.any():
            curves = {'frame age': (seconds, 1e3 * age)} | curves
        out['latency'] = plots.latency_plot(curves)
    return out
