"""Figures of the scores of all rendered drives, with intervals and differences."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from page4d_ros.datasets.rendered_plan import Group
from page4d_ros.evaluation.metrics.figures import METRICS, difference, figure

if TYPE_CHECKING:
    from collections.abc import Sequence

    from page4d_ros.evaluation.metrics.figures import Figure
    from page4d_ros.evaluation.metrics.prediction import Score
    from page4d_ros.evaluation.metrics.rendered import StreamScore
    from page4d_ros.evaluation.result import Evaluated, Result

    AnyScore = Score | StreamScore

DEPTH_AND_POSE = ('abs_rel', 'delta', 'rotation_deg', 'translation')
MOTION = ('motion_ap', 'motion_iou', 'mask_iou')
MEASURED = {
    Group.KNOWN.value: DEPTH_AND_POSE + MOTION,
    Group.STATIC.value: ('called_moving',),
    Group.CROWDED.value: DEPTH_AND_POSE + MOTION,
    Group.UNSEEN.value: DEPTH_AND_POSE + MOTION,
    Group.PLACE.value: DEPTH_AND_POSE + MOTION,
    Group.STATIC_PLACE.value: ('called_moving',),
    Group.STREAM.value: ('ate', 'rpe_translation_m', 'rpe_rotation_deg'),
}
NOTHING_MOVES = {Group.STATIC.value, Group.STATIC_PLACE.value}


def figures_of(result: Result, labels: Sequence[str], networks: int) -> dict[str, Any]:
    """Figures, differences between networks and values of each drive, for `settle`.

    Args:
        result: scores of all drives.
        labels: of the methods, the networks' first.
        networks: how many of the methods are networks.
    """
    groups = {
        g: drives for g in MEASURED if (drives := [d for d in result if d.source.group == g])
    }
    figures = {group: _figures(drives, labels) for group, drives in groups.items()}
    own = labels[:networks]
    return {
        # simple methods have no say on what they do not answer; networks owe a reason
        'figures': {
            group: {
                name: {
                    label: found.tree
                    for label, found in row.items()
                    if np.isfinite(found.mean) or label in own
                }
                for name, row in rows.items()
            }
            for group, rows in figures.items()
        },
        'differences': {
            label: {
                group: {name: difference(row[label], row[own[0]]) for name, row in rows.items()}
                for group, rows in figures.items()
            }
            for label in own[1:]
        },
        'rooms': {group: _by_room(drives, labels) for group, drives in groups.items()},
        'counts': {group: _counts(drives, labels) for group, drives in groups.items()},
        'drives': {
            group: [
                drive.source.facts
                | {'values': {label: _values([drive], label) for label in drive.cases}}
                for drive in drives
            ]
            for group, drives in groups.items()
        },
    }


def _scores(drives: Sequence[Evaluated], label: str) -> list[AnyScore]:
    return [drive.cases[label].tree['score'] for drive in drives]


def _answered(drives: Sequence[Evaluated], labels: Sequence[str]) -> list[str]:
    return [label for label in labels if label in drives[0].cases]


def _values(drives: Sequence[Evaluated], label: str) -> dict[str, float]:
    """Figures of some drives, those that there are."""
    scores = _scores(drives, label)
    found = {name: METRICS[name].statistic(scores) for name in MEASURED[drives[0].source.group]}
    return {name: value for name, value in found.items() if np.isfinite(value)}


def _figures(drives: Sequence[Evaluated], labels: Sequence[str]) -> dict[str, dict[str, Figure]]:
    blocks = [
        [drive for drive in drives if drive.source.facts['block'] == block]
        for block in sorted({drive.source.facts['block'] for drive in drives})
    ]
    return {
        name: {
            label: figure([_scores(block, label) for block in blocks], METRICS[name])
            for label in _answered(drives, labels)
        }
        for name in MEASURED[drives[0].source.group]
    }


def _by_room(drives: Sequence[Evaluated], labels: Sequence[str]) -> dict[str, Any]:
    """Figures of single rooms, over all blocks, by room, method and metric."""
    out: dict[str, Any] = {}
    for room in sorted({drive.source.facts['room'] for drive in drives}):
        inside = [drive for drive in drives if drive.source.facts['room'] == room]
        out[str(room)] = {label: _values(inside, label) for label in _answered(drives, labels)}
    return out


def _counts(drives: Sequence[Evaluated], labels: Sequence[str]) -> dict[str, Any]:
    """Numbers of sequences, rooms and failures."""
    out: dict[str, Any] = {
        'drives': len(drives),
        'rooms': sorted({drive.source.facts['room'] for drive in drives}),
        'blocks': len({drive.source.facts['block'] for drive in drives}),
    }
    scores = {label: _scores(drives, label) for label in _answered(drives, labels)}
    first = next(iter(scores.values()))
    if drives[0].source.group == Group.STREAM.value:
        out['frames'] = sum(score.frames for score in first)
        out['poses'] = {n: sum(score.poses for score in row) for n, row in scores.items()}
        out['collapsed'] = {n: sum(score.collapsed for score in row) for n, row in scores.items()}
    else:
        out['moving_patches'] = float(np.concatenate([s.window.moving for s in first]).mean())
        out['pairs'] = sum(len(score.window.turn_deg) for score in first)
        out['failed_pairs'] = {n: sum(s.failures for s in row) for n, row in scores.items()}
    return out
