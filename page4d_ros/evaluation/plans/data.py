"""Sequences of a data set into ``metrics.json``, ``tables.md`` and ``report.html``."""

from __future__ import annotations

from dataclasses import asdict
from functools import partial
from typing import TYPE_CHECKING, Any

from page4d_ros.datasets.registry import FOUND, Topics, open_sequences
from page4d_ros.errors import BagError, ConfigError, DeviceMemoryError
from page4d_ros.evaluation.methods.checkpoints import load
from page4d_ros.evaluation.methods.klt import LABEL as KLT
from page4d_ros.evaluation.methods.klt import klt_path
from page4d_ros.evaluation.methods.modes import label, run, seen
from page4d_ros.evaluation.metrics.sequence import measure, pose
from page4d_ros.evaluation.plans.data_tables import tables
from page4d_ros.evaluation.plans.protocol import OTHER_MASK, PAGE4D, STREAM, WHOLE
from page4d_ros.evaluation.plans.quoted import quotes
from page4d_ros.evaluation.plans.watch import watched
from page4d_ros.evaluation.report.data_page import judge, shown_part
from page4d_ros.evaluation.report.page import write_results
from page4d_ros.evaluation.result import Unknown, settle

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from contextlib import AbstractContextManager
    from pathlib import Path

    from numpy.typing import NDArray

    from page4d_ros.config import Config
    from page4d_ros.datasets.sequence import FileSequence
    from page4d_ros.evaluation.methods.network import Network
    from page4d_ros.evaluation.metrics.sequence import Result
    from page4d_ros.evaluation.plans.protocol import Protocol
    from page4d_ros.evaluation.plans.watch import Watcher
    from page4d_ros.perception.engine import Engine
    from page4d_ros.truth import GroundTruthFrame

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
            judged.append(settle(first.tree)[0])
            paths = {mode: found.path for mode, found in results.items() if found.path is not None}
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


def _sequence(
    clip: FileSequence,
    dataset: str,
    protocol: Protocol,
    network: Network,
    watch: Callable[[], AbstractContextManager[Watcher]] | None,
    progress: Callable[[str], None],
) -> tuple[dict[str, Any], dict[str, Result]]:
    """Figures of one sequence by method, and what the modes gave; the first is shown."""
    indices = protocol.indices(clip.count)
    masked = network.engine.mask_in_attention
    if not len(indices):
        few = Unknown(f'has only {clip.count} frames')
        methods = {label(mode, masked=masked): few for mode in protocol.modes}
        return {'frames': 0, 'methods': methods}, {}
    methods: dict[str, Any] = {}
    results: dict[str, Result] = {}
    as_seen = seen(clip, network, protocol.quirks)
    for mode in protocol.modes:
        name, kind = label(mode, masked=masked), mode.removesuffix(OTHER_MASK)
        if kind == WHOLE and len(indices) > WHOLE_MOST:
            methods[name] = Unknown(f'more than {WHOLE_MOST} frames')
            continue
        estimates = run(mode, as_seen, indices, network)
        measuring = partial(
            measure,
            clip=as_seen,
            indices=indices,
            kind=kind,
            dataset=dataset,
            quirks=protocol.quirks,
            drawn=not results,
            progress=lambda text=f'{clip.name}, {name}': progress(text),
        )
        try:
            first = mode == protocol.modes[0]
            results[name] = watched(estimates, measuring, watch if first else None)
        except (ConfigError, DeviceMemoryError) as error:
            if mode == STREAM:
                raise
            methods[name] = Unknown(str(error))
            continue
        methods[name] = results[name].tree
    simple = _klt(clip, indices, lambda: progress(f'{clip.name}, KLT'))
    methods |= {KLT: simple} if simple else {}
    return {'frames': len(indices), 'methods': methods}, results


def _klt(
    clip: FileSequence, indices: Sequence[int], progress: Callable[[], None]
) -> dict[str, Any] | None:
    """Poses of the KLT baseline; None without camera or pose of the first frame."""
    first = next(clip.frames(indices[:1]))
    if first.camera is None or not first.has_pose:
        return None
    truth: dict[int, NDArray] = {}

    def frames() -> Iterator[GroundTruthFrame]:
        for frame in clip.frames(indices):
            if frame.has_pose:
                truth[frame.stamp_ns] = frame.T_world_camera
                yield frame
                progress()

    path = klt_path(frames(), first.camera.K)
    estimate = list(zip(path.stamps.tolist(), path.poses, strict=True))
    return {'pose': pose({'estimate': estimate, 'truth': list(truth.items())}, metric=False)[0]}
