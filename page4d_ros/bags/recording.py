"""Images of a recording, as frames of one camera or as sets of a rig."""

from __future__ import annotations

import math
from collections import deque
from itertools import islice
from typing import TYPE_CHECKING, Any, NamedTuple

from page4d_ros.bags.ground_truth import DEPTH_FORMAT, NAMESPACE, read_depth
from page4d_ros.bags.reader import open_bag
from page4d_ros.bags.stream import WHOLE, DepthSample, Item, PositionSample, Span
from page4d_ros.errors import BagError, FrameError
from page4d_ros.messages.decode import ENCODINGS, FrameReader, depth_metres, stamp_ns
from page4d_ros.messages.transforms import TransformBuffer
from page4d_ros.perception.camera_sets import CameraSets
from page4d_ros.perception.types import Frame
from page4d_ros.units import NS_PER_S

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from page4d_ros.bags.reader import Bag
    from page4d_ros.config import Config

RAW, COMPRESSED = 'sensor_msgs/msg/Image', 'sensor_msgs/msg/CompressedImage'
NOT_PICTURES = ('compressedDepth', '16UC1', '32FC1')
UNREADABLE = 'unreadable'
LOOK_AHEAD = 100  # messages
TF_SECONDS = 10
# A frame waits so long for the sensor readings around it, which are recorded after it.
REFERENCE_DELAY_NS = 200_000_000


class ImageTopic(NamedTuple):
    """A topic with images.

    Attributes:
        name: name of the topic.
        type: message type.
        count: number of messages.
        form: size and encoding of the first image.
        colour: True if it may be a camera's image: neither depth nor ground truth.
    """

    name: str
    type: str
    count: int
    form: str
    colour: bool

    def __str__(self) -> str:
        """One line for messages to the user."""
        return f'{self.name} ({self.type.rpartition("/")[2]}, {self.form}, {self.count} messages)'


def image_topics(bag: Bag) -> list[ImageTopic]:
    """All topics of a recording that hold images."""
    out = []
    for name, (kind, count) in bag.topics().items():
        if kind in {RAW, COMPRESSED} and count:
            first = next(bag.messages([name]), None)
            value = first.value if first else None
            form, colour = _describe(value)
            out.append(ImageTopic(name, kind, count, form, colour and NAMESPACE not in name))
    return out


def _describe(message: Any | None) -> tuple[str, bool]:
    if message is None:
        return UNREADABLE, False
    if hasattr(message, 'encoding'):
        form = f'{message.width}x{message.height} {message.encoding}'
        return form, message.encoding in ENCODINGS
    form = message.format.strip()
    return form or 'compressed', not any(word in form for word in NOT_PICTURES)


def choose_image(bag: Bag, wanted: str) -> ImageTopic:
    """Topic of the camera's images: the wanted one, or the only one.

    Raises:
        BagError: there is none, or it is not clear which; the message lists what there is.
    """
    topics = image_topics(bag)
    if not topics:
        others = ', '.join(f'{name} ({kind})' for name, (kind, _) in bag.topics().items())
        damage = ''.join(f' ({warning})' for warning in bag.warnings)
        raise BagError(f'{bag.path}: holds no images; its topics are {others}{damage}')
    listed = '; '.join(map(str, topics))
    if all(topic.form == UNREADABLE for topic in topics):
        raise BagError(f'{bag.path}: no image in it can be read; {"; ".join(bag.warnings)}')
    if wanted:
        found = [topic for topic in topics if topic.name == '/' + wanted.lstrip('/')]
        if not found:
            raise BagError(f'{bag.path}: no images on {wanted}; there are {listed}')
        return found[0]
    names = {topic.name for topic in topics}
    images = [
        topic
        for topic in topics
        # one camera's images may be there twice
        if topic.colour and topic.name.removesuffix('/compressed') not in names - {topic.name}
    ]
    if len(images) != 1:
        raise BagError(f'{bag.path}: choose one of its images with --image-topic: {listed}')
    return images[0]


def info_topic_of(image: str) -> str:
    """Topic of the calibration that belongs to images: camera_info beside them."""
    return image.removesuffix('/compressed').rpartition('/')[0] + '/camera_info'


class _Camera:
    """Images of a recording and the calibration beside them.

    Args:
        bag: the recording.
        image: topic of the images.
        reader: makes frames of them.
    """

    def __init__(self, bag: Bag, image: ImageTopic, reader: FrameReader) -> None:
        self.image, self.reader = image, reader
        self.info = info_topic_of(image.name)
        self._bag = bag
        for _, _, message in islice(bag.messages([self.info]), LOOK_AHEAD):
            if message is not None:
                reader.camera_info(message)
            if reader.calibration is not None:
                return

    def frame(self, message: Any | None) -> Frame | FrameError:
        """Frame of a message, or the error for one that is broken."""
        if message is None:
            return FrameError(f'{self.image.name}: a message cannot be deserialised')
        try:
            if self.image.type == COMPRESSED:
                return self.reader.compressed(message)
            return self.reader.image(message)
        except FrameError as error:
            return error

    def frame_id(self) -> str:
        """Optical frame of the first image that can be read; "" if there is none."""
        first = islice(self._bag.messages([self.image.name]), LOOK_AHEAD)
        frames = (self.frame(message) for _, _, message in first)
        return next((frame.frame_id for frame in frames if isinstance(frame, Frame)), '')


