"""Data that passes through the perception: FrameSet -> WindowEstimate -> Estimate.

A window is a grid of times and views (cameras), from which frames may be missing. Its arrays are
flat over its N frames: set after set, the newest set last, by increasing view within a set. One
camera is the grid of one view. The first frame of a set is its reference: the pose of a set is
that of the reference frame's camera.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray
    from torch import Tensor

    from page4d_ros.geometry.camera import ImageTransform, PinholeCamera
    from page4d_ros.perception.maps import Maps, Motion


MOVING = 0.5  # patches with a higher score count as moving where there is no setting for it

# what a pose relies on
NETWORK_AND_POINTS, POINTS, NETWORK, NOTHING = (
    'network and points',
    'points',
    'network',
    'nothing',
)
RELIANCE = NETWORK_AND_POINTS, POINTS, NETWORK, NOTHING


class FrameKey(NamedTuple):
    """Identity of a frame: two windows share a frame if they share its key."""

    stamp_ns: int
    view: int


@dataclass(frozen=True, eq=False)
class Frame:
    """One camera's image, not decoded yet.

    Attributes:
        stamp_ns: acquisition time in integer nanoseconds.
        frame_id: optical frame of the camera.
        decode: returns the image, (H, W, 3) uint8 RGB, or raises FrameError; called once.
        camera: calibrated intrinsics of that image; None if the camera is not calibrated.
        view: index of the camera in a rig; 0 for a single camera.
    """

    stamp_ns: int
    frame_id: str
    decode: Callable[[], NDArray[np.uint8]]
    camera: PinholeCamera | None = None
    view: int = 0

    @property
    def key(self) -> FrameKey:
        """Stamp and view."""
        return FrameKey(self.stamp_ns, self.view)


@dataclass(frozen=True, eq=False)
class FrameSet:
    """Frames of one time, at most one per camera; a single camera's frame is a set of one.

    Attributes:
        stamp_ns: reference time of the set in integer nanoseconds.
        frames: one per camera that delivered one, by increasing `Frame.view`; never empty.
            Their own stamps may differ a little from that of the set.

    Raises:
        ValueError: there is no frame, or views are not increasing.
    """

    stamp_ns: int
    frames: tuple[Frame, ...]

    def __post_init__(self) -> None:
        """Check the frames."""
        if not self.frames or any(a >= b for a, b in pairwise(self.views)):
            raise ValueError(f'a frame set needs frames of increasing views, got {self.views}')

    @classmethod
    def of(cls, frame: Frame) -> FrameSet:
        """Set of one camera's frame."""
        return cls(frame.stamp_ns, (frame,))

    @property
    def views(self) -> tuple[int, ...]:
        """Indices of the cameras that delivered a frame."""
        return tuple(frame.view for frame in self.frames)

    @property
    def keys(self) -> tuple[FrameKey, ...]:
        """Identity of each frame."""
        return tuple(frame.key for frame in self.frames)


@dataclass(frozen=True, eq=False)
class WindowEstimate:
    """Output of the network for one window, in the window's own gauge and unit of length.

    Attributes:
        sets: frames of the window by time, newest last; N frames in all, V in the newest set.
        transforms: N, from source image to network image; all have the same output size (h, w).
        images: N times (3, h, w) RGB bytes, on the engine's device; all else is on the host.
        T_gauge_camera: (N, 4, 4) optical frame to gauge.
        cameras: N intrinsics for the size (h, w): the network's, or calibrated where known.
        depth: (M, h, w) of the M >= V newest frames, along z, in units of the gauge.
        confidence: (M, h, w) in [0, 1): 1 - 1/c of the published c >= 1.
        dynamic: (N, h / patch, w / patch) score in (0, 1), high where things move; None if the
            network has no mask head.
        gram: (V, h / patch, w / patch) of the newest set, high where attention disagrees with
            other times (see `GramStatistics`); None if not asked for.
        points: (M, h, w, 3) in the gauge; None without ``model.point_head``.
        seconds: time spent per stage.
    """

    sets: tuple[FrameSet, ...]
    transforms: tuple[ImageTransform, ...]
    images: tuple[Tensor, ...]
    T_gauge_camera: NDArray[np.float64]
    cameras: tuple[PinholeCamera, ...]
    depth: NDArray[np.float32]
    confidence: NDArray[np.float32]
    dynamic: NDArray[np.float32] | None
    gram: NDArray[np.float32] | None = None
    points: NDArray[np.float32] | None = None
    seconds: dict[str, float] = field(default_factory=dict)

    @cached_property
    def frames(self) -> tuple[Frame, ...]:
        """All N frames, flat."""
        return tuple(frame for each in self.sets for frame in each.frames)

    @property
    def newest(self) -> range:
        """Indices of the newest set's frames, counted from the end: -V ... -1.

        They hold for the arrays of all N frames as well as for those of the newest ones.
        """
        return range(-len(self.sets[-1].frames), 0)

    @property
    def reference(self) -> int:
        """Index of the newest set's reference frame, counted from the end."""
        return self.newest[0]


