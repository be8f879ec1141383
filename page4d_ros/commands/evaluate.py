"""Commands that measure weights against a known truth."""

from __future__ import annotations

import contextlib
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer import Argument, Option

from page4d_ros.commands.options import DepthTopic, ImageTopic, MaskTopic, OdomTopic
from page4d_ros.commands.rrd import Rrd, check_rrd, open_rrd
from page4d_ros.commands.show import SAMPLE, need_report
from page4d_ros.config import Config, file_values
from page4d_ros.errors import Page4dError, printable
from page4d_ros.settings import parse_assignment

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from page4d_ros.evaluation.plans.plan import Plan
    from page4d_ros.evaluation.report.tables import Table
    from page4d_ros.perception.engine import Engine
    from page4d_ros.rrd import RrdWriter

SHORT = {' < ': '<', 'rotation': 'rot.', 'translation': 'transl.', ' ↓': '\n↓', ' ↑': '\n↑'}
WIDE = 140  # columns of a terminal that shows intervals
QUICK = {'seeds': 1, 'drives': 3, 'unseen': 0, 'places': 0, 'stream_frames': 0, 'prior_drives': 4}

RESULTS = Path('results')

app = typer.Typer(no_args_is_help=True)


@app.callback(invoke_without_command=True)
def evaluate(
    *,
    compare: Annotated[
        tuple[Path, Path] | None,
        Option(
            metavar='A B',
            help='Show how two results of `evaluate data` differ, with intervals. No command.',
        ),
    ] = None,
) -> None:
    """Measure weights against a known truth."""
    if compare is None:
        return
    need_report()
    from page4d_ros.evaluation.plans.compare import difference_tables

    for table in difference_tables(compare):
        _show(table)
    raise typer.Exit


@app.command()
def scenes(
    checkpoints: Annotated[
        list[str],
        Argument(help='Weight files, "page4d-small" or "untrained"; compared with the first.'),
    ],
    *,
    output: Annotated[
        Path, Option('--output', '-o', help='Folder for metrics and tables.')
    ] = RESULTS / 'scenes',
    rooms: Annotated[str, Option(help='Seeds of the rooms that the weights know.')] = '1,2',
    unseen: Annotated[
        int | None, Option(min=0, help='Rooms that they do not know.', show_default='4')
    ] = None,
    places: Annotated[
        int | None,
        Option(min=0, help='Places of many kinds per block, each seen once.', show_default='16'),
    ] = None,
    seeds: Annotated[
        int | None, Option(min=1, help='Disjoint blocks of drives.', show_default='3')
    ] = None,
    drives: Annotated[
        int | None, Option(min=1, help='Per block and known room.', show_default='12')
    ] = None,
    processes: Annotated[int, Option(min=1, help='Renderers side by side.')] = 2,
    quick: Annotated[
        bool,
        Option('--quick', help='A look in a minute: 1 block, 3 drives in known rooms.'),
    ] = False,
) -> None:
    """Measure depth, pose and motion on held-out rendered drives, beside simple answers."""
    need_report()
    from page4d_ros.datasets.rendered_plan import Options
    from page4d_ros.evaluation.plans.scenes import ScenesPlan

    given = {'unseen': unseen, 'places': places, 'seeds': seeds, 'drives': drives}
    values = (QUICK if quick else {}) | {k: v for k, v in given.items() if v is not None}
    options = Options(rooms=_numbers(rooms), processes=processes, **values)
    metrics = _evaluate(ScenesPlan(checkpoints, options), output)
    print('\n'.join(metrics['remarks']))


