"""Trajectory of the newest camera, with its velocity and its uncertainty."""

from __future__ import annotations

import math
from dataclasses import replace
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
from page4d_ros.perception.frames_in_map import (
    by_map,
    frames_in_map,
    main_in_gauge,
    main_key,
    with_poses,
)
from page4d_ros.perception.late import MOST_LATE
from page4d_ros.perception.medians import median
from page4d_ros.perception.points import turn_first
from page4d_ros.perception.sparse import SparseEstimator
from page4d_ros.perception.sparse_pose import relies_on
from page4d_ros.perception.stitching import Chain, Placement
from page4d_ros.perception.types import NOTHING, OdometryEstimate
from page4d_ros.perception.visible import overlap, static_log_depth, static_share
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
    from page4d_ros.perception.types import Frame, FrameSet, WindowEstimate

LEAST_STATIC = 0.05  # share of a view; bounds the growth of the variances to twentyfold
UNKNOWN = 9999.0 * np.eye(6)
LOST = OdometryEstimate(
    np.eye(4), np.zeros(6), UNKNOWN, UNKNOWN, 1.0, metric=False, lost=True, relies_on=NOTHING
)


class Odometry:
    """Follows the newest camera by corners and by the network, in metres where they are known.

    Corners and network are joined by a `SparseEstimator`. The network's own trajectory is a
    `Chain` of windows; it is the pose where corners are not used (``odometry.estimator``). Of a
    rig the main camera's corners are used, and those of cameras whose mounts are known and whose
    images are of the same moment. The motion is integrated step by step, so that a scale that
    improves later never moves the past.

    Attributes:
        window: the newest window, with poses by corners where there are some, in the same gauge;
            None before the first.
    """

    def __init__(self, config: OdometryConfig, scale: MetricScale, rig: Rig | None = None) -> None:
        self.config = config
        self.scale = scale
        self.rig = rig
        count = 1 if rig is None else rig.count
        self.sparse = SparseEstimator(alone=config.estimator == 'geometry', count=count)
        self.reset()

    def reset(self) -> None:
        """Begin again at identity."""
        self.chain = Chain()
        self.sparse.forget()
        self._main: Frame | None = None  # newest of the main camera
        self._leading: int | None = None  # its view, once corners are followed
        self._after: dict[int, float] = {}  # by view: seconds from the newest main frame to its
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
        if self.config.estimator == 'network':
            return
        if self._leading is None:
            self._leading = frames.views[0]
            self.sparse.lead(self._leading)
        known, self._after = {self._leading}, {}
        if self.rig is not None:
            for view, T in self.rig.mounted(self._leading).items():
                self.sparse.mounts.know(view, T)
            mounted = self.sparse.mounts.known
            after = self.rig.after(frames, self._leading)
            self._after = {v: s for v, s in after.items() if v in mounted and abs(s) <= MOST_LATE}
            known |= self._after.keys()
        pairs = zip(frames.views, images, strict=True)
        self.sparse.follow({view: image for view, image in pairs if view in known})

    def update(
        self, window: WindowEstimate, placement: Placement | None = None
    ) -> OdometryEstimate:
        """Newest pose of the main camera; `lost` if neither network nor corners know it.

        Args:
            window: output of the network.
            placement: of the window in a trajectory that goes on from window to window; None
                places it in the chain.
        """
        self.window, self._by_points, self._tied = window, None, None
        stamp_ns = window.frames[window.reference].stamp_ns
        self.scale.advance(stamp_ns)
        placement, pose = self._place(window, placement), None
        if self.config.estimator != 'network' and self.sparse.tracks.sees:
            pose = self._by_corners(window, placement)
        if placement is not None and placement.restarted:
            self.scale.forget()
            self._held.clear()
            if self.rig is not None:
                self.rig.forget()
        unknown = placement is None or self._far_from_main(window)
        if unknown if pose is None else pose.lost:
            # frames that the last good window shares with the next one still tie them
            self._overlap = 0.0
            return replace(
                LOST,
                scale=self.chain.scale * self.scale.factor,
                metric=self.scale.metric,
                scale_state=self.scale.state,
                network_trust=self.sparse.prior.trust.value if self.sparse.tracks.sees else 0.0,
            )
        if pose is not None:
            T_world = self._in_map(window, pose)
            self.window = window = with_poses(window, T_world, pose.unit)
            self._T_world_camera = pose.T_world_previous
            placed = by_map(window, T_world[window.reference], pose.unit, placement)
            self._by_points = pose if pose.by_points else None
        else:
            placed = placement
        newest = window.frames[window.reference]
        if self._main is None or newest.view == self._main.view:
            self._main = newest
        self._measure(window, placed, placement)
        self._overlap = overlap(window)
        T_reference = placed.T_chain_camera[window.reference]
        if pose is None:
            T_reference_main = self._main_in_reference(window, placed)
            T_now = T_reference @ T_reference_main
        else:
            T_now = pose.T_world_camera
            T_reference_main = inverse(T_reference) @ T_now
        estimate = self._advance(window, placed, pose, T_now)
        if newest.view != self._main.view:
            if pose is None and self.chain.last is not None:
                self.chain.tie(T_now)
            T_main_reference = inverse(T_reference_main)
            T_main_reference[:3, 3] *= self.scale.factor
            estimate = replace(estimate, T_camera_reference=T_main_reference)
        self._T_world_camera = T_now
        self._last = stamp_ns, estimate
        return estimate

    def _measure(
        self, window: WindowEstimate, placed: Placement, chained: Placement | None
    ) -> None:
        """Compare the window with what is known of scale and rig.

        Args:
            window: with poses by corners where there are some.
            placed: the window in the map, or in the chain without corners.
            chained: likewise in the chain.
        """
        scale, rig = self.scale, self.rig
        if rig is not None:
            rig.follow(self.sparse.mounts if self._by_points is not None else None)
            if chained is not None and not chained.doubted:
                rig.observe(window, chained.T_chain_camera)
        if placed.doubted or not np.isfinite(window.T_gauge_camera).all():
            return
        if window.frames[window.reference].view == self._main.view:
            scale.update(window, placed.T_chain_camera, placed.scale, self.depth()[0])
        if rig is not None:
            elsewhere = scale.metric and scale.config.mode != 'rig'
            rig.check(window.sets[-1].stamp_ns, scale.factor if elsewhere else None)

    def _far_from_main(self, window: WindowEstimate) -> bool:
        """True if the main camera is away, and nobody knows where it sits beside the others."""
        newest = window.sets[-1].views
        if self._main is None or self._main.view in newest:
            return False
        return not self.places(newest[0])

    def places(self, view: int) -> bool:
        """True if tf, corners or the network know where a camera sits beside the main one."""
        if self.rig is None or not self.rig.apart or self._main is None:
            return True
        return view == self._main.view or self.beside_main(view, self._main.view) is not None

    def _main_in_reference(self, window: WindowEstimate, placed: Placement) -> NDArray[np.float64]:
        """T_reference_main (4, 4) in units of the chain.

        Where the two cameras were not seen together yet, the main one rests at the first time.
        """
        view, main = window.frames[window.reference].view, self._main.view
        if view == main:
            return np.eye(4)
        T_reference = placed.T_chain_camera[window.reference]
        known = None if self.rig is None else self.rig.between(view, main)
        if self.rig is not None and self.rig.apart:
            here = [i for i in window.newest if window.frames[i].view == main]
            if here:
                return inverse(T_reference) @ placed.T_chain_camera[here[0]]
            known = self.beside_main(view, main)
        if known is None:
            known = self._held.get(view)
        if known is None:
            known = inverse(T_reference) @ self._T_world_camera
            self._held[view] = known
        return known

    def _place(self, window: WindowEstimate, placement: Placement | None) -> Placement | None:
        """Window in the network's own trajectory; None if its output is not finite."""
        log_depth = static_log_depth(window)
        finite = np.isfinite(window.T_gauge_camera).all()
        if not finite or np.isnan(log_depth[window.reference]).all():
            return None
        self._depth = math.exp(median(log_depth[window.reference]))
        if placement is not None:
            self.chain.scale = placement.scale
            return placement
        keys = [frame.key for frame in window.frames]
        return self.chain.place(keys, window.T_gauge_camera, log_depth, window.reference)

    def _by_corners(self, window: WindowEstimate, placement: Placement | None) -> SparsePose:
        """Pose by corners and, as far as it is trusted, by the network."""
        witnesses, cameras, main = {}, {}, self._leading
        for index in window.newest:
            view = window.frames[index].view
            cameras[view] = window.transforms[index].camera_to_source(window.cameras[index])
            if placement is not None:
                witnesses[view] = Witness.of(
                    window, index, placement.scale, doubted=placement.doubted
                )
        key = main_key(window.sets[-1], main)
        if placement is not None and any(main not in frames.views for frames in window.sets):
            said = witnesses.pop(main, None)
            T_main = main_in_gauge(window, main, lambda view: self._beside(view, placement.scale))
            if key in T_main:
                said = said or Witness.blind(window, placement.scale, doubted=placement.doubted)
                witnesses[main] = said.moved(T_main, key)
        cameras = {view: cameras[view] for view in self.sparse.tracks.there}
        mounts, scale = self.sparse.mounts, self.scale
        if scale.metric and (scale.config.mode != 'rig' or len(mounts.tied) < 2):
            mounts.measure(1 / scale.factor)
        pose = self.sparse.update(key, cameras, witnesses, self._after)
        return pose if np.isfinite(pose.unit) else pose._replace(unit=self.chain.scale)

    def _beside(self, view: int, unit: float) -> NDArray[np.float64] | None:
        """T_view_main (4, 4) of another camera, in units of the gauge; None if not known.

        Args:
            view: that camera.
            unit: units of the chain per unit of the gauge.
        """
        known, mounts = None, self.sparse.mounts
        if view in mounts.tied:
            known, unit = mounts.T_view_main[view].copy(), unit * self.sparse.prior.ratio
        elif self.rig is not None:
            known = self.rig.between(view, self._leading)
            if known is None and self.rig.apart:
                known = self.rig.by_tf(view, self._leading, self._metres)
        if known is not None:
            known[:3, 3] /= unit
        return known

    def beside_main(self, view: int, main: int) -> NDArray[np.float64] | None:
        """T_view_main (4, 4) in units of the chain, by corners or by tf; None if not known."""
        T = self._beside(view, 1.0) if main == self._leading else None
        if T is not None and np.isfinite(T).all():
            return T
        return None if self.rig is None else self.rig.by_tf(view, main, self._metres)

    @property
    def _metres(self) -> float:
        """Per unit of the chain; infinite where not known, so that cameras are at one place."""
        return self.scale.factor if self.scale.metric else np.inf

    def _in_map(self, window: WindowEstimate, pose: SparsePose) -> dict[int, NDArray]:
        """T_world_camera (4, 4) of a window's frames, see `frames_in_map`."""
        main, reference = self._leading, window.frames[window.reference]
        T_main = self.sparse.poses(main_key(frames, main) for frames in window.sets)
        T_main[main_key(window.sets[-1], main)] = pose.T_world_camera
        out = frames_in_map(window, T_main, pose.unit, self.sparse.mounts, self.rig)
        if window.reference not in out:  # neither the main camera nor one that is tied to it
            T = self._beside(reference.view, 1.0 / pose.unit)
            step = np.eye(4) if T is None else inverse(T)
            out[window.reference] = pose.T_world_camera @ step
        return out

    @property
    def trust(self) -> float:
        """Trust in the network, 0 to 1; 1 where corners do not judge it."""
        return self.sparse.prior.trust.value if self.sparse.tracks.sees else 1.0

    def depth(self) -> list[TiedDepth]:
        """Depth of the newest set's views, tied to the points that were known when first asked.

        Raises:
            TypeError: there was no window yet.
        """
        if self._tied is None:
            window = self.window
            points, error = {}, self.sparse.prior.trust.depth if self.sparse.tracks.sees else 0.0
            if self._by_points is not None:
                unit = self._by_points.unit
                points = {v: self.sparse.depths(unit, v) for v in self.sparse.tracks.seeing}
            self._tied = [
                TiedDepth(
                    window.depth[i], window.transforms[i], points.get(window.frames[i].view), error
                )
                for i in window.newest
            ]
        return self._tied

    def hide(self, motion: Judged, fit: ImageTransform, view: int) -> None:
        """Drop corners on moving objects, if the network is trusted to know them.

        Args:
            motion: moving pixels of a newest frame.
            fit: from the camera's image to the network's.
            view: the camera.
        """
        if view in self.sparse.tracks.there:
            self.sparse.hide(motion, fit, view)

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
            relies_on=relies_on(pose, trusted=self.sparse.prior.trusted),
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
        few = 1.0 / max(static_share(self.window), LEAST_STATIC)
        self._gathered += few * (own + gathered(T_now_before, depth))
        return few * (own + of_motion(T_now_before, depth))
