"""All drives and clips into ``metrics.json``, ``tables.md`` and ``report.html``."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from page4d_ros.config import Config
from page4d_ros.datasets.registry import open_sequences
from page4d_ros.datasets.rendered import spare_cores
from page4d_ros.evaluation.methods.checkpoints import load
from page4d_ros.evaluation.methods.motion_sources import Panel
from page4d_ros.evaluation.metrics.masks import at_network
from page4d_ros.evaluation.metrics.motion import Sequence, pooled
from page4d_ros.evaluation.plans.dynamics_plan import KINDS
from page4d_ros.evaluation.plans.dynamics_sequences import (
    ORACLE,
    PICTURES,
    Shown,
    called,
    measure_drives,
)
from page4d_ros.evaluation.report.page import write_results
from page4d_ros.evaluation.report.pictures import Picture, jpeg, overlay
from page4d_ros.evaluation.report.tables import MOTION_COLUMNS, Column, Row, Table, table
from page4d_ros.perception.motion_classifier import SOURCES

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from numpy.typing import NDArray

    from page4d_ros.datasets.sequence import FileSequence
    from page4d_ros.evaluation.methods.network import Network
    from page4d_ros.evaluation.plans.dynamics_plan import Options

FORMAT = 1
MOVING = (
    *MOTION_COLUMNS,
    Column('ece', 'ECE', True),
    Column('flicker', 'flicker', True),
)
STILL = (
    Column('false_positives', 'called moving', True),
    Column('ece', 'ECE', True),
    Column('flicker', 'flicker', True),
)
NOTE = (
    "Masks without their margin (mask.dilate), at the network's pixels, of frames whose window is "
    'full. J, F: region and boundary measures of DAVIS, means over the frames in which something '
    'moves, then over drives; ECE: expected calibration error; flicker: mean change of '
    'probability from frame to frame at places at rest. The last row has true windows at the '
    "camera's pixels, and counts bodies that move more than 2 pixels a frame."
)
RED, GREY = (239, 68, 68), (120, 130, 145)
PLAN = 360  # pixels of a picture from above
SPREAD = 1.05


def evaluate_dynamics(
    checkpoint: str,
    output: Path,
    options: Options,
    *,
    values: dict[str, Any] | None = None,
    davis: Path | None = None,
    progress: Callable[[str], None] = lambda _name: None,
) -> dict[str, Any]:
    """Ask every source of evidence what moves, on rendered drives and on clips.

    Args:
        checkpoint: weight file, ``page4d-small`` or ``untrained``.
        output: folder to make; receives ``metrics.json``, ``tables.md`` and ``report.html``.
        options: which drives.
        values: settings by dotted name.
        davis: folder of the DAVIS layout.
        progress: called with what is worked on, after each frame.

    Returns:
        The content of ``metrics.json``: figures by kind of drive (or clip) and source.

    Raises:
        BagError: the clips cannot be read.
        CheckpointError: the weights cannot be used.
        SceneError: nothing can be rendered here.
        OSError: the output cannot be written.
    """
    output.mkdir(parents=True, exist_ok=True)
    given = open_sequences('davis', davis) if davis else []
    config = Config().with_values({'window.stride': 1} | (values or {}))
    ((network, known),) = load([checkpoint], config)
    with spare_cores(options.processes):
        found = measure_drives(network, options, progress)
    shown = [found.shown] if found.shown else []
    judged = {}
    for clip in given:
        judged[clip.name], pictures = _clip(network, clip, lambda c=clip: progress(c.name))
        shown.append(pictures)
    facts = {
        'format': FORMAT,
        'checkpoint': known,
        'caution': network.engine.caution,
        'settings': values or {},
        'options': asdict(options),
        'kinds': found.kinds,
        'all': found.every,
        'ghosts': found.ghosts,
        'clips': judged,
    }
    drawn = {
        'strips': [(s.title, _strip(s)) for s in shown],
        'above': _above(found.shown) if found.shown else [],
    }
    title = 'Evaluation of what moves'
    return write_results(output, title, facts, tables, 'dynamics.html', **drawn)


def tables(metrics: dict[str, Any]) -> list[Table]:
    """A table for each kind of drives and for each clip."""
    out = []
    for kind, figures in (metrics['kinds'] | metrics['clips']).items():
        columns = STILL if kind in KINDS and not figures['fused']['moving'] else MOVING
        out.append(table(kind, _rows(figures), columns, '' if out else NOTE))
    every = {source: metrics['all'][source] for source in SOURCES}
    out.append(table('All drives in known rooms', _rows(every), MOVING))
    ghosts = [Row(name, {'share': share}) for name, share in metrics['ghosts'].items()]
    note = 'Share of the points of the accumulated static cloud that lie on moving bodies.'
    return [*out, table('Ghosts', ghosts, [Column('share', 'on movers')], note)]


def _rows(figures: dict[str, Any]) -> list[Row]:
    return [Row(s, tree, rivals=None if s == ORACLE else 0) for s, tree in figures.items()]


def _clip(
    network: Network, clip: FileSequence, progress: Callable[[], None]
) -> tuple[dict, Shown]:
    """Figures of a clip by source, and what its pictures show."""
    out = {source: Sequence() for source in SOURCES}
    shown, config = Shown(clip.name), network.config
    picks = set(np.linspace(0, clip.count - 1, PICTURES).round().astype(int))
    panel = Panel(config.mask, network.classifier)
    for index, output in enumerate(network.outputs(clip.frames(), panel)):
        estimate, frame = output.estimate, output.frame
        truth = at_network(frame.mask, estimate.transform)
        predictions = panel.predictions
        masks = {s: called(motion.probability, config.mask) for s, motion in predictions.items()}
        for source, motion in predictions.items():
            out[source].add(motion.probability, masks[source], truth)
        if index in picks:
            shown.add(estimate, truth, masks)
        progress()
    return {source: pooled([sequence]) for source, sequence in out.items()}, shown


def _strip(shown: Shown) -> list[tuple[str, list[Picture]]]:
    """Pictures in columns: the image with the true outline, then every source's mask."""
    out = []
    for image, truth, masks in zip(shown.images, shown.truth, shown.masks, strict=True):
        rows = [('truth', np.zeros_like(truth)), *masks.items()]
        pictures = [
            Picture(name, f'{name}: red moves', jpeg(_large(overlay(image, mask, truth))))
            for name, mask in rows
        ]
        out.append(('', pictures))
    return out


def _large(image: NDArray) -> NDArray:
    scale = max(1, PLAN // image.shape[1])
    return cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_NEAREST)


def _above(shown: Shown) -> list[Picture]:
    """The accumulated static cloud from above, without and with the mask; ghosts are red."""
    points = np.concatenate(shown.points)
    low, high = np.percentile(points[:, :2], (1, 99), axis=0)
    middle, reach = (low + high) / 2, SPREAD * (high - low).max() / 2
    pixels = ((points[:, :2] - middle) / reach * PLAN / 2 + PLAN / 2).astype(int)
    inside = ((pixels >= 0) & (pixels < PLAN)).all(1)
    out = []
    for label, use in (('without mask', inside), ('with mask', inside & (points[:, 3] == 0))):
        image = np.full((PLAN, PLAN, 3), 255, np.uint8)
        for moving, colour in ((0, GREY), (1, RED)):
            u, v = pixels[use & (points[:, 2] == moving)].T
            image[PLAN - 1 - v, u] = colour
        out.append(Picture(label, f'Accumulated static cloud from above, {label}', jpeg(image)))
    return out
