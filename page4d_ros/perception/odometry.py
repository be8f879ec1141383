"""Trajectory of the newest camera, with its velocity and its uncertainty."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

from page4d_ros.geometry.poses import inverse, rotation_angle, transform, twist
from page4d_ros.perception.medians import median
from page4d_ros.perception.sparse import SparseEstimator, Witness
from page4d_ros.perception.stitching import Chain
from page4d_ros.perception.types import MOVING, OdometryEstimate

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from page4d_ros.config import OdometryConfig
    from page4d_ros.perception.scale import MetricScale
    from page4d_ros.perception.stitching import Placement
    from page4d_ros.perception.types import WindowEstimate

DEPTH_COLUMNS = 64  # of the grid of pixels whose depths are compared
OVERLAP_COLUMNS = 16  # of the grid of points whose visibility measures overlap
LEAST_STATIC = 0.05  # share of a view; bounds the growth of the variances to twentyfold
LOST = OdometryEstimate(np.eye(4), np.zeros(6), 9999.0, 9999.0, 1.0, metric=False, lost=True)


class Odometry:
    """Follows the newest camera along a `Chain` of windows, in metres where `MetricScale` knows.

    The chain's motion is integrated step by step, so that a scale that improves later never moves
    the past.
    """

    def __init__(self, config: OdometryConfig, scale: MetricScale) -> None:
        self.config = config
        self.scale = scale
        self.reset()

    def reset(self) -> None:
        """Begin again at identity."""
        self.chain = Chain()
        self.sparse = SparseEstimator()
        self._T_chain_camera: NDArray | None = None
        self._last: tuple[int, OdometryEstimate] | None = None
        self._overlap = 0.0

    def forget_window(self) -> None:
        """Begin a new window at the last pose."""
        self.chain.clear()
        self.sparse.forget()
        self._overlap = 0.0

    def keeps_first(self, least: float) -> bool:
        """True if the window's first frame sees enough of the newest view to stay.

        Args:
            least: ``window.keyframe_overlap``; 0 keeps none.
        """
        return 0 < least <= self._overlap

    def follow(self, frames: FrameSet, images: Sequence[NDArray[np.uint8]]) -> None:
        """Track image corners into new frames, before `update`.

        Args:
            frames: of the newest time.
            images: (H, W, 3) RGB of each.
        """
        if self.config.estimator != 'network' and frames.views == (0,):
            self.sparse.follow(images[0])

    def update(self, window: WindowEstimate) -> tuple[WindowEstimate, OdometryEstimate]:
        """Pose of the newest reference frame; `lost` if neither network nor corners know it.

        Returns:
            The window with better poses, in the same gauge; and the pose.
        """
        reference = window.reference
        stamp_ns = window.frames[reference].stamp_ns
        self.scale.advance(stamp_ns)
        log_depth = _static_log_depth(window)
        placement = None
        if np.isfinite(window.T_gauge_camera).all() and not np.isnan(log_depth[reference]).all():
            keys = [frame.key for frame in window.frames]
            placement = self.chain.place(keys, window.T_gauge_camera, log_depth, reference)
        pose = None
        if self.config.estimator != 'network' and self.sparse.tracks.fit is not None:
            pose = self._by_corners(window, placement)
        if pose is None and placement is None:
            # frames that the last good window shares with the next one still tie them
            scale = self.chain.scale * self.scale.factor
            self._overlap = 0.0
            return window, replace(
                LOST, scale=scale, metric=self.scale.metric, scale_state=self.scale.state
            )
        if placement is not None and placement.restarted:
            self.scale.forget()
        if pose is None:
            T, unit, drift, turn = (
                placement.T_chain_camera,
                placement.scale,
                placement.shift,
                placement.turn,
            )
        else:
            window = _with_poses(window, pose, self.sparse.poses)
            T = _placed(window, pose)
            unit = pose.unit
            self._T_chain_camera = pose.T_world_previous
            drift, turn = pose.deviations
        if placement is not None and not placement.doubted:
            self.scale.update(window, T, unit)
        self._overlap = _overlap(window)
        restarted = placement is not None and placement.restarted
        doubted = pose is None and placement.doubted
        estimate = self._advance(
            stamp_ns, T[reference], unit, drift, turn, _static_share(window), restarted=restarted, doubted=doubted
        )
        self._T_chain_camera = T[reference]
        self._last = stamp_ns, estimate
        return window, estimate

    def _by_corners(
        self, window: WindowEstimate, placement: Placement | None
    ) -> SparsePose | None:
        reference = window.reference
        fit = window.transforms[reference]
        camera = fit.camera_to_source(window.cameras[reference])
        witness = None
        if placement is not None:
            T_newest_gauge = inverse(window.T_gauge_camera[reference])
            depth = window.depth[reference]
            with np.errstate(divide='ignore'):
                w = np.where(depth > 0, 1 / depth, np.nan)
            witness = Witness(
                {
                    frame.key: T_newest_gauge @ T
                    for frame, T in zip(window.frames[:-1], window.T_gauge_camera[:-1], strict=True)
                },
                w,
                self._moving(window, depth.shape),
                fit,
                placement.scale,
            )
        alone = self.config.estimator == 'geometry'
        return self.sparse.update(window.frames[reference].key, camera, witness, alone=alone)

    @staticmethod
    def _moving(window, shape):
        if window.dynamic is None:
            return np.zeros(shape, bool)
        score = window.dynamic[window.reference]
        patch = shape[0] // score.shape[0]
        return np.kron(score > MOVING, np.ones((patch, patch), bool))

    def hide(self, motion: Motion, fit: ImageTransform) -> None:
        """Drop corners on moving objects, if the network is trusted to know them.

        Args:
            motion: moving pixels of the newest reference frame.
            fit: from the camera's image to the network's.
        """
        self.sparse.hide(motion, fit)

    def _advance(
        self,
        stamp_ns: int,
        T_chain_camera: NDArray,
        unit: float,
        drift: float,
        turn: float,
        static: float,
        *,
        restarted: bool,
        doubted: bool,
    ) -> OdometryEstimate:
        """Integrate the chain's motion in metres and differentiate it."""
        factor = self.scale.factor
        velocity, T_world_camera = np.zeros(6), np.eye(4)
        drift = drift * factor
        if self._last is not None:
            last_ns, last = self._last
            step = inverse(self._T_chain_camera) @ T_chain_camera
            T_world_camera = last.T_world_camera @ transform(step[:3, :3], factor * step[:3, 3])
            seconds = (stamp_ns - last_ns) * 1e-9
            if seconds > 0 and not restarted:
                velocity = twist(last.T_world_camera, T_world_camera, seconds)
            if doubted:  # a guess may be off by as much as it moved
                drift = max(drift, factor * float(np.linalg.norm(step[:3, 3])))
                turn = max(turn, float(rotation_angle(step[:3, :3])))
        inflation = 1.0 / max(static, LEAST_STATIC)
        return OdometryEstimate(
            T_world_camera=T_world_camera,
            twist=velocity,
            position_variance=inflation * (self.config.position_covariance + drift**2),
            orientation_variance=inflation * (self.config.orientation_covariance + turn**2),
            scale=unit * factor,
            metric=self.scale.metric,
            scale_state=self.scale.state,
            restarted=restarted,
        )


def _with_poses(window, pose, poses):
    """Window with the poses of frames by their corners, in the same gauge; the newest stays."""
    known = poses([frame.key for frame in window.frames])
    T = window.T_gauge_camera.copy()
    T_newest_world = inverse(pose.T_world_camera)
    for index, frame in enumerate(window.frames[:-1]):
        if frame.key in known:
            step = T_newest_world @ known[frame.key]
            step[:3, 3] /= pose.unit
            T[index] = T[-1] @ step
    return replace(window, T_gauge_camera=T)


def _placed(window, pose):
    """(N, 4, 4) T_world_camera of the window's cameras."""
    steps = inverse(window.T_gauge_camera[-1]) @ window.T_gauge_camera
    steps[:, :3, 3] *= pose.unit
    return pose.T_world_camera @ steps


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
