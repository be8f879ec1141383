"""Trajectory of the newest camera, with its velocity and its uncertainty."""

from __future__ import annotations

import math
from dataclasses import replace
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

from page4d_ros.geometry.poses import inverse, rotation_angle, twist
from page4d_ros.perception.depth_correction import TiedDepth
from page4d_ros.perception.drift import (
    Pace,
    carried,
    gathered,
    least,
    of_motion,
    rescaled,
)
from page4d_ros.perception.medians import median
from page4d_ros.perception.points import turn_first
from page4d_ros.perception.sparse import SparseEstimator
from page4d_ros.perception.stitching import Chain, Placement
from page4d_ros.perception.types import (
    MOVING,
    NETWORK,
    NETWORK_AND_POINTS,
    NOTHING,
    POINTS,
    OdometryEstimate,
)
from page4d_ros.perception.witness import Witness
from page4d_ros.units import NS_PER_S

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from page4d_ros.config import OdometryConfig
    from page4d_ros.geometry.camera import ImageTransform
    from page4d_ros.perception.dynamics import Judged
    from page4d_ros.perception.rig import Rig
    from page4d_ros.perception.scale import MetricScale
    from page4d_ros.perception.sparse_pose import SparsePose
    from page4d_ros.perception.types import Frame, FrameKey, FrameSet, WindowEstimate

DEPTH_COLUMNS = 64  # of the grid of pixels whose depths are compared
OVERLAP_COLUMNS = 16  # of the grid of points whose visibility measures overlap
LEAST_STATIC = 0.05  # share of a view; bounds the growth of the variances to twentyfold
UNKNOWN = 9999.0 * np.eye(6)
LOST = OdometryEstimate(
    np.eye(4), np.zeros(6), UNKNOWN, UNKNOWN, 1.0, metric=False, lost=True, relies_on=NOTHING
)


