"""Replay of a recording: every frame, in order, through the perception into a new recording."""

from __future__ import annotations

import contextlib
import math
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from page4d_ros.bags.factory import typestore
from page4d_ros.bags.sources import open_source
from page4d_ros.bags.stream import DepthSample, PositionSample
from page4d_ros.bags.writer import BagWriter, check_output
from page4d_ros.config import Config
from page4d_ros.errors import BagError, FrameError
from page4d_ros.messages import encode
from page4d_ros.messages.files import cloud_files, save
from page4d_ros.messages.sink import MessageSink
from page4d_ros.messages.topics import ON_REQUEST, OPTIONAL, outputs
from page4d_ros.messages.trajectory import SUFFIXES, TrajectoryText
from page4d_ros.perception import build
from page4d_ros.perception.base_frame import BaseFrame
from page4d_ros.perception.clip import Clip
from page4d_ros.perception.intake import Restart
from page4d_ros.perception.memory import explained
from page4d_ros.perception.runner import FrameRunner
from page4d_ros.perception.types import FrameSet

if TYPE_CHECKING:
    from collections.abc import Callable, Collection
    from typing import TextIO

    from page4d_ros.bags.stream import Item, Source
    from page4d_ros.perception.intake import Taken
    from page4d_ros.perception.pipeline import Perception
    from page4d_ros.perception.runner import Counts
    from page4d_ros.perception.types import Estimate

NODE = '/page4d'
TRAJECTORY = 'trajectory'  # with each of `SUFFIXES`
CLOUD = 'cloud'
ALL_TOPICS = frozenset(topic.name for topic in outputs(()))  # of a single camera
# settings that differ from the node's: every frame counts, no set of frames is in a hurry, and the
# path is written once
OFFLINE = {'window.stride': 1, 'path.max_poses': 100_000, 'rig.timeout': 1.0}


