"""Depth, pose and motion on held-out rendered drives, beside simple methods."""

from __future__ import annotations

import time
from collections import Counter
from contextlib import closing
from dataclasses import asdict
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from page4d_ros.datasets.rendered import SIZE, render_sequences, spare_cores
from page4d_ros.datasets.rendered_plan import Group, Options, block_plans, prior_plans
from page4d_ros.errors import SceneError
from page4d_ros.evaluation.methods.checkpoints import SETTINGS, load
from page4d_ros.evaluation.methods.differencing import Differencing
from page4d_ros.evaluation.methods.klt import Klt
from page4d_ros.evaluation.methods.network import Network, OfWindow
from page4d_ros.evaluation.methods.simple import (
    AllMoving,
    FlatWall,
    MeanDepth,
    Still,
    network_grid,
)
from page4d_ros.evaluation.metrics.figures import METRICS
from page4d_ros.evaluation.metrics.rendered import StreamErrors, WindowErrors
from page4d_ros.evaluation.metrics.running import versions
from page4d_ros.evaluation.plans import scenes_tables
from page4d_ros.evaluation.plans.plan import Plan
from page4d_ros.evaluation.plans.scenes_figures import NOTHING_MOVES, figures_of
from page4d_ros.evaluation.report.page import Page, Section
from page4d_ros.evaluation.result import Source

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator, Sequence
    from contextlib import ExitStack

    from page4d_ros.datasets.rendered import RenderedSequence
    from page4d_ros.datasets.rendered_plan import SequencePlan
    from page4d_ros.evaluation.methods.network import Predictor
    from page4d_ros.evaluation.metrics.prediction import Grid, Truth
    from page4d_ros.evaluation.plans.plan import Progress, Watching
    from page4d_ros.evaluation.report.tables import Table
    from page4d_ros.evaluation.result import Method, Result

FORMAT = 1
TRACKERS = (Network, Still, Klt)
MASKERS = (Network, Differencing)
REMARKS = (
    'Means over disjoint blocks of drives; in brackets the 95 % interval of a bootstrap over '
    'drives. No drive is of the training or of its validation.',
    'KLT is given the intrinsics and the length of every baseline, which no monocular method can '
    'know; poses by corners rest on the intrinsics, those of the network alone on neither.',
    "Mean depth maps and the thresholds of frame differencing come from the training's drives.",
)