class Odometry:
    """Follows the newest camera by corners and by the network, in metres where they are known.

    Corners and network are joined by a `SparseEstimator`. The network's own trajectory is a
    `Chain` of windows; it is the pose where corners are not used (``odometry.estimator``, or a rig
    of several cameras). The motion is integrated step by step, so that a scale that improves later
    never moves the past.

    Attributes:
        window: the newest window, with poses by corners where there are some, in the same gauge;
            None before the first.
    """

    def __init__(self, config: OdometryConfig, scale: MetricScale, rig: Rig | None = None) -> None:
        self.config = config
        self.scale = scale
        self.rig = rig
        self.sparse = SparseEstimator(alone=config.estimator == 'geometry')
        self.reset()

    def reset(self) -> None:
        """Begin again at identity."""
        self.chain = Chain()
        self.sparse.forget()
        self._main: Frame | None = None  # newest of the main camera
        self._held: dict[int, NDArray] = {}  # by view: T_view_main where it had to be assumed
        if self.rig is not None:
            self.rig.forget()
        self.window: WindowEstimate | None = None
        self._T_world_camera: NDArray | None = None  # in units of the map or the chain
        self._last: tuple[int, OdometryEstimate] | None = None
        self._by_points: SparsePose | None = None  # the newest pose, if corners determine it
        self._tied: list[TiedDepth] | None = None  # of the newest set, once it was asked for
        self._overlap = 0.0
        self._gathered = np.zeros((6, 6))  # in metres: gaps, and steps of the chain
        self._pace = Pace()
        self._depth = 0.0  # of the scene, in units of the gauge

    def forget_window(self) -> None:
        """Begin a new window at the last pose."""
        self.chain.clear()
        self.sparse.interrupt()
        self._overlap = 0.0

    def keeps_first(self, least: float) -> bool:
        """True if the window's first frame sees enough of the newest view to stay.

        Args:
            least: ``window.keyframe_overlap``; 0 keeps none.
        """
        return 0 < least <= self._overlap

    def follow(self, frames: FrameSet, images: Sequence[NDArray[np.uint8]]) -> None:
        """Track image corners into the newest frames, before `update`.

        Args:
            frames: of the newest time.
            images: (H, W, 3) RGB of each.
        """
        if self._uses_corners(frames):
            self.sparse.follow(images[0])

    def _uses_corners(self, frames: FrameSet) -> bool:
        rig = self.rig is not None and self.rig.several
        return self.config.estimator != 'network' and len(frames.frames) == 1 and not rig

    def update(self, window: WindowEstimate) -> OdometryEstimate:
        """Newest pose of the main camera; `lost` if neither network nor corners know it."""
        self.window, self._by_points, self._tied = window, None, None
        stamp_ns = window.frames[window.reference].stamp_ns
        self.scale.advance(stamp_ns)
        placement, pose = self._place(window), None
        if self._uses_corners(window.sets[-1]) and self.sparse.sees:
            pose = self._by_corners(window, placement)
        if placement is None if pose is None else pose.lost:
            # frames that the last good window shares with the next one still tie them
            self._overlap = 0.0
            return replace(
                LOST,
                scale=self.chain.scale * self.scale.factor,
                metric=self.scale.metric,
                scale_state=self.scale.state,
                network_trust=self.sparse.prior.trust.value if self.sparse.sees else 0.0,
            )
        if placement is not None and placement.restarted:
            self.scale.forget()
            self._held.clear()
            if self.rig is not None:
                self.rig.forget()
        if pose is not None:
            self.window = window = with_poses(
                window, pose, self.sparse.poses(f.key for f in window.frames)
            )
            self._T_world_camera = pose.T_world_previous
            placed = _by_map(window, pose, placement)
            self._by_points = pose if pose.by_points else None
        else:
            placed = placement
        newest = window.frames[window.reference]
        if self._main is None or newest.view == self._main.view:
            self._main = newest
        if not placed.doubted and np.isfinite(window.T_gauge_camera).all():
            self._measure(window, placed)
        self._overlap = _overlap(window)
        T_reference = placed.T_chain_camera[window.reference]
        T_reference_main = self._main_in_reference(newest.view, T_reference)
        T_now = T_reference @ T_reference_main
        estimate = self._advance(window, placed, pose, T_now)
        if newest.view != self._main.view:
            self.chain.tie(T_now)
            T_main_reference = inverse(T_reference_main)
            T_main_reference[:3, 3] *= self.scale.factor
            estimate = replace(estimate, T_camera_reference=T_main_reference)
        self._T_world_camera = T_now
        self._last = stamp_ns, estimate
        return estimate

    def _measure(self, window: WindowEstimate, placed: Placement) -> None:
        """Compare the window with what is known of scale and rig."""
        scale, rig = self.scale, self.rig
        if rig is not None:
            rig.observe(window, placed.T_chain_camera)
        if window.frames[window.reference].view == self._main.view:
            scale.update(window, placed.T_chain_camera, placed.scale, self.depth()[0])
        if rig is not None:
            elsewhere = scale.metric and scale.config.mode != 'rig'
            rig.check(scale.factor if elsewhere else None)

    def _main_in_reference(self, view: int, T_reference: NDArray) -> NDArray[np.float64]:
        """T_reference_main (4, 4) in units of the chain.

        Where the two cameras were not seen together yet, the main one rests at the first time.
        """
        if view == self._main.view:
            return np.eye(4)
        known = None if self.rig is None else self.rig.between(view, self._main.view)
        if known is None:
            known = self._held.get(view)
        if known is None:
            known = inverse(T_reference) @ self._T_world_camera
            self._held[view] = known
        return known

    def _place(self, window: WindowEstimate) -> Placement | None:
        """Window in the network's own trajectory; None if its output is not finite."""
        log_depth = _static_log_depth(window)
        finite = np.isfinite(window.T_gauge_camera).all()
        if not finite or np.isnan(log_depth[window.reference]).all():
            return None
        self._depth = math.exp(median(log_depth[window.reference]))
        keys = [frame.key for frame in window.frames]
        return self.chain.place(keys, window.T_gauge_camera, log_depth, window.reference)

    def _by_corners(self, window: WindowEstimate, placement: Placement | None) -> SparsePose:
        """Pose by corners and, as far as it is trusted, by the network."""
        witness = None
        if placement is not None:
            witness = Witness.of(window, placement.scale, doubted=placement.doubted)
        camera = window.transforms[-1].camera_to_source(window.cameras[-1])
        pose = self.sparse.update(window.frames[-1].key, camera, witness)
        return pose if np.isfinite(pose.unit) else pose._replace(unit=self.chain.scale)

    @property
    def trust(self) -> float:
        """Trust in the network, 0 to 1; 1 where corners do not judge it."""
        return self.sparse.prior.trust.value if self.sparse.sees else 1.0

    def depth(self) -> list[TiedDepth]:
        """Depth of the newest set's views, tied to the points that were known when first asked.

        Raises:
            TypeError: there was no window yet.
        """
        if self._tied is None:
            window = self.window
            points, error = None, self.sparse.prior.trust.depth if self.sparse.sees else 0.0
            if self._by_points is not None:
                points = self.sparse.depths(self._by_points.unit)
            parts = ((window.depth[i], window.transforms[i]) for i in window.newest)
            self._tied = [TiedDepth(*part, points, error) for part in parts]
        return self._tied

    def hide(self, motion: Judged, fit: ImageTransform) -> None:
        """Drop corners on moving objects, if the network is trusted to know them.

        Args:
            motion: moving pixels of the newest reference frame.
            fit: from the camera's image to the network's.
        """
        self.sparse.hide(motion, fit)

    def _advance(
        self,
        window: WindowEstimate,
        placed: Placement,
        pose: SparsePose | None,
        T_now: NDArray,
    ) -> OdometryEstimate:
        """Integrate the motion in metres to a pose (4, 4) in the chain, and differentiate it."""
        factor = self.scale.factor
        stamp_ns = window.frames[window.reference].stamp_ns
        velocity, T_world_camera, of_step = np.zeros(6), np.eye(4), np.zeros((6, 6))
        seconds = 0.0
        if self._last is not None:
            last_ns, last = self._last
            seconds = max(0.0, (stamp_ns - last_ns) / NS_PER_S)
            step = inverse(self._T_world_camera) @ T_now
            step[:3, 3] *= factor
            T_world_camera = last.T_world_camera @ step
            if seconds > 0 and not placed.restarted:
                velocity = twist(last.T_world_camera, T_world_camera, seconds)
            of_step = self._gather(placed, pose, inverse(step), seconds)
        floor = least(self.config)
        covariance = self._gathered
        if pose is not None:
            covariance = covariance + rescaled(pose.covariance, factor)
        trust = self.sparse.prior.trust.value
        return OdometryEstimate(
            T_world_camera=T_world_camera,
            twist=velocity,
            covariance=floor + turn_first(covariance),
            twist_covariance=floor + turn_first(of_step / (seconds or 1.0) ** 2),
            scale=placed.scale * factor,
            metric=self.scale.metric,
            scale_state=self.scale.state,
            restarted=placed.restarted,
            network_trust=0.0 if pose is None else trust,
            relies_on=_relies_on(pose, trusted=self.sparse.prior.trusted),
            frame_id=self._main.frame_id,
        )

    def _gather(
        self, placed: Placement, pose: SparsePose | None, T_now_before: NDArray, seconds: float
    ) -> NDArray[np.float64]:
        """Carry what has gathered along with a step; add the step's own part, if not by corners.

        Args:
            placed: the newest window.
            pose: by corners.
            T_now_before: (4, 4) the step in metres.
            seconds: time that it lasted.

        Returns:
            Covariance (6, 6) of the step.
        """
        self._gathered = carried(self._gathered, T_now_before)
        factor = self.scale.factor
        if pose is not None:
            return rescaled(pose.of_step, factor)
        depth = placed.scale * factor * self._depth
        shift, turn = placed.shift * factor, placed.turn
        if placed.doubted:  # a guess may be off by as much as it moved
            shift = max(shift, float(np.linalg.norm(T_now_before[:3, 3])))
            turn = max(turn, float(rotation_angle(T_now_before[:3, :3])))
        own = np.diag(np.repeat([turn**2, shift**2], 3))
        if placed.restarted:
            own += self._pace.unseen(seconds, depth)
        else:
            self._pace.add(T_now_before, seconds)
        few = 1.0 / max(_static_share(self.window), LEAST_STATIC)
        self._gathered += few * (own + gathered(T_now_before, depth))
        return few * (own + of_motion(T_now_before, depth))