@dataclass
class Summary:
    """Result of a replay.

    Attributes:
        source: what was read; output: the folder that was written.
        frames: images that came; estimates: how many of them gave one.
        dropped: the others, by reason; those that the stride skips are not counted.
        seconds: wall time.
        metric: True if lengths are metres in the end.
        caution: what to know about the weights; "" for nothing.
        warnings: what the user should know.
        interrupted: True if the replay was stopped before its end.
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
    recording: Path | str | Source,
    output: Path | str,
    config: Config | None = None,
    *,
    perception: Perception | None = None,
    topics: Collection[str] = (),
    clip: bool = False,
    force: bool = False,
    started: Callable[[Source, Perception], None] = lambda _source, _perception: None,
    seen: Callable[[Estimate], None] = lambda _estimate: None,
    stopped: Callable[[], bool] = lambda: False,
    progress: Callable[[], None] = lambda: None,
    warn: Callable[[str], None] = lambda _text: None,
    **opening: Any,
) -> Summary:
    """Estimate every frame of a recording, and write all outputs of the node.

    The folder receives a recording (rosbag2, MCAP) and ``trajectory.tum``: the pose of the
    camera's optical frame in ``frames.odom``, a line for each frame whose pose is known; the same
    as ``trajectory.kitti`` with ``trajectory.times``; and with ``map.voxel`` the static points
    along the way in ``cloud.ply`` and ``cloud.pcd``.

    Args:
        recording: rosbag1, rosbag2, .mcap, .db3, folder of images or video; or an open source,
            which stays open.
        output: folder to make.
        config: all settings; every frame with ``page4d-small`` where not given.
        perception: used in place of a new one with ``model.checkpoint``.
        topics: outputs to write, by their names (`messages.topics`); the usual ones (`OUTPUTS`)
            where empty. /tf always is.
        clip: estimate all frames in one window, see `Clip`.
        force: replace a recording that is there.
        started: called once before the first frame, with what is read and what estimates it.
        seen: called with each estimate.
        stopped: asked before each frame; True ends the replay in good order.
        progress: called after each image.
        warn: receives each warning at once; the summary has them, too.
        **opening: options of `open_source`, such as ``image_topic`` and ``span``.

    Returns:
        Counters, warnings and wall time.

    Raises:
        BagError: the recording cannot be read, or the output cannot be written.
        CheckpointError: the weights cannot be used.
        ConfigError: the settings cannot.
        DeviceMemoryError: there is too little memory; of a clip, nothing was written.

    Example:
        >>> from page4d_ros.bags.replay import OFFLINE, replay
        >>> from page4d_ros.config import Config
        >>> config = Config().with_values(OFFLINE | {'model.checkpoint': 'weights.pt'})
        >>> positions = []
        >>> summary = replay(
        ...     'drive.mcap',
        ...     'out',
        ...     config,
        ...     seen=lambda estimate: positions.append(estimate.odometry.T_world_camera[:3, 3]),
        ... )
        >>> print(summary.estimates, 'poses, metric:', summary.metric)
    """
    config = Config().with_values(OFFLINE) if config is None else config
    cameras, base = config.cameras, bool(config.frames.base)
    usual = frozenset(t.name for t in outputs(cameras, base=base))
    known = [t for t in (*ON_REQUEST, *OPTIONAL) if t.type in typestore().fielddefs]
    possible = usual | {t.name for t in outputs(cameras, known, base=base)}
    topics = frozenset(topics) or usual
    if unknown := topics - possible:
        raise BagError(
            f'no output {", ".join(sorted(unknown))}; there are {", ".join(sorted(possible))}'
        )
    if clip and cameras:
        raise BagError('a clip is of one camera; leave out --clip')
    if clip and config.publish.size == 'camera':
        raise BagError("a clip keeps no images of the camera's size; leave out --clip")
    output = Path(output)
    is_path = isinstance(recording, str | Path)
    if is_path:
        _check_apart(recording, output)
    check_output(output, force=force)
    with contextlib.ExitStack() as stack:
        source = recording
        if is_path:
            source = stack.enter_context(
                contextlib.closing(open_source(recording, config, **opening))
            )
        perception = perception or build.build_perception(config, wait=True, say=warn)
        started(source, perception)
        writer = stack.enter_context(BagWriter(output, force=force))
        trajectory = {
            suffix: stack.enter_context(
                (writer.path / f'{TRAJECTORY}{suffix}').open('w', encoding='utf-8')
            )
            for suffix in SUFFIXES
        }
        sink = BagSink(writer, trajectory, config, perception, topics, seen)
        run = _Replay(source, sink, config, perception, clip=clip, warn=warn)
        with explained(_too_little_memory):
            return run.all(stopped, progress)


def _too_little_memory() -> str:
    return 'there is too little memory; set window.size or model.resolution lower'


def _check_apart(source: Path | str, output: Path | str) -> None:
    source, output = (Path(path).expanduser().resolve() for path in (source, output))
    if output == source or output in source.parents:
        raise BagError(f'{output}: is, or holds, the source; choose another folder for the output')


class BagSink(MessageSink):
    """Writes estimates into a recording, and their poses into a trajectory file."""

    def __init__(
        self,
        writer: BagWriter,
        trajectory: dict[str, TextIO],
        config: Config,
        perception: Perception,
        topics: frozenset[str],
        seen: Callable[[Estimate], None],
    ) -> None:
        super().__init__(config, writer.make, BaseFrame(config.frames), perception)
        self.writer = writer
        self.topics = topics
        self.warnings: list[str] = []
        self._trajectory = trajectory
        self._text = TrajectoryText()
        self._seen = seen
        self._malformed = False
        self._last_ns: int | None = None
        self._rig = perception.rig
        self._placed: set[int] = set()  # views whose mount is written

    def wanted(self, name: str) -> bool:
        """True for the chosen topics; the path, which holds all poses, is written at the end."""
        return name in self.topics and name != 'path'

    def send(self, name: str, stamp_ns: int, message: Any) -> None:
        """Write a message under the stamp of its image."""
        if name == '/tf':
            self.writer.write_transform(name, stamp_ns, message)
        elif name in self.topics:
            self.writer.write(absolute(name), stamp_ns, message)

    def publish(self, estimate: Estimate) -> None:
        """Write the messages of an estimate and its line of the trajectory."""
        stamp_ns, base_frame = estimate.frame.stamp_ns, self.base_frame
        if not base_frame.egocentric:
            self._write_mounts(estimate)
        super().publish(estimate)
        if not estimate.odometry.lost:
            T_odom_child = base_frame.pose(estimate.odometry.T_world_camera)
            T_odom_camera = T_odom_child @ base_frame.T_child_camera
            for suffix, line in self._text.lines(stamp_ns, T_odom_camera).items():
                self._trajectory[suffix].write(line)
        self._last_ns = stamp_ns

    def report(self, estimate: Estimate, counts: Counts) -> None:
        """Write the status, and show the estimate to whoever wants to see it."""
        super().report(estimate, counts)
        self._seen(estimate)

    def refused(self, error: FrameError, _counts: Counts) -> None:
        """Warn of the first malformed frame; the summary counts all."""
        if not self._malformed:
            self.warnings.append(f'image dropped: {error}')
        self._malformed = True

    def _write_mounts(self, estimate: Estimate) -> None:
        """Write where cameras sit, each when its first frame is there."""
        for frame in (
            view.frame for view in estimate.views if view.frame.view not in self._placed
        ):
            self._placed.add(frame.view)
            T = self._rig.mounts.get(frame.view)
            if frame.frame_id == estimate.pose_frame:
                T = self.base_frame.T_child_camera
            if T is not None:
                head = encode.header(self.make, frame.stamp_ns, self.config.frames.base)
                at = encode.pose(self.make, T)
                mount = encode.transform_stamped(self.make, head, frame.frame_id, at)
                self.writer.write_transform('/tf_static', frame.stamp_ns, mount)

    def write_path(self) -> None:
        """Write the whole path under the last stamp."""
        if self._last_ns is not None and 'path' in self.topics:
            head = encode.header(self.make, self._last_ns, self.config.frames.odom)
            self.writer.write(absolute('path'), self._last_ns, self.outputs.path(head))

    def write_cloud(self) -> None:
        """Write the static points that were gathered, if any."""
        points = self.outputs.map.points(self.base_frame.T_odom_world)
        if len(points):
            save(self.writer.path, CLOUD, cloud_files(points, self.config.frames.odom))


class _Replay:
    """Feeds the frames and measurements of a source to a runner."""

    def __init__(
        self,
        source: Source,
        sink: BagSink,
        config: Config,
        perception: Perception,
        *,
        clip: bool,
        warn: Callable[[str], None],
    ) -> None:
        self._source, self._sink, self._perception = source, sink, perception
        self._clip = Clip(perception)
        process = self._hold if clip else None
        self._runner = FrameRunner(config, perception, sink.base_frame, sink, process)
        self._warn = warn
        self._summary = Summary(
            source.name, str(sink.writer.path), caution=perception.engine.caution
        )

    def all(self, stopped: Callable[[], bool], progress: Callable[[], None]) -> Summary:
        """Run to the end, or until `stopped`."""
        start = time.perf_counter()
        self._mount()
        for item in self._source.items():
            if stopped():
                self._summary.interrupted = True
                break
            self._take(item)
            self._pass_warnings_on()
            progress()
        if not self._summary.interrupted:
            self._deliver_held()
        self._sink.write_path()
        self._sink.write_cloud()
        self._pass_warnings_on()
        return self._summed_up(time.perf_counter() - start)

    def _mount(self) -> None:
        """Place the camera on the base as the source, else the settings, else looking forward."""
        source, base_frame = self._source, self._sink.base_frame
        for view, T_base_camera in source.mounts.items():
            self._perception.rig.mount(view, T_base_camera)
        if base_frame.egocentric:
            return
        if source.T_base_camera is not None:
            self._runner.mount(source.T_base_camera)
            return
        if base_frame.config.mount:
            return
        self._sink.warnings.append(
            f'{source.name} does not tell where the camera sits on '
            f'{base_frame.config.base!r}: assuming that it looks forward from its origin'
        )

    def _take(self, item: Item) -> None:
        """Use a measurement, or process a frame; a broken one is counted."""
        if isinstance(item, DepthSample):
            self._perception.scale.feed_depth(*item)
        elif isinstance(item, PositionSample):
            self._perception.scale.feed_position(item.stamp_ns, np.array(item.position))
        elif isinstance(item, FrameError):
            self._runner.refuse(item)
        else:
            frames = item if isinstance(item, FrameSet) else FrameSet.of(item)
            if self._runner.offer(frames) is None:
                self._runner.step()

    def _hold(self, taken: Taken) -> None:
        """Keep a frame of a clip until the last one is there."""
        if self._clip.frames and taken.restart is not Restart.NONE:
            raise BagError(
                'a clip has no gaps, and time never goes back; choose a stretch with '
                '--start and --duration, or leave out --clip'
            )
        (frame,) = taken.frames.frames
        self._clip.add(frame, frame.decode())
        if len(self._clip.frames) == 1 and self._source.total:
            expected = math.ceil(self._source.total / self._runner.config.window.stride)
            self._sink.warnings.append(self._clip.check(expected))

    def _deliver_held(self) -> None:
        if self._clip.frames:
            for estimate in self._clip.estimates():
                self._runner.deliver(estimate)

    def _pass_warnings_on(self) -> None:
        found, self._sink.warnings = self._source.take_warnings() + self._sink.warnings, []
        for text in found:
            self._summary.warnings.append(text)
            self._warn(text)

    def _summed_up(self, seconds: float) -> Summary:
        intake, summary = self._runner.intake, self._summary
        summary.frames, summary.estimates = intake.received, self._runner.processed
        summary.dropped = dict(sorted(intake.dropped.items()))
        summary.metric = self._perception.scale.metric
        summary.seconds = seconds
        return summary


def absolute(name: str) -> str:
    """Topic as the node ``/page4d`` publishes it."""
    return '/' + name.replace('~', NODE).lstrip('/')
