"""A recording of a rig beside the source that it was made from."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from page4d_ros.evaluation.plans.plan import Plan
from page4d_ros.evaluation.plans.recording import Record, RecordingPlan
from page4d_ros.evaluation.report.rig_page import page, tables
from page4d_ros.evaluation.report.verdict import POSE, comparisons

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence
    from contextlib import ExitStack
    from pathlib import Path

    from page4d_ros.evaluation.plans.plan import Progress, Watching
    from page4d_ros.evaluation.report.page import Page
    from page4d_ros.evaluation.report.tables import Table
    from page4d_ros.evaluation.result import Case, Method, Result, Source

OF_CAMERA = 'trajectory', 'depth', 'mask'  # the rest of a recording's figures is common


class RigPlan(Plan):
    """Compare what a node with several cameras published with the ground truth of its source.

    Each camera is a `RecordingPlan`, with a report of its own in the folder of its name.

    Args:
        recording: rosbag2 with the node's outputs.
        source: what the node was given.
        cameras: names.
        checkpoint: weight file that made the recording, where that is known.

    Raises:
        BagError: the source is not there.
    """

    title = 'Report of a recording of several cameras'

    def __init__(
        self, recording: Path | str, source: Path | str, cameras: Sequence[str], checkpoint: str
    ) -> None:
        self._plans = {
            camera: RecordingPlan(recording, source, checkpoint, camera) for camera in cameras
        }

    def sources(self, progress: Progress) -> Generator[Source]:
        """The recording once for each camera."""
        for plan in self._plans.values():
            yield from plan.sources(progress)

    def methods(self, source: Source) -> list[Method]:
        """The node."""
        return self._first.methods(source)

    def watching(
        self, source: Source, method: Method, stack: ExitStack, **chosen: Any
    ) -> Watching:
        """Everything that can be computed of a camera, and pictures."""
        return self._first.watching(source, method, stack, **chosen)

    def parts(self, result: Result) -> dict[str, tuple[Plan, Result]]:
        """A report of each camera."""
        parts = zip(self._plans.items(), result, strict=True)
        return {camera: (plan, [evaluated]) for (camera, plan), evaluated in parts}

    def tree(self, result: Result) -> dict[str, Any]:
        """Facts of the run, times, topics and the trajectory, and errors of each camera."""
        trees = {camera: plan.tree(own) for camera, (plan, own) in self.parts(result).items()}
        main = next(iter(self._cases(result)))
        common = {name: value for name, value in trees[main].items() if name != 'recording'}
        for name in ('depth', 'mask'):
            common.pop(name)
        return common | {
            'recording': self._first.recording.resolve().name,
            'main': main,
            'cameras': {
                camera: {'images': tree['run']['images']}
                | {name: tree[name] for name in OF_CAMERA}
                for camera, tree in trees.items()
            },
        }

    def judge(self, metrics: dict[str, Any]) -> dict[str, Any]:
        """Verdict and remarks."""
        found = {camera: comparisons(tree) for camera, tree in metrics['cameras'].items()}
        pose = {name: wins for name, wins in found[metrics['main']].items() if name == POSE}
        answer = self._first.judge(metrics, pose | _together(found))
        damage = (text for plan in self._plans.values() for text in plan.damage)
        remarks = dict.fromkeys([*answer['remarks'], *damage])  # each once
        return answer | {'remarks': list(remarks)}

    def tables(self, metrics: dict[str, Any]) -> list[Table]:
        """Trajectory beside its baselines, and figures of each camera."""
        return tables(metrics)

    def page(self, result: Result, metrics: dict[str, Any]) -> Page:
        """A strip of each camera, one scene, and all figures."""
        cases = self._cases(result)
        drawn = {camera: case.shown[0] for camera, case in cases.items()}
        return page(drawn, cases[metrics['main']].measured.path, metrics)

    @property
    def _first(self) -> RecordingPlan:
        return next(iter(self._plans.values()))

    def _cases(self, result: Result) -> dict[str, Case]:
        """By camera, the main one first."""
        each = zip(self._plans, result, strict=True)
        cases = {camera: evaluated.cases[Record.label] for camera, evaluated in each}
        return dict(sorted(cases.items(), key=lambda item: not item[1].shown[0].main))


def _together(better: dict[str, dict[str, bool]]) -> dict[str, bool]:
    """Answers of all cameras but for poses; those in which all agree need no camera's name."""
    out: dict[str, bool] = {}
    for name in dict.fromkeys(name for each in better.values() for name in each if name != POSE):
        each = {camera: answers[name] for camera, answers in better.items() if name in answers}
        if len(set(each.values())) == 1:
            out[name] = next(iter(each.values()))
        else:
            out |= {f'{name} of {camera}': wins for camera, wins in each.items()}
    return out
