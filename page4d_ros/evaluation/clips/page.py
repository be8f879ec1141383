"""The page about sequences: the answer first, then each sequence as it was seen."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from markupsafe import Markup

from page4d_ros.evaluation import plots
from page4d_ros.evaluation.clips.gallery import TOTAL
from page4d_ros.evaluation.tables import Tile, number
from page4d_ros.evaluation.verdict import BAD, FAIR, GOOD, PLAIN, UNTRAINED, Verdict
from page4d_ros.evaluation.view import view

if TYPE_CHECKING:
    from page4d_ros.evaluation.clips.gallery import Shown
    from page4d_ros.evaluation.trajectory import Aligned

TRIVIAL = 'Trivial answers: standing still, a flat wall, everything moving.'


def shown_part(
    index: int, name: str, tree: dict[str, Any] | None, shown: Shown, paths: dict[str, Aligned]
) -> dict[str, Any]:
    """What the template needs of a sequence.

    Args:
        index: of the sequence on the page, for names in it.
        name: of the sequence.
        tree: settled metrics of the road that is shown.
        shown: of that road.
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
        'tiles': _tiles(tree),
        'columns': shown.columns,
        'worst': shown.worst,
        'over_time': over_time,
        'scene': view(scene, 'm' if tree['metric'] else '') if scene is not None else None,
        'figures': {key: Markup(svg) for key, svg in figures.items()},  # noqa: S704
    }


def judge(roads: list[dict[str, Any]], *, trained: bool, caution: str) -> Verdict:
    """Judge settled metrics of sequences, one road each."""
    if not trained:
        return Verdict(FAIR, 'The plumbing works.', '', UNTRAINED)
    won: dict[str, list[bool]] = {}
    for tree in roads:
        for name, better in _comparisons(tree).items():
            won.setdefault(name, []).append(better)
    if not won:
        detail = 'Without ground truth, accuracy is not known.'
        return Verdict(PLAIN, 'It runs.', detail, caution)
    counts = [f'{name} {sum(wins)} of {len(wins)}' for name, wins in won.items()]
    wins = [better for known in won.values() for better in known]
    level, answer = (GOOD, 'Yes') if all(wins) else (FAIR, 'Partly') if any(wins) else (BAD, 'No')
    headline = f'{answer}: better than the trivial answers in {", ".join(counts)} sequences.'
    return Verdict(level, headline, TRIVIAL, caution)


def _comparisons(tree: dict[str, Any]) -> dict[str, bool]:
    """Whether pose, depth and mask are better than trivial answers; only what is known."""
    out = {}
    if (pose := tree['pose']) and pose['sim3']:
        still = pose['standing_still']
        keys = 'ate_m', 'rpe_translation_m'
        out['pose'] = all(pose['sim3'][key] < still[key] for key in keys)
    if depth := tree['depth']:
        wall = depth['per_sequence_flat_wall']['abs_rel']
        out['depth'] = depth['per_sequence']['abs_rel'] < wall
    if (mask := tree['mask']) and mask['moving']:
        out['motion mask'] = _iou(mask) > mask['moving']
    return out


def _iou(mask: dict[str, Any]) -> float:
    """Of precision and recall; 0 where nothing was hit."""
    precision, recall = mask['precision'] or 0.0, mask['recall'] or 0.0
    return 1 / (1 / precision + 1 / recall - 1) if precision and recall else 0.0


def _tiles(tree: dict[str, Any]) -> list[Tile]:
    """Key figures of a sequence."""
    time = tree['timing'][f'{TOTAL}_ms']
    rate = f'{number(1e3 / time["median"])} frames a second; 95 % below {number(time["p95"])} ms'
    out = [Tile('time a frame', f'{number(time["median"])} ms', rate)]
    if (pose := tree['pose']) and pose['sim3']:
        note = f'standing still: {number(pose["standing_still"]["ate_m"])}\u00a0m'
        out.append(Tile('path error (ATE)', f'{number(pose["sim3"]["ate_m"])} m', note))
    if depth := tree['depth']:
        note = f'flat wall: {number(depth["per_sequence_flat_wall"]["abs_rel"])}'
        out.append(Tile('depth error (AbsRel)', number(depth['per_sequence']['abs_rel']), note))
    if mask := tree['mask']:
        note = f'everything moving: {number(mask["moving"])}'
        out.append(Tile('motion mask (IoU)', number(_iou(mask)), note))
    return out
