"""Odometry: with several witnesses on recordings, on stressed streams, and without a network."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from page4d_ros.datasets.bag import Topics, read
from page4d_ros.datasets.registry import BAG, open_sequences
from page4d_ros.errors import BagError
from page4d_ros.evaluation.methods.checkpoints import load
from page4d_ros.evaluation.methods.followers import CPU, ORACLES, WAYS, Follower, Oracle
from page4d_ros.evaluation.methods.klt import Klt
from page4d_ros.evaluation.metrics.honesty import Honesty
from page4d_ros.evaluation.metrics.reliance import FalseMotion, Reliance
from page4d_ros.evaluation.metrics.sequence import PoseErrors
from page4d_ros.evaluation.metrics.trajectory import POSITION_ERROR
from page4d_ros.evaluation.plans.odometry_gates import gates
from page4d_ros.evaluation.plans.odometry_loop import Loop, LoopedOdometry
from page4d_ros.evaluation.plans.odometry_stress import stresses
from page4d_ros.evaluation.plans.odometry_switch import KNOWN, Courses, Switch, SwitchFigures
from page4d_ros.evaluation.plans.odometry_tables import honesty_tables, tables
from page4d_ros.evaluation.plans.odometry_trials import SimulatedOdometry, TrialFigures, trials
from page4d_ros.evaluation.plans.plan import Plan
from page4d_ros.evaluation.protocol import Selection
from page4d_ros.evaluation.report.page import Page, Plot, Section, path_plots
from page4d_ros.evaluation.report.plots import reliance_plot, standalone
from page4d_ros.evaluation.result import Source, Unknown
from page4d_ros.model.network import UNTRAINED
from page4d_ros.units import NS_PER_S

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence
    from contextlib import ExitStack
    from pathlib import Path

    from page4d_ros.config import Config
    from page4d_ros.datasets.sequence import FileSequence
    from page4d_ros.evaluation.plans.plan import Progress, Watching
    from page4d_ros.evaluation.report.tables import Table
    from page4d_ros.evaluation.result import Evaluated, Method, Result

FORMAT = 2
DRIVE, STRESS, SWITCH, TRIAL = 'recording', 'stress', 'switch', 'trial'
LEAST = 3  # frames
LOOPED = 6000  # frames of the long run with images
BARE = {
    'odometry.position_covariance': 1e-9,
    'odometry.orientation_covariance': 1e-9,
    'mask.dilate': 0,
}


class Data(NamedTuple):
    """Something with ground truth to open.

    Attributes:
        dataset: of `DATASETS`.
        path: where it was unpacked, one of its sequences, or a recording.
    """

    dataset: str
    path: Path


class OdometryPlan(Plan):
    """Measure odometry with several witnesses, and with windows that are known.

    Args:
        data: recordings and data sets.
        config: settings; every ``window.stride``-th frame is taken.
        room: recording of a room that the weights know, of which stressed streams are made.
        image_topic: of the recordings; "" takes the only one.
        quick: a tenth of the windows, and neither stress nor switches nor oracles.

    Raises:
        BagError: a recording or data set cannot be read, or has no poses.
        CheckpointError: the weights cannot be used.
    """

    title = 'Evaluation of odometry'

    def __init__(
        self,
        data: Sequence[Data],
        config: Config,
        room: Path,
        *,
        image_topic: str = '',
        quick: bool = False,
    ) -> None:
        self.config, self.room, self.quick = config, room, quick
        self.drives = _drives(data, config.window.stride, Topics(image=image_topic))
        # the floor of the variances changes no pose; `Honesty` adds it again. The margin of the
        # mask is asked for by consumers, and is no decision; `page4d evaluate dynamics` is alike
        loaded = load([config.model.checkpoint, UNTRAINED], config.with_values(BARE))
        self.network, self.others = loaded[0].network, [each.network for each in loaded[1:]]

    def sources(self, _progress: Progress) -> Generator[Source]:
        """Recordings, stressed streams, switches, then simulated windows."""
        yield from self.drives
        if not self.quick:
            yield from self._hard()
        for trial in trials(quick=self.quick):
            yield Source(trial.name, trial, TRIAL, trial.facts)

    def _hard(self) -> Generator[Source]:
        """Streams that are made of the known room, with all of its frames in memory."""
        room = list(read(self.room).frames())
        for stress in stresses(room):
            yield Source(stress.name, stress, STRESS)
        for drive in self.drives:
            if drive.data.sequence.name != self.room.name:
                yield drive._replace(data=Switch(room[:KNOWN], drive.data), group=SWITCH)
        loop = Loop('30 min at 30 Hz, the first 200 s, with corners', room, LOOPED)
        yield Source(loop.name, loop, TRIAL, loop.facts)

    def methods(self, source: Source) -> list[Method]:
        """Witnesses in the ways of the estimator, or odometry alone."""
        network, others = self.network, [Follower(other) for other in self.others]
        if source.group == TRIAL:
            looped = isinstance(source.data, Loop)
            return [LoopedOdometry() if looped else SimulatedOdometry()]
        if source.group == SWITCH:
            return [Follower(network), Follower(network, 'network')]
        if source.group == STRESS:
            return [Follower(network), Follower(network, 'geometry'), *others]
        methods: list[Method] = [*(Follower(network, way) for way in WAYS), *others]
        if not self.quick:
            config, engine = network.config, network.engine
            methods += [Oracle(*each, config, engine) for each in ORACLES.items()]
        first = source.data.first
        known = first is not None and first.camera is not None and first.has_pose
        return [*methods, Klt()] if known else methods

    def watching(
        self, source: Source, method: Method, _stack: ExitStack, *, first: bool
    ) -> Watching:
        """Errors of the trajectory, and what the estimator says of itself."""
        if source.group == TRIAL:
            return [TrialFigures(source.data)], []
        if source.group == SWITCH:
            at = source.data.at
            return [SwitchFigures(at)], [Courses(at)] if first else []
        if source.group == STRESS:
            honesty = Honesty(self.config.odometry, source.data.begin)
            return [honesty, FalseMotion()] if source.data.still else [honesty], []
        if isinstance(method, Klt):
            return [PoseErrors()], []
        metrics = [PoseErrors(), Reliance(CPU), Honesty(self.config.odometry), FalseMotion()]
        return metrics, []

    def tree(self, result: Result) -> dict[str, Any]:
        """Figures by group and source.

        Raises:
            BagError: nothing knows any pose of a recording.
        """
        groups = {
            group: [found for found in result if found.source.group == group]
            for group in (DRIVE, STRESS, SWITCH, TRIAL)
        }
        return {
            'format': FORMAT,
            'checkpoint': self.network.label,
            'caution': self.network.engine.caution,
            'trials': {
                found.source.name: found.source.facts | found.cases[SimulatedOdometry.label].tree
                for found in groups[TRIAL]
            },
            'drives': {found.source.name: _drive(found) for found in groups[DRIVE]},
            'stress': {found.source.name: _trees(found, 'honesty') for found in groups[STRESS]},
            'false_motion': {
                found.source.name: motion
                for found in groups[STRESS]
                if (motion := _trees(found, 'false_motion'))
            },
            'switches': {found.source.name: _trees(found, 'switch') for found in groups[SWITCH]},
        }

    def judge(self, metrics: dict[str, Any]) -> dict[str, Any]:
        """The limits, and the figures that have to keep them."""
        untrained = self.others[0].label if self.others else self.network.label
        return {'gates': gates(metrics, self.network.label, untrained)}

    def tables(self, metrics: dict[str, Any]) -> list[Table]:
        """Gates, then the figures of recordings, switches and trials."""
        return tables(metrics)

    def details(self, metrics: dict[str, Any]) -> list[Table]:
        """Errors beside the published variances."""
        return honesty_tables(metrics)

    def pictures(self, result: Result) -> dict[str, str]:
        """Plot of each switch."""
        switches = [found for found in result if found.source.group == SWITCH]
        return {
            f'reliance-{index}.svg': standalone(_course(found, f'switch{index}').svg)
            for index, found in enumerate(switches)
        }

    def page(self, result: Result, metrics: dict[str, Any]) -> Page:
        """Gates; a section for each recording with its paths and its switch; all other tables."""
        shown = [*self.tables(metrics), *self.details(metrics)]
        plots: dict[str, list[Plot]] = {name: [] for name in metrics['drives']}
        for index, found in enumerate(result):
            if found.source.group == DRIVE:
                plots[found.source.name] += path_plots(f'paths{index}', found.paths)
            elif found.source.group == SWITCH:
                plots[found.source.name].append(_course(found, f'switch{index}'))
        sections = [Section('', plots=plots.get(each.title, ()), tables=[each]) for each in shown]
        title = 'Accuracy of odometry'
        return Page('page4d evaluate odometry', title, sections, banner=metrics['caution'])


def _drives(data: Sequence[Data], stride: int, topics: Topics) -> list[Source]:
    """All sequences.

    Raises:
        BagError: one cannot be read, is too short, or has no poses.
    """
    opened = [(each, *one) for each in data for one in _opened(each, stride, topics)]
    known = Counter((each.dataset, sequence.name) for each, sequence, _ in opened)
    out = []
    for each, sequence, indices in opened:
        name = sequence.name if each.dataset == BAG else f'{each.dataset} {sequence.name}'
        if known[each.dataset, sequence.name] > 1:
            name = f'{each.path}: {sequence.name}'
        selection = Selection(sequence, indices, undamaged=True)
        count = sequence.count if indices is None else len(indices)
        if count < LEAST:
            raise BagError(f'{each.path}: only {count} frames have a truth; {LEAST} are needed')
        first = next((frame for frame in selection.frames() if frame.has_pose), None)
        if first is None:
            raise BagError(f'{each.path}: has no poses; `page4d evaluate data` needs none')
        height, width = first.rgb.shape[:2]
        facts = {'dataset': each.dataset, 'pixels': height * width}
        out.append(Source(name, selection, DRIVE, facts))
    return out


def _opened(
    data: Data, stride: int, topics: Topics
) -> list[tuple[FileSequence, Sequence[int] | None]]:
    """Sequences, and the indices of the frames to take; None for all.

    Raises:
        BagError: the data cannot be read.
    """
    if data.dataset == BAG:
        return [(read(data.path, topics, stride=stride), None)]
    opened = open_sequences(data.dataset, data.path)
    return [(sequence, range(0, sequence.count, stride)) for sequence in opened]


def _trees(found: Evaluated, name: str) -> dict[str, Any]:
    """Trees of one metric by method; the reason where a method is unsuitable."""
    return {
        label: case.tree if isinstance(case.tree, Unknown) else case.tree[name]
        for label, case in found.cases.items()
        if isinstance(case.tree, Unknown) or name in case.tree
    }


def _drive(found: Evaluated) -> dict[str, Any]:
    """Tree of one recording."""
    name, (first, *_) = found.source.name, found.cases.values()
    poses = _trees(found, 'pose')
    known = [tree for tree in poses.values() if not isinstance(tree, Unknown)]
    if not known:
        reasons = '; '.join(f'{label}: {why}' for label, why in poses.items())
        raise BagError(f'{name}: no trajectory can be compared ({reasons})')
    shared = {key: known[-1][key] for key in ('truth', 'standing_still')}
    reliance = _trees(found, 'reliance')
    methods = {
        label: tree
        if isinstance(tree, Unknown)
        else _figures(tree, shared['truth']) | reliance.get(label, {})
        for label, tree in poses.items()
    }
    return {
        **found.source.facts,
        'frames': first.outputs,
        'methods': methods,
        'honesty': _trees(found, 'honesty'),
        'false_motion': _trees(found, 'false_motion'),
        **shared,
    }


def _figures(pose: dict[str, Any], truth: dict[str, float]) -> dict[str, Any]:
    """Errors after Sim(3), and the absolute one by the size of the path."""
    found, sizes = pose['sim3'], {'path': truth['path_length_m'], 'extent': truth['extent_m']}
    if isinstance(found, Unknown):
        return {'ate_m': found}
    still = Unknown('the camera does not move')
    return found | {
        f'ate_per_{name}': found['ate_m'] / size if size else still for name, size in sizes.items()
    }


def _course(found: Evaluated, name: str) -> Plot:
    """Plot of trust, reliance and errors along a switch."""
    (course,) = next(iter(found.cases.values())).shown
    errors = {}
    for label, measured in found.measured.items():
        stamps, error = (
            np.array(each) for each in zip(*measured.errors[POSITION_ERROR], strict=True)
        )
        seconds = course.seconds[0] + (stamps - stamps[0]) / NS_PER_S
        gap = np.searchsorted(seconds, 0.0)  # the parts are aligned each by itself
        errors[label] = tuple(np.insert(each, gap, np.nan) for each in (seconds, error))
    caption = (
        'A known room until 0 s, then this recording, in one stream. Band: evidence that '
        'determines the joined pose; line: trust. Below: errors after Sim(3), each part by itself.'
    )
    return Plot(reliance_plot(name, *course, errors), caption)
