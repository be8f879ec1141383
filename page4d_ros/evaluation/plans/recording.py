"""From two recordings to ``metrics.json`` and ``report.html``."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import Any

from page4d_ros.bags.reader import is_bag, open_bag
from page4d_ros.datasets.bag_index import BagIndex
from page4d_ros.errors import BagError
from page4d_ros.evaluation.metrics.recording import Case, measure
from page4d_ros.evaluation.metrics.running import command_line
from page4d_ros.evaluation.report.page import REPORT_FILE, write_metrics
from page4d_ros.evaluation.report.report import write_report
from page4d_ros.evaluation.report.verdict import judge, remarks
from page4d_ros.evaluation.result import Unknown, settle
from page4d_ros.perception.build import digest


def evaluate(
    recording: Path | str,
    source: Path | str,
    output: Path | str,
    *,
    command: str | None = None,
    checkpoint: str = '',
) -> dict[str, Any]:
    """Compare what the node published with the ground truth of its source, and report.

    Args:
        recording: rosbag2 with the node's outputs.
        source: what the node was given, with or without ground truth; a video or a folder of
            images has none.
        output: folder to make; receives ``metrics.json`` and ``report.html``.
        command: how this was made; None takes the command line.
        checkpoint: weight file that made the recording, where that is known: its SHA-256 goes
            into the report.

    Returns:
        The content of ``metrics.json``. What is not known is None, and ``reasons`` says why, by
        dotted path.

    Raises:
        BagError: a recording cannot be read, or the output cannot be written.
    """
    with ExitStack() as stack:
        recorded = BagIndex(stack.enter_context(open_bag(recording)))
        given = None
        source = Path(source).expanduser()
        if not source.exists():
            raise BagError(f'{source}: no such file or folder')
        if is_bag(source):
            given = BagIndex(stack.enter_context(open_bag(source)))
        case = Case.of(recorded, given)
        measured = measure(case)
        measured.tree['run']['sha256'] = (
            digest(checkpoint) if checkpoint else Unknown('a recording does not hold it')
        )
        tree, reasons = settle(measured.tree)
        verdict = judge(tree)
        metrics = {
            'recording': Path(recording).resolve().name,
            'source': source.resolve().name,
            'command': command_line() if command is None else command,
            'verdict': verdict._asdict(),
            'remarks': remarks(tree) + _damage(recorded) + (_damage(given) if given else []),
            **tree,
            'reasons': reasons,
        }
        output = Path(output).expanduser()
        try:
            output.mkdir(parents=True, exist_ok=True)
            write_metrics(output, metrics)
            write_report(output / REPORT_FILE, metrics, case, measured)
        except OSError as error:
            raise BagError(f'{output}: cannot be written: {error.strerror}') from error
    return metrics


def _damage(log: BagIndex) -> list[str]:
    """Sentences about messages of a recording that could not be read."""
    return [f'{warning}.' for warning in log.bag.warnings] + [
        f'{log.bag.path.name}: {len(times)} messages of {topic} are malformed and left out.'
        for topic, times in sorted(log.malformed.items())
    ]
