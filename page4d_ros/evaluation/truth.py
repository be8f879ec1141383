"""Pictures of a recording with their ground truth, one at a time."""

from __future__ import annotations

from collections import Counter
from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple

import cv2
import numpy as np
from scipy.spatial.transform import Rotation

from page4d_ros.bags import ground_truth
from page4d_ros.bags.recording import choose_image, info_topic_of
from page4d_ros.errors import BagError, FrameError
from page4d_ros.evaluation.recording import depth_of, mask_of, rgb_of
from page4d_ros.geometry.camera import ImageTransform
from page4d_ros.geometry.poses import transform
from page4d_ros.messages.decode import calibration

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from numpy.typing import NDArray

    from page4d_ros.evaluation.recording import Log, Track
    from page4d_ros.geometry.calibration import Calibration
    from page4d_ros.geometry.camera import PinholeCamera

APART_NS = 20_000_000  # depth and mask of another moment are not the picture's
POSE_GAP_NS = 200_000_000  # poses further apart are not interpolated


class TrueFrame(NamedTuple):
    """One picture of a pinhole camera.

    Attributes:
        stamp_ns: time in nanoseconds.
        rgb: (H, W, 3) uint8.
        depth: (H, W) float32 metres along the optical axis, NaN where unknown.
        mask: (H, W) bool, what moves; None where the recording does not tell.
        T_world_camera: (4, 4) pose of the optical frame.
    """

    stamp_ns: int
    rgb: NDArray[np.uint8]
    depth: NDArray[np.float32]
    mask: NDArray[np.bool_] | None
    T_world_camera: NDArray[np.float64]


class _Match(NamedTuple):
    depth: int
    mask: int | None
    T_world_camera: NDArray[np.float64]


