"""Recordings with ground truth on topics: poses, depth or masks."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, NamedTuple

from page4d_ros.bags.reader import open_bag
from page4d_ros.datasets.bag_index import BagIndex
from page4d_ros.datasets.bag_truth import BagTruth, Match
from page4d_ros.datasets.sequence import FileSequence
from page4d_ros.errors import BagError
from page4d_ros.units import NS_PER_S

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from page4d_ros.truth import GroundTruthFrame

FIELDS = {'depth': 'depth', 'mask': 'mask', 'pose': 'T_world_camera'}


class Topics(NamedTuple):
    """Topics of images and ground truth; "" takes the only images, and names of `ground_truth`.

    Attributes:
        image: sensor_msgs/Image or CompressedImage.
        odom: nav_msgs/Odometry, geometry_msgs/PoseStamped or tf2_msgs/TFMessage.
        depth: depth registered to the image.
        mask: pixels that move.
    """

    image: str = ''
    odom: str = ''
    depth: str = ''
    mask: str = ''


FOUND = Topics()


def read(
    path: Path,
    topics: Topics = FOUND,
    *,
    complete: bool = False,
    width: int | None = None,
    stride: int = 1,
) -> FileSequence:
    """One recording: rosbag1, rosbag2 folder, .mcap or .db3; images without truth are left out.

    Args:
        path: the recording; it stays open as long as the sequence lives.
        topics: topics of images and truth.
        complete: leave out images without depth or pose, or without mask where there are masks.
        width: width of the frames in pixels; None keeps that of the images.
        stride: take every n-th image.

    Raises:
        BagError: the recording cannot be read, has several image topics to choose from or no
            ground truth, or the stamps of the truth never match those of the images.
    """
    bag = open_bag(path)
    index = BagIndex(bag)
    truth = BagTruth(
        index,
        image_topic=topics.image,
        depth_topic=topics.depth,
        odom_topic=topics.odom,
        mask_topic=topics.mask,
        width=width,
        complete=complete,
    )
    if not truth.topics:
        raise BagError(
            f'{path}: no ground truth; name it with --odom-topic, --depth-topic or --mask-topic; '
            f'its topics are {", ".join(index.topics)}'
        )
    matches = truth.matches(stride)
    for kind, topic in truth.topics.items():
        if not complete and all(getattr(m, FIELDS[kind]) is None for m in matches.values()):
            raise BagError(
                f'{path}: no image has the {kind} of {topic}, as their stamps do not match: '
                f'{_span(index, truth.image)}, {_span(index, topic)}'
            )
    return FileSequence(
        path.expanduser().resolve().stem,
        len(matches),
        partial(_frames, truth, matches),
        remarks=tuple(bag.warnings),
        left_out=dict(truth.left_out),
        topic=truth.image,
    )


def _frames(
    truth: BagTruth, matches: dict[int, Match], indices: Sequence[int]
) -> Iterator[GroundTruthFrame | BagError]:
    stamps = list(matches)
    return truth.read({stamps[i]: matches[stamps[i]] for i in indices})


def _span(index: BagIndex, topic: str) -> str:
    stamps = index.stamps.get(topic) or [
        int(stamp) for track in index.links.get(topic, {}).values() for stamp in track.stamps
    ]
    return f'{topic} is of {min(stamps) / NS_PER_S:.3f} to {max(stamps) / NS_PER_S:.3f} s'
