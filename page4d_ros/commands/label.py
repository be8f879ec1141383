"""Labels by a network, for training another one on recordings without ground truth."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from typer import Argument, Option

from page4d_ros.commands.offline import INTERRUPTED, watched
from page4d_ros.config import Config
from page4d_ros.errors import BagError, ConfigError, TrainingError
from page4d_ros.settings import parse_assignment

if TYPE_CHECKING:
    from page4d_ros.bags.replay import Summary
    from page4d_ros.bags.stream import Source
    from page4d_ros.perception.pipeline import Perception
    from page4d_ros.training.labels import LabelShards


def label(
    recordings: Annotated[
        list[Path], Argument(metavar='RECORDING...', help='As for `page4d replay`.')
    ],
    *,
    output: Annotated[Path, Option('--output', '-o', help='Folder that receives the shards.')],
    weights: Annotated[str, Option(help='The teacher\'s; "" takes model.checkpoint.')] = '',
    hold_out: Annotated[
        float,
        Option(min=0, max=0.9, help="Fraction of each recording's end to validate on."),
    ] = 0.1,
    frames: Annotated[int, Option(min=8, help='Per shard.')] = 20,
    width: Annotated[int, Option(min=16, help='Of the images in shards, in pixels.')] = 160,
    image_topic: Annotated[str, Option(help='Which images; "" takes the only ones.')] = '',
    set_: Annotated[
        list[str] | None,
        Option('--set', metavar='NAME=VALUE', help='A parameter of the node; repeat it.'),
    ] = None,
    force: Annotated[bool, Option('--force', help='Replace shards of the same name.')] = False,
) -> None:
    """Label recordings by a teacher: poses, depth and masks, each with the teacher's certainty.

    Frames that the teacher cannot be trusted on are left out. `page4d train distill` trains on
    the rest.
    """
    from page4d_ros.bags.replay import OFFLINE
    from page4d_ros.training.labels import HELD_OUT, LabelShards

    values = OFFLINE | dict(map(parse_assignment, set_ or []))
    values |= {'model.checkpoint': weights} if weights else {}
    config = Config().with_values(values)
    if config.odometry.estimator == 'network':
        raise ConfigError(
            'odometry.estimator network: nothing would say how far the teacher can be trusted; '
            'take both'
        )
    output = output.expanduser()
    names = _names(recordings)
    older = {name: _older(output, name) for name in names}
    if (found := [name for name in names if older[name]]) and not force:
        raise BagError(f'{output}: has labels of {found[0]}; add --force to replace them')
    for recording, name in zip(recordings, names, strict=True):
        for path in older[name]:
            path.unlink()
        shards = LabelShards(output, name, frames=frames, width=width)
        summary = _label(recording, shards, config, image_topic)
        held = shards.hold_out(hold_out)
        print(_text(summary, shards, held))
        if summary.interrupted:
            raise typer.Exit(INTERRUPTED)
        if not shards.paths:
            raise TrainingError(
                f'{recording}: no label can be trusted; see why by `page4d replay --report`'
            )
    held_out = output / HELD_OUT if hold_out else ''
    command = f'page4d train distill --output RUN --set data.train={output}'
    print(f'train      {command} --set data.validation={held_out}')


def _label(recording: Path, shards: LabelShards, config: Config, image_topic: str) -> Summary:
    from page4d_ros.bags.replay import replay

    with tempfile.TemporaryDirectory() as scratch, watched(None, 'label') as hooks:
        begin, hooks['seen'] = hooks['started'], shards.add

        def started(source: Source, perception: Perception) -> None:
            shards.teacher = perception.engine.name
            begin(source, perception)

        hooks['started'] = started
        summary = replay(
            recording,
            Path(scratch) / 'replay',
            config,
            topics=['odom'],
            image_topic=image_topic,
            **hooks,
        )
    shards.close()
    return summary


def _names(recordings: list[Path]) -> list[str]:
    """Names of recordings, each another.

    Raises:
        BagError: two have the same.
    """
    names = [path.expanduser().resolve().stem for path in recordings]
    twice = [name for name in names if names.count(name) > 1]
    if twice:
        raise BagError(f'two recordings are called {twice[0]}; label them into different folders')
    return names


def _older(output: Path, name: str) -> list[Path]:
    from page4d_ros.synthetic.shards import recording_shards
    from page4d_ros.training.labels import HELD_OUT

    return recording_shards(output, name) + recording_shards(output / HELD_OUT, name)


def _text(summary: Summary, shards: LabelShards, held: int) -> str:
    reasons = dict(shards.left_out) | summary.dropped
    without = ', '.join(f'{count} {reason}' for reason, count in sorted(reasons.items()) if count)
    lines = [
        f'recording  {summary.source}',
        f'frames     {summary.frames}',
        f'labelled   {shards.kept} in {len(shards.paths)} shards, {held} of them held out',
        f'left out   {without or "none"}',
        f'lengths    {"metres" if summary.metric else "not metric"}',
    ]
    return '\n'.join(lines)
