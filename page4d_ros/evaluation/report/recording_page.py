"""The page about a recording of the node beside its source."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from page4d_ros.evaluation.metrics.running import FRAME_AGE, timing_series
from page4d_ros.evaluation.report import plots
from page4d_ros.evaluation.report.page import Page, Plot, Section, failures
from page4d_ros.evaluation.report.pictures import spread, strip, worst_frames
from page4d_ros.evaluation.report.scene import build_scene
from page4d_ros.evaluation.report.tables import (
    POSE_COLUMNS,
    UNKNOWN,
    Column,
    Row,
    Table,
    Tile,
    number,
    table,
)
from page4d_ros.evaluation.report.verdict import UNTRAINED
from page4d_ros.evaluation.report.view import view
from page4d_ros.evaluation.result import Unknown

if TYPE_CHECKING:
    from page4d_ros.evaluation.metrics.recording import Case
    from page4d_ros.evaluation.report.scene import Scene
    from page4d_ros.evaluation.result import Aligned, Measured

# (key below the section, name of the row, rows that are compared with each other)
TRAJECTORY = (
    ('sim3', 'estimate, aligned by rotation, translation and scale', 0),
    ('se3', 'estimate, aligned without scale', 0),
    ('standing_still', 'standing still', 0),
    ('constant_velocity', 'constant velocity, told the mean', 0),
)
DEPTH = (
    ('per_frame', 'estimate, a scale per frame', 0),
    ('per_frame_flat_wall', 'flat wall, a scale per frame', 0),
    ('per_sequence', 'estimate, one scale', 1),
    ('per_sequence_flat_wall', 'flat wall, one scale', 1),
    ('unscaled', 'estimate as published, in metres', 1),
)
MASK = (
    ('estimate', 'estimate', 0),
    ('all_static', 'everything static', 0),
    ('all_moving', 'everything moving', 0),
)
DEPTH_COLUMNS = (Column('abs_rel', 'AbsRel', True), Column('delta_1_25', 'δ < 1.25', False))
MASK_COLUMNS = tuple(Column(key, key, False) for key in ('precision', 'recall', 'accuracy'))
MASK_COLUMNS += (Column('iou', 'IoU', False),)
TOPIC_COLUMNS = (
    Column('type', 'type'),
    Column('count', 'messages'),
    Column('rate_hz', 'rate [Hz]'),
    Column('longest_gap_s', 'longest gap [s]'),
)
SECTIONS = {'trajectory': 'Trajectory', 'depth': 'Depth', 'mask': 'Motion mask'}
SEEN = (
    'In each column one frame, from top to bottom as labelled. Red moves, as the node says; the '
    'white line is the outline of what truly moves. Hatched pixels have no depth.'
)
PLACED = (
    'The published clouds, put together in the odom frame by the estimated poses: static points '
    'in their colours, moving ones in red. Seen from above, what hangs over the camera is left '
    'out.'
)
NO_CLOUDS = (
    'The recording holds no clouds that can be placed (points/static, points/dynamic, and a '
    'transform from base to camera).'
)
NO_IMAGES = 'The recording holds no images (depth/image, mask/image, rgb/image).'
PATH = (
    'Path of the camera in the odom frame; the truth is aligned to it by rotation, translation '
    'and scale.'
)
FAILS = (
    'Errors over time, and the frames with the largest ones, the worst first. Positions are '
    'aligned to the truth, each depth image is scaled for itself.'
)


class Drawn(NamedTuple):
    """Material that needs the recording while it is open.

    Attributes:
        frames: section with pictures.
        scene: clouds and paths; None without a valid pose.
        where: section with the scene.
        worst: section with the frames of the largest errors; absent without truth.
        timing: section with the times.
        main: True if the recording says that the pose is of this camera.
    """

    frames: Section
    scene: Scene | None
    where: Section
    worst: list[Section]
    timing: Section
    main: bool


class RecordingPictures:
    """Draws the sections that need the recording while it is open."""

    def add(self, case: Case) -> None:
        """Take in the recording."""
        self.case = case

    def finish(self, measured: Measured) -> Drawn:
        """Frames, scene, the worst frames and times."""
        case, run, depth = self.case, measured.tree['run'], measured.tree['depth']
        metric, known = run['metric'] is True, not isinstance(depth, Unknown)
        scale = depth['scale'] if known and not metric else 1.0
        unit = 'm' if metric or known else plots.NO_UNIT
        scene, failed = build_scene(case, measured.path), []
        if measured.errors:
            worst = {
                name: strip(case, scale, unit, worst_frames(case, errors))[0]
                for name, errors in measured.errors.items()
            }
            found = failures('error', measured.errors, worst)
            failed = [Section('Where it fails', 'worst', texts=[FAILS], failures=found)]
        return Drawn(
            _frames(case, scale, unit),
            scene,
            where(scene, measured.path, metric=metric),
            failed,
            _timing(case, measured.tree['timing']),
            main=case.is_main,
        )


def page(drawn: Drawn, metrics: dict[str, Any]) -> Page:
    """The page, of what was drawn and settled metrics with verdict and reasons."""
    recording, source = metrics['recording'], metrics['source']
    untrained = metrics['run']['trained'] is False
    texts = caveats(metrics)
    texts += [
        f'{title}: not known, because {metrics["reasons"][name]}.'
        for name, title in SECTIONS.items()
        if metrics[name] is None
    ]
    tables = accuracy_tables(metrics)
    return Page(
        f'page4d report · {recording} · made from {source}',
        f'{recording}: {metrics["verdict"]["headline"]}',
        [
            drawn.frames,
            drawn.where,
            *drawn.worst,
            drawn.timing,
            Section('How accurate it is', 'accuracy', texts=texts, tables=tables),
            published(metrics),
        ],
        facts(metrics),
        run_tiles(metrics) + accuracy_tiles(metrics),
        metrics['verdict']['banner'],
        untrained,
    )


def caveats(metrics: dict[str, Any]) -> list[str]:
    """Sentences about all numbers of a recording."""
    if metrics['run']['trained'] is False:
        return [f'{UNTRAINED} Nothing is marked as better.']
    return []


def published(metrics: dict[str, Any]) -> Section:
    """Section with all topics of a recording."""
    return Section('What was published', 'topics', tables=[_topics(metrics)])


def _frames(case: Case, scale: float, unit: str) -> Section:
    title, (columns, bar) = 'What it saw', strip(case, scale, unit, spread(case))
    if not columns:
        return Section(title, 'frames', texts=[NO_IMAGES])
    scaled = (
        f'The published depth is multiplied by {number(scale)}, because without a scale it is not '
        'in metres.'
    )
    texts = [SEEN, scaled if scale != 1 else '']
    return Section(title, 'frames', texts=texts, columns=columns, bar=bar)


def where(scene: Scene | None, path: Aligned | None, *, metric: bool) -> Section:
    """Section with a scene.

    Args:
        scene: to show; None without a valid pose.
        path: trajectory laid over the truth; None without truth.
        metric: True if lengths are in metres.
    """
    title = 'Where it was, and what stood there'
    if scene is None:
        return Section(title, 'map', texts=['The recording holds no valid pose (odom).'])
    unit, drawn = 'm' if metric else plots.NO_UNIT, []
    clouds = len(scene.static) + len(scene.dynamic) > 0
    if clouds:
        sides = {'above': 'From above.', 'side': 'From the side.'}
        drawn = [Plot(plots.cloud_plot(scene, side, unit), text) for side, text in sides.items()]
    from_above = plots.trajectory_plot(scene, unit)
    if path is None:
        drawn.append(Plot(from_above, 'Path of the camera in the odom frame.'))
    else:
        drawn.append(Plot(from_above, PATH))
        position = plots.position_plot(path)
        drawn.append(Plot(position, 'Position over time, aligned to the truth.'))
    texts, turned = [PLACED if clouds else NO_CLOUDS], view(scene, 'm' if metric else '')
    return Section(title, 'map', texts=texts, scene=turned, plots=drawn)


def _timing(case: Case, timing: dict[str, Any] | Unknown) -> Section:
    title = 'How fast it is'
    if isinstance(timing, Unknown):
        return Section(title, 'timing', texts=[f'Not known: {timing}.'])
    stages = {
        name.removesuffix('_ms'): (row['median'], row['p95'])
        for name, row in timing.items()
        if name != FRAME_AGE and np.isfinite(row['p95'])
    }
    series = timing_series(case.recording)
    seconds, age = series[FRAME_AGE]
    curves = {'frame age': (seconds, 1e3 * age)} if age.any() else {}
    over_time = plots.latency_plot(curves | {'forward': series['forward_ms']})
    caption = 'Over time. Frame age is from the stamp of the image to publishing.'
    drawn = [Plot(over_time, caption)]
    if stages:
        drawn.insert(0, Plot(plots.stages_plot(stages), 'Time spent on a frame, by stage.'))
    return Section(title, 'timing', plots=drawn)


def _topics(metrics: dict[str, Any]) -> Table:
    rows = [Row(name, row) for name, row in metrics['topics'].items()]
    return table('Topics', rows, TOPIC_COLUMNS)


def accuracy_tables(metrics: dict[str, Any]) -> list[Table]:
    """Pose, depth and mask beside their baselines; absent where there is no ground truth."""
    out = []
    if section := metrics['trajectory']:
        truth = section['truth']
        note = (
            f'{section["poses"]} poses of {section["frame"]}; the true path is '
            f'{number(truth["path_length_m"])} m long, {number(truth["extent_m"])} m across, and '
            f'turns by {number(truth["rotation_deg"])}°. RMSE; RPE from one pose to the next. '
            'Computed by evo.'
        )
        out.append(_table('Trajectory', metrics, 'trajectory', TRAJECTORY, POSE_COLUMNS, note))
    if section := metrics['depth']:
        note = (
            f'{section["frames"]} frames; {section["coverage"]:.0%} of the pixels with a true '
            'depth have a published one, and only these count. A flat wall is one depth '
            'everywhere, scaled in the same way.'
        )
        out.append(_table('Depth', metrics, 'depth', DEPTH, DEPTH_COLUMNS, note))
    if section := metrics['mask']:
        note = (
            f'{section["frames"]} frames; {section["moving_share"]:.1%} of the pixels truly move. '
            'Every pixel of the sequence counts the same.'
        )
        out.append(_table('Motion mask', metrics, 'mask', MASK, MASK_COLUMNS, note))
    return out


def _table(
    title: str,
    metrics: dict[str, Any],
    name: str,
    rows: tuple[tuple[str, str, int], ...],
    columns: tuple[Column, ...],
    note: str,
) -> Table:
    found = [Row(label, metrics[name][key], same, f'{name}.{key}') for key, label, same in rows]
    trained = metrics['run']['trained'] is not False
    return table(title, found, columns, note, reasons=metrics['reasons'], mark=trained)


def run_tiles(metrics: dict[str, Any]) -> list[Tile]:
    """Key figures of the run."""
    run, timing = metrics['run'], metrics['timing'] or {}
    images = '' if run['images'] is None else f'of {number(run["images"])} images'
    out = [Tile('estimates', number(run['estimates']), images)]
    out.append(Tile('rate', f'{number(run["rate_hz"])} Hz', 'by the clock of the recording'))
    age = timing.get('frame_age_s', {})
    if age.get('median') is not None:
        note = f'median; 95 % below {1e3 * age["p95"]:.0f} ms'
        out.append(Tile('frame age', f'{1e3 * age["median"]:.0f} ms', note))
    elif timing:
        forward = timing['forward_ms']
        note = f'median; 95 % below {number(forward["p95"])}\u00a0ms'
        out.append(Tile('network', f'{number(forward["median"])} ms', note))
    return out


def accuracy_tiles(metrics: dict[str, Any]) -> list[Tile]:
    """Errors of pose, depth and mask beside those of their baselines; only what is known."""
    out = []
    if (pose := metrics['trajectory']) and pose['sim3']:
        note = f'standing still: {number(pose["standing_still"]["ate_m"])}\u00a0m'
        out.append(Tile('path error (ATE)', f'{number(pose["sim3"]["ate_m"])} m', note))
    if depth := metrics['depth']:
        value = number(depth['per_sequence']['abs_rel'])
        wall = number(depth['per_sequence_flat_wall']['abs_rel'])
        out.append(Tile('depth error (AbsRel)', value, f'flat wall: {wall}'))
    if mask := metrics['mask']:
        note = f'everything moving: {number(mask["all_moving"]["iou"])}'
        out.append(Tile('motion mask (IoU)', number(mask['estimate']['iou']), note))
    return out


def facts(metrics: dict[str, Any]) -> list[tuple[str, str]]:
    """Facts of the run, as (name, value)."""
    run = metrics['run']
    yes = {True: 'yes', False: 'no', None: UNKNOWN}
    counts = ('received', 'dropped', 'lost', 'window_size')
    return [
        ('weights', run['checkpoint'] or UNKNOWN),
        ('SHA-256', run['sha256'] or UNKNOWN),
        ('trained', yes[run['trained']]),
        ('device', run['device'] or UNKNOWN),
        ('lengths in metres', yes[run['metric']]),
        ('camera calibrated', yes[run['calibrated']]),
        ('trust in the network (median)', number(run['network_trust'])),
        *((name.replace('_', ' '), number(run[name])) for name in counts),
    ]
