"""Processing of one frame set, the same for the node, replay and evaluation."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING

import cv2
import numpy as np

from page4d_ros.geometry.poses import inverse
from page4d_ros.perception.depth_correction import TiedDepth
from page4d_ros.perception.dynamics import Dynamics
from page4d_ros.perception.intake import Restart
from page4d_ros.perception.maps import Maps
from page4d_ros.perception.motion_classifier import DEFAULT
from page4d_ros.perception.moving_bodies import MovingBodyTracker
from page4d_ros.perception.odometry import Odometry
from page4d_ros.perception.rig import Rig
from page4d_ros.perception.scale import MetricScale
from page4d_ros.perception.separate_views import SeparateViews
from page4d_ros.perception.types import Estimate, ViewEstimate

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from page4d_ros.config import Config, DepthConfig
    from page4d_ros.perception.dynamics import MotionEstimator
    from page4d_ros.perception.engine import Engine
    from page4d_ros.perception.maps import Motion
    from page4d_ros.perception.types import FrameSet, OdometryEstimate, WindowEstimate

THUMBNAIL = (64, 48)


class Perception:
    """Estimates pose, depth and motion of each frame set; to be used by one thread.

    Args:
        config: all settings; `configure` changes the dynamic ones later.
        engine: the network over a window.
        dynamics: finds moving pixels; None for `Dynamics` with the default classifier.
    """

    def __init__(
        self, config: Config, engine: Engine, dynamics: MotionEstimator | None = None
    ) -> None:
        self.engine = engine
        self.rig = Rig(config)
        self.scale = MetricScale(config.scale, self.rig)
        self.odometry = Odometry(config.odometry, self.scale, self.rig)
        self.dynamics = dynamics or Dynamics(config.mask, DEFAULT)
        self.bodies = MovingBodyTracker()
        self.views = SeparateViews(self.rig) if config.apart else None
        self._thumbnails: dict[int, NDArray] = {}  # by view, of the last set in the window
        self._last: Estimate | None = None
        self.configure(config)

    def configure(self, config: Config) -> None:
        """Use changed settings from the next frame set on."""
        self.config = config
        self.odometry.config = config.odometry
        self.dynamics.config = config.mask

    def restart(self, restart: Restart) -> None:
        """Forget the window, or the window and the trajectory."""
        if restart is Restart.NONE:
            return
        self.engine.clear()
        self.odometry.forget_window()
        self.dynamics.forget()
        self._thumbnails, self._last = {}, None
        if self.views is not None:
            self.views.clear()
        if restart is Restart.POSE:
            if self.views is not None:
                self.views.forget()
            self.odometry.reset()
            self.bodies.forget()
            self.scale.reset()

    def process(self, frames: FrameSet) -> Estimate:
        """Estimate for the frames of one time.

        A set that shows nothing new (``window.min_motion``) does not enter the window: it gets
        the last pose at rest, and is marked `still`.

        Raises:
            FrameError: an image cannot be decoded; nothing has changed.
        """
        start = time.perf_counter()
        images = [frame.decode() for frame in frames.frames]
        decoded = time.perf_counter()
        if self._still(frames, images) and self._last is not None:
            return self._at_rest(self._last, frames, decoded - start)
        keep_first = self.odometry.keeps_first(self.config.window.keyframe_overlap)
        self.engine.push(frames, images, keep_first=keep_first)
        pushed = time.perf_counter()
        self.odometry.follow(frames, images)  # a GPU encodes the frames meanwhile
        self.dynamics.follow(frames, images)
        following = time.perf_counter() - pushed
        window = self._step()
        stepped = time.perf_counter()
        window, calibrated = with_calibration(window)
        odometry = self.odometry.update(window, self.views and self.views.placement)
        if self.views is not None:
            tied = zip(frames.views, self.odometry.depth(), strict=True)
            self.views.measure({view: depth.offset for view, depth in tied})
        window = self.odometry.window
        unit = odometry.scale / self.scale.factor
        motions = [
            self.dynamics.update(window, unit, index, self.odometry.trust)
            for index in window.newest
        ]
        self.engine.hide(motions)
        for index, motion in zip(window.newest, motions, strict=True):
            self.odometry.hide(motion, window.transforms[index], window.frames[index].view)
        estimate = assemble(
            window,
            odometry,
            motions,
            self.config.depth,
            calibrated=calibrated,
            depths=self.odometry.depth(),
            placed=[self.odometry.places(view) for view in frames.views],
        )
        if self.config.publish.size == 'camera':
            estimate = _with_images(estimate, images)
        if self.config.dynamics.clusters and not odometry.lost:
            estimate = replace(estimate, bodies=tuple(self.bodies.update(estimate)))
        estimate.seconds['decode'] = decoded - start
        estimate.seconds['fuse'] = following + time.perf_counter() - stepped
        self._last = estimate
        return estimate

    def _step(self) -> WindowEstimate:
        if self.views is None:
            return self.engine.step(self.odometry.chain.anchor, gram=self.dynamics.gram)
        windows = self.engine.step_apart(self.views.anchor, gram=self.dynamics.gram)
        return self.views.join(windows, self.odometry.beside_main)

    def _at_rest(self, last: Estimate, frames: FrameSet, decoding: float) -> Estimate:
        """Last estimate at the stamps of frames that show nothing new."""
        self.scale.advance(frames.frames[0].stamp_ns)
        views = tuple(
            replace(view, frame=frame)
            for view, frame in zip(last.views, frames.frames, strict=True)
        )
        odometry = replace(last.odometry, twist=np.zeros(6), scale_state=self.scale.state)
        seconds = {'decode': decoding}
        return replace(last, views=views, odometry=odometry, still=True, seconds=seconds)

    def _still(self, frames: FrameSet, images: Sequence[NDArray[np.uint8]]) -> bool:
        """True if each image looks like its view's last one, and no view comes or goes."""
        limit = self.config.window.min_motion
        if not limit:
            return False
        last = self._thumbnails
        now = {v: _thumbnail(image) for v, image in zip(frames.views, images, strict=True)}
        if last.keys() == now.keys() and all(
            float(np.abs(now[view] - last[view]).mean()) < limit for view in now
        ):
            return True
        self._thumbnails = now
        return False


