"""The only loop of the evaluation: all methods on all sources, into metrics, tables, a page."""

from __future__ import annotations

from contextlib import ExitStack, closing
from functools import reduce
from operator import or_
from pathlib import Path
from typing import TYPE_CHECKING, Any

from page4d_ros.bags.reader import open_bag
from page4d_ros.errors import BagError
from page4d_ros.evaluation.metrics.recording import cameras_of
from page4d_ros.evaluation.metrics.running import command_line, versions
from page4d_ros.evaluation.plans.recording import RecordingPlan
from page4d_ros.evaluation.plans.rig import RigPlan
from page4d_ros.evaluation.report.page import write_metrics, write_page, write_tables
from page4d_ros.evaluation.result import Case, Evaluated, Result, Unknown, UnsuitableError, settle

if TYPE_CHECKING:
    from page4d_ros.evaluation.plans.plan import Plan, Progress
    from page4d_ros.evaluation.result import Method, Source


def evaluate(
    plan: Plan, output: Path, progress: Progress = lambda _text: None, command: str = ''
) -> dict[str, Any]:
    """Measure, and write ``metrics.json``, ``tables.md`` and ``report.html``.

    Args:
        plan: what is measured, and how it is shown.
        output: folder to make.
        progress: called with what is worked on, after each output of a method.
        command: how this was made; "" takes the command line.

    Returns:
        The content of ``metrics.json``. What is not known is None, and ``reasons`` says why, by
        dotted path.

    Raises:
        Page4dError: a source or a method cannot be used, or the output cannot be written; says
            what to do.
    """
    _make(output)
    result = run(plan, progress)
    for name, (part, own) in plan.parts(result).items():
        _write(part, own, output / name, command)
    return _write(plan, result, output, command)


def _write(plan: Plan, result: Result, output: Path, command: str) -> dict[str, Any]:
    """Write the files of a result; returns the content of ``metrics.json``."""
    facts = {'command': command or command_line(), 'versions': versions(), **plan.tree(result)}
    metrics, reasons = settle(facts)
    metrics['reasons'] = reasons
    metrics |= plan.judge(metrics)
    tables, page = [*plan.tables(metrics), *plan.details(metrics)], plan.page(result, metrics)
    _make(output)
    try:
        write_metrics(output, metrics)
        write_tables(output, plan.title, plan.notes(metrics), tables)
        write_page(output, page, metrics)
        for name, svg in plan.pictures(result).items():
            (output / name).write_text(svg, encoding='utf-8')
    except OSError as error:
        raise BagError(f'{output}: cannot be written: {error.strerror}') from error
    return metrics


def _make(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise BagError(f'{folder}: cannot be written: {error.strerror}') from error


def evaluate_recording(
    recording: Path | str,
    source: Path | str,
    output: Path | str,
    *,
    command: str = '',
    checkpoint: str = '',
) -> dict[str, Any]:
    """Compare what the node published with its source; see `RecordingPlan` and `evaluate`.

    A rig gets one report, see `RigPlan`, and one of each camera in a folder of its name.
    """
    with open_bag(Path(recording)) as bag:
        cameras = cameras_of(bag)
    if cameras:
        plan: Plan = RigPlan(recording, source, cameras, checkpoint)
    else:
        plan = RecordingPlan(recording, source, checkpoint)
    return evaluate(plan, Path(output).expanduser(), command=command)


def run(plan: Plan, progress: Progress = lambda _text: None) -> Result:
    """Run all methods of a plan on all sources."""
    result: Result = []
    with closing(plan.sources(progress)) as sources:
        for source in sources:
            cases: dict[str, Case] = {}
            for method in plan.methods(source):
                first = all(isinstance(case.measured, Unknown) for case in cases.values())
                cases[method.label] = _case(plan, source, method, progress, first=first)
            result.append(Evaluated(source._replace(data=None), cases))
    return result


def _case(plan: Plan, source: Source, method: Method, progress: Progress, *, first: bool) -> Case:
    try:
        with ExitStack() as stack:
            outputs, count = method.run(source), 0
            metrics, observers = plan.watching(source, method, stack, first=first)
            for output in outputs:
                count += 1
                for each in (*metrics, *observers):
                    each.add(output)
                progress(f'{source.name}, {method.label}')
            measured = reduce(or_, (metric.result() for metric in metrics))
            return Case(measured, tuple(each.finish(measured) for each in observers), count)
    except UnsuitableError as reason:
        return Case(Unknown(str(reason)))
