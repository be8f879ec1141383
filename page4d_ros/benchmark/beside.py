"""Replay beside processes that keep the cores busy, against replay alone: a robot's CPU."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

from page4d_ros.process import BLAS, THREADS, WAITING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

BUSY = 2  # other processes
ROUNDS = 3
SPIN = 'while True: pass'
OURS = {BLAS, THREADS, WAITING}  # what a process chooses for itself
WAYS = {'as shipped': {}, 'spinning threads': {WAITING: 'active'}}  # environment


def run_beside(
    bag: Path,
    output: Path,
    *,
    image_topic: str,
    settings: dict[str, Any],
    say: Callable[[str], None],
    rounds: int = ROUNDS,
) -> list[dict[str, Any]]:
    """Replay a recording alone and beside busy processes, in turn, in processes of their own.

    Args:
        bag: recording.
        output: folder for what is replayed.
        image_topic: its images.
        settings: of the replay, by dotted name.
        say: receives what is going on.
        rounds: times that each is run.

    Returns:
        For each way of waiting: frames per second alone and beside (medians), and the median of
        their ratios.
    """
    options = [f'--set={name}={value}' for name, value in settings.items()]
    words = ['replay', str(bag), '-o', str(output), '--image-topic', image_topic, '--json']
    rates = {way: np.zeros((rounds, 2)) for way in WAYS}
    for number in range(rounds):
        for way, environment in WAYS.items():
            say(f'{way}, round {number + 1} of {rounds}')
            for column, others in enumerate((0, BUSY)):
                with busy(others):
                    rates[way][number, column] = _rate([*words, '--force', *options], environment)
    return [
        {
            'name': way,
            'alone_per_second': float(np.median(found[:, 0])),
            'beside_per_second': float(np.median(found[:, 1])),
            'beside_ratio': float(np.median(found[:, 1] / found[:, 0])),
        }
        for way, found in rates.items()
    ]


@contextmanager
def busy(count: int) -> Iterator[list[subprocess.Popen]]:
    """Let so many other processes compute, and give them."""
    others = [subprocess.Popen([sys.executable, '-c', SPIN]) for _ in range(count)]
    try:
        yield others
    finally:
        for other in others:
            other.kill()
            other.wait()


def _rate(words: Sequence[str], environment: dict[str, str]) -> float:
    """Estimates per second of a replay in a process of its own."""
    ours = {k: v for k, v in os.environ.items() if k not in OURS} | environment
    command = [sys.executable, '-m', 'page4d_ros.cli', *words]
    done = subprocess.run(command, env=ours, stdout=subprocess.PIPE, check=True, text=True)
    summary = json.loads(done.stdout)
    return summary['estimates'] / summary['seconds']
