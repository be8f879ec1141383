"""Ground truth on topics of a recording: depth, masks and poses matched to images by time."""

from __future__ import annotations

from collections import Counter
from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple

import cv2
import numpy as np

from page4d_ros.bags import ground_truth
from page4d_ros.bags.recording import choose_image, info_topic_of
from page4d_ros.datasets.bag_index import depth_of, mask_of, rgb_of
from page4d_ros.datasets.pose_interpolation import camera_poses
from page4d_ros.errors import BagError, FrameError
from page4d_ros.geometry.camera import ImageTransform
from page4d_ros.messages.decode import calibration
from page4d_ros.truth import GroundTruthFrame
from page4d_ros.units import NS_PER_S

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any

    from numpy.typing import NDArray

    from page4d_ros.datasets.bag_index import BagIndex
    from page4d_ros.datasets.pose_interpolation import CameraPoses
    from page4d_ros.geometry.camera import PinholeCamera
    from page4d_ros.geometry.camera_calibration import CameraCalibration

APART_NS = 20_000_000  # depth and masks further away belong to another image


class Match(NamedTuple):
    """Stamps of the depth and mask that belong to an image, and its pose; None where missing."""

    depth: int | None
    mask: int | None
    T_world_camera: NDArray[np.float64] | None


class BagTruth:
    """Images of a recording, with depth, poses and masks matched to them by time.

    Depth and mask are the nearest in time, at most 20 ms away; poses are interpolated. Lens
    distortion is removed from images, depth and masks.

    Args:
        index: index of the recording.
        image_topic: images; "" takes the only ones.
        depth_topic: depth registered to the images, of the same size; "" is `ground_truth.DEPTH`,
            or that of the camera of a rig.
        odom_topic: poses, see `camera_poses`; "" is `ground_truth.ODOMETRY`.
        mask_topic: masks of what moves, optional; "" is `ground_truth.MASK` likewise.
        width: width of the frames in pixels; None keeps that of the images.
        complete: every frame needs depth and pose, and the camera a calibration. Otherwise frames
            need any truth, and topics that are not named may be missing.

    Attributes:
        image: image topic.
        camera: intrinsics of the frames; None where unknown.
        topics: topics found, by kind of truth: depth, mask and pose.
        left_out: number of images without the truth they need, by reason; set by `matches`.

    Raises:
        BagError: a topic or the calibration is missing; names it and the topics that exist.
    """

    def __init__(
        self,
        index: BagIndex,
        *,
        image_topic: str = '',
        depth_topic: str = '',
        odom_topic: str = '',
        mask_topic: str = '',
        width: int | None = None,
        complete: bool = False,
    ) -> None:
        self._index, self._complete = index, complete
        self.image = choose_image(index.bag, image_topic).name
        self.camera: PinholeCamera | None = None
        self._calibration = self._read_calibration()
        if self._calibration is not None:
            known = self._calibration.pinhole
            width = width or known.width
            height = max(1, round(known.height * width / known.width))
            fit = ImageTransform(known.width, known.height, width, height, 0, 0, width, height)
            self.camera = fit.camera_to_network(known)
        self.topics: dict[str, str] = {}
        self._find('depth', depth_topic, ground_truth.DEPTH, needed=complete)
        self._find('mask', mask_topic, ground_truth.MASK, needed=False)
        self._poses: CameraPoses | None = None
        odom = '/' + (odom_topic or ground_truth.ODOMETRY).lstrip('/')
        if odom_topic or complete or odom in index.tracks:
            self._poses = camera_poses(index, odom, index.frame_ids[self.image])
            self.topics['pose'] = odom
        self.left_out: Counter[str] = Counter()

    def read(self, matches: dict[int, Match]) -> Iterator[GroundTruthFrame | BagError]:
        """These images in order of time, one in memory at a time; a BagError for a damaged one."""
        index = self._index
        images = _Queue(index.decoded(self.image, rgb_of, matches.__contains__))
        depths = self._queue('depth', depth_of, {m.depth for m in matches.values()})
        masks = self._queue('mask', mask_of, {m.mask for m in matches.values()})
        for stamp, match in matches.items():
            rgb, depth, mask = images.at(stamp), depths.at(match.depth), masks.at(match.mask)
            found = (depth is None, mask is None) == (match.depth is None, match.mask is None)
            if rgb is None or not found:
                yield BagError(
                    f'{index.bag.path}: image of {stamp / NS_PER_S:.3f} s, or its depth or mask, '
                    'is damaged; evaluate the frames before it with --frames'
                )
            else:
                yield self._frame(stamp, rgb, depth, mask, match.T_world_camera)

    def matches(self, stride: int = 1) -> dict[int, Match]:
        """Truth of every `stride`-th image, by its stamp; images without are left out."""
        index, out = self._index, {}
        self.left_out = Counter()
        depths, masks = (
            np.unique(index.stamps.get(self.topics.get(k), ())) for k in ('depth', 'mask')
        )
        for stamp in sorted(set(index.stamps[self.image]))[::stride]:
            T = self._poses.at(stamp) if self._poses else None
            match = Match(_nearest(depths, stamp), _nearest(masks, stamp), T)
            if not self._complete:
                reason = '' if any(found is not None for found in match) else 'no truth'
            elif T is None:
                reason = 'no pose'
            elif match.depth is None:
                reason = 'no depth'
            else:
                reason = 'no mask' if 'mask' in self.topics and match.mask is None else ''
            if reason:
                self.left_out[reason] += 1
            else:
                out[stamp] = match
        return out

    def _queue(self, what: str, decode: Callable, wanted: set[int | None]) -> _Queue:
        if what not in self.topics:
            return _Queue(iter(()))
        return _Queue(self._index.decoded(self.topics[what], decode, wanted.__contains__))

    def _frame(
        self,
        stamp: int,
        rgb: NDArray,
        depth: NDArray | None,
        mask: NDArray | None,
        T: NDArray | None,
    ) -> GroundTruthFrame:
        known, camera = self._calibration, self.camera
        if known is None:
            return GroundTruthFrame(stamp, np.ascontiguousarray(rgb), None, T, depth, mask)
        for name, image in (('images', rgb), ('depth', depth), ('masks', mask)):
            if image is not None and image.shape[:2] != (known.height, known.width):
                raise BagError(
                    f'{self._index.bag.path}: {name} of {image.shape[1]}x{image.shape[0]} pixels, '
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
        return GroundTruthFrame(stamp, np.ascontiguousarray(rgb), camera, T, depth, mask)

    def _rectified(self, image: NDArray | None, fill: float) -> NDArray | None:
        """Undistort an image (H, W) without blending values."""
        if image is None:
            return None
        rows, columns, inside = self._sources
        return np.where(inside, image[rows, columns], image.dtype.type(fill))

    @cached_property
    def _sources(self) -> tuple[NDArray, NDArray, NDArray]:
        """Source row and column of each rectified pixel, and True where it lies in the image."""
        known = self._calibration
        v, u = np.mgrid[: known.height, : known.width].astype(np.float32)
        columns, rows, inside = (known.rectify(x) for x in (u, v, np.ones_like(u)))
        indices = (np.rint(x).astype(int) for x in (rows, columns))
        return *indices, inside > 0.999

    def _read_calibration(self) -> CameraCalibration | None:
        bag, topic = self._index.bag, info_topic_of(self.image)
        for _, _, message in bag.messages([topic]):
            if message is None:
                continue
            try:
                found = calibration(message)
            except FrameError as error:
                raise BagError(f'{bag.path}: {topic}: {error}') from error
            if found is None and self._complete:
                raise BagError(f'{bag.path}: {topic} says that the camera is not calibrated')
            return found
        if self._complete:
            raise self._lacks(f'calibration on {topic}')
        return None

    def _find(self, what: str, named: str, default: str, *, needed: bool) -> None:
        """Record the topic of `what`, in whichever form of image_transport it was recorded."""
        camera = self.image.strip('/').partition('/')[
            0
        ]  # of a rig, where the truth has its name, too
        ours = ground_truth.of_camera(default, camera)
        name = '/' + (named or (ours if ours in self._index.topics else default)).lstrip('/')
        plain = name.removesuffix('/compressed')
        for topic in (name, plain, f'{plain}/compressed', f'{plain}/compressedDepth'):
            if topic in self._index.topics:
                self.topics[what] = topic
                return
        if named or needed:
            raise self._lacks(f'{what} on {name}')

    def _lacks(self, what: str) -> BagError:
        index = self._index
        topics = ', '.join(index.topics)
        return BagError(f'{index.bag.path}: no {what}; its topics are {topics}')


def _shrunk(image: NDArray | None, size: tuple[int, int]) -> NDArray | None:
    """Resize an image (H, W) to (width, height) without blending across edges."""
    if image is None:
        return None
    plain = image.astype(np.uint8) if image.dtype == bool else image
    small = cv2.resize(plain, size, interpolation=cv2.INTER_NEAREST_EXACT)
    return small.astype(image.dtype)


def _nearest(stamps: NDArray[np.int64], stamp: int) -> int | None:
    """Closest of sorted stamps; None if it is more than `APART_NS` away."""
    index = int(np.searchsorted(stamps, stamp))
    close = [int(s) for s in stamps[max(0, index - 1) : index + 1] if abs(s - stamp) <= APART_NS]
    return min(close, key=lambda s: abs(s - stamp), default=None)


class _Queue:
    """Looks up arrays by rising stamps, with one array in memory."""

    def __init__(self, items: Iterator[tuple[int, Any]]) -> None:
        self._items = items
        self._now = next(items, None)

    def at(self, stamp: int | None) -> Any | None:
        """Array of a stamp; None if there is none, or for stamp None."""
        while stamp is not None and self._now is not None and self._now[0] < stamp:
            self._now = next(self._items, None)
        found = self._now is not None and self._now[0] == stamp
        return self._now[1] if found else None
