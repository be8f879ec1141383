"""Pictures of a recording with their ground truth, one at a time."""

from __future__ import annotations

from collections import Counter
from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple

import cv2
import numpy as np

from page4d_ros.bags import ground_truth
from page4d_ros.bags.recording import choose_image, info_topic_of
from page4d_ros.datasets.bag_index import depth_of, mask_of, rgb_of
from page4d_ros.datasets.pose_interpolation import true_poses
from page4d_ros.errors import BagError, FrameError
from page4d_ros.geometry.camera import ImageTransform
from page4d_ros.messages.decode import calibration

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any

    from numpy.typing import NDArray

    from page4d_ros.datasets.bag_index import BagIndex
    from page4d_ros.datasets.pose_interpolation import TruePoses
    from page4d_ros.geometry.camera import PinholeCamera
    from page4d_ros.geometry.camera_calibration import CameraCalibration

APART_NS = 20_000_000  # depth and mask of another moment are not the picture's


class TrueFrame(NamedTuple):
    """One picture of a pinhole camera; what the recording does not tell of it is None.

    Attributes:
        stamp_ns: time in nanoseconds.
        rgb: (H, W, 3) uint8.
        depth: (H, W) float32 metres along the optical axis, NaN where unknown.
        mask: (H, W) bool, what moves.
        T_world_camera: (4, 4) pose of the optical frame.
    """

    stamp_ns: int
    rgb: NDArray[np.uint8]
    depth: NDArray[np.float32] | None
    mask: NDArray[np.bool_] | None
    T_world_camera: NDArray[np.float64] | None


class Match(NamedTuple):
    """Stamps of a picture's depth and mask, and its pose; None where there is none."""

    depth: int | None
    mask: int | None
    T_world_camera: NDArray[np.float64] | None


