"""Odometry: on simulated windows without a network, and with one on recordings."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from page4d_ros.datasets.bag import Topics, read
from page4d_ros.errors import BagError
from page4d_ros.evaluation.methods.klt import Klt
from page4d_ros.evaluation.methods.network import Network
from page4d_ros.evaluation.metrics.sequence import PoseErrors
from page4d_ros.evaluation.plans.odometry_trials import SimulatedOdometry, TrialFigures, trials
from page4d_ros.evaluation.plans.plan import Plan
from page4d_ros.evaluation.protocol import Selection
from page4d_ros.evaluation.report.page import Page, Section, path_plots
from page4d_ros.evaluation.report.tables import POSE_COLUMNS, Column, Row, Table, number, table
from page4d_ros.evaluation.result import Source, Unknown
from page4d_ros.perception.build import build_perception

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence
    from contextlib import ExitStack
    from pathlib import Path

    from page4d_ros.config import Config
    from page4d_ros.evaluation.plans.plan import Progress, Watching
    from page4d_ros.evaluation.result import Evaluated, Method, Result

FORMAT = 1
RECORDING, TRIAL = 'recording', 'trial'
VARIANTS: dict[str, dict[str, Any]] = {
    'page4d': {},
    'page4d, network alone': {'odometry.estimator': 'network'},
    'page4d, corners alone': {'odometry.estimator': 'geometry'},
    'page4d, always sliding': {'window.keyframe_overlap': 0.0},
    'page4d, keyframes': {'window.keyframe_overlap': 0.7},
}
LEAST = 3  # frames
TRIAL_COLUMNS = (
    Column('windows', 'windows'),
    Column('ate_m', 'ATE [m]'),
    Column('extent_m', 'extent [m]'),
    Column('scale_drift', 'scale drift'),
    Column('largest_step', 'largest step / median'),
    Column('wander', 'wander / depth'),
    Column('step_ms', 'first tenth [ms]'),
    Column('last_step_ms', 'last tenth [ms]'),
    Column('growth_mib', 'memory growth [MiB]'),
)
TRIAL_NOTE = (
    'Windows of a camera in a room, each in a random gauge (rotation, translation, scale 0.3 to '
    '3), without a network. ATE after Sim(3); scale drift: logarithm, first frame to last; '
    'wander: of a camera that stands still; the times are of odometry alone, here and now.'
)
STILL = 'standing still'


class OdometryPlan(Plan):
    """Measure odometry with windows that are known, and with a network on recordings.

    Args:
        recordings: with ground truth.
        config: settings for the recordings; every ``window.stride``-th frame is taken.
        image_topic: of the recordings; "" takes the only one.
        quick: a tenth of the windows.

    Raises:
        CheckpointError: the weights cannot be used.
    """

    title = 'Evaluation of odometry'

    def __init__(
        self,
        recordings: Sequence[Path],
        config: Config,
        *,
        image_topic: str = '',
        quick: bool = False,
    ) -> None:
        self.recordings, self.config, self.quick = recordings, config, quick
        self.topics = Topics(image=image_topic)
        self.built = build_perception(config) if recordings else None

    def sources(self, _progress: Progress) -> Generator[Source]:
        """Recordings, then simulated windows."""
        names = Counter(path.resolve().name for path in self.recordings)
        for path in self.recordings:
            name = path.resolve().name
            stride = self.config.window.stride
            sequence = read(path, self.topics, complete=True, stride=stride)
            label = name if names[name] == 1 else str(path)
            yield Source(label, Selection(sequence, undamaged=True), RECORDING)
        for trial in trials(quick=self.quick):
            yield Source(trial.name, trial, TRIAL, asdict(trial))

    def methods(self, source: Source) -> list[Method]:
        """The network with some settings and KLT, or odometry alone."""
        if source.group == TRIAL:
            return [SimulatedOdometry()]
        engine, classifier = self.built.engine, self.built.dynamics.classifier
        networks = [
            Network(label, engine, self.config.with_values(values), classifier)
            for label, values in VARIANTS.items()
        ]
        return [*networks, Klt()]

    def watching(
        self,
        source: Source,
        _method: Method,
        _stack: ExitStack,
        *,
        first: bool,  # noqa: ARG002
    ) -> Watching:
        """Errors of the trajectory."""
        if source.group == TRIAL:
            return [TrialFigures(source.data)], []
        return [PoseErrors()], []

    def tree(self, result: Result) -> dict[str, Any]:
        """Figures of `trials` and of `drives`, by name.

        Raises:
            BagError: a recording is too short.
        """
        built = self.built
        return {
            'format': FORMAT,
            'checkpoint': built.engine.name if built else None,
            'caution': built.engine.caution if built else '',
            'trials': {
                found.source.name: found.source.facts | found.cases[SimulatedOdometry.label].tree
                for found in result
                if found.source.group == TRIAL
            },
            'drives': {
                found.source.name: _drive(found)
                for found in result
                if found.source.group == RECORDING
            },
        }

    def tables(self, metrics: dict[str, Any]) -> list[Table]:
        """A table of the trials, and one for each recording."""
        rows = [Row(name, row) for name, row in metrics['trials'].items()]
        out = [table('Windows that are known', rows, TRIAL_COLUMNS, TRIAL_NOTE)]
        return out + [_table(metrics, name) for name in metrics['drives']]

    def page(self, result: Result, metrics: dict[str, Any]) -> Page:
        """A section for each table, with the paths of recordings."""
        paths = {found.source.name: found.paths for found in result}
        sections = [
            Section(
                '',
                plots=path_plots(f'paths{index}', paths.get(shown.title, {})),
                tables=[shown],
            )
            for index, shown in enumerate(self.tables(metrics))
        ]
        title = 'Accuracy of odometry'
        return Page('page4d evaluate odometry', title, sections, banner=metrics['caution'])


def _drive(found: Evaluated) -> dict[str, Any]:
    """Tree of one recording."""
    name, (first, *_) = found.source.name, found.cases.values()
    if (frames := first.outputs) < LEAST:
        raise BagError(f'{name}: only {frames} frames have depth and pose')
    poses = {label: case.tree['pose'] for label, case in found.cases.items()}
    known = [tree for tree in poses.values() if not isinstance(tree, Unknown)]
    if not known:
        reasons = '; '.join(f'{label}: {why}' for label, why in poses.items())
        raise BagError(f'{name}: no trajectory can be compared ({reasons})')
    shared = {key: known[-1][key] for key in ('truth', 'standing_still')}
    methods = {
        label: tree if isinstance(tree, Unknown) else tree['sim3'] for label, tree in poses.items()
    }
    return {'frames': frames, 'methods': methods, **shared}


def _table(metrics: dict[str, Any], name: str) -> Table:
    drive = metrics['drives'][name]
    path = f'drives.{name}.methods'
    rows = [Row(label, row, where=f'{path}.{label}') for label, row in drive['methods'].items()]
    rows.append(Row(STILL, drive['standing_still']))
    truth = drive['truth']
    note = (
        f'{drive["frames"]} frames; the true path is {number(truth["path_length_m"])} m long, '
        f'{number(truth["extent_m"])} m across. After Sim(3), by evo; RPE from one frame to '
        f'the next. Weights: {metrics["checkpoint"]}. {metrics["caution"]}'.strip()
    )
    return table(name, rows, POSE_COLUMNS, note, reasons=metrics['reasons'])