def _relies_on(pose: SparsePose | None, *, trusted: bool) -> str:
    """Evidence that determines a known pose, in words."""
    if pose is None:
        return NETWORK
    if not trusted:
        return POINTS
    return NETWORK_AND_POINTS if pose.by_points else NETWORK


def with_poses(
    window: WindowEstimate, pose: SparsePose, T_world_camera: dict[FrameKey, NDArray]
) -> WindowEstimate:
    """Window with the poses of known frames, in the same gauge; the newest pose stays.

    Args:
        window: of one camera.
        pose: of its newest frame.
        T_world_camera: (4, 4) of earlier frames, in the same map.
    """
    T = window.T_gauge_camera.copy()
    T_newest_world = inverse(pose.T_world_camera)
    for index, frame in enumerate(window.frames[:-1]):
        if frame.key in T_world_camera:
            step = T_newest_world @ T_world_camera[frame.key]
            step[:3, 3] /= pose.unit
            T[index] = T[-1] @ step
    return replace(window, T_gauge_camera=T)


def _by_map(window: WindowEstimate, pose: SparsePose, placement: Placement | None) -> Placement:
    """Placement of a window, with poses by corners, in the map."""
    steps = inverse(window.T_gauge_camera[-1]) @ window.T_gauge_camera
    steps[:, :3, 3] *= pose.unit
    steps[-1] = np.eye(4)  # known even if the window's own poses are not finite
    restarted = placement is not None and placement.restarted
    return Placement(pose.T_world_camera @ steps, pose.unit, 0.0, 0.0, restarted)


