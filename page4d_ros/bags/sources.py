"""Sources of frames without a camera: recordings, folders of images, videos."""

from __future__ import annotations

from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

import cv2

from page4d_ros.bags.images import (
    DEFAULT_RATE,
    FIRST_STAMP_NS,
    UNCALIBRATED,
    ImageFolder,
    Intrinsics,
)
from page4d_ros.bags.reader import is_bag
from page4d_ros.bags.recording import Recording
from page4d_ros.bags.stream import WHOLE, Item, Source, Span
from page4d_ros.errors import BagError, FrameError
from page4d_ros.messages.decode import DEFAULT_FRAME
from page4d_ros.perception.types import Frame
from page4d_ros.units import NS_PER_S

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from page4d_ros.config import Config


class Video:
    """The frames of a video file; stamps are the container's, or follow from a rate.

    Args:
        path: the file.
        frame_id: optical frame of the images.
        rate: frames per second in place of the container's stamps.
        span: part to take.
        intrinsics: of the images; None leaves the camera uncalibrated.

    Raises:
        BagError: the file is no video.
    """

    T_base_camera = None
    mounts = MappingProxyType({})

    def __init__(
        self,
        path: Path,
        frame_id: str,
        rate: float | None,
        span: Span,
        intrinsics: Intrinsics | None = None,
    ) -> None:
        self.name = str(path)
        self._frame_id, self._rate, self._span = frame_id, rate, span
        self._warnings = [] if intrinsics else [UNCALIBRATED]
        self._video = cv2.VideoCapture(str(path))
        if not self._video.isOpened():
            raise BagError(
                f'{path}: is neither a recording nor a video that OpenCV reads; give a rosbag, an '
                '.mcap, a folder of images or a video'
            )
        sides = (cv2.CAP_PROP_FRAME_WIDTH, cv2.CAP_PROP_FRAME_HEIGHT)
        size = (int(self._video.get(side)) for side in sides)
        self._camera = intrinsics and intrinsics.camera(*size)
        count = int(self._video.get(cv2.CAP_PROP_FRAME_COUNT))
        whole = span == WHOLE and count > 0
        self.total = count if whole else None
        fps = rate or self._video.get(cv2.CAP_PROP_FPS) or DEFAULT_RATE
        length = round(count / fps * NS_PER_S)
        self.extent = (FIRST_STAMP_NS, FIRST_STAMP_NS + length) if count > 0 else None

    def items(self) -> Iterator[Item]:
        """Frames in order."""
        begin, end = self._span.bounds(FIRST_STAMP_NS)
        fps = self._rate or self._video.get(cv2.CAP_PROP_FPS) or DEFAULT_RATE
        last, index = -1, 0
        while self._video.grab():
            stamp_ns = FIRST_STAMP_NS + round(self._video.get(cv2.CAP_PROP_POS_MSEC) * 1e6)
            if self._rate or stamp_ns <= last:  # some containers have no times
                stamp_ns = FIRST_STAMP_NS + round(index * NS_PER_S / fps)
            last, index = stamp_ns, index + 1
            if stamp_ns >= end:
                return
            if stamp_ns >= begin:
                yield self._frame(stamp_ns)
        if self.total and index < self.total:
            self._warnings.append(f'{self.name}: cut off after {index} of {self.total} frames')

    def _frame(self, stamp_ns: int) -> Frame | FrameError:
        found, image = self._video.retrieve()
        if not found:
            return FrameError(f'{self.name}: the frame at {stamp_ns} ns cannot be decoded')
        return Frame(
            stamp_ns,
            self._frame_id,
            lambda: cv2.cvtColor(image, cv2.COLOR_BGR2RGB),
            self._camera,
        )

    def take_warnings(self) -> list[str]:
        """Return the new warnings."""
        taken, self._warnings = self._warnings, []
        return taken

    def close(self) -> None:
        """Close the file."""
        self._video.release()


def open_source(
    path: Path | str,
    config: Config,
    *,
    image_topic: str = '',
    image_topics: Sequence[str] = (),
    depth_topic: str = '',
    odom_topic: str = '',
    rate: float | None = None,
    span: Span = WHOLE,
    camera: Intrinsics | None = None,
) -> Source:
    """Open a recording, a folder of images or a video.

    Args:
        path: file or folder.
        config: all settings.
        image_topic: which of a recording's images; "" takes the only one.
        image_topics: of each camera of a rig in a recording; /NAME/image where empty.
        depth_topic: of a recording, for scale.mode depth.
        odom_topic: of a recording, for scale.mode odometry.
        rate: frames per second of images without times.
        span: part to take.
        camera: intrinsics of the images of a folder or a video, at their own size.

    Raises:
        BagError: the source cannot be read; the message says what to do.
    """
    path = Path(path).expanduser()
    if not path.exists():
        raise BagError(f'{path}: no such file or folder')
    if path.is_file() and path.stat().st_size == 0:
        raise BagError(f'{path}: is empty; record or copy it again')
    if is_bag(path):
        if camera is not None:
            raise BagError(f'{path}: is a recording, whose camera_info tells the intrinsics')
        return Recording(
            path,
            config,
            image_topic=image_topic,
            image_topics=image_topics,
            depth_topic=depth_topic,
            odom_topic=odom_topic,
            span=span,
        )
    if config.cameras:
        raise BagError(f'{path}: is no recording, and only these hold several cameras')
    for option, topic in {'image': image_topic, 'depth': depth_topic, 'odom': odom_topic}.items():
        if topic:
            raise BagError(f'{path}: is no recording, so that --{option}-topic has no meaning')
    frame_id = config.frames.camera or DEFAULT_FRAME
    kind = ImageFolder if path.is_dir() else Video
    return kind(path, frame_id, rate, span, camera)
