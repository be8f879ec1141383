"""Command that looks whether everything is there, and says what to do where it is not."""

from __future__ import annotations

import json
from importlib.util import find_spec
from typing import TYPE_CHECKING, Annotated

import typer
from typer import Option

from page4d_ros.commands.options import Assignments, Params
from page4d_ros.config import Config, file_values
from page4d_ros.doctor import camera, machine
from page4d_ros.doctor.result import ERROR, SKIPPED, WARN, Check, as_json, run, worst
from page4d_ros.settings import parse_assignment

if TYPE_CHECKING:
    from collections.abc import Iterator

    from page4d_ros.doctor.result import Result

COLOURS = {'ok': 'green', SKIPPED: 'dim', WARN: 'yellow', ERROR: 'red'}
NO_ROS = 'rclpy is not installed: no node here, but replay, evaluation and training'
GET_ROS = 'source a ROS 2 installation and this package, or take make demo of a checkout (x86_64)'


def doctor(
    *,
    checkpoint: Annotated[str, Option(help='Weight file (model.checkpoint).')] = '',
    params: Params = None,
    set_: Assignments = None,
    image_topic: Annotated[str, Option(help='Images to watch; "" looks at no camera.')] = '',
    camera_info_topic: Annotated[
        str, Option(help='Their calibration; "" takes camera_info beside them.')
    ] = '',
    seconds: Annotated[float, Option(min=0.5, max=600, help='To watch them.')] = 5.0,
    strict: Annotated[bool, Option('--strict', help='Exit with 1 on warnings, too.')] = False,
    as_json_: Annotated[bool, Option('--json', help='Print one JSON object.')] = False,
) -> None:
    """Check machine, weights and ROS, and with --image-topic a camera; 1 if something fails."""
    values = file_values(params) if params else {}
    values |= dict(parse_assignment(text) for text in set_ or [])
    config = Config().with_values(
        values | ({'model.checkpoint': checkpoint} if checkpoint else {})
    )
    results = []
    for result in _results(config, image_topic, camera_info_topic, seconds):
        results.append(result)
        if not as_json_:
            _show(result)
    if as_json_:
        print(json.dumps(as_json(results), indent=2))
    if worst(results) in ({ERROR, WARN} if strict else {ERROR}):
        raise typer.Exit(1)


def _results(
    config: Config, image_topic: str, info_topic: str, seconds: float
) -> Iterator[Result]:
    yield from run(machine.checks(config))
    if find_spec('rclpy') is None:
        level = ERROR if image_topic else SKIPPED
        yield from run([Check('ROS', lambda: (level, NO_ROS, GET_ROS))])
        return
    from page4d_ros.ros import doctor as ros

    installation = list(run(ros.checks()))
    yield from installation
    if image_topic and worst(installation) != ERROR:
        yield from run(camera.checks(ros.watch(config, image_topic, info_topic, seconds)))


def _show(result: Result) -> None:
    from rich.console import Console
    from rich.text import Text

    console = Console(highlight=False)
    line = Text.assemble((f'{result.level:8}', COLOURS[result.level]), f'{result.name:14} ')
    console.print(line.append(result.text), soft_wrap=True)
    if result.advice:
        console.print(Text(f'{"":23}-> {result.advice}', style='dim'), soft_wrap=True)
