"""Data sets in their published layouts, and recordings: pose, depth, points and mask."""

from __future__ import annotations

import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from page4d_ros.datasets.registry import FOUND, Topics, open_sequences
from page4d_ros.errors import BagError
from page4d_ros.evaluation.methods.checkpoints import load
from page4d_ros.evaluation.methods.klt import Klt
from page4d_ros.evaluation.methods.modes import Mode
from page4d_ros.evaluation.metrics.depth import MAX_DEPTH
from page4d_ros.evaluation.metrics.depth_alignment import OURS, PUBLISHED
from page4d_ros.evaluation.metrics.sequence import (
    DepthErrors,
    MaskErrors,
    PointErrors,
    PoseErrors,
    Timing,
)
from page4d_ros.evaluation.metrics.stored_maps import StoredMaps
from page4d_ros.evaluation.plans.data_tables import quotes, tables
from page4d_ros.evaluation.plans.plan import Plan
from page4d_ros.evaluation.protocol import PAGE4D, SINGLE, STREAM, VGGT4D, Selection
from page4d_ros.evaluation.report.data_page import judge, section
from page4d_ros.evaluation.report.gallery import Gallery
from page4d_ros.evaluation.report.page import Page, Section
from page4d_ros.evaluation.result import Source, Unknown

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Sequence
    from contextlib import AbstractContextManager, ExitStack

    from page4d_ros.config import Config
    from page4d_ros.datasets.sequence import FileSequence
    from page4d_ros.evaluation import protocol
    from page4d_ros.evaluation.plans.plan import Progress, Watching
    from page4d_ros.evaluation.report.tables import Table
    from page4d_ros.evaluation.result import Aligned, Evaluated, Measured, Method, Output, Result
    from page4d_ros.perception.engine import Engine
    from page4d_ros.perception.types import Estimate
    from page4d_ros.truth import GroundTruthFrame

ALONE = Unknown('each image stands alone')
KIND, FORMAT = 'page4d evaluate data', 2
WHOLE_MOST = 120  # frames that are taken at once, as PAGE-4D's evaluation of video depth does
# papers compare masks without margin, and whoever measures depth gets what the network says
MASKS = {'mask.dilate': 0}
AS_PAGE4D = {
    'model.mask_attention': 'off',
    'depth.min_confidence': 0.0,
    'depth.max_range': 0.0,
    'depth.max_error': 0.0,
}


