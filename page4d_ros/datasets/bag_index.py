"""Index of a recording: poses, stamps and status in memory, images read one at a time."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from page4d_ros.bags.ground_truth import NAMESPACE, read_depth, read_mask
from page4d_ros.errors import FrameError
from page4d_ros.geometry.poses import from_quaternion
from page4d_ros.messages.decode import (
    compressed_to_rgb,
    depth_metres,
    image_reader,
    pixels,
    stamp_ns,
)
from page4d_ros.messages.topics import STATUS
from page4d_ros.messages.transforms import TransformBuffer
from page4d_ros.perception.clouds import colours
from page4d_ros.units import NS_PER_S

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray

    from page4d_ros.bags.reader import Bag

ODOMETRY = 'nav_msgs/msg/Odometry'
POSE = 'geometry_msgs/msg/PoseStamped'
TF = 'tf2_msgs/msg/TFMessage'
FLOAT32 = 7  # sensor_msgs/PointField.FLOAT32


class TopicLog(NamedTuple):
    """Number and rate of the messages of a topic, by the time of recording.

    Attributes:
        type: message type.
        count: number of messages.
        rate_hz: mean rate; None for less than two moments.
        longest_gap_s: between two messages that follow each other; None likewise.
    """

    type: str
    count: int
    rate_hz: float | None
    longest_gap_s: float | None


@dataclass(frozen=True, eq=False)
class Track:
    """Poses of `child` in `parent`, in order of time.

    Attributes:
        stamps: (n,) int64 nanoseconds, increasing.
        poses: (n, 4, 4) T_parent_child.
        invalid: messages without a pose: a quaternion of zeros (lost), or NaN.
    """

    parent: str
    child: str
    stamps: NDArray[np.int64]
    poses: NDArray[np.float64]
    invalid: int = 0

    def __len__(self) -> int:
        """Return the number of poses."""
        return len(self.stamps)

    def moved_to(self, child: str, T_old_new: NDArray) -> Track:
        """Poses of another frame that is fixed to the child, T_old_new (4, 4)."""
        return Track(self.parent, child, self.stamps, self.poses @ T_old_new, self.invalid)


class BagIndex:
    """Index of a recording that is read once from end to end; images stay in the file.

    Attributes:
        bag: the open recording.
        topics: number and rate of messages, by topic.
        stamps: header stamps in recorded order, by topic.
        frame_ids: last frame_id, by topic.
        tracks: poses of every nav_msgs/Odometry and geometry_msgs/PoseStamped topic; the latter
            names no child.
        links: tracks of every tf2_msgs/TFMessage topic, by child.
        status: all page4d_ros/PerceptionStatus messages.
        transforms: latest transforms of /tf and /tf_static.
        malformed: times of messages that could not be read or decoded so far, by topic.
    """

    def __init__(self, bag: Bag) -> None:
        self.bag = bag
        self.stamps: dict[str, list[int]] = defaultdict(list)
        self.frame_ids: dict[str, str] = {}
        self.status: list[Any] = []
        self.transforms = TransformBuffer()
        self.malformed: dict[str, set[int]] = defaultdict(set)
        self._poses: dict[str, dict[str, _Poses]] = defaultdict(lambda: defaultdict(_Poses))
        times: dict[str, list[int]] = defaultdict(list)
        types = {name: info.type for name, info in bag.topics().items()}
        for topic, log_ns, message in bag.messages(types):
            times[topic].append(log_ns)
            try:
                self._take(topic, types[topic], message)
            except (AttributeError, ValueError):  # not deserialised, or a quaternion of zeros
                self.malformed[topic].add(log_ns)
        self.topics = {name: _topic_log(kind, times[name]) for name, kind in types.items()}
        of_topics = {
            topic: {child: poses.track(child) for child, poses in found.items()}
            for topic, found in self._poses.items()
        }
        self.links = {t: tracks for t, tracks in of_topics.items() if types[t] == TF}
        self.tracks = {
            topic: next(reversed(tracks.values()))
            for topic, tracks in of_topics.items()
            if types[topic] != TF
        }

    def _take(self, topic: str, kind: str, message: Any) -> None:
        if hasattr(message, 'header'):
            self.stamps[topic].append(stamp_ns(message.header))
            self.frame_ids[topic] = message.header.frame_id.lstrip('/')
        if kind in {ODOMETRY, POSE}:
            pose = message.pose.pose if kind == ODOMETRY else message.pose
            child = message.child_frame_id if kind == ODOMETRY else ''
            self._poses[topic][child.lstrip('/')].add(
                message.header, pose.orientation, pose.position
            )
        elif kind == STATUS:
            self.status.append(message)
        elif kind == TF:
            self.transforms.store(message)
            for item in message.transforms:
                self._poses[topic][item.child_frame_id.lstrip('/')].add(
                    item.header, item.transform.rotation, item.transform.translation
                )

    def find(self, name: str, kind: str) -> str | None:
        """Topic that ends with `name`, whatever the namespace; the shortest if there are more."""
        found = [
            topic
            for topic, log in self.topics.items()
            if log.type == kind and f'/{topic}'.endswith(f'/{name}') and NAMESPACE not in topic
        ]
        return min(found, key=len, default=None)

    def decoded(
        self,
        topic: str,
        decode: Callable[[Any], NDArray],
        keep: Callable[[int], bool] | None = None,
    ) -> Iterator[tuple[int, NDArray]]:
        """(stamp, array) of each message, one at a time; malformed ones are left out.

        Args:
            topic: where.
            decode: makes an array of a message: `depth_of`, `mask_of`, `rgb_of`, `cloud_of`.
            keep: which stamps to decode; None is all.
        """
        for _, log_ns, message in self.bag.messages([topic]):
            if message is None:
                continue
            stamp = stamp_ns(message.header)
            if keep is None or keep(stamp):
                try:
                    yield stamp, decode(message)
                except FrameError:
                    self.malformed[topic].add(log_ns)


def _topic_log(kind: str, times: list[int]) -> TopicLog:
    gaps = np.diff(np.sort(np.array(times, np.int64))) / NS_PER_S
    if not gaps.sum():
        return TopicLog(kind, len(times), None, None)
    return TopicLog(kind, len(times), len(gaps) / float(gaps.sum()), float(gaps.max()))


class _Poses:
    """Poses by stamp as they come; of equal stamps the last counts."""

    def __init__(self) -> None:
        self.parent, self.invalid = '', 0
        self._poses: dict[int, NDArray] = {}

    def add(self, header: Any, q: Any, p: Any) -> None:
        """Take a pose in the header's frame."""
        self.parent = header.frame_id.lstrip('/')
        numbers = np.array([q.x, q.y, q.z, q.w, p.x, p.y, p.z])
        if np.isfinite(numbers).all() and np.any(numbers[:4]):
            self._poses[stamp_ns(header)] = from_quaternion(numbers[:4], numbers[4:])
        else:
            self.invalid += 1

    def track(self, child: str) -> Track:
        """All of them."""
        stamps = sorted(self._poses)
        stacked = np.stack([self._poses[s] for s in stamps]) if stamps else np.zeros((0, 4, 4))
        return Track(self.parent, child, np.array(stamps, np.int64), stacked, self.invalid)


