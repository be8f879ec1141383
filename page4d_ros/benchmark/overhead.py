"""Cost of a frame beside the network: decoding, fusing, making messages."""

from __future__ import annotations

import time
from collections import defaultdict, deque
from contextlib import closing
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
from page4d_ros.perception.runner import FrameRunner
from page4d_ros.perception.types import Frame, FrameSet
from page4d_ros.ros.wire import WireMessages, serialized

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    from page4d_ros.config import Config
    from page4d_ros.errors import FrameError
    from page4d_ros.perception.engine import Engine
    from page4d_ros.perception.intake import Restart
    from page4d_ros.perception.runner import Counts
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
        """Wrap a function so that its time goes to a stage."""

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
        """Return the times so far, and begin anew."""
        spent, self.spent = self.spent, defaultdict(float)
        return spent

    def _turn(self) -> None:
        now = time.thread_time()
        self.spent[self._open[-1]] += 1e3 * (now - self._since)
        self._since = now


class Recorded:
    """`Engine` that replays the estimates of another one.

    Args:
        engine: the other.
        estimates: its own, step by step.
    """

    def __init__(self, engine: Engine, estimates: Iterable[WindowEstimate]) -> None:
        self._engine, self._estimates = engine, iter(estimates)

    def __getattr__(self, name: str) -> Any:
        """Everything but estimates, from the other engine."""
        return getattr(self._engine, name)

    def push(self, *_: Any, **__: Any) -> None:
        """Nothing has to be done."""

    def step(self, *_: Any, **__: Any) -> WindowEstimate:
        """Return the next estimate."""
        return next(self._estimates)


def run_overhead(
    bag: Path, config: Config, *, image_topic: str, say: Callable[[str], None]
) -> list[dict[str, Any]]:
    """Run the perception over a recording in one thread, and make the messages.

    Once with the network between the frames, on the same core. Then some rounds with its recorded
    estimates, as if it ran elsewhere; of these the quickest counts, frame by frame, because
    other jobs of a shared machine only ever add time.

    Returns:
        For both, for no listener and for listeners to every output: milliseconds of the thread
        per frame by stage (median, and 95th percentile), and their sum.
    """
    perception = build_perception(config)
    engine, recorded = perception.engine, []
    engine.step = _kept(engine.step, recorded)
    with threads(1):
        here = _measured(perception, bag, image_topic, partial(_say, say, 'with the network'))
        rounds = []
        for number in range(1, ROUNDS + 1):
            elsewhere = Recorded(engine, recorded)
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


def _kept(step: Callable[..., WindowEstimate], recorded: list[WindowEstimate]) -> Callable:
    def keep(*args: Any, **kwargs: Any) -> WindowEstimate:
        recorded.append(step(*args, **kwargs))
        return recorded[-1]

    return keep


def _say(say: Callable[[str], None], what: str, text: str) -> None:
    say(f'{what}, {text}')


class Audience:
    """`Sink` that publishes each estimate for nobody, then for listeners of all, and times it.

    Args:
        config: all settings.
        watch: has timed what came before the publishing.

    Attributes:
        rows: milliseconds by stage, frame by frame, by who listens.
    """

    def __init__(self, config: Config, watch: Watch) -> None:
        self.base_frame = BaseFrame(config.frames)
        self.rows: dict[str, list[dict[str, float]]] = {name: [] for name in LISTENING}
        self._watch = watch
        self._outputs = {
            name: Outputs(config, WireMessages(), self.base_frame) for name in LISTENING
        }

    def begin(self, restart: Restart, config: Config) -> None:
        """Nothing changes in between."""

    def find_mount(self, *_: Any) -> None:
        """There is no tf: the camera looks forward."""

    def publish(self, estimate: Estimate) -> None:
        """Make and serialize the messages: all but their transport."""
        shared = self._watch.take()
        for name, listened in LISTENING.items():
            if not self.rows[name]:
                _fill_path(self._outputs[name], estimate)
                self._watch.take()
            self._watch.timed('publish', _serialize)(
                self._outputs[name], estimate, listened=listened
            )
            self.rows[name].append(shared | self._watch.take())

    def report(self, estimate: Estimate, counts: Counts) -> None:
        """The status is not timed."""

    def refused(self, error: FrameError, _counts: Counts) -> None:
        """Stop: a frame is missing.

        Raises:
            FrameError: always.
        """
        raise error


def _measured(
    perception: Perception, bag: Path, image_topic: str, say: Callable[[str], None]
) -> dict[str, list[dict[str, float]]]:
    """Milliseconds by stage of the frames after the first window, by who listens."""
    config, engine, watch = perception.config, perception.engine, Watch()
    engine.push = watch.timed(NETWORK, engine.push)
    engine.step = watch.timed(NETWORK, engine.step)
    perception.process = watch.timed('fuse', perception.process)
    audience = Audience(config, watch)
    runner = FrameRunner(config, perception, audience.base_frame, audience)
    with closing(open_source(bag, config, image_topic=image_topic)) as source:
        frames = (item for item in source.items() if isinstance(item, Frame))
        for number, frame in enumerate(islice(frames, config.window.size + FRAMES), 1):
            say(f'frame {number} of {config.window.size + FRAMES}')
            timed = replace(frame, decode=watch.timed('decode', frame.decode))
            runner.offer(FrameSet.of(timed))
            runner.step()
    return {name: rows[config.window.size :] for name, rows in audience.rows.items()}


def _fill_path(outputs: Outputs, estimate: Estimate) -> None:
    """Let a long drive lie behind the outputs: the path is full."""
    for _ in range(outputs.config.path.max_poses):
        deque(outputs.messages(estimate, lambda _name: False), maxlen=0)


def _serialize(outputs: Outputs, estimate: Estimate, *, listened: bool) -> None:
    for _, message in outputs.messages(estimate, lambda _name: listened):
        serialized(message)


def _total(stages: dict[str, float]) -> float:
    return sum(stages[stage] for stage in STAGES)


def _summary(rows: list[dict[str, float]]) -> dict[str, Any]:
    stages = {stage: spread([row[stage] for row in rows]) for stage in STAGES}
    return {'frames': len(rows), 'stages_ms': stages, 'own_ms': spread([_total(r) for r in rows])}