def _with_images(estimate: Estimate, images: Sequence[NDArray[np.uint8]]) -> Estimate:
    views = zip(estimate.views, images, strict=True)
    return replace(estimate, views=tuple(replace(view, image=image) for view, image in views))


def _thumbnail(image: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Small grey image in [0, 1] of an image (H, W, 3)."""
    small = cv2.resize(image, THUMBNAIL, interpolation=cv2.INTER_AREA)
    return cv2.cvtColor(small, cv2.COLOR_RGB2GRAY).astype(np.float32) / 255


def assemble(
    window: WindowEstimate,
    odometry: OdometryEstimate,
    motions: Sequence[Motion],
    limits: DepthConfig,
    *,
    calibrated: Sequence[bool],
    depths: Sequence[TiedDepth] | None = None,
    placed: Sequence[bool] | None = None,
) -> Estimate:
    """Estimate for the newest frame set, in units of the trajectory's world.

    Args:
        window: ends with that set.
        odometry: pose of its reference view.
        motions: moving pixels of each of its frames.
        limits: range, confidence and deviation outside which a depth is invalid.
        calibrated: for each of its frames, True if the camera comes from the frame.
        depths: of its frames, in units of the gauge; None takes the window's.
        placed: for each of its frames, False if nobody knows where its camera sits; None knows
            all.
    """
    if depths is None:
        depths = [TiedDepth(window.depth[i], window.transforms[i]) for i in window.newest]
    if placed is None:
        placed = [True] * len(window.newest)
    parts = zip(window.newest, motions, calibrated, depths, placed, strict=True)
    return Estimate(
        views=tuple(
            ViewEstimate(
                frame=window.frames[index],
                camera=window.cameras[index],
                calibrated=known,
                transform=window.transforms[index],
                maps=_maps(window, index, depth, odometry.scale, motion, limits),
                motion=motion,
                T_world_camera=_pose(window, index, odometry) if there else None,
            )
            for index, motion, known, depth, there in parts
        ),
        odometry=odometry,
        window_fill=len(window.sets),
        seconds=dict(window.seconds),
    )


def _pose(
    window: WindowEstimate, index: int, odometry: OdometryEstimate
) -> NDArray[np.float64] | None:
    """T_world_camera (4, 4) of a frame of the newest set; None if the pose is lost."""
    if odometry.lost:
        return None
    T_reference = odometry.T_world_camera @ odometry.T_camera_reference
    if index == window.reference:
        return T_reference
    T = window.T_gauge_camera
    step = inverse(T[window.reference]) @ T[index]
    step[:3, 3] *= odometry.scale
    return T_reference @ step if np.isfinite(step).all() else None


def _maps(
    window: WindowEstimate,
    index: int,
    depth: TiedDepth,
    scale: float,
    motion: Motion,
    limits: DepthConfig,
) -> Maps:
    return Maps(
        tied=depth,
        said_confidence=window.confidence[index],
        image=window.images[index],
        camera=window.cameras[index],
        motion=motion,
        limits=limits,
        scale=scale,
        head_points=None if window.points is None else window.points[index],
        T_camera_gauge=inverse(window.T_gauge_camera[index]),
    )


def with_calibration(window: WindowEstimate) -> tuple[WindowEstimate, list[bool]]:
    """Replace the network's intrinsics of the newest set by those of the frames, where known.

    Returns:
        The window; for each frame of the newest set, True if its camera was replaced. Intrinsics
        for images of another size are ignored.
    """
    cameras, calibrated = list(window.cameras), []
    for index in window.newest:
        camera, fit = window.frames[index].camera, window.transforms[index]
        size = fit.source_width, fit.source_height
        known = camera is not None and (camera.width, camera.height) == size
        if known:
            cameras[index] = fit.camera_to_network(camera)
        calibrated.append(known)
    return replace(window, cameras=tuple(cameras)), calibrated