@app.command()
def odometry(
    recordings: Annotated[
        list[Path] | None,
        Argument(help='Recordings with true poses.', show_default='the sample drive'),
    ] = None,
    *,
    dataset: Annotated[
        list[str] | None,
        Option(
            metavar='NAME=FOLDER',
            help='A data set, of the names of `evaluate data`, such as kitti=FOLDER; repeat it.',
        ),
    ] = None,
    output: Annotated[
        Path, Option('--output', '-o', help='Folder for metrics and report.')
    ] = RESULTS / 'odometry',
    image_topic: Annotated[str, Option(help='Images, if a recording has several.')] = '',
    checkpoint: Annotated[
        str, Option(help='Same as --set model.checkpoint=...', show_default='page4d-small')
    ] = '',
    params: Annotated[Path | None, Option(help='Parameters file as the node reads it.')] = None,
    set_: Annotated[
        list[str] | None, Option('--set', help='name=value of a parameter; repeat it.')
    ] = None,
    quick: Annotated[
        bool,
        Option(
            '--quick',
            help='A look in a minute: a tenth of the windows; no oracles, no stressed streams.',
        ),
    ] = False,
) -> None:
    """Measure the trajectory, and the gates that it has to keep.

    On each recording and data set: the weights joined with image corners, alone, and corners
    alone; random weights; an oracle (true poses and depths with noise), also with 30 % of its
    windows fooled, where poses and depths are known; KLT. Then streams that are hard to follow
    (white walls, pure rotation, blackout, a covered view, a still camera), the change from a known
    room to each recording, and long runs of windows that are known.
    """
    need_report()
    from page4d_ros.datasets.registry import BAG
    from page4d_ros.evaluation.plans.odometry import Data, OdometryPlan

    values = (file_values(params) if params else {}) | {'window.stride': 1}
    values |= dict(parse_assignment(text) for text in set_ or [])
    if checkpoint:
        values['model.checkpoint'] = checkpoint
    config = Config().with_values(values)
    data = [Data(BAG, path) for path in recordings or ([] if dataset else [SAMPLE])]
    data += [Data(*_folder(text)) for text in dataset or []]
    _evaluate(OdometryPlan(data, config, SAMPLE, image_topic=image_topic, quick=quick), output)


@app.command()
def dynamics(
    checkpoint: Annotated[
        str, Argument(help='A weight file, "page4d-small" or "untrained".')
    ] = 'page4d-small',
    *,
    output: Annotated[
        Path, Option('--output', '-o', help='Folder for metrics and report.')
    ] = RESULTS / 'dynamics',
    rooms: Annotated[str, Option(help='Seeds of the rooms that the weights know.')] = '1,2',
    unseen: Annotated[str, Option(help='Seeds of others; "" for none.')] = '101,102',
    drives: Annotated[
        int | None, Option(min=1, help='Per room and kind.', show_default='6')
    ] = None,
    davis: Annotated[
        Path | None, Option(help='Folder with JPEGImages/ and Annotations/ of DAVIS.')
    ] = None,
    set_: Annotated[
        list[str] | None, Option('--set', help='name=value of a parameter; repeat it.')
    ] = None,
    processes: Annotated[int, Option(min=1, help='Renderers side by side.')] = 2,
    quick: Annotated[bool, Option('--quick', help='One drive per room and kind.')] = False,
) -> None:
    """Measure the motion mask: each source of evidence, on rendered drives and given ones."""
    need_report()
    from page4d_ros.evaluation.plans.dynamics import DynamicsPlan
    from page4d_ros.evaluation.plans.dynamics_drives import Options

    options = Options(
        rooms=_numbers(rooms),
        unseen=_numbers(unseen, '--unseen') if unseen else (),
        drives=drives or (1 if quick else Options.drives),
        processes=processes,
    )
    values = dict(parse_assignment(text) for text in set_ or [])
    davis = davis.expanduser() if davis else None
    _evaluate(DynamicsPlan(checkpoint, options, values=values, davis=davis), output)