class DataPlan(Plan):
    """Run weights over sequences in several modes, beside simple answers.

    Args:
        dataset: of `DATASETS`.
        folder: where it was unpacked.
        checkpoint: weight file, ``page4d-small`` or ``untrained``.
        config: all settings.
        protocol: which frames, and which modes.
        wanted: names of sequences; () takes all of the protocol.
        topics: of recordings.
        watch: opens a viewer's recording of the first mode of a sequence; gets the sequence's
            name, "" if it is the only one.

    Raises:
        BagError: the data set cannot be read, or is not the protocol's.
        CheckpointError: the weights cannot be used.
    """

    def __init__(
        self,
        dataset: str,
        folder: Path,
        checkpoint: str,
        config: Config,
        protocol: protocol.Protocol,
        *,
        wanted: Sequence[str] = (),
        topics: Topics = FOUND,
        watch: Callable[[str, Engine], AbstractContextManager[Watcher]] | None = None,
    ) -> None:
        self.title = f'Evaluation on {dataset}'
        self.dataset, self.protocol, self.watch = dataset, protocol, watch
        self.published = protocol.quirks == PAGE4D
        self.sequences = _sequences(dataset, folder, protocol, wanted, topics)
        config = config.with_values(MASKS | (AS_PAGE4D if self.published else {}))
        ((self.network, self.known),) = load([checkpoint], config)

    def sources(self, _progress: Progress) -> Generator[Source]:
        """Sequences with the frames of the protocol."""
        for sequence in self.sequences:
            chosen = Selection(sequence, self.protocol.indices(sequence.count))
            yield Source(sequence.name, chosen, facts={'frames': len(chosen.indices)})

    def methods(self, source: Source) -> list[Method]:
        """The network in all modes, and KLT where intrinsics and poses are known."""
        modes: list[Method] = [
            Mode(
                mode,
                self.network,
                whole_most=WHOLE_MOST,
                required=mode == STREAM,
                quirks=self.protocol.quirks,
            )
            for mode in self.protocol.modes
        ]
        first = source.data.first if source.facts['frames'] else None
        known = first is not None and first.camera is not None and first.has_pose
        return [*modes, Klt()] if known else modes

    def watching(
        self, source: Source, method: Method, stack: ExitStack, *, first: bool
    ) -> Watching:
        """Errors of pose, depth, points and mask; pictures of the first mode."""
        if isinstance(method, Klt):
            return [PoseErrors()], []
        seen = method.seen(source.data)
        sequence, indices = seen.sequence, seen.indices
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        frames, published = len(indices), self.published
        farthest = MAX_DEPTH if self.dataset == 'sintel' and published else np.inf
        rules = PUBLISHED._replace(farthest=farthest) if published else OURS
        stored = StoredMaps(sequence, indices, folder, first_axis=published)
        # the code of PAGE-4D has no unit to doubt
        depth = DepthErrors(stored, rules=rules, unit_known=published)
        metrics = [stored, Timing(), depth]
        if method.kind != SINGLE:
            metrics.append(MaskErrors(frames, as_published=self.protocol.quirks == VGGT4D))
            metrics.append(PoseErrors())
        if method.kind != SINGLE and not published:
            metrics.append(PointErrors(frames, sequence.max_depth))
        observers = [Gallery(stored, placed=method.kind != SINGLE)] if first else []
        if first and self.watch:
            name = source.name if len(self.sequences) > 1 else ''
            writer = stack.enter_context(self.watch(name, self.network.engine))
            observers.append(Viewer(writer))
        return metrics, observers

    def tree(self, result: Result) -> dict[str, Any]:
        """By sequence and method, as ``metrics.schema.json`` describes it."""
        engine = self.network.engine
        return {
            'kind': KIND,
            'format': FORMAT,
            'dataset': self.dataset,
            'protocol': asdict(self.protocol),
            'checkpoint': self.known,
            'mask_in_attention': engine.mask_in_attention,
            'caution': engine.caution,
            'remarks': [remark for sequence in self.sequences for remark in sequence.remarks],
            'sequences': {
                found.source.name: found.source.facts | {'methods': self._methods(found)}
                for found in result
            },
            'quoted': quotes(self.dataset, self.protocol.name),
        }

    def _methods(self, found: Evaluated) -> dict[str, Any]:
        """Trees by method; networks say why a section is not there."""
        absent: dict[str, Any] = dict.fromkeys(('pose', 'points', 'mask'), ALONE)
        trees = {label: case.tree for label, case in found.cases.items()}
        for label, measured in found.measured.items():
            if 'metric' in measured.tree:  # of a network
                if self.published and 'pose' in measured.tree:
                    absent['points'] = Unknown('no code for point maps was published')
                trees[label] = absent | measured.tree | {'blocks': measured.blocks}
        return trees

    def judge(self, metrics: dict[str, Any]) -> dict[str, Any]:
        """The verdict on the first mode of each sequence."""
        engine = self.network.engine
        first = [
            next((t for t in sequence['methods'].values() if t and 'blocks' in t), None)
            for sequence in metrics['sequences'].values()
        ]
        judged = [tree for tree in first if tree is not None]
        verdict = judge(judged, trained=engine.trained, caution=engine.caution)
        return {'verdict': verdict._asdict()}

    def tables(self, metrics: dict[str, Any]) -> list[Table]:
        """A table for each of pose, depth, points and mask."""
        return tables(metrics)

    def page(self, result: Result, metrics: dict[str, Any]) -> Page:
        """Each sequence as it was seen, then the tables."""
        sections = [
            section(index, found, metrics['sequences'][found.source.name]['methods'])
            for index, found in enumerate(result)
            if any(case.shown for case in found.cases.values())
        ]
        frames, count = metrics['protocol'], len(self.sequences)
        amount = f'at most {frames["frames"]}' if frames['frames'] else 'all'
        amount = f'{frames["spread"]} of them' if frames['spread'] else amount
        published = ', as published' if frames['as_published'] else ''
        facts = [
            ('weights', f'{self.known["label"]} {self.known["sha256"]}'),
            (
                'frames',
                f'{frames["name"]}{published}: from {frames["first"]}, every '
                f'{frames["stride"]}-th, {amount}',
            ),
        ]
        kind = f'{KIND} · {self.dataset} · {count} sequence{"s" if count > 1 else ""}'
        return Page(
            kind,
            self.dataset,
            [*sections, Section('', tables=tables(metrics))],
            facts,
            banner=metrics['verdict']['banner'],
            untrained=not self.network.engine.trained,
        )


class Watcher(Protocol):
    """One that looks on, such as the recording of a viewer."""

    def add(self, estimate: Estimate, frame: GroundTruthFrame) -> None:
        """Take in a frame."""

    def align(self, found: Aligned) -> None:
        """Learn in the end how the trajectory lies over the truth."""


class Viewer:
    """Hands the estimates to the recording of a viewer."""

    def __init__(self, writer: Watcher) -> None:
        self.writer = writer

    def add(self, output: Output) -> None:
        """Write the next frame."""
        self.writer.add(output.estimate, output.frame)

    def finish(self, measured: Measured) -> None:
        """Lay the truth over the trajectory."""
        if measured.path is not None:
            self.writer.align(measured.path)


def _sequences(
    dataset: str, folder: Path, protocol: protocol.Protocol, wanted: Sequence[str], topics: Topics
) -> list[FileSequence]:
    if protocol.dataset not in {'', dataset}:
        raise BagError(f'protocol {protocol.name} is for {protocol.dataset}, not for {dataset}')
    sequences = open_sequences(dataset, folder, wanted, topics)
    found = sequences if wanted else [s for s in sequences if protocol.counts(s)]
    if not found:
        raise BagError(
            f'{folder}: has none of the sequences of {protocol.name}: '
            f'{", ".join(protocol.sequences)}; name others with --sequence'
        )
    return found
