"""Sequences of a data set into ``metrics.json``, ``tables.md`` and ``report.html``."""

from __future__ import annotations

from dataclasses import asdict
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from markupsafe import Markup

from page4d_ros.errors import ConfigError, DeviceMemoryError
from page4d_ros.evaluation import plots
from page4d_ros.evaluation.clips.measure import STREAM, WHOLE, classical, road
from page4d_ros.evaluation.clips.watch import watched
from page4d_ros.evaluation.datasets import FOUND, Topics, open_clips
from page4d_ros.evaluation.page import write_results
from page4d_ros.evaluation.scenes.checkpoints import load
from page4d_ros.evaluation.tables import Cell, Table, number
from page4d_ros.evaluation.unknown import Unknown

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from contextlib import AbstractContextManager
    from pathlib import Path

    from page4d_ros.config import Config
    from page4d_ros.evaluation.clips.protocol import Protocol
    from page4d_ros.evaluation.clips.watch import Watcher
    from page4d_ros.evaluation.datasets import Clip
    from page4d_ros.evaluation.pictures import Picture
    from page4d_ros.evaluation.scenes.methods import Network
    from page4d_ros.evaluation.trajectory import Aligned
    from page4d_ros.perception.engine import Engine

FORMAT = 1
KLT = 'KLT + essential matrix, told the lengths'
STILL = 'standing still'
MEAN = 'mean'
WHOLE_MOST = 100  # frames that are taken at once
# section, key path, head, whether less is better
COLUMNS = {
    'pose': (
        ('ate_m', 'ATE [m]', True),
        ('rpe_translation_m', 'RPE [m]', True),
        ('rpe_rotation_deg', 'RPE [°]', True),
    ),
    'depth': (
        ('per_frame.abs_rel', 'AbsRel, scale per frame', True),
        ('per_frame.delta_1_25', 'δ < 1.25', False),
        ('per_sequence.abs_rel', 'AbsRel, one scale', True),
        ('per_sequence.delta_1_25', 'δ < 1.25', False),
        ('per_sequence_scale_shift.abs_rel', 'AbsRel, scale and shift', True),
        ('unscaled.abs_rel', 'AbsRel, as it is', True),
    ),
    'mask': (
        ('JM', 'JM', False),
        ('JR', 'JR', False),
        ('FM', 'FM', False),
        ('FR', 'FR', False),
        ('precision', 'precision', False),
        ('recall', 'recall', False),
    ),
}
TITLES = {
    'pose': 'Pose, after Sim(3) alignment',
    'depth': 'Depth',
    'mask': 'What moves',
}


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
    whole: bool = True,
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
        protocol: which frames.
        wanted: names of sequences; () takes all.
        topics: of recordings.
        whole: run whole clips, too, where they have at most `WHOLE_MOST` frames.
        watch: makes somebody who looks on at a sequence; gets its name, "" if it is the only one.
        progress: called with what is worked on, after each frame.

    Returns:
        The content of ``metrics.json``: by sequence and method. What is not known is None, and
        ``reasons`` says why, by dotted path.

    Raises:
        BagError: the data set cannot be read.
        CheckpointError: the weights cannot be used.
        OSError: the output cannot be written.
    """
    clips = open_clips(dataset, folder, wanted, topics)
    output.mkdir(parents=True, exist_ok=True)
    config = config.with_values({'mask.dilate': 0})  # papers compare masks without margin
    ((network, known),) = load([checkpoint], config)
    trees: dict[str, Any] = {}
    strips, figures = [], {}
    for clip in clips:
        shown = clip.name if len(clips) > 1 else ''
        trees[clip.name], columns, paths = _sequence(
            clip,
            protocol.indices(clip.count),
            network,
            whole=whole,
            watch=partial(watch, shown, network.engine) if watch else None,
            progress=progress,
        )
        strips.append((clip.name, columns))
        if paths:
            figures[clip.name] = Markup(plots.paths_plot(f'paths{len(figures)}', paths))  # noqa: S704
    facts = {
        'format': FORMAT,
        'dataset': dataset,
        'protocol': asdict(protocol),
        'checkpoint': known,
        'caution': network.engine.caution,
        'remarks': [remark for clip in clips for remark in clip.remarks],
        'sequences': trees,
    }
    title, drawn = f'Evaluation on {dataset}', {'strips': strips, 'figures': figures}
    return write_results(output, title, facts, tables, 'clips.html', **drawn)


def _sequence(
    clip: Clip,
    indices: range,
    network: Network,
    *,
    whole: bool,
    watch: Callable[[], AbstractContextManager[Watcher]] | None,
    progress: Callable[[str], None],
) -> tuple[dict[str, Any], list[list[Picture]], dict[str, Aligned]]:
    """Figures of one sequence by method, pictures, and paths by method."""
    if not len(indices):
        return {'frames': 0, 'methods': {STREAM: Unknown(f'has only {clip.count} frames')}}, [], {}
    methods: dict[str, Any] = {}
    columns, paths = [], {}
    for name in (STREAM, WHOLE) if whole else (STREAM,):
        if name == WHOLE and len(indices) > WHOLE_MOST:
            methods[name] = Unknown(f'more than {WHOLE_MOST} frames')
            continue
        estimates = road(clip, indices, network, whole=name == WHOLE)
        label = f'{clip.name}, {name}'
        try:
            found = watched(
                estimates,
                clip,
                indices,
                watch if name == STREAM else None,
                progress=lambda t=label: progress(t),
            )
        except (ConfigError, DeviceMemoryError) as error:
            if name == STREAM:
                raise
            methods[name] = Unknown(str(error))
            continue
        methods[name] = found.tree
        columns = columns or found.columns
        paths |= {name: found.path} if found.path is not None else {}
    simple = classical(clip, indices, lambda: progress(f'{clip.name}, KLT'))
    methods |= {KLT: simple} if simple else {}
    return {'frames': len(indices), 'methods': methods}, columns, paths


def tables(metrics: dict[str, Any]) -> list[Table]:
    """For pose, depth and mask a table: sequences and methods in rows, and their mean."""
    out = []
    for section, columns in COLUMNS.items():
        rows = _rows(metrics, section)
        if not rows:
            continue
        values = {
            label: [_value(section, tree, key) for key, _, _ in columns] for label, tree in rows
        }
        methods = list(dict.fromkeys(label.split(': ', 1)[1] for label, _ in rows))
        if len(metrics['sequences']) > 1:
            for method in methods:
                own = [v for label, v in values.items() if label.endswith(f': {method}')]
                values[f'{MEAN}: {method}'] = [_mean(column) for column in zip(*own, strict=True)]
        body = [
            (label, [_cell(values, label, i, less=less) for i, (_, _, less) in enumerate(columns)])
            for label in values
        ]
        said = [f'Weights: {metrics["checkpoint"]["label"]}.', metrics['caution']]
        note = ' '.join(filter(None, [*said, *(f'{remark}.' for remark in metrics['remarks'])]))
        out.append(Table(TITLES[section], [head for _, head, _ in columns], body, note))
    return out


def _rows(metrics: dict[str, Any], section: str) -> list[tuple[str, dict[str, Any]]]:
    out = []
    for name, sequence in metrics['sequences'].items():
        for method, tree in sequence['methods'].items():
            if tree and tree.get(section):
                out.append((f'{name}: {method}', tree[section]))
                if section == 'pose' and method == STREAM:
                    out.append((f'{name}: {STILL}', {'sim3': tree['pose']['standing_still']}))
    return out


def _value(section: str, tree: dict[str, Any], key: str) -> float | None:
    found: Any = tree.get('sim3') if section == 'pose' else tree
    for part in key.split('.'):
        found = found.get(part) if isinstance(found, dict) else None
    return found


def _mean(values: tuple[float | None, ...]) -> float | None:
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else None


def _cell(values: dict[str, list[float | None]], label: str, column: int, *, less: bool) -> Cell:
    sequence = label.split(': ', 1)[0]
    known = [
        row[column]
        for other, row in values.items()
        if other.split(': ', 1)[0] == sequence and row[column] is not None
    ]
    value = values[label][column]
    best = value is not None and value == (min if less else max)(known)
    return Cell(number(value), best=best and len(known) > 1)
