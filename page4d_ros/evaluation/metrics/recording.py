"""All metrics of one recording."""

from __future__ import annotations

from collections import Counter
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from page4d_ros.bags import ground_truth
from page4d_ros.bags.recording import choose_image, image_topics
from page4d_ros.datasets.bag_index import ODOMETRY, depth_of, mask_of, paired
from page4d_ros.errors import BagError
from page4d_ros.evaluation.metrics import running
from page4d_ros.evaluation.metrics.depth import (
    DEPTH_ERROR,
    MASK_ERROR,
    depth_metrics,
    mask_metrics,
)
from page4d_ros.evaluation.metrics.trajectory import POSITION_ERROR, trajectory_metrics
from page4d_ros.evaluation.result import Measured, Unknown
from page4d_ros.messages.topics import IMAGE, of_camera

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray

    from page4d_ros.bags.reader import Bag
    from page4d_ros.datasets.bag_index import BagIndex, Track
    from page4d_ros.evaluation.result import Aligned, Errors

FORMAT = 1
DEPTH = 'depth/image'
TRUTH_TYPES = {ODOMETRY, IMAGE, 'sensor_msgs/msg/CompressedImage'}


@dataclass(frozen=True, eq=False)
class Case:
    """A recording beside the source that it was made from.

    Attributes:
        recording: what the node published.
        source: what it was given; None where that is no recording (a video, a folder of images).
        image: the source's image topic; "" where that is not clear.
        camera: of a rig; "" is the only one.
    """

    recording: BagIndex
    source: BagIndex | None
    image: str = ''
    camera: str = ''

    @classmethod
    def of(cls, recording: BagIndex, source: BagIndex | None = None, camera: str = '') -> Case:
        """Find the images of the source; those of a camera of a rig have its name.

        So have those of a single one, if the source knows the truth by that name.
        """
        image, camera = '', camera or _name(recording, source)
        if source is not None and camera:
            found = [each.name for each in image_topics(source.bag) if each.colour]
            image = next((name for name in found if camera in name.split('/')), '')
        elif source is not None:
            with suppress(BagError):
                image = choose_image(source.bag, '').name
        return cls(recording, source, image, camera)

    def output(self, name: str, kind: str = IMAGE) -> str | None:
        """Topic on which the node published this output of the camera."""
        return self.recording.find(of_camera(name, self.camera), kind)

    def truth(self, name: str) -> str | None:
        """Topic of the source with this ground truth, plain or compressed."""
        topics = self.source.topics if self.source else {}
        if name != ground_truth.ODOMETRY:  # which is the robot's
            name = ground_truth.of_camera(name, self.camera)
        names = (name, name.removesuffix('/compressed'))
        return next((n for n in names if n in topics and topics[n].type in TRUTH_TYPES), None)

    def pairs(
        self, output: str, truth: str, decode: Callable[[Any], NDArray]
    ) -> Iterator[tuple[int, NDArray, NDArray]]:
        """(stamp, published, true) images of equal stamps, one at a time."""
        return paired(self.recording.decoded(output, decode), self.source.decoded(truth, decode))

    @property
    def track(self) -> Track | None:
        """Estimated poses of the odometry's child, None where there are none."""
        topic = self.recording.find('odom', ODOMETRY)
        track = self.recording.tracks.get(topic) if topic else None
        return track if track else None

    @property
    def camera_frame(self) -> str | None:
        """The optical frame, as the outputs name it."""
        names = self.recording.frame_ids
        found = [self.output(DEPTH), self.output('rgb/image'), self.output('mask/image')]
        stamped = next((names[topic] for topic in found if topic in names), None)
        status = self.recording.status
        return stamped or (status[-1].header.frame_id.lstrip('/') if status else None)

    @property
    def is_main(self) -> bool:
        """True if most status messages are of this camera's frames."""
        counts = Counter(message.header.frame_id for message in self.recording.status)
        return not counts or counts.most_common(1)[0][0].lstrip('/') == self.camera_frame

    def mount(self, child: str) -> NDArray | None:
        """T_child_camera (4, 4), by the transforms of the recording, then of the source."""
        camera = self.camera_frame
        if camera in {None, child}:
            return None if camera is None else np.eye(4)
        for log in (self.recording, self.source):
            T = log.transforms.lookup(child, camera) if log else None
            if T is not None:
                return T
        return None