class Truth:
    """Pictures with depth and pose, and with a mask where there is one.

    Lens distortion is removed. Depth and mask are those nearest in time, at most 20 ms away, and
    poses are interpolated.

    Args:
        log: the recording.
        image_topic: "" takes the only one.
        depth_topic: as large as the picture and registered to it; "" is `ground_truth.DEPTH`.
        odom_topic: poses, see `true_poses`; "" is `ground_truth.ODOMETRY`.
        mask_topic: what moves, need not be there; "" is `ground_truth.MASK`.
        width: of the frames in pixels; None leaves them as they are.
        partial: topics that are not named need not be there, nor the calibration, and pictures
            count that have any truth.

    Attributes:
        image: the image topic.
        camera: intrinsics of the frames; None where unknown.
        topics: that are there, by what they tell: depth, mask and pose.
        left_out: pictures that have no frame, by reason.

    Raises:
        BagError: something is missing; says what, and what there is.
    """

    def __init__(
        self,
        log: BagIndex,
        *,
        image_topic: str = '',
        depth_topic: str = '',
        odom_topic: str = '',
        mask_topic: str = '',
        width: int | None = None,
        partial: bool = False,
    ) -> None:
        self._log, self._partial = log, partial
        self.image = choose_image(log.bag, image_topic).name
        self.camera: PinholeCamera | None = None
        self._calibration = self._read_calibration()
        if self._calibration is not None:
            known = self._calibration.pinhole
            width = width or known.width
            height = max(1, round(known.height * width / known.width))
            fit = ImageTransform(known.width, known.height, width, height, 0, 0, width, height)
            self.camera = fit.camera_to_network(known)
        self.topics: dict[str, str] = {}
        self._find('depth', depth_topic, ground_truth.DEPTH, needed=not partial)
        self._find('mask', mask_topic, ground_truth.MASK, needed=False)
        self._poses: TruePoses | None = None
        odom = '/' + (odom_topic or ground_truth.ODOMETRY).lstrip('/')
        if odom_topic or not partial or odom in log.tracks:
            self._poses = true_poses(log, odom, log.frame_ids[self.image])
            self.topics['pose'] = odom
        self.left_out: Counter[str] = Counter()

    @property
    def masked(self) -> bool:
        """Whether there are masks."""
        return 'mask' in self.topics

    def frames(self, stride: int = 1) -> Iterator[TrueFrame]:
        """Every `stride`-th picture, in order of time; those without truth are left out."""
        self.left_out = Counter()
        return self.read(self.matches(stride))

    def read(self, matches: dict[int, Match]) -> Iterator[TrueFrame]:
        """These pictures in order of time, one in memory at a time; damaged ones are left out."""
        log = self._log
        images = log.decoded(self.image, rgb_of, matches.__contains__)
        depths = self._queue('depth', depth_of, {m.depth for m in matches.values()})
        masks = self._queue('mask', mask_of, {m.mask for m in matches.values()})
        last = None
        for stamp, rgb in images:
            match = matches[stamp]
            depth, mask = depths.at(match.depth), masks.at(match.mask)
            found = (depth is None, mask is None) == (match.depth is None, match.mask is None)
            if not found or stamp == last:
                self.left_out['damaged'] += 1
                continue
            last = stamp
            yield self._frame(stamp, rgb, depth, mask, match.T_world_camera)

    def matches(self, stride: int = 1) -> dict[int, Match]:
        """What belongs to each `stride`-th picture, by its stamp; those without are left out."""
        log, out = self._log, {}
        depths, masks = (
            np.unique(log.stamps.get(self.topics.get(k), ())) for k in ('depth', 'mask')
        )
        for stamp in sorted(set(log.stamps[self.image]))[::stride]:
            T = self._poses.at(stamp) if self._poses else None
            match = Match(_nearest(depths, stamp), _nearest(masks, stamp), T)
            if self._partial:
                reason = '' if any(found is not None for found in match) else 'no truth'
            elif T is None:
                reason = 'no pose'
            elif match.depth is None:
                reason = 'no depth'
            else:
                reason = 'no mask' if self.masked and match.mask is None else ''
            if reason:
                self.left_out[reason] += 1
            else:
                out[stamp] = match
        return out

    def _queue(self, what: str, decode: Callable, wanted: set[int | None]) -> _Queue:
        if what not in self.topics:
            return _Queue(iter(()))
        return _Queue(self._log.decoded(self.topics[what], decode, wanted.__contains__))

    def _frame(
        self,
        stamp: int,
        rgb: NDArray,
        depth: NDArray | None,
        mask: NDArray | None,
        T: NDArray | None,
    ) -> TrueFrame:
        known, camera = self._calibration, self.camera
        if known is None:
            return TrueFrame(stamp, np.ascontiguousarray(rgb), depth, mask, T)
        for name, image in (('pictures', rgb), ('depth', depth), ('masks', mask)):
            if image is not None and image.shape[:2] != (known.height, known.width):
                raise BagError(
                    f'{self._log.bag.path}: {name} of {image.shape[1]}x{image.shape[0]} pixels, '
                    f'camera_info of {known.width}x{known.height}; register them to each other'
                )
        size = camera.width, camera.height
        # a topic such as image_rect has been rectified, and shares its camera_info
        if known.distorted and 'image_rect' not in self.image:
            rgb = known.rectify(np.ascontiguousarray(rgb))
            depth, mask = self._rectified(depth, np.nan), self._rectified(mask, False)
        if size != (known.width, known.height):
            rgb = cv2.resize(np.ascontiguousarray(rgb), size, interpolation=cv2.INTER_AREA)
            depth, mask = _shrunk(depth, size), _shrunk(mask, size)
        return TrueFrame(stamp, np.ascontiguousarray(rgb), depth, mask, T)

    def _rectified(self, image: NDArray | None, fill: float) -> NDArray | None:
        """An image (H, W) undistorted without blending."""
        if image is None:
            return None
        rows, columns, inside = self._sources
        return np.where(inside, image[rows, columns], image.dtype.type(fill))

    @cached_property
    def _sources(self) -> tuple[NDArray, NDArray, NDArray]:
        """Row and column that each rectified pixel comes from, and whether there is one."""
        known = self._calibration
        v, u = np.mgrid[: known.height, : known.width].astype(np.float32)
        columns, rows, inside = (known.rectify(x) for x in (u, v, np.ones_like(u)))
        indices = (np.rint(x).astype(int) for x in (rows, columns))
        return *indices, inside > 0.999

    def _read_calibration(self) -> CameraCalibration | None:
        bag, topic = self._log.bag, info_topic_of(self.image)
        for _, _, message in bag.messages([topic]):
            if message is None:
                continue
            try:
                found = calibration(message)
            except FrameError as error:
                raise BagError(f'{bag.path}: {topic}: {error}') from error
            if found is None and not self._partial:
                raise BagError(f'{bag.path}: {topic} says that the camera is not calibrated')
            return found
        if self._partial:
            return None
        raise self._lacks(f'calibration on {topic}')

    def _find(self, what: str, named: str, default: str, *, needed: bool) -> None:
        """Note the topic of images, if it is there in any form of image_transport."""
        name = '/' + (named or default).lstrip('/')
        plain = name.removesuffix('/compressed')
        for topic in (name, plain, f'{plain}/compressed', f'{plain}/compressedDepth'):
            if topic in self._log.topics:
                self.topics[what] = topic
                return
        if named or needed:
            raise self._lacks(f'{what} on {name}')

    def _lacks(self, what: str) -> BagError:
        log = self._log
        return BagError(f'{log.bag.path}: no {what}; its topics are {", ".join(log.topics)}')


def _shrunk(image: NDArray | None, size: tuple[int, int]) -> NDArray | None:
    """An image (H, W) of another size (width, height), not blended across edges."""
    if image is None:
        return None
    plain = image.astype(np.uint8) if image.dtype == bool else image
    small = cv2.resize(plain, size, interpolation=cv2.INTER_NEAREST_EXACT)
    return small.astype(image.dtype)


def _nearest(stamps: NDArray[np.int64], stamp: int) -> int | None:
    """The closest of sorted stamps, if it is close enough."""
    index = int(np.searchsorted(stamps, stamp))
    close = [int(s) for s in stamps[max(0, index - 1) : index + 1] if abs(s - stamp) <= APART_NS]
    return min(close, key=lambda s: abs(s - stamp), default=None)


class _Queue:
    """Looks up stamps that rise, holding one array."""

    def __init__(self, items: Iterator[tuple[int, Any]]) -> None:
        self._items = items
        self._now = next(items, None)

    def at(self, stamp: int | None) -> Any | None:
        while stamp is not None and self._now is not None and self._now[0] < stamp:
            self._now = next(self._items, None)
        found = self._now is not None and self._now[0] == stamp
        return self._now[1] if found else None
