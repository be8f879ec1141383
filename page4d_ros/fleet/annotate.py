"""One recording of a fleet: everything that comes out of it, in a folder."""

from __future__ import annotations

import contextlib
import json
import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from page4d_ros.bags.replay import replay
from page4d_ros.bags.sources import open_source
from page4d_ros.bags.stream import Span
from page4d_ros.errors import BagError, FleetError
from page4d_ros.fleet.frames import Watcher, figures, minutes
from page4d_ros.units import NS_PER_S

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from page4d_ros.bags.replay import Summary
    from page4d_ros.bags.stream import Source
    from page4d_ros.config import Config
    from page4d_ros.fleet.settings import Job
    from page4d_ros.perception.pipeline import Perception
    from page4d_ros.perception.types import Estimate
    from page4d_ros.training.labels import LabelShards

FIGURES = 'figures.json'
LABELS = 'labels'
HELD_OUT = 0.1  # share of a recording's shards to validate on
LONG = 1.25  # times the length of a part, from which on a recording is split


@dataclass(frozen=True)
class Annotation:
    """Result of one recording, or of a part.

    Attributes:
        figures: key figures, see `frames.figures`; minutes: likewise of each minute.
        frames: images that came; dropped: those without an estimate, by reason.
        origin_ns: stamp from which minutes count.
        weights: name of the weights.
        caution: what to know about them.
        warnings: what the user should know of the recording.
        labelled: frames in training shards.
    """

    figures: dict[str, Any]
    minutes: list[dict[str, Any]]
    frames: int
    dropped: dict[str, int] = field(default_factory=dict)
    origin_ns: int = 0
    weights: str = ''
    caution: str = ''
    warnings: list[str] = field(default_factory=list)
    labelled: int = 0


class TooLongError(FleetError):
    """A recording is to be split; `parts` says into how many."""

    def __init__(self, parts: int) -> None:
        super().__init__(f'is long enough for {parts} parts')
        self.parts = parts


def annotate(
    recording: Path | str,
    output: Path,
    job: Job,
    *,
    config: Config | None = None,
    perception: Perception | None = None,
    part: int | None = None,
    parts: int = 1,
    warn: Callable[[str], None] = lambda _text: None,
) -> Annotation:
    """Replay a recording into a folder, with key figures, pictures and, if wanted, labels.

    Args:
        recording: as for `replay`, on this machine.
        output: folder to make: what `replay` writes, `frames.parquet`, `figures.json`,
            `thumbnails` and `labels`.
        job: topics, parts and labels.
        config: settings in place of the job's.
        perception: without memory; None builds one.
        part: index of the part to take; None takes the whole recording.
        parts: number of parts.
        warn: takes each warning at once.

    Raises:
        TooLongError: the recording is to be split; nothing was written.
        BagError: it cannot be read, or none of its frames gave an estimate.
        Page4dError: as for `replay`.
    """
    config = config or job.config
    span = Span() if part is None else part_span(part, parts, job)
    with contextlib.closing(open_source(recording, config, span=span, **job.opening)) as source:
        if part is None and (count := count_parts(source, job)) > 1:
            raise TooLongError(count)
        watcher = Watcher(source.extent[0] if source.extent else 0)
        labels = _labels(output, job)
        weights: list[str] = []
        begin_ns = watcher.origin_ns + round((part or 0) * job.part_seconds * NS_PER_S)

        def seen(estimate: Estimate) -> None:
            watcher.add(estimate)
            if labels is not None and estimate.frame.stamp_ns >= begin_ns:
                labels.add(estimate)

        def started(_source: Source, used: Perception) -> None:
            weights.append(used.engine.name)
            if labels is not None:
                labels.teacher = used.engine.name

        summary = replay(
            source,
            output,
            config,
            perception=perception,
            topics=job.topics,
            started=started,
            seen=seen,
            warn=warn,
        )
    if not summary.estimates:
        raise BagError(f'{recording}: none of its {summary.frames} frames gave an estimate')
    return _finished(output, summary, watcher, labels, weights[0])


def _labels(output: Path, job: Job) -> LabelShards | None:
    if not job.labels:
        return None
    from page4d_ros.training.labels import LabelShards

    folder = output.with_name(f'{output.name}.{LABELS}')  # a replay makes its folder itself
    return LabelShards(folder, output.name)


def _finished(
    output: Path, summary: Summary, watcher: Watcher, labels: LabelShards | None, weights: str
) -> Annotation:
    """Write what follows from all estimates."""
    table = watcher.write(output)
    labelled = 0
    if labels is not None:
        labels.close()
        labels.hold_out(HELD_OUT)
        labelled = labels.kept
        if labels.paths:
            labels.folder.rename(output / LABELS)
    found = Annotation(
        figures(table),
        minutes(table, watcher.origin_ns),
        summary.frames,
        summary.dropped,
        watcher.origin_ns,
        weights,
        summary.caution,
        summary.warnings,
        labelled,
    )
    write_figures(output, found)
    return found


def write_figures(output: Path, found: Annotation) -> None:
    """Write ``figures.json`` of a result."""
    facts = {**found.figures, 'frames': found.frames, 'dropped': found.dropped}
    facts |= {'labelled': found.labelled, 'minutes': found.minutes}
    text = json.dumps(facts, indent=1, allow_nan=False)
    (output / FIGURES).write_text(text + '\n', encoding='utf-8')


def count_parts(source: Source, job: Job) -> int:
    """Number of parts of a source; 1 for one that stays whole."""
    if not job.part_seconds or source.extent is None:
        return 1
    begin, end = source.extent
    seconds = (end - begin) / NS_PER_S
    if seconds <= LONG * job.part_seconds:
        return 1
    # the rest joins the last part where it is short
    return max(2, math.ceil(seconds / job.part_seconds - (LONG - 1)))


def part_span(part: int, parts: int, job: Job) -> Span:
    """Seconds of a part: its own, and those of the one before that it overlaps."""
    begin = part * job.part_seconds
    start = max(0.0, begin - job.overlap)
    end = begin + job.part_seconds
    return Span(start, None if part == parts - 1 else end - start)
