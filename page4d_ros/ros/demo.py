"""Node, player and recorder as three processes on a real graph, for demo, tests and benchmark."""

from __future__ import annotations

import contextlib
import fcntl
import math
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from functools import cache
from pathlib import Path
from typing import IO, TYPE_CHECKING, NamedTuple

from page4d_ros.errors import Page4dError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

SETTLE = 3.0
STOP_TIMEOUT = 20.0
PLAY_TIMEOUT = 300.0
DOMAINS = range(30, 100)
HELD: list[IO] = []  # locks; the system lets go of them when the process ends, however it ends


class DemoError(Page4dError):
    """A process of the demo failed."""


@cache
def own_domain() -> int:
    """ROS domain that no other such process on this machine has; ours until the process ends.

    Raises:
        DemoError: all of them are taken.
    """
    for domain in DOMAINS:
        path = Path(tempfile.gettempdir()) / f'page4d_ros_domain_{domain}.lock'
        with contextlib.suppress(OSError):  # taken, or of another user
            file = path.open('a')
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                file.close()
                raise
            HELD.append(file)
            return domain
    raise DemoError(f'all ROS domains from {DOMAINS[0]} to {DOMAINS[-1]} are taken: set another')


def graph_environment() -> dict[str, str]:
    """Environment variables that confine ROS to localhost and to a domain of its own."""
    domain = os.environ.get('ROS_DOMAIN_ID') or str(own_domain())
    ours = {'ROS_DOMAIN_ID': domain, 'PYTHONUNBUFFERED': '1'}
    # Humble knows only the first, and later distributions complain about it
    local = ('ROS_LOCALHOST_ONLY', '1'), ('ROS_AUTOMATIC_DISCOVERY_RANGE', 'LOCALHOST')
    name, value = local[os.environ.get('ROS_DISTRO') != 'humble']
    return os.environ | ours | {name: value}


@contextlib.contextmanager
def running(
    command: list[str], log: Path, environment: dict[str, str]
) -> Iterator[subprocess.Popen]:
    """Run a process, and stop it with SIGINT at the end.

    Yields:
        The process.

    Raises:
        DemoError: it ended on its own, with another exit code than 0, or not at all.
    """
    with log.open('w') as file:
        process = subprocess.Popen(
            command, env=environment, stdout=file, stderr=subprocess.STDOUT, text=True
        )
        try:
            yield process
            if process.poll() is not None:
                raise DemoError(f'the {log.stem} ended too early, see {log}')
        finally:
            process.send_signal(signal.SIGINT)
            try:
                process.wait(STOP_TIMEOUT)
            except subprocess.TimeoutExpired as error:
                process.kill()
                process.wait()
                raise DemoError(
                    f'the {log.stem} did not end within {STOP_TIMEOUT:.0f} s of SIGINT, see {log}'
                ) from error
        if process.returncode != 0:
            raise DemoError(f'the {log.stem} ended with exit code {process.returncode}, see {log}')


class Usage(NamedTuple):
    """Resources that a process has used.

    Attributes:
        cpu_seconds: of all its threads.
        peak_rss_mib: peak resident memory.
    """

    cpu_seconds: float
    peak_rss_mib: float

    @classmethod
    def of(cls, pid: int) -> Usage:
        """Ask the kernel about a process that still runs (Linux, proc(5))."""
        process = Path('/proc') / str(pid)
        after_name = process.joinpath('stat').read_text().rpartition(') ')[2].split()
        ticks = int(after_name[11]) + int(after_name[12])
        peak = re.search(r'VmHWM:\s*(\d+) kB', process.joinpath('status').read_text())
        return cls(ticks / os.sysconf('SC_CLK_TCK'), int(peak[1]) / 1024 if peak else math.nan)


def run_graph(
    bag: Path,
    output: Path,
    *,
    image_topic: str,
    parameters: dict[str, object],
    topics: Sequence[str] = (),
) -> Usage:
    """Play `bag` through the real node on a real ROS 2 graph, and record what it publishes.

    Args:
        bag: recording with images, calibration and the camera's place on the robot.
        output: folder; receives ``perception`` (rosbag2, MCAP) and ``log``.
        image_topic: topic of the images, which the node subscribes to.
        parameters: of the node.
        topics: outputs to subscribe to and record; all where empty.

    Returns:
        Resources that the node has used.

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
    record += [word for topic in topics for word in ('--topic', topic)]
    play = [*page4d, 'play', str(bag), '--wait']
    with (
        running(record, logs / 'recorder.log', environment),
        running(node, logs / 'node.log', environment) as process,
        (logs / 'player.log').open('w') as file,
    ):
        try:
            done = subprocess.run(
                play,
                env=environment,
                stdout=file,
                stderr=subprocess.STDOUT,
                timeout=PLAY_TIMEOUT,
                check=False,
            )
        except subprocess.TimeoutExpired as error:
            raise DemoError(
                f'the player did not end within {PLAY_TIMEOUT:.0f} s; does the node listen to '
                f'{image_topic}? See {logs}'
            ) from error
        if done.returncode:
            raise DemoError(f'the player ended with {done.returncode}, see {logs}/player.log')
        time.sleep(SETTLE)
        return Usage.of(process.pid)