class Recording:
    """A `Source` over the image topic of one camera of a recording, or those of a rig.

    The calibration that is recorded first holds from the first frame on, and the mounts of the
    cameras are looked up beforehand in /tf_static, then in the first seconds of /tf.

    Args:
        path: rosbag1, rosbag2 folder, .mcap or .db3.
        config: all settings.
        image_topic: "" takes the only one; of a single camera.
        image_topics: of each camera of a rig; /NAME/image where empty.
        depth_topic: sensor's depth for the scale; odom_topic: reference odometry for it.
        span: part to take.

    Attributes:
        mounts: T_base_camera (4, 4) by view of a rig's cameras, as far as tf tells.

    Raises:
        BagError: the recording cannot be read, or it is not clear which images are meant.
    """

    def __init__(
        self,
        path: Path,
        config: Config,
        *,
        image_topic: str = '',
        image_topics: Sequence[str] = (),
        depth_topic: str = '',
        odom_topic: str = '',
        span: Span = WHOLE,
    ) -> None:
        self.bag = open_bag(path)
        self._sets = CameraSets(config) if config.cameras else None
        wanted = image_topics or [f'/{name}/image' for name in config.cameras] or [image_topic]
        try:
            self._cameras = [
                _Camera(self.bag, choose_image(self.bag, topic), _reader(config, view))
                for view, topic in enumerate(wanted)
            ]
            self._depth, self._odom = (self._existing(t) for t in (depth_topic, odom_topic))
            self.T_base_camera, self.mounts = self._mounts(config.frames.base)
        except BagError:
            self.bag.close()
            raise
        images = [camera.image for camera in self._cameras]
        names = [image.name for image in images]
        self.name = ' '.join([str(path), *names])
        self.total = max(image.count for image in images) if span == WHOLE else None
        first = next(iter(self.bag.messages(names)), None)
        if first is None:
            self.bag.close()
            raise BagError(f'{path}: no message on {", ".join(names)} can be read')
        self._span = span.bounds(first.log_ns)
        self.extent = first.log_ns, self.bag.end_time

    @property
    def image(self) -> ImageTopic:
        """Topic of the first camera's images."""
        return self._cameras[0].image

    def __enter__(self) -> Recording:
        """Give the recording itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close it."""
        self.close()

    def close(self) -> None:
        """Close the files."""
        self.bag.close()

    def take_warnings(self) -> list[str]:
        """Return the new warnings."""
        lost, self.bag.warnings = self.bag.warnings, []
        return lost + [text for each in self._cameras for text in each.reader.take_warnings()]

    def items(self) -> Iterator[Item]:
        """Frames in recorded order, each after the sensor readings around it.

        Those of a rig come in sets, as they would from cameras: by the times of recording.
        """
        images = {camera.image.name: camera for camera in self._cameras}
        infos = {camera.info: camera for camera in self._cameras}
        topics = {*images, *infos, self._depth, self._odom} - {''}
        delay = REFERENCE_DELAY_NS if self._depth or self._odom else 0
        waiting: deque[tuple[int, Item]] = deque()
        now = 0.0
        for topic, log_ns, message in self.bag.messages(topics, *self._span):
            while waiting and log_ns - waiting[0][0] >= delay:
                yield waiting.popleft()[1]
            now = max(now, log_ns / NS_PER_S)
            if topic in images:
                found = self._joined(images[topic].frame(message), now)
                waiting.extend((log_ns, item) for item in found)
            elif message is None:
                continue
            elif topic in infos:
                infos[topic].reader.camera_info(message)
            else:
                yield from self._measurement(topic, message)
        yield from (item for _, item in waiting)
        if self._sets is not None:
            yield from self._sets.due(math.inf)

    def _joined(self, frame: Frame | FrameError, now: float) -> Sequence[Item]:
        """A frame itself, or the sets of a rig that it completes."""
        if self._sets is None or isinstance(frame, FrameError):
            return [frame]
        return self._sets.add(frame, now)

    def _measurement(self, topic: str, message: Any) -> Iterator[Item]:
        if topic == self._odom:
            at = message.pose.pose.position
            yield PositionSample(stamp_ns(message.header), (at.x, at.y, at.z))
        else:
            try:
                yield DepthSample(stamp_ns(message.header), _depth_of(message))
            except FrameError as error:
                self._cameras[0].reader.warn('depth', f'{topic}: {error}; it is left out')

    def _existing(self, topic: str) -> str:
        name = '/' + topic.lstrip('/') if topic else ''
        if name and name not in self.bag.topics():
            raise BagError(
                f'{self.bag.path}: no topic {name}; there are {", ".join(self.bag.topics())}'
            )
        return name

    def _mounts(self, base: str) -> tuple[NDArray | None, dict[int, NDArray]]:
        """T_base_camera (4, 4), None where unknown, and those of all cameras by view.

        Without a base those of a rig are relative to its first camera.
        """
        cameras = [camera.frame_id() for camera in self._cameras]
        if not cameras[0] or not (base or self._sets):
            return None, {}
        buffer, origin = TransformBuffer(), base or cameras[0]
        mounts: dict[int, NDArray] = {}
        for topic, stop in (
            ('/tf_static', None),
            ('/tf', self.bag.start_time + TF_SECONDS * NS_PER_S),
        ):
            for _, _, message in self.bag.messages([topic], stop=stop):
                if message is not None:
                    buffer.store(message)
            found = {view: buffer.lookup(origin, name) for view, name in enumerate(cameras)}
            mounts = {view: T for view, T in found.items() if T is not None}
            if len(mounts) == len(cameras):
                break
        return mounts.get(0) if base else None, mounts


def _reader(config: Config, view: int) -> FrameReader:
    return FrameReader(
        rectify=config.input.rectify,
        frame_id=config.frames.camera,
        view=view,
        name=config.cameras[view] if config.cameras else '',
    )


def _depth_of(message: Any) -> NDArray:
    """Depth image (H, W) in metres, NaN where invalid, plain or as our ground truth's PNG."""
    if getattr(message, 'format', '') == DEPTH_FORMAT:
        return read_depth(message)
    return depth_metres(message)
