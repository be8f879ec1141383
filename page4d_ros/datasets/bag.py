"""Recordings that tell poses, depth or masks on topics of their own."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, NamedTuple

from page4d_ros.bags.reader import open_bag
from page4d_ros.datasets.bag_index import BagIndex
from page4d_ros.datasets.sequence import Clip, ClipFrame
from page4d_ros.datasets.truth import Match, Truth
from page4d_ros.errors import BagError
from page4d_ros.units import NS_PER_S

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

FIELDS = {'depth': 'depth', 'mask': 'mask', 'pose': 'T_world_camera'}


class Topics(NamedTuple):
    """Where a recording tells what; "" is found: the only images, and the names of `ground_truth`.

    Attributes:
        image: sensor_msgs/Image or CompressedImage.
        odom: nav_msgs/Odometry, geometry_msgs/PoseStamped or tf2_msgs/TFMessage.
        depth: registered to the image.
        mask: what moves.
    """

    image: str = ''
    odom: str = ''
    depth: str = ''
    mask: str = ''


FOUND = Topics()


def read(path: Path, topics: Topics = FOUND) -> Clip:
    """One recording: rosbag1, rosbag2 folder, .mcap or .db3; pictures without truth are left out.

    Raises:
        BagError: it cannot be read, it is not clear which images are meant, there is no truth, or
            its stamps are never those of the pictures.
    """
    bag = open_bag(path)  # stays open as long as the clip lives
    log = BagIndex(bag)
    truth = Truth(
        log,
        image_topic=topics.image,
        depth_topic=topics.depth,
        odom_topic=topics.odom,
        mask_topic=topics.mask,
        partial=True,
    )
    if not truth.topics:
        raise BagError(
            f'{path}: no ground truth; name it with --odom-topic, --depth-topic or --mask-topic; '
            f'its topics are {", ".join(log.topics)}'
        )
    matches = truth.matches()
    for what, topic in truth.topics.items():
        if all(getattr(match, FIELDS[what]) is None for match in matches.values()):
            raise BagError(
                f'{path}: no picture has the {what} of {topic}, as their stamps do not match: '
                f'{_span(log, truth.image)}, {_span(log, topic)}'
            )
    return Clip(
        path.resolve().stem,
        len(matches),
        partial(_frames, path, truth, matches),
        remarks=tuple(bag.warnings),
    )


def _span(log: BagIndex, topic: str) -> str:
    stamps = log.stamps.get(topic) or [
        int(stamp) for track in log.links.get(topic, {}).values() for stamp in track.stamps
    ]
    return f'{topic} is of {min(stamps) / NS_PER_S:.3f} to {max(stamps) / NS_PER_S:.3f} s'


def _frames(
    path: Path, truth: Truth, matches: dict[int, Match], indices: Sequence[int]
) -> Iterator[ClipFrame]:
    stamps = list(matches)
    wanted = {stamps[i]: matches[stamps[i]] for i in indices}
    found = truth.read(wanted)
    for stamp in wanted:
        frame = next(found, None)
        if frame is None or frame.stamp_ns != stamp:
            raise BagError(
                f'{path}: image of {stamp / NS_PER_S:.3f} s, or its depth or mask, is damaged; '
                'evaluate the frames before it with --frames'
            )
        yield ClipFrame(
            frame.stamp_ns, frame.rgb, truth.camera, frame.T_world_camera, frame.depth, frame.mask
        )
