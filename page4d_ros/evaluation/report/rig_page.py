"""The page about a recording of a rig: a strip of each camera, one scene, and all figures."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from page4d_ros.evaluation.report.page import REPORT_FILE, Page, Section
from page4d_ros.evaluation.report.recording_page import (
    SEEN,
    accuracy_tables,
    accuracy_tiles,
    caveats,
    facts,
    published,
    run_tiles,
    where,
)
from page4d_ros.evaluation.report.scene import merged
from page4d_ros.evaluation.report.tables import Column, Row, Table, table

if TYPE_CHECKING:
    from collections.abc import Mapping

    from page4d_ros.evaluation.report.recording_page import Drawn
    from page4d_ros.evaluation.result import Aligned

CAMERA_COLUMNS = (
    Column('images', 'images'),
    Column('depth.per_frame.abs_rel', 'depth AbsRel'),
    Column('depth.per_frame_flat_wall.abs_rel', 'flat wall'),
    Column('depth.per_frame.delta_1_25', 'depth δ < 1.25'),
    Column('depth.coverage', 'valid pixels'),
    Column('mask.estimate.iou', 'mask IoU'),
    Column('mask.all_moving.iou', 'everything moving'),
)
CAMERA_NOTE = 'Each camera by its own truth; depth with a scale per frame.'
OTHERS = (
    'The published clouds of all cameras, put together in the odom frame by the estimated poses '
    'and by where tf says that the cameras sit: static points in their colours, moving ones in '
    'red. A camera that tf does not place is left out.'
)


def page(drawn: Mapping[str, Drawn], path: Aligned | None, metrics: dict[str, Any]) -> Page:
    """The page of a rig.

    Args:
        drawn: by camera, the main one first.
        path: trajectory of the main camera laid over the truth; None without truth.
        metrics: settled, with verdict and reasons.
    """
    recording, source = metrics['recording'], metrics['source']
    strips = [
        each.frames._replace(title=f'What {camera} saw', id=f'frames-{camera}')
        for camera, each in drawn.items()
    ]
    told = next((i for i, strip in enumerate(strips) if SEEN in strip.texts), 0)
    for i in range(told + 1, len(strips)):  # said once
        strips[i] = strips[i]._replace(texts=[t for t in strips[i].texts if t != SEEN])
    scenes = [each.scene for each in drawn.values() if each.scene is not None]
    scene = merged(scenes) if scenes else None
    placed = where(scene, path, metric=metrics['run']['metric'] is True)
    if scene is not None and len(scene.static):
        placed = placed._replace(texts=[OTHERS])
    links = [(f'All about {camera}', f'{camera}/{REPORT_FILE}') for camera in drawn]
    accuracy = Section(
        'How accurate it is',
        'accuracy',
        texts=caveats(metrics),
        tables=tables(metrics),
        links=links,
    )
    main = next(iter(drawn.values()))
    return Page(
        f'page4d report · {recording} · made from {source}',
        f'{recording}: {metrics["verdict"]["headline"]}',
        [*strips, placed, main.timing, accuracy, published(metrics)],
        [('cameras', ', '.join(drawn)), *facts(metrics)],
        run_tiles(metrics) + accuracy_tiles(_pose(metrics)),
        metrics['verdict']['banner'],
        metrics['run']['trained'] is False,
    )


def tables(metrics: dict[str, Any]) -> list[Table]:
    """Depth and mask of each camera, and the trajectory of the main one."""
    rows = [
        Row(camera, tree, None, f'cameras.{camera}') for camera, tree in metrics['cameras'].items()
    ]
    cameras = table('Cameras', rows, CAMERA_COLUMNS, CAMERA_NOTE, reasons=metrics['reasons'])
    return [*accuracy_tables(_pose(metrics)), cameras]


def _pose(metrics: dict[str, Any]) -> dict[str, Any]:
    """The same without depth and mask, of which each camera has its own."""
    return metrics | {'depth': None, 'mask': None}
