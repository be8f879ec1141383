"""End-to-end benchmark of the node: a recording at camera rate, with subscribers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from page4d_ros.bags.reader import open_bag
from page4d_ros.benchmark.meter import spread
from page4d_ros.messages.status import STAGES
from page4d_ros.ros.demo import run_graph

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

STATUS = '/page4d/status'
OWN = [stage for stage in STAGES if stage not in {'encode', 'forward'}]  # not the network's


def run_node(
    bag: Path,
    output: Path,
    *,
    image_topic: str,
    parameters: dict[str, object],
    say: Callable[[str], None],
) -> list[dict[str, Any]]:
    """Play a recording twice: to subscribers of every output, and of the status alone.

    Returns:
        For each: milliseconds per frame by stage (median, and 95th percentile), what is not the
        network's together, frames received and dropped, age of a frame when it is
        published (s), CPU seconds and peak memory (MiB) of the node.
    """
    cases = []
    for name, topics in (('all outputs', ()), ('status only', (STATUS,))):
        say(name)
        folder = output / name.replace(' ', '_')
        usage = run_graph(
            bag, folder, image_topic=image_topic, parameters=parameters, topics=topics
        )
        with open_bag(folder / 'perception') as recording:
            status = [m.value for m in recording.messages([STATUS])]
        cases.append(
            {'name': name, **_summary([s for s in status if s.window_fill]), **usage._asdict()}
        )
    return cases


def _summary(status: list[Any]) -> dict[str, Any]:
    times = {stage: [getattr(s, f'{stage}_ms') for s in status] for stage in STAGES}
    last = status[-1]
    return {
        'frames': len(status),
        'stages_ms': {stage: spread(values) for stage, values in times.items()},
        'own_ms': spread(np.sum([times[stage] for stage in OWN], axis=0)),
        'frame_age_s': spread([s.frame_age for s in status]),
        'received': last.received,
        'dropped': last.dropped,
    }
