"""Sequences of a data set into ``metrics.json``, ``tables.md`` and ``report.html``."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from markupsafe import Markup

from page4d_ros.errors import BagError, ConfigError, DeviceMemoryError
from page4d_ros.evaluation import plots
from page4d_ros.evaluation.clips.classical import classical
from page4d_ros.evaluation.clips.measure import measure
from page4d_ros.evaluation.clips.protocol import OTHER_MASK, PAGE4D, STREAM, WHOLE
from page4d_ros.evaluation.clips.quoted import quotes
from page4d_ros.evaluation.clips.roads import label, run
from page4d_ros.evaluation.clips.tables import KLT, tables
from page4d_ros.evaluation.datasets import open_clips
from page4d_ros.evaluation.page import write_results
from page4d_ros.evaluation.scenes.checkpoints import load
from page4d_ros.evaluation.unknown import Unknown

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from page4d_ros.config import Config
    from page4d_ros.evaluation.clips.protocol import Protocol
    from page4d_ros.evaluation.datasets import Clip
    from page4d_ros.evaluation.pictures import Picture
    from page4d_ros.evaluation.scenes.methods import Network
    from page4d_ros.evaluation.trajectory import Aligned

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
        progress: called with what is worked on, after each frame.

    Returns:
        The content of ``metrics.json``, as ``metrics.schema.json`` describes it: by sequence and
        method. What is not known is None, and ``reasons`` says why, by dotted path.

    Raises:
        BagError: the data set cannot be read, or is not the protocol's.
        CheckpointError: the weights cannot be used.
        OSError: the output cannot be written.
    """
    clips = _clips(dataset, folder, protocol, wanted)
    output.mkdir(parents=True, exist_ok=True)
    config = config.with_values(MASKS | (AS_PAGE4D if protocol.quirks == PAGE4D else {}))
    ((network, known),) = load([checkpoint], config)
    trees: dict[str, Any] = {}
    strips, figures = [], {}
    for clip in clips:
        trees[clip.name], columns, paths = _sequence(clip, dataset, protocol, network, progress)
        strips.append((clip.name, columns))
        if paths:
            figures[clip.name] = Markup(plots.paths_plot(f'paths{len(figures)}', paths))  # noqa: S704
    facts = {
        'kind': KIND,
        'format': FORMAT,
        'dataset': dataset,
        'protocol': asdict(protocol),
        'checkpoint': known,
        'mask_in_attention': network.engine.network.config.mask_enabled,
        'caution': network.engine.caution,
        'sequences': trees,
        'quoted': quotes(dataset, protocol.name),
    }
    title, drawn = f'Evaluation on {dataset}', {'strips': strips, 'figures': figures}
    return write_results(output, title, facts, tables, 'clips.html', **drawn)


def _clips(dataset: str, folder: Path, protocol: Protocol, wanted: Sequence[str]) -> list[Clip]:
    if protocol.dataset not in {'', dataset}:
        raise BagError(f'protocol {protocol.name} is for {protocol.dataset}, not for {dataset}')
    clips = open_clips(dataset, folder, wanted)
    found = clips if wanted else [clip for clip in clips if protocol.counts(clip)]
    if not found:
        raise BagError(
            f'{folder}: has none of the sequences of {protocol.name}: '
            f'{", ".join(protocol.sequences)}; name others with --sequence'
        )
    return found


def _sequence(
    clip: Clip,
    dataset: str,
    protocol: Protocol,
    network: Network,
    progress: Callable[[str], None],
) -> tuple[dict[str, Any], list[list[Picture]], dict[str, Aligned]]:
    """Figures of one sequence by method, pictures, and paths by method."""
    indices = protocol.indices(clip.count)
    masked = network.engine.network.config.mask_enabled
    if not len(indices):
        few = Unknown(f'has only {clip.count} frames')
        methods = {label(road, masked=masked): few for road in protocol.roads}
        return {'frames': 0, 'methods': methods}, [], {}
    methods: dict[str, Any] = {}
    columns, paths = [], {}
    for road in protocol.roads:
        name, kind = label(road, masked=masked), road.removesuffix(OTHER_MASK)
        if kind == WHOLE and len(indices) > WHOLE_MOST:
            methods[name] = Unknown(f'more than {WHOLE_MOST} frames')
            continue
        try:
            found = measure(
                run(road, clip, indices, network, protocol.quirks),
                clip,
                indices,
                kind=kind,
                dataset=dataset,
                quirks=protocol.quirks,
                progress=lambda text=f'{clip.name}, {name}': progress(text),
            )
        except (ConfigError, DeviceMemoryError) as error:
            if road == STREAM:
                raise
            methods[name] = Unknown(str(error))
            continue
        methods[name] = found.tree
        columns = columns or found.columns
        paths |= {name: found.path} if found.path is not None else {}
    simple = classical(clip, indices, lambda: progress(f'{clip.name}, KLT'))
    methods |= {KLT: simple} if simple else {}
    return {'frames': len(indices), 'methods': methods}, columns, paths
