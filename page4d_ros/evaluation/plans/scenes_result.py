"""Everything that was measured, as a tree of figures and as tables."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from page4d_ros.datasets.rendered_plan import Group
from page4d_ros.evaluation.metrics.figures import METRICS, difference, figure

if TYPE_CHECKING:
    from collections.abc import Sequence

    from page4d_ros.datasets.rendered import RenderedSequence
    from page4d_ros.evaluation.metrics.figures import Figure
    from page4d_ros.evaluation.metrics.prediction import Score
    from page4d_ros.evaluation.metrics.streams import StreamScore

    AnyScore = Score | StreamScore

DEPTH_AND_POSE = ('abs_rel', 'delta', 'rotation_deg', 'translation')
MOTION = ('motion_ap', 'motion_iou', 'mask_iou')
MEASURED = {
    Group.KNOWN: DEPTH_AND_POSE + MOTION,
    Group.STATIC: ('called_moving',),
    Group.CROWDED: DEPTH_AND_POSE + MOTION,
    Group.UNSEEN: DEPTH_AND_POSE + MOTION,
    Group.STREAM: ('ate', 'rpe_translation_m', 'rpe_rotation_deg'),
}


class Drive(NamedTuple):
    """A rendered sequence and the score of every method on it."""

    block: int
    room: int
    seed: int
    rig: str
    traffic: str
    scores: dict[str, AnyScore]


@dataclass
class Results:
    """Scores of all drives.

    Attributes:
        methods: labels, the networks' first.
        networks: how many of the methods are networks.
        drives: by group, in the order of rendering.
    """

    methods: list[str]
    networks: int
    drives: dict[Group, list[Drive]] = field(default_factory=dict)

    def add(self, footage: RenderedSequence, scores: dict[str, AnyScore]) -> None:
        """Take in a drive."""
        facts = footage.block, footage.room, footage.seed, footage.rig.value, footage.traffic.value
        self.drives.setdefault(footage.group, []).append(Drive(*facts, scores))

    def tree(self) -> dict[str, Any]:
        """Figures, differences between networks and values of each drive, for `settle`."""
        figures = {group: self._figures(group) for group in MEASURED if group in self.drives}
        return {
            'figures': {
                group.value: {
                    name: {
                        label: found.tree
                        for label, found in row.items()
                        if self._told(label, found)
                    }
                    for name, row in rows.items()
                }
                for group, rows in figures.items()
            },
            'differences': self._differences(figures),
            'rooms': {group.value: self._by_room(group) for group in figures},
            'counts': {group.value: self._counts(group) for group in figures},
            'drives': {group.value: self._by_drive(group) for group in figures},
        }

    def _told(self, label: str, found: Figure) -> bool:
        """Simple answers have no say on what they do not answer; networks owe a reason."""
        return bool(np.isfinite(found.mean)) or label in self.methods[: self.networks]

    def _labels(self, group: Group) -> list[str]:
        answered = self.drives[group][0].scores
        return [label for label in self.methods if label in answered]

    def _figures(self, group: Group) -> dict[str, dict[str, Figure]]:
        drives = self.drives[group]
        blocks = [[d for d in drives if d.block == b] for b in sorted({d.block for d in drives})]
        return {
            name: {
                label: figure([_scores(b, label) for b in blocks], METRICS[name])
                for label in self._labels(group)
            }
            for name in MEASURED[group]
        }

    def _differences(self, figures: dict[Group, dict[str, dict[str, Figure]]]) -> dict[str, Any]:
        first, *others = self.methods[: self.networks]
        return {
            label: {
                group.value: {n: difference(row[label], row[first]) for n, row in rows.items()}
                for group, rows in figures.items()
            }
            for label in others
        }

    def _by_room(self, group: Group) -> dict[str, Any]:
        """Figures of single rooms, over all blocks, by room, method and metric."""
        out: dict[str, Any] = {}
        for room in sorted({drive.room for drive in self.drives[group]}):
            drives = [drive for drive in self.drives[group] if drive.room == room]
            out[str(room)] = {
                label: _values(group, _scores(drives, label)) for label in self._labels(group)
            }
        return out

    def _counts(self, group: Group) -> dict[str, Any]:
        """Numbers of sequences, rooms and failures."""
        drives = self.drives[group]
        out: dict[str, Any] = {
            'drives': len(drives),
            'rooms': sorted({drive.room for drive in drives}),
            'blocks': len({drive.block for drive in drives}),
        }
        scores = {label: _scores(drives, label) for label in self._labels(group)}
        first = next(iter(scores.values()))
        if group is Group.STREAM:
            out['frames'] = sum(score.frames for score in first)
            out['poses'] = {n: sum(score.poses for score in row) for n, row in scores.items()}
            out['collapsed'] = {
                n: sum(score.collapsed for score in row) for n, row in scores.items()
            }
        else:
            out['moving_patches'] = float(np.concatenate([s.window.moving for s in first]).mean())
            out['pairs'] = sum(len(score.window.turn_deg) for score in first)
            out['failed_pairs'] = {n: sum(s.failures for s in row) for n, row in scores.items()}
        return out

    def _by_drive(self, group: Group) -> list[dict[str, Any]]:
        return [
            {
                **{k: v for k, v in drive._asdict().items() if k != 'scores'},
                'values': {
                    label: _values(group, [score]) for label, score in drive.scores.items()
                },
            }
            for drive in self.drives[group]
        ]


def _scores(drives: Sequence[Drive], label: str) -> list[AnyScore]:
    return [drive.scores[label] for drive in drives]


def _values(group: Group, scores: Sequence[AnyScore]) -> dict[str, float]:
    """Figures of some drives, those that there are."""
    found = {name: METRICS[name].statistic(scores) for name in MEASURED[group]}
    return {name: value for name, value in found.items() if np.isfinite(value)}
