"""A source through the perception into a recording: every frame, in order, without ROS."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from page4d_ros.bags.stream import DepthSample, PositionSample
from page4d_ros.bags.writer import BagWriter
from page4d_ros.errors import BagError, FrameError
from page4d_ros.messages import encode
from page4d_ros.messages.outputs import Outputs
from page4d_ros.messages.status import status
from page4d_ros.messages.topics import OUTPUTS, STATUS_TOPIC
from page4d_ros.messages.trajectory import trajectory_line
from page4d_ros.perception.base_frame import BaseFrame
from page4d_ros.perception.clip import estimate_clip
from page4d_ros.perception.intake import Intake, Restart
from page4d_ros.perception.types import FrameSet

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import TextIO

    from numpy.typing import NDArray

    from page4d_ros.bags.stream import Item, Source
    from page4d_ros.config import Config
    from page4d_ros.perception.intake import Taken
    from page4d_ros.perception.pipeline import Perception
    from page4d_ros.perception.types import Estimate, Frame

NODE = '/page4d'
TRAJECTORY = 'trajectory.tum'
ALL_TOPICS = frozenset(topic.name for topic in OUTPUTS)


@dataclass
class Summary:
    """What a replay did.

    Attributes:
        source: what was read; output: the folder that was written.
        frames: images that came; estimates: how many of them gave one.
        dropped: the others, by reason; those that the stride skips are not counted.
        seconds: wall time.
        metric: whether lengths are metres in the end.
        caution: what to know about the weights; "" for nothing.
        warnings: what the user should know.
        interrupted: whether the replay was stopped before its end.
    """

    source: str
    output: str
    frames: int = 0
    estimates: int = 0
    dropped: dict[str, int] = field(default_factory=dict)
    seconds: float = 0.0
    metric: bool = False
    caution: str = ''
    warnings: list[str] = field(default_factory=list)
    interrupted: bool = False


def replay(
    source: Source,
    output: Path | str,
    perception: Perception,
    config: Config,
    *,
    topics: frozenset[str] = ALL_TOPICS,
    clip: bool = False,
    force: bool = False,
    seen: Callable[[Estimate], None] = lambda _estimate: None,
    stopped: Callable[[], bool] = lambda: False,
    progress: Callable[[], None] = lambda: None,
    warn: Callable[[str], None] = lambda _text: None,
) -> Summary:
    """Take every frame of a source through the perception, and write all outputs.

    The folder receives the recording and ``trajectory.tum``: the pose of the camera's optical
    frame in ``frames.odom``, a line for each frame whose pose is known.

    Args:
        source: gives the frames.
        output: folder to make.
        perception: does the work.
        config: all settings; the perception's.
        topics: which outputs to write, by their names in `OUTPUTS`; /tf always is.
        clip: all frames in one window, see `estimate_clip`.
        force: replace a recording that is there.
        seen: called with each estimate.
        stopped: asked before each frame; True ends the replay in good order.
        progress: called after each image.
        warn: receives each warning at once; the summary has them, too.

    Raises:
        BagError: the output cannot be written.
    """
    start = time.perf_counter()
    summary = Summary(source.name, str(output), caution=perception.engine.caution)
    with (
        BagWriter(output, force=force) as writer,
        (writer.path / TRAJECTORY).open('w', encoding='utf-8') as trajectory,
    ):
        run = _Replay(writer, trajectory, perception, config, topics, clip=clip, seen=seen)
        run.mount(source)
        for item in source.items():
            if stopped():
                summary.interrupted = True
                break
            run.take(item)
            for text in source.take_warnings() + run.take_warnings():
                summary.warnings.append(text)
                warn(text)
            progress()
        run.finish(interrupted=summary.interrupted)
    for text in source.take_warnings():
        summary.warnings.append(text)
        warn(text)
    summary.frames, summary.estimates = run.intake.received, run.processed
    summary.dropped = dict(sorted(run.intake.dropped.items()))
    summary.metric = perception.scale.metric
    summary.seconds = time.perf_counter() - start
    return summary


class _Replay:
    """What a running replay needs."""

    def __init__(
        self,
        writer: BagWriter,
        trajectory: TextIO,
        perception: Perception,
        config: Config,
        topics: frozenset[str],
        *,
        clip: bool,
        seen: Callable[[Estimate], None],
    ) -> None:
        self.seen = seen
        self.writer, self.trajectory = writer, trajectory
        self.perception, self.config, self.topics = perception, config, topics
        self.intake = Intake(config)
        self.body = BaseFrame(config.frames)
        self.outputs = Outputs(config, writer.make, self.body)
        self.processed = 0
        self._clip: list[tuple[Frame, NDArray]] | None = [] if clip else None
        self._last_ns: int | None = None
        self._warnings: list[str] = []

    def mount(self, source: Source) -> None:
        """Place the camera on the base as the source says, or looking forward."""
        if self.body.egocentric:
            return
        if source.T_base_camera is None:
            self._warnings.append(
                f'{source.name} does not tell where the camera sits on '
                f'{self.config.frames.base!r}: assuming that it looks forward from its origin'
            )
            return
        self.body.mount(source.T_base_camera)
        self.perception.scale.up = self.body.up

    def take(self, item: Item) -> None:
        """Use a measurement, or process a frame; a broken one is counted."""
        if isinstance(item, DepthSample):
            self.perception.scale.feed_depth(*item)
        elif isinstance(item, PositionSample):
            self.perception.scale.feed_position(item.stamp_ns, np.array(item.position))
        elif isinstance(item, FrameError):
            self.intake.received += 1
            self._malformed(item)
        elif self.intake.offer(FrameSet.of(item)) is None:
            self._process(self.intake.take())

    def _process(self, taken: Taken) -> None:
        self.perception.restart(taken.restart)
        self.outputs.restart(taken.restart)
        try:
            if self._clip is not None:
                if self._clip and taken.restart is not Restart.NONE:
                    raise BagError(
                        'a clip has no gaps, and time never goes back; choose a stretch with '
                        '--start and --duration, or leave out --clip'
                    )
                frame = taken.frames.frames[0]
                self._clip.append((frame, frame.decode()))
                return
            estimate = self.perception.process(taken.frames)
        except FrameError as error:
            self._malformed(error)
            return
        self._write(estimate)

    def _malformed(self, error: FrameError) -> None:
        if not self.intake.dropped['malformed']:
            self._warnings.append(f'image dropped: {error}')
        self.intake.drop('malformed')

    def _write(self, estimate: Estimate) -> None:
        start = time.perf_counter()
        stamp_ns = estimate.frame.stamp_ns
        if self._last_ns is None:
            self._write_mount(estimate.frame)
        for name, message in self.outputs.messages(estimate, self._wanted):
            if name == '/tf':
                self.writer.write_transform(name, stamp_ns, message)
            elif name in self.topics:
                self.writer.write(absolute(name), stamp_ns, message)
        if not estimate.odometry.lost:
            T_odom_child = self.body.pose(estimate.odometry.T_world_camera)
            line = trajectory_line(stamp_ns, T_odom_child @ self.body.T_child_camera)
            self.trajectory.write(line)
        estimate.seconds['publish'] = time.perf_counter() - start
        self.processed += 1
        self._last_ns = stamp_ns
        if STATUS_TOPIC in self.topics:
            self._write_status(estimate)
        self.seen(estimate)

    def _write_status(self, estimate: Estimate) -> None:
        message = status(
            self.writer.make,
            estimate,
            self.config,
            self.perception.engine,
            self.body,
            received=self.intake.received,
            processed=self.processed,
            dropped=sum(self.intake.dropped.values()),
            frame_age=0.0,  # nobody waits for an offline frame
        )
        self.writer.write(absolute(STATUS_TOPIC), estimate.frame.stamp_ns, message)

    def _write_mount(self, frame: Frame) -> None:
        if self.body.egocentric:
            return
        make = self.writer.make
        head = encode.header(make, frame.stamp_ns, self.config.frames.base)
        at = encode.pose(make, self.body.T_child_camera)
        mount = encode.transform_stamped(make, head, frame.frame_id, at)
        self.writer.write_transform('/tf_static', frame.stamp_ns, mount)

    def _wanted(self, name: str) -> bool:
        # each nav_msgs/Path holds all poses: one at the end instead of one per frame
        return name in self.topics and name != 'path'

    def finish(self, *, interrupted: bool) -> None:
        """Write what waits for the end: a clip, and the whole path."""
        if self._clip and not interrupted:
            for estimate in estimate_clip(self._clip, self.perception):
                self._write(estimate)
        if self._last_ns is not None and 'path' in self.topics:
            head = encode.header(self.writer.make, self._last_ns, self.config.frames.odom)
            self.writer.write(absolute('path'), self._last_ns, self.outputs.path(head))

    def take_warnings(self) -> list[str]:
        """Return the new warnings."""
        taken, self._warnings = self._warnings, []
        return taken


def absolute(name: str) -> str:
    """Topic as the node ``/page4d`` publishes it."""
    return '/' + name.replace('~', NODE).lstrip('/')