@app.command()
def data(
    dataset: Annotated[
        str,
        Argument(
            help='tum, bonn, sintel, davis, kitti, 7scenes, euroc, pointodyssey, dycheck, or bag.'
        ),
    ],
    folder: Annotated[
        Path, Argument(help='Where it was unpacked, one of its sequences, or a recording.')
    ],
    *,
    output: Annotated[
        Path | None,
        Option(
            '--output', '-o', help='Folder for metrics and report.', show_default='results/DATASET'
        ),
    ] = None,
    checkpoint: Annotated[str, Option(help='Weight file, or "untrained".')] = 'page4d-small',
    sequence: Annotated[
        list[str] | None, Option(help='Name of a sequence; repeat it.', show_default='all')
    ] = None,
    protocol: Annotated[
        str, Option(help='Which frames: all, page4d-pose-tum, vggt4d-mask-davis16, ...')
    ] = 'all',
    as_published: Annotated[
        bool, Option('--as-published', help="Measure with the quirks of the paper's code.")
    ] = False,
    stride: Annotated[int | None, Option(min=1, help='Instead: every n-th frame.')] = None,
    frames: Annotated[int | None, Option(min=1, help='Instead: at most so many.')] = None,
    modes: Annotated[
        str | None,
        Option(
            help='Ways of running, of streaming, whole, single, streaming-other-mask and '
            'whole-other-mask.',
            show_default="the protocol's",
        ),
    ] = None,
    image_topic: ImageTopic = '',
    odom_topic: OdomTopic = '',
    depth_topic: DepthTopic = '',
    mask_topic: MaskTopic = '',
    rrd: Rrd = None,
    set_: Annotated[
        list[str] | None, Option('--set', help='name=value of a parameter; repeat it.')
    ] = None,
) -> None:
    """Measure pose, depth and mask on a data set in its published layout, or on a recording."""
    need_report()
    from dataclasses import replace

    from page4d_ros.datasets.registry import Topics
    from page4d_ros.evaluation.plans.data import DataPlan
    from page4d_ros.evaluation.protocol import CUSTOM, PROTOCOLS

    if protocol not in PROTOCOLS:
        raise Page4dError(f'no protocol {protocol!r}; there are {", ".join(PROTOCOLS)}')
    given = {k: v for k, v in {'stride': stride, 'frames': frames}.items() if v}
    given |= {'name': CUSTOM} if given else {}
    if modes:
        given['modes'] = tuple(dict.fromkeys(mode.strip() for mode in modes.split(',')))
    chosen = replace(PROTOCOLS[protocol], **given, as_published=as_published)
    values = {'window.stride': 1} | dict(parse_assignment(text) for text in set_ or [])
    rrd = check_rrd(rrd)
    files: list[Path] = []

    def watch(name: str, engine: Engine) -> RrdWriter:
        files.append(rrd.with_stem(f'{rrd.stem}-{name}') if name else rrd)
        return open_rrd(files[-1], name or folder.resolve().name, engine)

    plan = DataPlan(
        dataset,
        folder.expanduser(),
        checkpoint,
        Config().with_values(values),
        chosen,
        wanted=sequence or (),
        topics=Topics(image_topic, odom_topic, depth_topic, mask_topic),
        watch=watch if rrd else None,
    )
    metrics = _evaluate(plan, output or RESULTS / dataset)
    for remark in metrics['remarks']:
        print(f'page4d: {printable(remark)}', file=sys.stderr)
    print(*files, sep='\n', end='\n' if files else '')


def _evaluate(plan: Plan, output: Path) -> dict[str, Any]:
    """Run a plan, show its tables, and name the report."""
    from page4d_ros.evaluation.report.page import REPORT_FILE
    from page4d_ros.evaluation.run import evaluate as run

    output = output.expanduser()
    with _counter() as progress:
        metrics = run(plan, output, progress)
    for table in plan.tables(metrics):
        _show(table)
    print(output / REPORT_FILE)
    return metrics


@contextlib.contextmanager
def _counter() -> Iterator[Callable[[str], None]]:
    """Show what is worked on, and how many frames of it are done."""
    from rich.console import Console
    from rich.progress import Progress, SpinnerColumn, TextColumn

    console = Console(stderr=True)
    columns = SpinnerColumn(), TextColumn('{task.description} {task.completed:.0f}')
    with Progress(
        *columns, console=console, transient=True, disable=not console.is_terminal
    ) as bar:
        tasks = {}

        def advance(name: str) -> None:
            if name not in tasks:
                tasks[name] = bar.add_task(name, total=None)
            bar.advance(tasks[name])

        yield advance


def _folder(text: str) -> tuple[str, Path]:
    """Name and folder of a data set."""
    name, _, folder = text.partition('=')
    if not folder:
        raise Page4dError(f'--dataset {text}: expected NAME=FOLDER, such as kitti=data/kitti')
    return name, Path(folder)


def _numbers(text: str, option: str = '--rooms') -> tuple[int, ...]:
    try:
        return tuple(dict.fromkeys(int(word) for word in text.split(',')))
    except ValueError as error:
        raise Page4dError(f'{option} {text}: expected numbers, such as {option} 1,2') from error


def _show(table: Table) -> None:
    """Print a table, with intervals where there is room for them."""
    from rich.box import SIMPLE
    from rich.console import Console
    from rich.table import Table as Grid
    from rich.text import Text

    console = Console()
    wide = console.width >= WIDE
    grid = Grid(title=Text(table.title), caption=Text(table.note), box=SIMPLE, padding=0)
    grid.add_column('method', overflow='fold')
    for full in table.heads:
        head = full
        for long, short in SHORT.items():
            head = head.replace(long, short)
        grid.add_column(Text(head), justify='right')
    for label, cells in table.rows:
        texts = [Text(cell.text, style='bold' if cell.best else '') for cell in cells]
        for text, cell in zip(texts, cells, strict=True):
            text.append(f'\n{cell.hint}' if wide and cell.hint else '', style='not bold dim')
        grid.add_row(Text(label), *texts)
    console.print(grid)
