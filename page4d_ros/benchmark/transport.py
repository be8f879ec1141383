"""Rates of arrival: images of a VGA camera at the node, and its outputs at a subscriber."""

from __future__ import annotations

import json
import sys
import time
from itertools import product
from typing import TYPE_CHECKING, Any

from page4d_ros.ros import rates
from page4d_ros.ros.demo import graph_environment, running
from page4d_ros.ros.transport import TRANSPORTS

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

DEFAULT_SEGMENT = {TRANSPORTS: 'DEFAULT'}  # as every process without our profile
PARAMETERS = {
    'model.checkpoint': 'page4d-small',
    'node.autostart': True,
    'window.stride': 1,
    'frames.tf_timeout': 0.0,
    'points.rate': 0.0,
}


def run_transport(
    output: Path, parameters: dict[str, object], say: Callable[[str], None]
) -> list[dict[str, Any]]:
    """Measure all combinations of reliability and shared memory, each with its own processes.

    Args:
        output: folder of the logs.
        parameters: of the node, over `PARAMETERS`.
        say: receives the name of each case.

    Returns:
        For each: its name, images per second that the node receives, estimates per second, and
        the share of each output's messages that arrive at a subscriber.
    """
    rows = []
    for camera, following, profile in product(rates.RELIABILITY, (False, True), (False, True)):
        subscription = 'as_published' if following else 'best_effort'
        name = f'{camera} camera, {subscription} node, {"profile" if profile else "default"}'
        say(name)
        folder = output / name.replace(', ', '-').replace(' ', '_')
        folder.mkdir(parents=True)
        override = {'qos_overrides./image.subscription.reliability': subscription}
        figures = _measure(folder, camera, PARAMETERS | parameters | override, profile=profile)
        row = {'name': name, 'camera': camera, 'node': subscription, 'profile': profile}
        rows.append(row | figures)
    return rows


def _measure(
    logs: Path, camera: str, parameters: dict[str, object], *, profile: bool
) -> dict[str, Any]:
    environment = graph_environment() | ({} if profile else DEFAULT_SEGMENT)
    node = [sys.executable, '-m', 'page4d_ros.ros.main', '--ros-args']
    for key, value in parameters.items():
        node += ['-p', f'{key}:={str(value).lower() if isinstance(value, bool) else value}']
    here = [sys.executable, '-m', rates.__name__]
    result = logs / 'listener.json'
    with (
        running(node, logs / 'node.log', environment),
        running([*here, 'show', camera], logs / 'camera.log', environment),
        running([*here, 'listen', camera, str(result)], logs / 'listener.log', environment),
    ):
        until = time.monotonic() + rates.LOADING + rates.SETTLE + rates.SPAN
        while not result.exists() and time.monotonic() < until:
            time.sleep(0.2)
    return json.loads(result.read_text())
