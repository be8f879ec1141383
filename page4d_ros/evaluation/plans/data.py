"""Sequences of a data set into ``metrics.json``, ``tables.md`` and ``report.html``."""

from __future__ import annotations

import tempfile
from contextlib import ExitStack
from dataclasses import asdict
from functools import partial, reduce
from operator import or_
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from page4d_ros.datasets.registry import FOUND, Topics, open_sequences
from page4d_ros.errors import BagError, ConfigError, DeviceMemoryError
from page4d_ros.evaluation.methods.checkpoints import load
from page4d_ros.evaluation.methods.klt import LABEL as KLT
from page4d_ros.evaluation.methods.klt import follow
from page4d_ros.evaluation.methods.modes import label, run, seen
from page4d_ros.evaluation.metrics.blocks import Shares
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
from page4d_ros.evaluation.plans.data_tables import tables
from page4d_ros.evaluation.plans.quoted import quotes
from page4d_ros.evaluation.protocol import OTHER_MASK, PAGE4D, SINGLE, STREAM, VGGT4D, WHOLE
from page4d_ros.evaluation.report.data_page import judge, shown_part
from page4d_ros.evaluation.report.gallery import Gallery
from page4d_ros.evaluation.report.page import write_results
from page4d_ros.evaluation.result import Measured, Unknown, settle

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from contextlib import AbstractContextManager

    from page4d_ros.config import Config
    from page4d_ros.datasets.sequence import FileSequence
    from page4d_ros.evaluation.methods.network import Network
    from page4d_ros.evaluation.plans.watch import Watcher
    from page4d_ros.evaluation.protocol import Protocol
    from page4d_ros.evaluation.report.gallery import Shown
    from page4d_ros.evaluation.result import Output
    from page4d_ros.perception.engine import Engine

ALONE = Unknown('each picture stands alone')
KIND, FORMAT = 'page4d evaluate data', 2
WHOLE_MOST = 120  # frames that are taken at once, as PAGE-4D's evaluation of video depth does
# papers compare masks without margin, and whoever measures depth gets what the network says
MASKS = {'mask.dilate': 0}
AS_PAGE4D = {'model.mask_attention': 'off', 'depth.min_confidence': 0.0, 'depth.max_range': 0.0}


def evaluate_clips(
    dataset: str,
    folder: Path,
    checkpoint: str,
    output: Path,
    config: Config,
    protocol: Protocol,
    *,
    wanted: Sequence[str] = (),
    topics: Topics = FOUND,
    watch: Callable[[str, Engine], AbstractContextManager[Watcher]] | None = None,
    progress: Callable[[str], None] = lambda _name: None,
) -> dict[str, Any]:
    """Run weights over sequences, streaming and whole, beside simple answers.

    Args:
        dataset: of `DATASETS`.
        folder: where it was unpacked.
        checkpoint: weight file, ``page4d-small`` or ``untrained``.
        output: folder to make.
        config: all settings.
        protocol: which frames, and which ways of running.
        wanted: names of sequences; () takes all of the protocol.
        topics: of recordings.
        watch: makes somebody who looks on at the first way of running a sequence; gets its name,
            "" if it is the only one.
        progress: called with what is worked on, after each frame.

    Returns:
        The content of ``metrics.json``, as ``metrics.schema.json`` describes it: by sequence and
        method. What is not known is None, and ``reasons`` says why, by dotted path.

    Raises:
        BagError: the data set cannot be read, or is not the protocol's.
        CheckpointError: the weights cannot be used.
        OSError: the output cannot be written.
    """
    clips = _clips(dataset, folder, protocol, wanted, topics)
    output.mkdir(parents=True, exist_ok=True)
    config = config.with_values(MASKS | (AS_PAGE4D if protocol.quirks == PAGE4D else {}))
    ((network, known),) = load([checkpoint], config)
    trees: dict[str, Any] = {}
    parts, judged = [], []
    for clip in clips:
        name = clip.name if len(clips) > 1 else ''
        looks = partial(watch, name, network.engine) if watch else None
        trees[clip.name], results = _sequence(clip, dataset, protocol, network, looks, progress)
        if results:
            method, first = next(iter(results.items()))
            judged.append(settle(first.measured.tree)[0])
            found = {mode: each.measured.path for mode, each in results.items()}
            paths = {mode: path for mode, path in found.items() if path is not None}
            head = len(parts), clip.name, method
            parts.append(shown_part(*head, judged[-1], first.shown, paths))
    caution = network.engine.caution
    verdict = judge(judged, trained=network.engine.trained, caution=caution)
    facts = {
        'kind': KIND,
        'format': FORMAT,
        'dataset': dataset,
        'protocol': asdict(protocol),
        'checkpoint': known,
        'mask_in_attention': network.engine.mask_in_attention,
        'caution': caution,
        'verdict': verdict._asdict(),
        'remarks': [remark for clip in clips for remark in clip.remarks],
        'sequences': trees,
        'quoted': quotes(dataset, protocol.name),
    }
    title = f'Evaluation on {dataset}'
    return write_results(output, title, facts, tables, 'clips.html', parts=parts)


