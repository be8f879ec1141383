"""The main job in miniature: node, player and recorder as processes of their own."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING

from page4d_ros.errors import Page4dError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SETTLE = 3.0
STOP_TIMEOUT = 20.0
PLAY_TIMEOUT = 300.0


class DemoError(Page4dError):
    """A process of the demo failed."""


def graph_environment() -> dict[str, str]:
    """Environment in which the processes see each other and nobody else."""
    ours = {'ROS_DOMAIN_ID': str(30 + os.getpid() % 70), 'PYTHONUNBUFFERED': '1'}
    # Humble knows only the first, and later distributions complain about it
    local = ('ROS_LOCALHOST_ONLY', '1'), ('ROS_AUTOMATIC_DISCOVERY_RANGE', 'LOCALHOST')
    name, value = local[os.environ.get('ROS_DISTRO') != 'humble']
    return ours | os.environ | {name: value}


@contextlib.contextmanager
def running(command: list[str], log: Path, environment: dict[str, str]) -> Iterator[list[int]]:
    """Run a process, and stop it with SIGINT at the end.

    Yields:
        A list that holds the exit code after the block.

    Raises:
        DemoError: it ended on its own, or with another exit code than 0.
    """
    codes: list[int] = []
    with log.open('w') as file:
        process = subprocess.Popen(
            command, env=environment, stdout=file, stderr=subprocess.STDOUT, text=True
        )
        try:
            yield codes
            if process.poll() is not None:
                raise DemoError(f'{command[-1]} ended too early, see {log}')
        finally:
            process.send_signal(signal.SIGINT)
            try:
                codes.append(process.wait(STOP_TIMEOUT))
            except subprocess.TimeoutExpired:
                process.kill()
                codes.append(process.wait())
        if codes[0] != 0:
            raise DemoError(f'{command[0]} ended with exit code {codes[0]}, see {log}')


def run_graph(bag: Path, output: Path, *, image_topic: str, parameters: dict[str, object]) -> None:
    """Play `bag` through the real node on a real ROS 2 graph, and record what it publishes.

    Args:
        bag: recording with images, calibration and the camera's place on the robot.
        output: folder; receives ``perception`` (rosbag2, MCAP) and ``log``.
        image_topic: what the node listens to.
        parameters: of the node.

    Raises:
        DemoError: one of the processes failed; the message names its log.
    """
    logs = output / 'log'
    logs.mkdir(parents=True, exist_ok=True)
    environment = graph_environment() | {'ROS_LOG_DIR': str(logs)}
    page4d = [sys.executable, '-m', 'page4d_ros.cli']
    image = image_topic.removesuffix('/compressed')
    info = f'{image.rpartition("/")[0]}/camera_info'
    node = [sys.executable, '-m', 'page4d_ros.ros.main', '--ros-args']
    for name, value in parameters.items():
        node += ['-p', f'{name}:={str(value).lower() if isinstance(value, bool) else value}']
    for ours, theirs in (
        ('image', image),
        ('image/compressed', f'{image}/compressed'),
        ('camera_info', info),
    ):
        node += ['-r', f'{ours}:={theirs}']
    record = [*page4d, 'record', str(output / 'perception'), '--force', '--sim-time']
    play = [*page4d, 'play', str(bag), '--wait']
    with (
        running(record, logs / 'recorder.log', environment),
        running(node, logs / 'node.log', environment),
        (logs / 'player.log').open('w') as file,
    ):
        done = subprocess.run(
            play,
            env=environment,
            stdout=file,
            stderr=subprocess.STDOUT,
            timeout=PLAY_TIMEOUT,
            check=False,
        )
        if done.returncode:
            raise DemoError(f'the player ended with {done.returncode}, see {logs}/player.log')
        time.sleep(SETTLE)