class Truth:
    """Pictures with depth and pose, and with a mask where there is one.

    Lens distortion is removed. Depth and mask are those nearest in time, at most 20 ms away, and
    poses are interpolated.

    Args:
        log: the recording.
        image_topic: "" takes the only one.
        depth_topic: as large as the picture and registered to it.
        odom_topic: nav_msgs/Odometry of the camera, or of what a transform ties it to.
        mask_topic: what moves; need not be there.
        width: of the frames in pixels; None leaves them as they are.

    Attributes:
        image: the image topic.
        camera: intrinsics of the frames.
        masked: whether frames have masks.
        left_out: pictures that have no frame, by reason.

    Raises:
        BagError: something is missing; says what, and what there is.
    """

    def __init__(
        self,
        log: Log,
        *,
        image_topic: str = '',
        depth_topic: str = ground_truth.DEPTH,
        odom_topic: str = ground_truth.ODOMETRY,
        mask_topic: str = ground_truth.MASK,
        width: int | None = None,
    ) -> None:
        self._log = log
        self.image = choose_image(log.bag, image_topic).name
        self._calibration = self._read_calibration()
        self._depth = self._topic(depth_topic)
        if self._depth is None:
            raise BagError(f'{log.bag.path}: no depth on {depth_topic}; {self._listed()}')
        self._mask = self._topic(mask_topic)
        self._track = self._camera_track(odom_topic)
        self.masked = self._mask is not None
        known = self._calibration.pinhole
        width = width or known.width
        height = max(1, round(known.height * width / known.width))
        fit = ImageTransform(known.width, known.height, width, height, 0, 0, width, height)
        self.camera: PinholeCamera = fit.camera_to_network(known)
        self.left_out: Counter[str] = Counter()

    def frames(self, stride: int = 1) -> Iterator[TrueFrame]:
        """Every `stride`-th picture, in order of time; those without truth are left out."""
        log, self.left_out = self._log, Counter()
        matches = self._matches(stride)
        images = log.decoded(self.image, rgb_of, matches.__contains__)
        depths = _Queue(
            log.decoded(self._depth, depth_of, {m.depth for m in matches.values()}.__contains__)
        )
        wanted = {m.mask for m in matches.values()}
        masks = _Queue(
            log.decoded(self._mask, mask_of, wanted.__contains__) if self.masked else iter(())
        )
        last = None
        for stamp, rgb in images:
            match = matches[stamp]
            depth, mask = depths.at(match.depth), masks.at(match.mask)
            if depth is None or (self.masked and mask is None) or stamp == last:
                self.left_out['damaged'] += 1
                continue
            last = stamp
            yield self._frame(stamp, rgb, depth, mask, match.T_world_camera)

    def _matches(self, stride: int) -> dict[int, _Match]:
        """What belongs to each picture, by its stamp."""
        log, out = self._log, {}
        depths = np.unique(log.stamps[self._depth])
        masks = np.unique(log.stamps[self._mask]) if self.masked else None
        for stamp in sorted(set(log.stamps[self.image]))[::stride]:
            T = pose_at(self._track, stamp)
            depth = _nearest(depths, stamp)
            mask = _nearest(masks, stamp) if self.masked else None
            if T is None:
                self.left_out['no pose'] += 1
            elif depth is None:
                self.left_out['no depth'] += 1
            elif self.masked and mask is None:
                self.left_out['no mask'] += 1
            else:
                out[stamp] = _Match(depth, mask, T)
        return out

    def _frame(
        self, stamp: int, rgb: NDArray, depth: NDArray, mask: NDArray | None, T: NDArray
    ) -> TrueFrame:
        known, camera = self._calibration, self.camera
        for name, image in (('pictures', rgb), ('depth', depth), ('masks', mask)):
            if image is not None and image.shape[:2] != (known.height, known.width):
                raise BagError(
                    f'{self._log.bag.path}: {name} of {image.shape[1]}x{image.shape[0]} pixels, '
                    f'camera_info of {known.width}x{known.height}; register them to each other'
                )
        size = camera.width, camera.height
        shrunk = size != (known.width, known.height)
        if known.distorted:
            rgb = known.rectify(np.ascontiguousarray(rgb))
            depth = self._rectified(depth, np.nan)
            mask = None if mask is None else self._rectified(mask, False)
        if shrunk:
            rgb = cv2.resize(np.ascontiguousarray(rgb), size, interpolation=cv2.INTER_AREA)
            # neither may be blended across edges
            depth = cv2.resize(depth, size, interpolation=cv2.INTER_NEAREST_EXACT)
            if mask is not None:
                grey = cv2.resize(
                    mask.astype(np.uint8), size, interpolation=cv2.INTER_NEAREST_EXACT
                )
                mask = grey > 0
        return TrueFrame(stamp, np.ascontiguousarray(rgb), depth, mask, T)

    def _rectified(self, image: NDArray, fill: float) -> NDArray:
        """An image (H, W) undistorted without blending."""
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

    def _read_calibration(self) -> Calibration:
        bag, topic = self._log.bag, info_topic_of(self.image)
        for _, _, message in bag.messages([topic]):
            if message is None:
                continue
            try:
                found = calibration(message)
            except FrameError as error:
                raise BagError(f'{bag.path}: {topic}: {error}') from error
            if found is None:
                raise BagError(f'{bag.path}: {topic} says that the camera is not calibrated')
            return found
        raise BagError(f'{bag.path}: no calibration on {topic}; {self._listed()}')

    def _topic(self, name: str) -> str | None:
        """Topic with images, plain or compressed."""
        name = '/' + name.lstrip('/')
        names = (name, name.removesuffix('/compressed'))
        return next((n for n in names if n in self._log.topics), None)

    def _camera_track(self, topic: str) -> Track:
        log, path = self._log, self._log.bag.path
        track = log.tracks.get('/' + topic.lstrip('/'))
        if not track:
            found = ', '.join(sorted(log.tracks)) or 'none'
            raise BagError(f'{path}: no poses on {topic}; its odometry is {found}')
        camera = log.frame_ids[self.image]
        if track.child == camera:
            return track
        T_child_camera = log.transforms.lookup(track.child, camera)
        if T_child_camera is None:
            raise BagError(
                f'{path}: no transform from {track.child!r} to {camera!r} in /tf_static'
            )
        return track.moved_to(camera, T_child_camera)

    def _listed(self) -> str:
        return f'its topics are {", ".join(self._log.topics)}'


def pose_at(track: Track, stamp: int) -> NDArray[np.float64] | None:
    """Pose (4, 4) at a time in nanoseconds; None where the track has none close around it."""
    after = int(np.searchsorted(track.stamps, stamp))
    if after < len(track) and track.stamps[after] == stamp:
        return track.poses[after]
    if after in {0, len(track)}:
        return None
    before = after - 1
    gap = int(track.stamps[after] - track.stamps[before])
    if gap > POSE_GAP_NS:
        return None
    share = int(stamp - track.stamps[before]) / gap
    A, B = track.poses[before], track.poses[after]
    turn = Rotation.from_matrix(A[:3, :3].T @ B[:3, :3]).as_rotvec()
    R = A[:3, :3] @ Rotation.from_rotvec(share * turn).as_matrix()
    return transform(R, (1 - share) * A[:3, 3] + share * B[:3, 3])


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