def _clips(
    dataset: str, folder: Path, protocol: Protocol, wanted: Sequence[str], topics: Topics
) -> list[FileSequence]:
    if protocol.dataset not in {'', dataset}:
        raise BagError(f'protocol {protocol.name} is for {protocol.dataset}, not for {dataset}')
    clips = open_sequences(dataset, folder, wanted, topics)
    found = clips if wanted else [clip for clip in clips if protocol.counts(clip)]
    if not found:
        raise BagError(
            f'{folder}: has none of the sequences of {protocol.name}: '
            f'{", ".join(protocol.sequences)}; name others with --sequence'
        )
    return found


class Measurement(NamedTuple):
    """Metrics of a sequence in one mode, and what a page shows of it."""

    measured: Measured
    shown: Shown | None


def _sequence(
    clip: FileSequence,
    dataset: str,
    protocol: Protocol,
    network: Network,
    watch: Callable[[], AbstractContextManager[Watcher]] | None,
    progress: Callable[[str], None],
) -> tuple[dict[str, Any], dict[str, Measurement]]:
    """Figures of one sequence by method, and what the modes gave; the first is shown."""
    indices = protocol.indices(clip.count)
    masked = network.engine.mask_in_attention
    if not len(indices):
        few = Unknown(f'has only {clip.count} frames')
        methods = {label(mode, masked=masked): few for mode in protocol.modes}
        return {'frames': 0, 'methods': methods}, {}
    methods: dict[str, Any] = {}
    results: dict[str, Measurement] = {}
    as_seen = seen(clip, network, protocol.quirks)
    for mode in protocol.modes:
        name, kind = label(mode, masked=masked), mode.removesuffix(OTHER_MASK)
        if kind == WHOLE and len(indices) > WHOLE_MOST:
            methods[name] = Unknown(f'more than {WHOLE_MOST} frames')
            continue
        outputs = _counted(
            run(mode, as_seen, indices, network), lambda n=name: progress(f'{clip.name}, {n}')
        )
        first = mode == protocol.modes[0]
        try:
            results[name] = _measure(
                outputs, as_seen, indices, kind, dataset, protocol.quirks,
                drawn=not results, watch=watch if first else None,
            )  # fmt: skip
        except (ConfigError, DeviceMemoryError) as error:
            if mode == STREAM:
                raise
            methods[name] = Unknown(str(error))
            continue
        methods[name] = results[name].measured.tree
    simple = _klt(clip, indices, lambda: progress(f'{clip.name}, KLT'))
    methods |= {KLT: simple} if simple else {}
    return {'frames': len(indices), 'methods': methods}, results


def _counted(outputs: Iterator[Output], progress: Callable[[], None]) -> Iterator[Output]:
    for output in outputs:
        yield output
        progress()


def _measure(
    outputs: Iterator[Output],
    clip: FileSequence,
    indices: Sequence[int],
    kind: str,
    dataset: str,
    quirks: str,
    *,
    drawn: bool,
    watch: Callable[[], AbstractContextManager[Watcher]] | None,
) -> Measurement:
    published, shares = quirks == PAGE4D, Shares(len(indices))
    farthest = MAX_DEPTH if dataset == 'sintel' and published else np.inf
    rules = PUBLISHED._replace(farthest=farthest) if published else OURS
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        stored = StoredMaps(clip, indices, folder, first_axis=published)
        # PAGE-4D's code has no unit to doubt
        metrics = [DepthErrors(stored, shares, rules=rules, unit_known=published), Timing()]
        if kind != SINGLE:
            metrics.append(MaskErrors(shares, as_published=quirks == VGGT4D))
            metrics.append(PoseErrors(shares))
        if kind != SINGLE and not published:
            metrics.append(PointErrors(len(indices), shares, clip.max_depth))
        gallery = Gallery(stored, placed=kind != SINGLE) if drawn else None
        watcher = stack.enter_context(watch()) if watch else None
        for output in outputs:
            for each in (stored, *metrics, *([gallery] if gallery else [])):
                each.add(output)
            if watcher:
                watcher.add(output.estimate, output.frame)
        measured = reduce(or_, (metric.result() for metric in metrics))
        if watcher and measured.path is not None:
            watcher.align(measured.path)
        absent = dict.fromkeys(('pose', 'points', 'mask'), ALONE)
        if published and kind != SINGLE:
            absent['points'] = Unknown('no code for point maps was published')
        measured = Measured(absent) | measured | Measured({'blocks': shares.blocks()})
        return Measurement(measured, gallery.finish(measured) if gallery else None)


def _klt(
    clip: FileSequence, indices: Sequence[int], progress: Callable[[], None]
) -> dict[str, Any] | None:
    """Poses of the KLT baseline; None without camera or pose of the first frame."""
    first = next(clip.frames(indices[:1]))
    if first.camera is None or not first.has_pose:
        return None
    errors = PoseErrors()
    for output in _counted(follow(clip.frames(indices), first.camera.K), progress):
        errors.add(output)
    return errors.result().tree
