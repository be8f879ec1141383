"""All trials and drives into ``metrics.json``, ``tables.md`` and ``report.html``."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from markupsafe import Markup

from page4d_ros.evaluation.plans.odometry_recordings import Drive, measure_drive
from page4d_ros.evaluation.plans.odometry_trials import figures, run, trials
from page4d_ros.evaluation.report import plots
from page4d_ros.evaluation.report.page import write_results
from page4d_ros.evaluation.report.tables import POSE_COLUMNS, Column, Row, Table, number, table
from page4d_ros.perception.build import build_perception

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from page4d_ros.config import Config

FORMAT = 1
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


def evaluate_odometry(
    sources: Sequence[Path],
    output: Path,
    config: Config,
    *,
    image_topic: str = '',
    quick: bool = False,
    progress: Callable[[str], None] = lambda _name: None,
) -> dict[str, Any]:
    """Measure odometry with windows that are known, and with a network on recordings.

    Args:
        sources: recordings with ground truth.
        output: folder to make; receives ``metrics.json``, ``tables.md`` and ``report.html``.
        config: settings for the recordings.
        image_topic: of the recordings; "" takes the only one.
        quick: a tenth of the windows.
        progress: called with what is worked on, after each frame.

    Returns:
        The content of ``metrics.json``: figures of `trials` and of `drives`, by name.

    Raises:
        BagError: a recording cannot be read or lacks something.
        CheckpointError: the weights cannot be used.
        OSError: the output cannot be written.
    """
    output.mkdir(parents=True, exist_ok=True)
    built = build_perception(config) if sources else None
    driven: dict[str, Drive] = {}
    names = Counter(source.resolve().name for source in sources)
    for source in sources:
        name = source.resolve().name
        name = name if names[name] == 1 else str(source)
        driven[name] = measure_drive(
            source,
            config,
            built,
            image_topic=image_topic,
            progress=lambda name=name: progress(name),
        )
    tried = {
        trial.name: asdict(trial) | figures(trial, run(trial, lambda t=trial: progress(t.name)))
        for trial in trials(quick=quick)
    }
    drawn = {
        name: Markup(plots.paths_plot(f'paths{index}', drive.paths))  # noqa: S704
        for index, (name, drive) in enumerate(driven.items())
        if drive.paths
    }
    facts = {
        'format': FORMAT,
        'checkpoint': built.engine.name if built else None,
        'caution': built.engine.caution if built else '',
        'trials': tried,
        'drives': {name: drive.tree for name, drive in driven.items()},
    }
    title = 'Evaluation of odometry'
    return write_results(output, title, facts, tables, 'odometry.html', figures=drawn)


def tables(metrics: dict[str, Any]) -> list[Table]:
    """A table of the trials, and one for each recording."""
    rows = [Row(name, row) for name, row in metrics['trials'].items()]
    out = [table('Windows that are known', rows, TRIAL_COLUMNS, TRIAL_NOTE)]
    reasons = metrics['reasons']
    for name, drive in metrics['drives'].items():
        methods = {k: v for k, v in drive['methods'].items() if v is not None}
        methods[STILL] = drive['standing_still']
        truth = drive['truth']
        note = (
            f'{drive["frames"]} frames; the true path is {number(truth["path_length_m"])} m long, '
            f'{number(truth["extent_m"])} m across. After Sim(3), by evo; RPE from one frame to '
            f'the next. Weights: {metrics["checkpoint"]}. {metrics["caution"]}'.strip()
        )
        failed = [
            f'{method}: {reasons[f"drives.{name}.methods.{method}"]}.'
            for method, row in drive['methods'].items()
            if row is None
        ]
        rows = [Row(label, row) for label, row in methods.items()]
        out.append(table(name, rows, POSE_COLUMNS, ' '.join([note, *failed])))
    return out