def _name(recording: BagIndex, source: BagIndex | None) -> str:
    """Name of the only camera; "" where the source has no ground truth by it."""
    published = recording.find(DEPTH, IMAGE)
    name = (published or '').removesuffix(f'/{DEPTH}').rpartition('/')[2]
    known = (
        source is not None and ground_truth.of_camera(ground_truth.DEPTH, name) in source.topics
    )
    return name if known else ''


def cameras_of(recording: Bag) -> list[str]:
    """Names of the cameras whose depth a rig published, in order; none of a single camera."""
    ends = '/' + DEPTH
    names = [
        topic.removesuffix(ends).rpartition('/')[2]
        for topic in recording.topics()
        if topic.endswith(ends)
    ]
    return names if len(names) > 1 else []


class RecordingErrors:
    """All metrics of a recording that can be computed."""

    def add(self, case: Case) -> None:
        """Take in the recording."""
        self.case = case

    def result(self) -> Measured:
        """Facts of the run, times, and errors of trajectory, depth and mask."""
        case = self.case
        recording, source = case.recording, case.source
        images: int | Unknown = Unknown('it is not clear which of its topics the images are')
        if source is None:
            images = Unknown('the source is no recording')
        elif case.image:
            images = source.topics[case.image].count
        run = running.run_metrics(recording, images)
        metric = run['metric'] is True
        trajectory, aligned = _trajectory(case, metric=metric)
        depth, depth_errors = _depth(case, metric=metric)
        mask, mask_errors = _mask(case)
        errors = {DEPTH_ERROR: depth_errors, MASK_ERROR: mask_errors}
        if aligned is not None:
            errors[POSITION_ERROR] = list(zip(aligned.stamps.tolist(), aligned.error, strict=True))
        tree = {
            'format': FORMAT,
            'run': run,
            'timing': running.timing_metrics(recording),
            'trajectory': trajectory,
            'depth': depth,
            'mask': mask,
            'topics': running.topic_metrics(recording),
        }
        return Measured(tree, {name: known for name, known in errors.items() if known}, aligned)


def _absent(case: Case, output: str | None, truth: str, name: str) -> Unknown | None:
    """Say why two topics cannot be compared, if they cannot."""
    if case.source is None:
        return Unknown('the source is no recording, so there is no ground truth')
    if case.truth(truth) is None:
        return Unknown(f'the source has no ground truth ({truth})')
    return Unknown(f'the recording has no {name}') if output is None else None


def _trajectory(case: Case, *, metric: bool) -> tuple[dict[str, Any] | Unknown, Aligned | None]:
    track = case.track
    absent = _absent(case, track and 'odom', ground_truth.ODOMETRY, 'valid pose on odom')
    if absent:
        return absent, None
    truth = case.source.tracks.get(ground_truth.ODOMETRY)
    if not truth:
        return Unknown(f'the source has no valid pose on {ground_truth.ODOMETRY}'), None
    # A monocular scale stretches the camera's path but not the lever to the base, so that only
    # the camera's trajectory is a similarity of the true one.
    mounts = [case.mount(t.child) for t in (track, truth)]
    if all(T is not None for T in mounts):
        camera = case.camera_frame
        track, truth = (t.moved_to(camera, T) for t, T in zip((track, truth), mounts, strict=True))
    elif track.child != truth.child:
        return Unknown(
            f'odom is of {track.child!r} and the truth of {truth.child!r}, and no transform '
            'ties them together'
        ), None
    return trajectory_metrics(track, truth, metric=metric)


def _depth(case: Case, *, metric: bool) -> tuple[dict[str, Any] | Unknown, Errors]:
    output = case.output(DEPTH)
    absent = _absent(case, output, ground_truth.DEPTH, 'depth/image')
    if absent:
        return absent, []
    pairs = partial(case.pairs, output, case.truth(ground_truth.DEPTH), depth_of)
    found = depth_metrics(pairs, metric=metric)
    return found.tree, found.over_time


def _mask(case: Case) -> tuple[dict[str, Any] | Unknown, Errors]:
    output = case.output('mask/image')
    absent = _absent(case, output, ground_truth.MASK, 'mask/image')
    if absent:
        return absent, []
    return mask_metrics(partial(case.pairs, output, case.truth(ground_truth.MASK), mask_of))
