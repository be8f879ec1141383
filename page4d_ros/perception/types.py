"""What travels along the road: Frame -> WindowEstimate -> Estimate.

One camera is the 1 x S grid of views and times: everything carries a view index, and the arrays
of a window are flat over its N = views * times frames, newest last.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor

    from page4d_ros.geometry.camera import ImageTransform, PinholeCamera
    from page4d_ros.perception.maps import Maps, Motion


MOVING = 0.5  # a patch with a higher score counts as moving where no setting says


class FrameKey(NamedTuple):
    """Identity of a frame: two windows share a frame if they share its key."""

    stamp_ns: int
    view: int


@dataclass(frozen=True, eq=False)
class Frame:
    """One image on its way in.

    Attributes:
        stamp_ns: acquisition time in integer nanoseconds.
        frame_id: optical frame of the camera.
        decode: gives the image, (H, W, 3) uint8 RGB; raises FrameError. Called once.
        camera: calibrated intrinsics of that image; None where uncalibrated.
        view: index of the camera in a rig.
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
        frames: one per camera that delivered, by increasing `Frame.view`; never empty.

    Raises:
        ValueError: there is no frame, or views are not increasing.
    """

    stamp_ns: int
    frames: tuple[Frame, ...]

    def __post_init__(self) -> None:
        """Refuse what is no set."""
        if not self.frames or any(a >= b for a, b in pairwise(self.views)):
            raise ValueError(f'a frame set needs frames of increasing views, got {self.views}')

    @classmethod
    def of(cls, frame: Frame) -> FrameSet:
        """Set of one camera's frame."""
        return cls(frame.stamp_ns, (frame,))

    @property
    def views(self) -> tuple[int, ...]:
        """Cameras that delivered a frame."""
        return tuple(frame.view for frame in self.frames)


@dataclass(frozen=True, eq=False)
class WindowEstimate:
    """What the network says of one window, in the window's own gauge and unit.

    Attributes:
        frames: the N frames, newest last.
        transform: source image to network image, the same for all.
        images: N times (3, h, w) in [0, 1], on the engine's device; all else is on the host.
        T_gauge_camera: (N, 4, 4) optical frame to gauge.
        cameras: N intrinsics for the size (h, w): the network's, or calibrated where known.
        depth: (M, h, w) of the M newest frames, along z, in units of the gauge.
        confidence: (M, h, w) in [0, 1): 1 - 1/c of the published c >= 1.
        dynamic: (N, h / patch, w / patch) score in (0, 1), high where things move; None where
            the network has no mask head.
        gram: (h / patch, w / patch) of the newest frame, high where attention disagrees with other
            times (see `GramStatistics`); None where not asked for.
        points: (M, h, w, 3) in the gauge; None without ``model.point_head``.
        seconds: time spent per stage.
    """

    frames: tuple[Frame, ...]
    transform: ImageTransform
    images: tuple[Tensor, ...]
    T_gauge_camera: NDArray[np.float64]
    cameras: tuple[PinholeCamera, ...]
    depth: NDArray[np.float32]
    confidence: NDArray[np.float32]
    dynamic: NDArray[np.float32] | None
    gram: NDArray[np.float32] | None = None
    points: NDArray[np.float32] | None = None
    seconds: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class OdometryEstimate:
    """The newest camera in the trajectory's world: the optical frame of the first camera.

    Attributes:
        T_world_camera: (4, 4), metres if `metric`.
        twist: (6,) linear m/s and angular rad/s in the camera's optical frame.
        position_variance: m^2; orientation_variance: rad^2.
        scale: metres (or world units) per unit of the window's gauge.
        metric: whether lengths are metres.
        scale_state: where the scale comes from; see `MetricScale.state`.
        lost: the pose is not known.
        restarted: no frame ties this window to the one before.
    """

    T_world_camera: NDArray[np.float64]
    twist: NDArray[np.float64]
    position_variance: float
    orientation_variance: float
    scale: float
    metric: bool
    scale_state: str = ''
    lost: bool = False
    restarted: bool = False


@dataclass(frozen=True, eq=False)
class MovingBody:
    """Something that moves, in the trajectory's world; metres if the odometry is metric.

    Attributes:
        number: the same from frame to frame.
        centre: (3,) median of its points, which are those of the side that is seen.
        size: (3,) of its box along the world's axes.
        velocity: (3,) per second; zero when seen for the first time.
        probability: mean over its pixels.
        stamp_ns: when it was seen.
    """

    number: int
    centre: NDArray[np.float64]
    size: NDArray[np.float64]
    velocity: NDArray[np.float64]
    probability: float
    stamp_ns: int


@dataclass(frozen=True, eq=False)
class Estimate:
    """Everything about the newest frame, in metres if ``odometry.metric``.

    Attributes:
        frame: the frame this is about.
        camera: intrinsics of depth, mask and image; calibrated where the frame was.
        calibrated: `camera` comes from camera_info, not from the network.
        transform: how to get back to the camera's own pixels.
        odometry: the pose.
        maps: depth, confidence, image and points; each is made when it is first asked for.
        motion: what moves; likewise.
        window_fill: frames in the window.
        bodies: what moves in groups, largest first; empty without ``dynamics.clusters``.
        still: nothing has changed but the stamp since the estimate before.
        seconds: time spent per stage.
    """

    frame: Frame
    camera: PinholeCamera
    calibrated: bool
    transform: ImageTransform
    odometry: OdometryEstimate
    maps: Maps
    motion: Motion
    window_fill: int
    seconds: dict[str, float]
    bodies: tuple[MovingBody, ...] = ()
    still: bool = False

    @property
    def probability(self) -> NDArray[np.float32]:
        """(h, w) that a pixel moves."""
        return self.motion.probability

    @property
    def mask(self) -> NDArray[np.uint8]:
        """(h, w), 0 static, 255 dynamic."""
        return self.motion.mask
