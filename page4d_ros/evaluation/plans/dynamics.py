"""The motion mask by source of evidence, on rendered drives and on sequences with masks."""

from __future__ import annotations

from collections import defaultdict
from contextlib import closing
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import numpy as np

from page4d_ros.config import Config
from page4d_ros.datasets.registry import open_sequences
from page4d_ros.datasets.rendered import render_sequences, spare_cores
from page4d_ros.evaluation.methods.checkpoints import load
from page4d_ros.evaluation.methods.motion_sources import (
    ORACLE,
    TRUTH_WINDOW,
    MotionSources,
    TrueGeometry,
)
from page4d_ros.evaluation.metrics.motion import pooled
from page4d_ros.evaluation.metrics.sequence_motion import (
    DriveMotionErrors,
    FastMotionErrors,
    MotionErrors,
)
from page4d_ros.evaluation.plans.dynamics_drives import KINDS, WALKING, planned
from page4d_ros.evaluation.plans.plan import Plan
from page4d_ros.evaluation.report.mask_pictures import MaskPictures
from page4d_ros.evaluation.report.page import Page, Section
from page4d_ros.evaluation.report.tables import MOTION_COLUMNS, Column, Row, Table, table
from page4d_ros.evaluation.result import Source
from page4d_ros.perception.motion_classifier import SOURCES

if TYPE_CHECKING:
    from collections.abc import Generator
    from contextlib import ExitStack
    from pathlib import Path

    from page4d_ros.evaluation.metrics.motion import Sequence
    from page4d_ros.evaluation.plans.dynamics_drives import Options
    from page4d_ros.evaluation.plans.plan import Progress, Watching
    from page4d_ros.evaluation.result import Method, Result

FORMAT = 1
GIVEN = 'given'  # group of sequences that are not rendered
MOVING = (*MOTION_COLUMNS, Column('ece', 'ECE', True), Column('flicker', 'flicker', True))
STILL = (
    Column('false_positives', 'called moving', True),
    Column('ece', 'ECE', True),
    Column('flicker', 'flicker', True),
)
NOTE = (
    "Masks without their margin (mask.dilate), at the network's pixels, of frames whose window is "
    'full. J, F: region and boundary measures of DAVIS, means over the frames in which something '
    'moves, then over drives; ECE: expected calibration error; flicker: mean change of '
    'probability from frame to frame at places at rest. The last row has true windows at the '
    "camera's pixels, and counts bodies that move more than 2 pixels a frame."
)


