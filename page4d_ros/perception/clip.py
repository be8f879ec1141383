"""A whole clip in one forward pass, as the papers evaluate; for desks, not for robots."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from page4d_ros.geometry.poses import inverse, twist
from page4d_ros.perception.bundle import turn_first
from page4d_ros.perception.drift import carried, gathered, least
from page4d_ros.perception.dynamics import DYNAMIC, Dynamics
from page4d_ros.perception.medians import median
from page4d_ros.perception.moving_bodies import MovingBodyTracker
from page4d_ros.perception.pipeline import assemble, with_calibration
from page4d_ros.perception.types import OdometryEstimate
from page4d_ros.units import NS_PER_S

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from page4d_ros.perception.engine import SequenceEstimate
    from page4d_ros.perception.pipeline import Perception
    from page4d_ros.perception.types import Estimate, Frame, WindowEstimate


def estimate_clip(
    pictures: Sequence[tuple[Frame, NDArray[np.uint8]]], perception: Perception
) -> Iterator[Estimate]:
    """Estimates of all frames from one window that holds them all.

    Masks are the network variant's own where it gives any (VGGT4D as published), else those of
    `Dynamics` on the one window. Poses are in the first camera's frame, in
    the window's unit, or in metres with ``scale.mode`` fixed.

    Args:
        pictures: frames with their images (H, W, 3), all of one size.
        perception: provides the engine, the settings and the classifier.

    Raises:
        FrameError: an image has another size than the first.
        ConfigError: something that VGGT4D needs is not installed.
        DeviceMemoryError: the GPU has no room for so many frames.
    """
    config = perception.config
    frames, images = zip(*pictures, strict=True)
    seen = perception.engine.sequence(frames, images)
    scale = config.scale.factor if config.scale.mode == 'fixed' else 1.0
    poses = inverse(seen.window.T_gauge_camera[0]) @ seen.window.T_gauge_camera
    poses[:, :3, 3] *= scale
    dynamics = Dynamics(config.mask, perception.dynamics.classifier)
    bodies = MovingBodyTracker()
    stamps = [frame.stamp_ns for frame in frames]
    depth = scale * float(median(seen.window.depth[0].ravel()))
    floor, covariance = least(config.odometry), np.zeros((6, 6))
    for index, pose in enumerate(poses):
        part, calibrated = with_calibration(_until(seen, index))
        velocity = np.zeros(6)
        if index:
            step = inverse(pose) @ poses[index - 1]
            covariance = carried(covariance, step) + gathered(step, depth)
        if index and stamps[index] > stamps[index - 1]:
            seconds = (stamps[index] - stamps[index - 1]) / NS_PER_S
            velocity = twist(poses[index - 1], pose, seconds)
        odometry = OdometryEstimate(
            T_world_camera=pose,
            twist=velocity,
            covariance=floor + turn_first(covariance),
            twist_covariance=floor,
            scale=scale,
            metric=config.scale.mode == 'fixed',
            scale_state='fixed' if config.scale.mode == 'fixed' else 'none',
        )
        if seen.masks is None:
            dynamics.follow(part.sets[-1], images[index : index + 1])
            motion = dynamics.update(part)
        else:  # refined and grown already
            moving = seen.masks[index]
            motion = Mined(moving.astype(np.float32), moving.view(np.uint8) * np.uint8(DYNAMIC))
        estimate = assemble(part, odometry, [motion], config.depth, calibrated=calibrated)
        if config.dynamics.clusters:
            estimate = replace(estimate, bodies=tuple(bodies.update(estimate)))
        yield estimate


class Mined(NamedTuple):
    """A `Motion` whose maps are known already."""

    probability: NDArray[np.float32]
    mask: NDArray[np.uint8]


def _until(seen: SequenceEstimate, index: int) -> WindowEstimate:
    """The window as it is up to a frame."""
    window, end = seen.window, index + 1
    return replace(
        window,
        sets=window.sets[:end],
        transforms=window.transforms[:end],
        images=window.images[:end],
        T_gauge_camera=window.T_gauge_camera[:end],
        cameras=window.cameras[:end],
        depth=window.depth[:end],
        confidence=window.confidence[:end],
        dynamic=None if window.dynamic is None else window.dynamic[:end],
        gram=None if seen.gram is None else seen.gram[index, None],
        points=None if window.points is None else window.points[:end],
    )