def _static_share(window: WindowEstimate) -> float:
    """Share of the newest view that is static according to the mask head."""
    if window.dynamic is None:
        return 1.0
    return float((window.dynamic[window.reference] <= MOVING).mean())


def _overlap(window: WindowEstimate) -> float:
    """Share of the newest view's pixels of known depth that the first frame sees, too."""
    newest = window.reference
    camera = window.cameras[newest]
    pixels = _grid(camera.width, camera.height)
    depth = window.depth[newest][pixels[1], pixels[0]]
    known = (depth > 0) & (depth < np.inf)
    T = inverse(window.T_gauge_camera[0]) @ window.T_gauge_camera[newest]
    rays = np.linalg.solve(camera.K, pixels * np.where(known, depth, 0))
    u, v, z = camera.K @ (T[:3, :3] @ rays + T[:3, 3:])
    inside = known & (z > 0) & (u > -0.5 * z) & (u < (camera.width - 0.5) * z)
    inside &= (v > -0.5 * z) & (v < (camera.height - 0.5) * z)
    return float(inside.sum() / max(known.sum(), 1))


@lru_cache(maxsize=4)
def _grid(width: int, height: int) -> NDArray[np.intp]:
    """(3, n) homogeneous pixels, spread over an image."""
    step = max(1, width // OVERLAP_COLUMNS)
    v, u = np.mgrid[step // 2 : height : step, step // 2 : width : step]
    return np.stack([u.ravel(), v.ravel(), np.ones(u.size, np.intp)])


def _static_log_depth(window: WindowEstimate) -> NDArray[np.float32]:
    """(M, h', w') logarithm of a grid of depths; NaN where dynamic, doubtful or not positive."""
    step = max(1, round(window.depth.shape[2] / DEPTH_COLUMNS))
    depth, confidence = (each[:, ::step, ::step] for each in (window.depth, window.confidence))
    known = (depth > 0) & (depth < np.inf)
    use = known & np.array([each >= median(each) for each in confidence])
    if window.dynamic is not None:
        patch = window.transforms[-1].height // window.dynamic.shape[1]
        rows, columns = (np.arange(0, size, step) // patch for size in window.depth.shape[1:])
        score = window.dynamic[-len(depth) :, rows[:, None], columns]
        static = known & np.array([each <= median(each) for each in score])
        # if everything confident moves, static pixels of low confidence are used
        both = use & static
        use = np.where(both.any((1, 2))[:, None, None], both, static)
    return np.log(np.where(use, depth, np.float32(np.nan)))
