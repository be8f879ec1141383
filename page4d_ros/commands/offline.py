"""Commands that read recordings without ROS."""

from __future__ import annotations

import contextlib
import json
import signal
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from typer import Argument, Option

from page4d_ros.commands.options import Assignments, Checkpoint, Params, Rate
from page4d_ros.commands.rrd import Rrd, check_rrd, written
from page4d_ros.commands.show import need_report, write_report
from page4d_ros.config import Config, file_values
from page4d_ros.errors import BagError, ConfigError, printable
from page4d_ros.settings import parse_assignment

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from page4d_ros.bags.replay import Summary
    from page4d_ros.bags.stream import Source
    from page4d_ros.perception.pipeline import Perception
    from page4d_ros.perception.types import Estimate

INTERRUPTED = 130


def replay(
    source: Annotated[Path, Argument(help='Recording, folder of images, or video.')],
    *,
    output: Annotated[Path, Option('--output', '-o', help='Folder to make (rosbag2, MCAP).')],
    checkpoint: Checkpoint = '',
    params: Params = None,
    set_: Assignments = None,
    device: Annotated[str, Option(help='cuda, cuda:N, cpu or auto (model.device).')] = '',
    stride: Annotated[
        int | None, Option(min=1, help='Take every n-th frame (window.stride).')
    ] = None,
    start: Annotated[float, Option(min=0, help='Skip so many seconds.')] = 0.0,
    duration: Annotated[float | None, Option(min=0, help='Stop after so many seconds.')] = None,
    rate: Rate = None,
    camera: Annotated[
        list[str] | None,
        Option(
            metavar='NAME=TOPIC|FX,FY,CX,CY',
            help='A camera of a rig and its images, once for each; or the intrinsics of a video '
            'or of a folder of images, in their own pixels.',
        ),
    ] = None,
    image_topic: Annotated[str, Option(help='Which images; "" takes the only ones.')] = '',
    depth_topic: Annotated[str, Option(help='Depth for scale.mode depth.')] = '',
    odom_topic: Annotated[str, Option(help='Odometry for scale.mode odometry.')] = '',
    topic: Annotated[
        list[str] | None, Option(help='Write only these outputs, such as odom; repeat it.')
    ] = None,
    clip: Annotated[
        bool,
        Option('--clip', help='All frames in one forward pass, as papers evaluate; short ones.'),
    ] = False,
    report: Annotated[
        bool, Option('--report', help='Also report.html and metrics.json, as `page4d report`.')
    ] = False,
    rrd: Rrd = None,
    force: Annotated[bool, Option('--force', help='Replace a recording that is there.')] = False,
    as_json: Annotated[bool, Option('--json', help='Print one JSON object.')] = False,
) -> None:
    """Run the perception over a recording, and write everything it publishes."""
    from page4d_ros.bags.replay import OFFLINE

    values = OFFLINE | (
        {k: v for k, v in file_values(params).items() if k not in OFFLINE} if params else {}
    )
    values |= dict(parse_assignment(text) for text in set_ or [])
    given = {'model.checkpoint': checkpoint, 'model.device': device, 'window.stride': stride}
    rig, intrinsics = _cameras(camera or [])
    given['cameras'] = list(rig)
    config = Config().with_values(values | {name: v for name, v in given.items() if v})

    if report:
        need_report()
    _check_scale(config.scale.mode, depth_topic, odom_topic)
    rrd = check_rrd(rrd)
    if rrd is not None and rrd.exists() and not force:
        raise BagError(f'{rrd}: exists already; choose another name, or --force to replace it')

    from page4d_ros.bags.images import Intrinsics
    from page4d_ros.bags.replay import replay as run
    from page4d_ros.bags.stream import Span

    with watched(rrd) as hooks:
        summary = run(
            source,
            output,
            config,
            topics=topic or (),
            clip=clip,
            force=force,
            image_topic=image_topic,
            image_topics=list(rig.values()),
            depth_topic=depth_topic,
            odom_topic=odom_topic,
            rate=rate,
            span=Span(start, duration),
            camera=Intrinsics.parse(intrinsics) if intrinsics else None,
            **hooks,
        )
    print(json.dumps(asdict(summary)) if as_json else _text(summary))
    if summary.interrupted:
        raise typer.Exit(INTERRUPTED)
    if not summary.estimates:
        raise BagError(f'{source}: none of its {summary.frames} frames gave an estimate')
    if report:
        checkpoint = config.model.checkpoint
        write_report(output, source, output, checkpoint=checkpoint, quiet=as_json)