class ScenesPlan(Plan):
    """Measure networks on held-out drives, all on the same ones, beside simple methods.

    Args:
        checkpoints: weight files, ``page4d-small`` or ``untrained``.
        options: how much.

    Attributes:
        networks: as the node runs them and alone; the others are compared with the first.

    Raises:
        CheckpointError: weights cannot be used.
    """

    title = 'Evaluation on rendered drives'

    def __init__(self, checkpoints: Sequence[str], options: Options) -> None:
        self.options, self.loaded = options, load(checkpoints)
        self.networks = [way for network, _ in self.loaded for way in (network, network.alone())]
        self.simple: list[Predictor] = []
        self._full: Counter[tuple[str, int]] = Counter()
        self._truths: dict[Grid, Truth] = {}
        self._start = time.perf_counter()

    def sources(self, progress: Progress) -> Generator[Source]:
        """Rendered windows and streams, block by block, after the training's for the baselines.

        Raises:
            SceneError: nothing can be rendered here.
        """
        prior = []
        with spare_cores(self.options.processes):
            for sequence in self._rendered(prior_plans(self.options)):
                prior.append(sequence)
                progress('drives of the training')
            if not prior:
                raise SceneError(f'rooms {list(self.options.rooms)} are too full for any drive')
            self.simple = baselines(self.networks[0], prior)
            for block in range(self.options.seeds):
                for sequence in self._rendered(block_plans(self.options, block)):
                    yield as_source(sequence)

    def _rendered(self, plans: list[SequencePlan]) -> Iterator[RenderedSequence]:
        with closing(render_sequences(plans, self.options.processes)) as sequences:
            for plan, sequence in zip(plans, sequences, strict=True):
                if sequence is None:
                    self._full[plan.group.value, plan.room] += 1
                else:
                    yield sequence

    def methods(self, source: Source) -> list[Method]:
        """Methods that answer drives of its kind."""
        methods = [*self.networks, *self.simple]
        if source.group == Group.STREAM.value:
            return [method for method in methods if isinstance(method, TRACKERS)]
        static = source.group in NOTHING_MOVES
        return [OfWindow(m) for m in methods if not static or isinstance(m, MASKERS)]

    def watching(
        self, source: Source, _method: Method, _stack: ExitStack, *, first: bool
    ) -> Watching:
        """Scores of windows or streams."""
        if source.group == Group.STREAM.value:
            return [StreamErrors()], []
        if first:
            self._truths = {}  # of the window, by grid
        return [WindowErrors(source.data, self._truths)], []

    def tree(self, result: Result) -> dict[str, Any]:
        """Figures by kind of drives, metric and method; differences, rooms and single drives."""
        full = [
            f'Room {room} was too full for {count} drive(s) of the kind {group!r}.'
            for (group, room), count in self._full.items()
        ]
        labels = [method.label for method in (*self.networks, *self.simple)]
        return {
            'format': FORMAT,
            'options': asdict(self.options),
            'settings': SETTINGS,
            'meanings': {name: metric.meaning for name, metric in METRICS.items()},
            'checkpoints': [facts for _, facts in self.loaded],
            'methods': labels,
            'remarks': [*REMARKS, *full],
            **figures_of(result, labels, len(self.networks)),
            'seconds': time.perf_counter() - self._start,
            'versions': versions() | {'mujoco': version('mujoco')},
        }

    def tables(self, metrics: dict[str, Any]) -> list[Table]:
        """Methods beside each other, and networks against the first."""
        return [*scenes_tables.tables(metrics), *scenes_tables.difference_tables(metrics)]

    def details(self, metrics: dict[str, Any]) -> list[Table]:
        """The figures of each block."""
        return scenes_tables.block_tables(metrics)

    def notes(self, metrics: dict[str, Any]) -> list[str]:
        """Weights, remarks, versions and meanings of the columns."""
        weights = [f'- **{name}**: {file}' for name, file in self._weights()]
        known = ', '.join(f'{name} {text}' for name, text in metrics['versions'].items())
        remarks = [f'- {text}' for text in metrics['remarks']]
        meanings = [f'- **{head}** – {text}.' for head, text in scenes_tables.MEANINGS]
        notes = [*super().notes(metrics), *weights, '', *remarks, '', f'Versions: {known}.', '']
        return [*notes, 'Columns:', '', *meanings, '']

    def page(self, _result: Result, metrics: dict[str, Any]) -> Page:
        """All tables, and what their columns mean."""
        meanings = [f'{head}: {text}.' for head, text in scenes_tables.MEANINGS]
        sections = [
            Section('', tables=self.tables(metrics)),
            Section('Block by block', tables=self.details(metrics)),
            Section('What the columns mean', texts=meanings),
        ]
        title = 'Accuracy on held-out rendered drives'
        return Page('page4d evaluate scenes', title, sections, self._weights())

    def _weights(self) -> list[tuple[str, str]]:
        return [
            (facts['label'], f'{facts["file"]} {facts["sha256"]}'.strip())
            for _, facts in self.loaded
        ]


def as_source(sequence: RenderedSequence) -> Source:
    """A rendered sequence with the facts that ``metrics.json`` tells of it."""
    facts = {
        'block': sequence.block,
        'room': sequence.room,
        'seed': sequence.seed,
        'rig': sequence.rig.value,
        'traffic': sequence.traffic.value,
    }
    return Source(sequence.name, sequence, sequence.group.value, facts)


def baselines(network: Network, prior: Sequence[RenderedSequence]) -> list[Predictor]:
    """Simple methods on the pixels of a network.

    Args:
        network: whose resolution they have.
        prior: drives of the training, all that they may learn from.
    """
    grid = network_grid(network.engine, SIZE)
    return [
        Still(grid),
        FlatWall(grid),
        MeanDepth(grid, prior, by_room=False),
        MeanDepth(grid, prior, by_room=True),
        Klt(grid.fit, grid),
        Klt.at_camera(SIZE, grid),
        AllMoving(grid),
        Differencing(grid, prior, compensate=False),
        Differencing(grid, prior, compensate=True),
    ]
