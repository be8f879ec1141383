"""What a frame costs beside the network: decoded, fused, and made into messages."""

from __future__ import annotations

import time
from collections import defaultdict, deque
from dataclasses import replace
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, Any

from page4d_ros.bags.sources import open_source
from page4d_ros.benchmark.meter import spread, threads
from page4d_ros.messages.outputs import Outputs
from page4d_ros.perception.base_frame import BaseFrame
from page4d_ros.perception.build import build_perception
from page4d_ros.perception.dynamics import Dynamics
from page4d_ros.perception.pipeline import Perception
from page4d_ros.perception.types import Frame
from page4d_ros.ros.compat import cloud
from page4d_ros.ros.wire import WireMessages, serialized

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    from page4d_ros.config import Config
    from page4d_ros.perception.engine import Engine
    from page4d_ros.perception.types import Estimate, WindowEstimate

FRAMES = 20  # that are measured, after the window is full
ROUNDS = 7  # without the network
NETWORK = 'network'
STAGES = 'decode', 'fuse', 'publish'
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


class Recorded:
    """An `Engine` that gives the answers that another one gave.

    Args:
        engine: the other.
        answers: what it answered, step by step.
    """

    def __init__(self, engine: Engine, answers: Iterable[WindowEstimate]) -> None:
        self._engine, self._answers = engine, iter(answers)

    def __getattr__(self, name: str) -> Any:
        """Everything but answers, from the other engine."""
        return getattr(self._engine, name)

    def push(self, *_: Any, **__: Any) -> None:
        """Nothing has to be done."""

    def step(self, *_: Any, **__: Any) -> WindowEstimate:
        """The next answer."""
        return next(self._answers)


def run_overhead(
    bag: Path, config: Config, *, image_topic: str, say: Callable[[str], None]
) -> list[dict[str, Any]]:
    """Take a recording through the perception in one thread, and make the messages.

    Once with the network between the frames, on the same core. Then some rounds with the answers
    that it gave, as if it ran elsewhere; of these the quickest counts, frame by frame, because
    what disturbs a shared machine only ever adds.

    Returns:
        For both, for no listener and for listeners to every output: milliseconds of the thread
        per frame by stage (median, and 95th percentile), and their sum.
    """
    perception = build_perception(config)
    engine, answers = perception.engine, []
    engine.step = _kept(engine.step, answers)
    with threads(1):
        here = _measured(perception, bag, image_topic, partial(_say, say, 'with the network'))
        rounds = []
        for number in range(1, ROUNDS + 1):
            elsewhere = Recorded(engine, answers)
            dynamics = Dynamics(config.mask, perception.dynamics.classifier)
            again = Perception(config, elsewhere, dynamics)
            saying = partial(_say, say, f'round {number} of {ROUNDS}')
            rounds.append(_measured(again, bag, image_topic, saying))
    quickest = {
        who: [min(frame, key=_total) for frame in zip(*(r[who] for r in rounds), strict=True)]
        for who in LISTENING
    }
    return [
        {'name': f'network {where}_{who}', **_summary(frames)}
        for where, rows in (('here', here), ('elsewhere', quickest))
        for who, frames in rows.items()
    ]


def _kept(step: Callable[..., WindowEstimate], answers: list[WindowEstimate]) -> Callable:
    def keep(*args: Any, **kwargs: Any) -> WindowEstimate:
        answers.append(step(*args, **kwargs))
        return answers[-1]

    return keep


def _say(say: Callable[[str], None], what: str, text: str) -> None:
    say(f'{what}, {text}')


def _measured(
    perception: Perception, bag: Path, image_topic: str, say: Callable[[str], None]
) -> dict[str, list[dict[str, float]]]:
    """Milliseconds by stage, frame by frame, by who listens."""
    config, engine, watch = perception.config, perception.engine, Watch()
    rows: dict[str, list[dict[str, float]]] = {name: [] for name in LISTENING}
    outputs = {
        name: Outputs(config, WireMessages(), BaseFrame(config.frames), cloud)
        for name in LISTENING
    }
    engine.push = watch.timed(NETWORK, engine.push)
    engine.step = watch.timed(NETWORK, engine.step)
    process = watch.timed('fuse', perception.process)
    source = open_source(bag, config, image_topic=image_topic)
    frames = (item for item in source.items() if isinstance(item, Frame))
    for number, frame in enumerate(islice(frames, config.window.size + FRAMES)):
        say(f'frame {number + 1} of {config.window.size + FRAMES}')
        estimate = process(replace(frame, decode=watch.timed('decode', frame.decode)))
        if not number:
            _fill_path(outputs.values(), estimate)
        shared = watch.take()
        for name, listened in LISTENING.items():
            watch.timed('publish', _publish)(outputs[name], estimate, listened=listened)
            if number >= config.window.size:
                rows[name].append(shared | watch.take())
    return rows


def _fill_path(outputs: Iterable[Outputs], estimate: Estimate) -> None:
    """Let a long drive lie behind them."""
    for each in outputs:
        for _ in range(each.config.path.max_poses):
            deque(each.messages(estimate, lambda _name: False), maxlen=0)


def _publish(outputs: Outputs, estimate: Estimate, *, listened: bool) -> None:
    """All but the transport."""
    for _, message in outputs.messages(estimate, lambda _name: listened):
        serialized(message)


def _total(stages: dict[str, float]) -> float:
    return sum(stages[stage] for stage in STAGES)


def _summary(rows: list[dict[str, float]]) -> dict[str, Any]:
    stages = {stage: spread([row[stage] for row in rows]) for stage in STAGES}
    return {'frames': len(rows), 'stages_ms': stages, 'own_ms': spread([_total(r) for r in rows])}