@dataclass(frozen=True, eq=False)
class OdometryEstimate:
    """Newest pose of the main camera in the trajectory's world.

    The main camera is the first reference camera, and the world its optical frame then. In a set
    that has no frame of it, its pose follows from that of the reference camera and their relative
    pose before.

    Attributes:
        T_world_camera: (4, 4), metres if `metric`.
        twist: (6,) linear m/s and angular rad/s in the camera's optical frame.
        covariance: (6, 6) of the pose since the trajectory began: position in m, then
            orientation in rad, in the axes of the camera's optical frame.
        twist_covariance: (6, 6) likewise, of `twist`.
        scale: metres (or world units) per unit of the window's gauge.
        metric: True if lengths are metres.
        scale_state: source of the scale; see `MetricScale.state`.
        lost: True if the pose is not known.
        restarted: True if this window shares no frame with the one before.
        network_trust: 0 to 1, by how far the network agreed with tracked corners lately; see
            `Trust.value`. 0 where corners are not used.
        relies_on: evidence that determines the pose, of `RELIANCE`.
        frame_id: optical frame of the main camera; "" for that of the reference view.
        T_camera_reference: (4, 4) pose of the newest reference camera in the main camera's frame;
            identity where it is the same.
    """

    T_world_camera: NDArray[np.float64]
    twist: NDArray[np.float64]
    covariance: NDArray[np.float64]
    twist_covariance: NDArray[np.float64]
    scale: float
    metric: bool
    scale_state: str = ''
    lost: bool = False
    restarted: bool = False
    network_trust: float = 0.0
    relies_on: str = NETWORK
    frame_id: str = ''
    T_camera_reference: NDArray[np.float64] = field(default_factory=lambda: np.eye(4))

    @property
    def position_variance(self) -> float:
        """Mean variance of position along an axis, m^2."""
        return float(self.covariance.diagonal()[:3].mean())

    @property
    def orientation_variance(self) -> float:
        """Mean variance of orientation about an axis, rad^2."""
        return float(self.covariance.diagonal()[3:].mean())


@dataclass(frozen=True, eq=False)
class MovingBody:
    """A moving object in the trajectory's world; metres if the odometry is metric.

    Attributes:
        number: identity, the same from frame to frame.
        centre: (3,) median of its visible points.
        size: (3,) extent of its bounding box along the world's axes.
        velocity: (3,) per second; zero when it is seen for the first time.
        probability: mean probability of motion over its pixels.
        stamp_ns: time of the frame that it was last seen in.
    """

    number: int
    centre: NDArray[np.float64]
    size: NDArray[np.float64]
    velocity: NDArray[np.float64]
    probability: float
    stamp_ns: int


@dataclass(frozen=True, eq=False)
class ViewEstimate:
    """Results for one camera's frame.

    Attributes:
        frame: the frame.
        camera: intrinsics of depth, mask and image.
        calibrated: True if `camera` comes from the frame, False if from the network.
        transform: from the camera's own image to the network's.
        maps: depth, confidence, image and points; each is computed when it is first read.
        motion: moving pixels; likewise.
        T_world_camera: (4, 4) pose of the camera in the trajectory's world; None where the pose
            is lost, or nobody knows where the camera sits beside the main one.
        image: the camera's own (H, W, 3), kept with ``publish.size`` camera.
    """

    frame: Frame
    camera: PinholeCamera
    calibrated: bool
    transform: ImageTransform
    maps: Maps
    motion: Motion
    T_world_camera: NDArray[np.float64] | None = None
    image: NDArray[np.uint8] | None = None

    @property
    def depth(self) -> NDArray[np.float32]:
        """(h, w) along z; NaN where invalid."""
        return self.maps.depth

    @property
    def confidence(self) -> NDArray[np.float32]:
        """(h, w) in [0, 1)."""
        return self.maps.confidence

    @property
    def rgb(self) -> NDArray[np.uint8]:
        """The network's image (h, w, 3)."""
        return self.maps.rgb

    @property
    def probability(self) -> NDArray[np.float32]:
        """(h, w) that a pixel moves."""
        return self.motion.probability

    @property
    def mask(self) -> NDArray[np.uint8]:
        """(h, w), 0 static, 255 dynamic."""
        return self.motion.mask


@dataclass(frozen=True, eq=False)
class Estimate:
    """All results for the newest frame set, in metres if ``odometry.metric``.

    The properties are those of the reference view, for consumers of one camera.

    Attributes:
        views: results per camera, in the order of the set's frames; the first is the reference.
        odometry: pose of the main camera, which is that of the reference view if it has a frame.
        window_fill: frame sets in the window.
        seconds: time spent per stage.
        bodies: moving objects, largest first; empty without ``dynamics.clusters``.
        still: True if only the stamps have changed since the last estimate.
    """

    views: tuple[ViewEstimate, ...]
    odometry: OdometryEstimate
    window_fill: int
    seconds: dict[str, float]
    bodies: tuple[MovingBody, ...] = ()
    still: bool = False

    @property
    def frame(self) -> Frame:
        """Reference frame."""
        return self.views[0].frame

    @property
    def pose_frame(self) -> str:
        """Optical frame that the pose is of."""
        return self.odometry.frame_id or self.frame.frame_id

    @property
    def camera(self) -> PinholeCamera:
        """Intrinsics of its depth, mask and image."""
        return self.views[0].camera

    @property
    def calibrated(self) -> bool:
        """True if `camera` comes from the frame, False if from the network."""
        return self.views[0].calibrated

    @property
    def transform(self) -> ImageTransform:
        """From the camera's own image to the network's."""
        return self.views[0].transform

    @property
    def maps(self) -> Maps:
        """Its depth, confidence, image and points."""
        return self.views[0].maps

    @property
    def motion(self) -> Motion:
        """Its moving pixels."""
        return self.views[0].motion

    @property
    def probability(self) -> NDArray[np.float32]:
        """(h, w) that a pixel moves."""
        return self.motion.probability

    @property
    def mask(self) -> NDArray[np.uint8]:
        """(h, w), 0 static, 255 dynamic."""
        return self.motion.mask
