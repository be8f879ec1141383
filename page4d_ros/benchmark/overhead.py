"""What a frame costs beside the network: decoded, fused, and made into messages."""

from __future__ import annotations

import time
from collections import defaultdict
from dataclasses import replace
from itertools import islice
from typing import TYPE_CHECKING, Any

from page4d_ros.bags.sources import open_source
from page4d_ros.benchmark.meter import spread, threads
from page4d_ros.messages.outputs import Outputs
from page4d_ros.perception.body import BodyFrame
from page4d_ros.perception.build import build_perception
from page4d_ros.perception.types import Frame
from page4d_ros.ros.compat import cloud
from page4d_ros.ros.wire import WireMessages, serialized

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from page4d_ros.config import Config
    from page4d_ros.perception.types import Estimate

FRAMES = 20  # that are measured, after the window is full
NETWORK = 'network'
LISTENING = {'nobody': False, 'every output': True}


class Watch:
    """Milliseconds of this thread by stage, the innermost only."""

    def __init__(self) -> None:
        self.spent: dict[str, float] = defaultdict(float)
        self._open: list[str] = ['']
        self._since = time.thread_time()

    def timed(self, stage: str, call: Callable) -> Callable:
        """The same function, whose time goes to a stage."""

        def run(*args: Any, **kwargs: Any) -> Any:
            self._turn()
            self._open.append(stage)
            try:
                return call(*args, **kwargs)
            finally:
                self._turn()
                self._open.pop()

        return run

    def take(self) -> dict[str, float]:
        """What was spent, to begin anew."""
        spent, self.spent = self.spent, defaultdict(float)
        return spent

    def _turn(self) -> None:
        now = time.thread_time()
        self.spent[self._open[-1]] += 1e3 * (now - self._since)
        self._since = now


def run_overhead(
    bag: Path, config: Config, *, image_topic: str, say: Callable[[str], None]
) -> list[dict[str, Any]]:
    """Take a recording through the perception in one thread, and make the messages.

    Returns:
        For no listener, and for listeners to every output: milliseconds of the thread per frame
        by stage (median, and 95th percentile), and their sum.
    """
    watch = Watch()
    rows: dict[str, list[dict[str, float]]] = {name: [] for name in LISTENING}
    with threads(1):
        perception = build_perception(config)
        engine = perception.engine
        engine.push = watch.timed(NETWORK, engine.push)
        engine.step = watch.timed(NETWORK, engine.step)
        process = watch.timed('fuse', perception.process)
        outputs = {
            name: Outputs(config, WireMessages(), BodyFrame(config.frames), cloud)
            for name in LISTENING
        }
        source = open_source(bag, config, image_topic=image_topic)
        frames = (item for item in source.items() if isinstance(item, Frame))
        for number, frame in enumerate(islice(frames, config.window.size + FRAMES)):
            say(f'frame {number + 1} of {config.window.size + FRAMES}')
            estimate = process(replace(frame, decode=watch.timed('decode', frame.decode)))
            shared = watch.take()
            for name, listened in LISTENING.items():
                watch.timed('publish', _publish)(outputs[name], estimate, listened=listened)
                if number >= config.window.size:
                    rows[name].append(shared | watch.take())
    return [{'name': name, **_summary(measured)} for name, measured in rows.items()]


def _publish(outputs: Outputs, estimate: Estimate, *, listened: bool) -> None:
    """All but the transport."""
    for _, message in outputs.messages(estimate, lambda _name: listened):
        serialized(message)


def _summary(rows: list[dict[str, float]]) -> dict[str, Any]:
    stages = {
        stage: spread([row[stage] for row in rows]) for stage in ('decode', 'fuse', 'publish')
    }
    own = [sum(row[stage] for stage in stages) for row in rows]
    return {'frames': len(rows), 'stages_ms': stages, 'own_ms': spread(own)}