def _cameras(given: list[str]) -> tuple[dict[str, str], str]:
    """Topics by name of a rig's cameras, and the text of the intrinsics; either is empty.

    Raises:
        ConfigError: both, or something twice.
    """
    named = [text.partition('=')[::2] for text in given if '=' in text]
    plain = [text for text in given if '=' not in text]
    if len(plain) > 1 or (plain and named) or len(dict(named)) < len(named):
        raise ConfigError(
            f'--camera {" --camera ".join(given)}: give NAME=TOPIC once for each camera of a rig, '
            'or FX,FY,CX,CY once'
        )
    return dict(named), ''.join(plain)


@contextlib.contextmanager
def watched(rrd: Path | None, name: str = 'replay') -> Iterator[dict[str, Callable]]:
    """Callbacks of a replay: progress bar of a name, warnings, Rerun recording, and Ctrl-C."""
    from rich.console import Console
    from rich.progress import Progress

    console = Console(stderr=True)
    with (
        contextlib.ExitStack() as stack,
        interruptible() as stopped,
        Progress(console=console, transient=True, disable=not console.is_terminal) as bar,
    ):
        task = bar.add_task(name, total=None)
        viewers: list[Callable[[Estimate], None]] = []

        def started(frames: Source, perception: Perception) -> None:
            bar.update(task, total=frames.total)
            viewers.append(stack.enter_context(written(rrd, frames.name, perception.engine)))

        def seen(estimate: Estimate) -> None:
            for view in viewers:
                view(estimate)

        yield {
            'started': started,
            'seen': seen,
            'stopped': stopped,
            'progress': lambda: bar.advance(task),
            'warn': lambda text: print(f'page4d: {printable(text)}', file=sys.stderr),
        }


@contextlib.contextmanager
def interruptible() -> Iterator[Callable[[], bool]]:
    """Ctrl-C is answered between two frames, so that everything is closed; twice ends at once."""
    seen: list[int] = []

    def note(number: int, _stack: object) -> None:
        seen.append(number)
        signal.signal(number, before[number])

    before = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield lambda: bool(seen)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _check_scale(mode: str, depth_topic: str, odom_topic: str) -> None:
    given = {'depth': ('--depth-topic', depth_topic), 'odometry': ('--odom-topic', odom_topic)}
    for needing, (option, topic) in given.items():
        if bool(topic) != (mode == needing):
            raise ConfigError(f'{option} and --set scale.mode={needing} need each other')


def _text(summary: Summary) -> str:
    rate = summary.estimates / summary.seconds if summary.seconds else 0.0
    drops = ', '.join(f'{count} {reason}' for reason, count in summary.dropped.items())
    lines = [
        f'source     {summary.source}',
        f'frames     {summary.frames}',
        f'estimates  {summary.estimates} ({rate:.1f} per second)',
        f'dropped    {drops or "none"}',
        f'seconds    {summary.seconds:.1f}',
        f'lengths    {"metres" if summary.metric else "not metric"}',
        f'output     {summary.output}',
    ]
    if summary.caution:
        lines.append(summary.caution)
    return '\n'.join(lines)


def info(
    source: Annotated[Path, Argument(help='rosbag1, rosbag2 folder, .mcap or .db3.')],
) -> None:
    """Show what a recording holds."""
    from page4d_ros.bags.reader import open_bag
    from page4d_ros.bags.recording import image_topics

    with open_bag(source) as bag:
        forms = {topic.name: topic.form for topic in image_topics(bag)}
        seconds = (bag.end_time - bag.start_time) * 1e-9
        print(f'{source}: {seconds:.2f} s')
        for name, (kind, count) in bag.topics().items():
            print(printable(f'{count:8d}  {name}  {kind}  {forms.get(name, "")}'.rstrip()))
        for text in bag.warnings:
            print(f'page4d: {printable(text)}', file=sys.stderr)