class DynamicsPlan(Plan):
    """Ask every source of evidence what moves, on rendered drives and on given sequences.

    Args:
        checkpoint: weight file, ``page4d-small`` or ``untrained``.
        options: which drives.
        values: settings by dotted name.
        davis: folder of the DAVIS layout.

    Raises:
        BagError: the sequences cannot be read.
        CheckpointError: the weights cannot be used.
    """

    title = 'Evaluation of what moves'

    def __init__(
        self,
        checkpoint: str,
        options: Options,
        *,
        values: dict[str, Any] | None = None,
        davis: Path | None = None,
    ) -> None:
        self.options, self.values = options, values or {}
        self.given = open_sequences('davis', davis) if davis else []
        config = Config().with_values({'window.stride': 1} | self.values)
        ((self.network, self.known),) = load([checkpoint], config)

    def sources(self, _progress: Progress) -> Generator[Source]:
        """Rendered drives by kind, then given sequences.

        Raises:
            SceneError: nothing can be rendered here.
        """
        plans = planned(self.options)
        drives = render_sequences([plan for _, plan in plans], self.options.processes)
        with spare_cores(self.options.processes), closing(drives):
            for (kind, _), drive in zip(plans, drives, strict=True):
                if drive is not None:
                    yield Source(drive.name, drive, kind)
        for sequence in self.given:
            yield Source(sequence.name, sequence, GIVEN)

    def methods(self, source: Source) -> list[Method]:
        """The network, and of drives geometry with the truth."""
        network = MotionSources(self.network)
        return (
            [network]
            if source.group == GIVEN
            else [network, TrueGeometry(self.network.config.mask)]
        )

    def watching(
        self, source: Source, _method: Method, _stack: ExitStack, *, first: bool
    ) -> Watching:
        """Errors of motion; pictures of given sequences and of the drive in which most moves."""
        config, sequence = self.network.config, source.data
        if not first:
            return [FastMotionErrors(sequence, config.mask, TRUTH_WINDOW)], []
        if source.group == GIVEN:
            errors = MotionErrors(config.mask)
            return [errors], [MaskPictures(errors, 0, sequence.count - 1)]
        errors = DriveMotionErrors(sequence, config, self.network.engine.patch_size)
        pictures = MaskPictures(errors, errors.first, sequence.count - 1)
        return [errors], [pictures] if source.group == WALKING else []

    def tree(self, result: Result) -> dict[str, Any]:
        """Figures by kind of drive (or sequence) and source."""
        kinds: dict[str, dict[str, list[Sequence]]] = defaultdict(lambda: defaultdict(list))
        ghosts, given = np.zeros((2, 2)), {}
        for (name, _, kind, _), cases in result:
            motions = {}
            for case in cases.values():
                motions |= case.tree['motion']
            if kind == GIVEN:
                given[name] = {source: pooled([motion]) for source, motion in motions.items()}
                continue
            for source, motion in motions.items():
                kinds[kind][source].append(motion)
            if kind == WALKING:
                ghosts += cases[MotionSources.label].tree['ghosts']
        shares = [float(moving / total) if total else np.nan for moving, total in ghosts]
        return {
            'format': FORMAT,
            'checkpoint': self.known,
            'caution': self.network.engine.caution,
            'settings': self.values,
            'options': asdict(self.options),
            'kinds': {
                kind: {source: pooled(motions) for source, motions in by.items()}
                for kind, by in kinds.items()
            },
            'all': {
                source: pooled([motion for kind in KINDS for motion in kinds[kind][source]])
                for source in (*SOURCES, ORACLE)
            },
            'ghosts': dict(zip(('without mask', 'with mask'), shares, strict=True)),
            'clips': given,
        }

    def tables(self, metrics: dict[str, Any]) -> list[Table]:
        """A table for each kind of drives and for each sequence."""
        out = []
        for kind, figures in (metrics['kinds'] | metrics['clips']).items():
            columns = STILL if kind in KINDS and not figures['fused']['moving'] else MOVING
            out.append(table(kind, _rows(figures), columns, '' if out else NOTE))
        every = {source: metrics['all'][source] for source in SOURCES}
        out.append(table('All drives in known rooms', _rows(every), MOVING))
        ghosts = [Row(name, {'share': share}) for name, share in metrics['ghosts'].items()]
        note = 'Share of the points of the accumulated static cloud that lie on moving bodies.'
        return [*out, table('Ghosts', ghosts, [Column('share', 'on movers')], note)]

    def page(self, result: Result, metrics: dict[str, Any]) -> Page:
        """The drive in which most moves, given sequences, and the tables."""
        shown = [
            (source, pictures)
            for source, cases in result
            for case in cases.values()
            for pictures in case.shown
        ]
        drives = [each for each in shown if each[0].group == WALKING]
        most = max(drives, key=lambda each: each[1].share, default=None)
        chosen = [most] * bool(drives) + [each for each in shown if each[0].group == GIVEN]
        text = (
            'In each column one frame, from top to bottom as labelled. Red is called moving; the '
            'white line is the outline of what truly moves.'
        )
        sections = [Section(s.name, texts=[text], columns=p.columns) for s, p in chosen]
        if most:
            above = (
                'All points that were called static, at their true places; red ones lie on bodies '
                'that move.'
            )
            title = 'The static cloud from above'
            sections.append(Section(title, texts=[above], columns=most[1].above))
        return Page(
            'page4d evaluate dynamics',
            'Accuracy of the motion mask',
            [*sections, Section('', tables=self.tables(metrics))],
            [('weights', f'{self.known["label"]} {self.known["sha256"]}')],
            banner=metrics['caution'],
        )


def _rows(figures: dict[str, Any]) -> list[Row]:
    return [Row(s, tree, rivals=None if s == ORACLE else 0) for s, tree in figures.items()]