def paired(
    left: Iterator[tuple[int, Any]], right: Iterator[tuple[int, Any]]
) -> Iterator[tuple[int, Any, Any]]:
    """(stamp, from left, from right) of equal stamps; both come in order of time."""
    a, b = next(left, None), next(right, None)
    while a is not None and b is not None:
        if a[0] == b[0]:
            yield a[0], a[1], b[1]
            a, b = next(left, None), next(right, None)
        elif a[0] < b[0]:
            a = next(left, None)
        else:
            b = next(right, None)


def depth_of(message: Any) -> NDArray[np.float32]:
    """Depth (H, W) in metres, NaN where unknown, of an Image or a PNG of millimetres.

    Raises:
        FrameError: the message is malformed, or of another kind.
    """
    return depth_metres(message) if hasattr(message, 'encoding') else read_depth(message)


def mask_of(message: Any) -> NDArray[np.bool_]:
    """Mask (H, W) of an Image of 8 bits or a PNG, True where something moves.

    Raises:
        FrameError: the message is malformed.
    """
    if hasattr(message, 'encoding'):
        return pixels(message, channels=1, dtype=np.uint8) > 0
    return read_mask(message)


def rgb_of(message: Any) -> NDArray[np.uint8]:
    """Image (H, W, 3) of an Image or a CompressedImage.

    Raises:
        FrameError: the message is malformed.
    """
    return image_reader(message)() if hasattr(message, 'encoding') else compressed_to_rgb(message)


def cloud_of(message: Any) -> NDArray[np.float32]:
    """Points (n, 6) of a PointCloud2: x, y, z in its frame, then red, green, blue in [0, 1].

    Raises:
        FrameError: x, y, z or rgb is missing, or the data is cut off.
    """
    offsets = {field.name: field.offset for field in message.fields if field.datatype == FLOAT32}
    names = ('x', 'y', 'z', 'rgb')
    if missing := set(names) - set(offsets):
        raise FrameError(f'cloud has no float32 field {", ".join(sorted(missing))}')
    count, step = int(message.width) * int(message.height), int(message.point_step)
    data = np.frombuffer(message.data, np.uint8)
    if len(data) < count * step:
        raise FrameError(f'cloud is cut off: {len(data)} of {count * step} bytes')
    kind = np.dtype(
        {
            'names': names,
            'formats': ['<f4', '<f4', '<f4', '<u4'],
            'offsets': [offsets[name] for name in names],
            'itemsize': step,
        }
    )
    points = data[: count * step].view(kind)
    xyz = np.stack([points['x'], points['y'], points['z']], 1)
    return np.hstack([xyz, colours(points).astype(np.float32) / 255])
