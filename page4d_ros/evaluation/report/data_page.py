"""Verdict on sequences, and the section of the page about each of them."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Any

from page4d_ros.evaluation.metrics.sequence import TOTAL
from page4d_ros.evaluation.report.page import Plot, Section, failures, path_plots
from page4d_ros.evaluation.report.plots import NO_UNIT, cloud_plot
from page4d_ros.evaluation.report.recording_page import accuracy_tiles
from page4d_ros.evaluation.report.tables import Tile, number
from page4d_ros.evaluation.report.verdict import (
    FAIR,
    PLAIN,
    TRIVIAL,
    UNTRAINED,
    Verdict,
    answer,
    comparisons,
)
from page4d_ros.evaluation.report.view import view

if TYPE_CHECKING:
    from page4d_ros.evaluation.result import Evaluated


def section(index: int, found: Evaluated, trees: dict[str, Any]) -> Section:
    """A sequence as its first mode saw it.

    Args:
        index: of the sequence on the page, for names in it.
        found: results on the sequence; one method has collected a `Shown`.
        trees: settled metrics by method.
    """
    method, case = next((label, case) for label, case in found.cases.items() if case.shown)
    tree, shown = trees[method], case.shown[0]
    unit = 'm' if tree['metric'] else ''
    plots = []
    if shown.scene is not None:
        drawn = cloud_plot(shown.scene, 'above', unit or NO_UNIT, f'above{index}')
        plots.append(Plot(drawn, 'From above.', paper=True))
    text = (
        f'Shown is {method}. In each column one frame, as the network saw it. Red is called '
        'moving; a white line is the outline of what truly moves.'
    )
    return Section(
        found.source.name,
        tiles=_tiles(tree),
        texts=[text],
        columns=shown.columns,
        scene=view(shown.scene, unit) if shown.scene is not None else None,
        plots=[*plots, *path_plots(f'paths{index}', found.paths)],
        failures=failures(f'error{index}', case.measured.errors, shown.worst),
    )


def judge(modes: list[dict[str, Any]], *, trained: bool, caution: str) -> Verdict:
    """Judge settled metrics of sequences, one mode each."""
    if not trained:
        return Verdict(FAIR, 'The plumbing works.', '', UNTRAINED)
    won: dict[str, list[bool]] = defaultdict(list)
    for tree in modes:
        for name, better in comparisons(_as_report(tree)).items():
            won[name].append(better)
    if not won:
        detail = 'Without ground truth, accuracy is not known.'
        return Verdict(PLAIN, 'It runs.', detail, caution)
    counted = {
        f'{name} ({sum(wins)} of {len(wins)})' if len(wins) > 1 else name: all(wins)
        for name, wins in won.items()
    }
    return Verdict(*answer(counted), TRIVIAL, caution)


def _as_report(tree: dict[str, Any]) -> dict[str, Any]:
    """Settled metrics of a mode as those of a recording."""
    mask = tree['mask']
    if mask:
        precision, recall = mask['precision'] or 0.0, mask['recall'] or 0.0
        hit = precision and recall
        mask = {
            'moving_share': mask['moving'],
            'estimate': {'iou': 1 / (1 / precision + 1 / recall - 1) if hit else 0.0},
            'all_moving': {'iou': mask['moving']},
        }
    return {'trajectory': tree['pose'], 'depth': tree['depth'], 'mask': mask}


def _tiles(tree: dict[str, Any]) -> list[Tile]:
    """Key figures of a sequence."""
    out = []
    if tree['timing']:
        median, p95 = (tree['timing'][f'{TOTAL}_ms'][name] for name in ('median', 'p95'))
        rate = f'{number(1e3 / median)} frames a second; 95 % below {number(p95)} ms'
        out.append(Tile('time a frame', f'{number(median)} ms', rate))
    return out + accuracy_tiles(_as_report(tree))
