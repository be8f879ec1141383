"""The road of one frame, the same for the node and for replay."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING

import cv2
import numpy as np

from page4d_ros.geometry.poses import inverse
from page4d_ros.perception.dynamics import Dynamics
from page4d_ros.perception.intake import Restart
from page4d_ros.perception.maps import Maps
from page4d_ros.perception.motion_classifier import DEFAULT
from page4d_ros.perception.moving_bodies import MovingBodyTracker
from page4d_ros.perception.odometry import Odometry
from page4d_ros.perception.refinement import Refinement
from page4d_ros.perception.scale import MetricScale
from page4d_ros.perception.types import Estimate, FrameSet

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from page4d_ros.config import Config, DepthConfig
    from page4d_ros.perception.dynamics import MotionEstimator
    from page4d_ros.perception.engine import Engine
    from page4d_ros.perception.maps import Motion
    from page4d_ros.perception.types import Frame, OdometryEstimate, WindowEstimate

THUMBNAIL = (64, 48)


class Perception:
    """Frames in, estimates out; for one thread.

    Args:
        config: all settings; `configure` changes the dynamic ones later.
        engine: the network over a window.
        dynamics: finds what moves; None for `Dynamics` with the default classifier.
    """

    def __init__(
        self, config: Config, engine: Engine, dynamics: MotionEstimator | None = None
    ) -> None:
        self.engine = engine
        self.scale = MetricScale(config.scale)
        self.refinement = Refinement()
        self.odometry = Odometry(config.odometry, self.scale)
        self.dynamics = dynamics or Dynamics(config.mask, DEFAULT)
        self.bodies = MovingBodyTracker()
        self._thumbnail: NDArray | None = None
        self._last: Estimate | None = None
        self.configure(config)

    def configure(self, config: Config) -> None:
        """Take over changed settings."""
        self.config = config
        if not config.odometry.refine:
            self.refinement.forget()
        self.odometry.config = config.odometry
        self.dynamics.config = config.mask

    def restart(self, restart: Restart) -> None:
        """Forget the window, or the window and the trajectory."""
        if restart is Restart.NONE:
            return
        self.engine.clear()
        self.refinement.forget()
        self.odometry.forget_window()
        self.dynamics.forget()
        self._thumbnail = self._last = None
        if restart is Restart.POSE:
            self.odometry.reset()
            self.bodies.forget()
            self.scale.reset()

    def process(self, frame: Frame) -> Estimate:
        """Estimate for this frame.

        A frame that shows nothing new (``window.min_motion``) does not enter the window: it gets
        the last pose at rest, and is marked `still`.

        Raises:
            FrameError: the image cannot be decoded; nothing has changed.
        """
        start = time.perf_counter()
        image = frame.decode()
        decoded = time.perf_counter()
        if self._still(image) and self._last is not None:
            self.scale.seen(frame.stamp_ns)
            at_rest = replace(self._last.odometry, twist=np.zeros(6), scale_state=self.scale.state)
            seconds = {'decode': decoded - start}
            return replace(self._last, frame=frame, odometry=at_rest, still=True, seconds=seconds)
        keep_first = self.odometry.keeps_first(self.config.window.keyframe_overlap)
        self.engine.push(FrameSet.of(frame), [image], keep_first=keep_first)
        pushed = time.perf_counter()
        if self.config.odometry.refine:
            self.refinement.follow(frame.key, image)  # a GPU encodes the frame meanwhile
        following = time.perf_counter() - pushed
        window = self.engine.step(self.odometry.chain.anchor, gram=self.dynamics.gram)
        stepped = time.perf_counter()
        window, calibrated = with_calibration(window)
        if self.config.odometry.refine:
            window = self.refinement.update(window)
        odometry = self.odometry.update(window)
        motion = self.dynamics.update(window, odometry.scale / self.scale.factor)
        self.engine.hide(motion)
        if self.config.odometry.refine:
            self.refinement.hide(motion, window.transform)
        estimate = assemble(window, odometry, motion, self.config.depth, calibrated=calibrated)
        if self.config.dynamics.clusters and not odometry.lost:
            estimate = replace(estimate, bodies=tuple(self.bodies.update(estimate)))
        estimate.seconds['decode'] = decoded - start
        estimate.seconds['fuse'] = following + time.perf_counter() - stepped
        self._last = estimate
        return estimate

    def _still(self, image: NDArray[np.uint8]) -> bool:
        limit = self.config.window.min_motion
        if not limit:
            return False
        small = cv2.resize(image, THUMBNAIL, interpolation=cv2.INTER_AREA)
        grey = cv2.cvtColor(small, cv2.COLOR_RGB2GRAY).astype(np.float32) / 255
        last = self._thumbnail
        if last is not None and float(np.abs(grey - last).mean()) < limit:
            return True
        self._thumbnail = grey
        return False


def assemble(
    window: WindowEstimate,
    odometry: OdometryEstimate,
    motion: Motion,
    limits: DepthConfig,
    *,
    calibrated: bool,
) -> Estimate:
    """Everything about the newest frame, in world units.

    Args:
        window: ends with that frame.
        odometry: its pose.
        motion: what moves in it.
        limits: which depths count.
        calibrated: whether the camera comes from camera_info.
    """
    return Estimate(
        frame=window.frames[-1],
        camera=window.cameras[-1],
        calibrated=calibrated,
        transform=window.transform,
        odometry=odometry,
        maps=Maps(
            raw_depth=window.depth[-1],
            confidence=window.confidence[-1],
            image=window.images[-1],
            camera=window.cameras[-1],
            motion=motion,
            limits=limits,
            scale=odometry.scale,
            head_points=None if window.points is None else window.points[-1],
            T_camera_gauge=inverse(window.T_gauge_camera[-1]),
        ),
        motion=motion,
        window_fill=len(window.frames),
        seconds=dict(window.seconds),
    )


def with_calibration(window: WindowEstimate) -> tuple[WindowEstimate, bool]:
    """The newest frame's own intrinsics in place of the network's, if they fit its image."""
    camera, fit = window.frames[-1].camera, window.transform
    if camera is None or (camera.width, camera.height) != (fit.source_width, fit.source_height):
        return window, False
    cameras = *window.cameras[:-1], fit.camera_to_network(camera)
    return replace(window, cameras=cameras), True
