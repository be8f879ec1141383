"""The page about sequences: the answer first, then each sequence as it was seen."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Any

from markupsafe import Markup

from page4d_ros.evaluation.metrics.sequence import TOTAL
from page4d_ros.evaluation.report import plots
from page4d_ros.evaluation.report.tables import Tile, accuracy_tiles, number
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
    from page4d_ros.evaluation.report.gallery import Shown
    from page4d_ros.evaluation.result import Aligned


def shown_part(
    index: int,
    name: str,
    method: str,
    tree: dict[str, Any],
    shown: Shown,
    paths: dict[str, Aligned],
) -> dict[str, Any]:
    """Values of a sequence for the template.

    Args:
        index: of the sequence on the page, for names in it.
        name: of the sequence.
        method: name of the mode that is shown.
        tree: settled metrics of the mode that is shown.
        shown: of that mode.
        paths: aligned trajectories by method.
    """
    scene = shown.scene
    unit = 'm' if tree['metric'] else 'units, not metres'
    figures = {}
    if paths:
        figures['paths'] = plots.paths_plot(f'paths{index}', paths)
    if scene is not None:
        figures['above'] = plots.cloud_plot(scene, 'above', unit, f'above{index}')
    over_time = {
        error: Markup(plots.error_plot(f'error{index}-{i}', known, error))  # noqa: S704
        for i, (error, known) in enumerate(shown.errors.items())
    }
    return {
        'name': name,
        'method': method,
        'tiles': _tiles(tree),
        'columns': shown.columns,
        'worst': shown.worst,
        'over_time': over_time,
        'scene': view(scene, 'm' if tree['metric'] else '') if scene is not None else None,
        'figures': {key: Markup(svg) for key, svg in figures.items()},  # noqa: S704
    }


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
