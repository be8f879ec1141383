"""A whole clip in one forward pass, as the papers evaluate; for desks, not for robots."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import torch

from page4d_ros.errors import FrameError
from page4d_ros.geometry.camera import ImageTransform
from page4d_ros.geometry.poses import inverse, twist
from page4d_ros.model.preprocess import image_to_network
from page4d_ros.model.vggt4d import mine
from page4d_ros.perception.dynamics import Dynamics, clean
from page4d_ros.perception.engine import window_of
from page4d_ros.perception.pipeline import assemble, with_calibration
from page4d_ros.perception.types import OdometryEstimate

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from page4d_ros.perception.pipeline import Perception
    from page4d_ros.perception.types import Estimate, Frame, WindowEstimate

NS = 1e-9


def estimate_clip(
    pictures: Sequence[tuple[Frame, NDArray[np.uint8]]], perception: Perception
) -> Iterator[Estimate]:
    """Estimates of all frames from one window that holds them all.

    With ``model.variant`` vggt4d the masks and poses are those of VGGT4D as published, else the
    masks are what `Dynamics` makes of the one window. Poses are in the first camera's frame, in
    the window's unit, or in metres with ``scale.mode`` fixed.

    Args:
        pictures: frames with their images (H, W, 3), all of one size.
        perception: whose network, settings and calibration are used.

    Raises:
        FrameError: an image has another size than the first.
        ConfigError: what VGGT4D needs is not installed.
    """
    config, engine = perception.config, perception.engine
    shapes = {image.shape for _, image in pictures}
    if len(shapes) > 1:
        raise FrameError(f'a clip needs images of one size, and these have {sorted(shapes)}')
    window, masks = _look(pictures, perception)
    fixed = config.scale.mode == 'fixed'
    scale = config.scale.factor if fixed else 1.0
    poses = inverse(window.T_gauge_camera[0]) @ window.T_gauge_camera
    poses[:, :3, 3] *= scale
    dynamics = Dynamics(config.mask, perception.dynamics.calibration)
    last: tuple[int, NDArray] | None = None
    for index, pose in enumerate(poses):
        part, calibrated = with_calibration(_until(window, index))
        stamp_ns, velocity = part.frames[-1].stamp_ns, np.zeros(6)
        if last is not None and stamp_ns > last[0]:
            velocity = twist(last[1], pose, (stamp_ns - last[0]) * NS)
        last = stamp_ns, pose
        odometry = OdometryEstimate(
            T_world_camera=pose,
            twist=velocity,
            position_variance=config.odometry.position_covariance,
            orientation_variance=config.odometry.orientation_covariance,
            scale=scale,
            metric=fixed,
            scale_state='fixed' if fixed else 'none',
        )
        if masks is None:
            answer = dynamics.update(part)
        else:
            moving = torch.from_numpy(masks[index]).to(window.depth)
            answer = moving, clean(masks[index], config.mask)
        yield assemble(part, odometry, answer, config.depth, calibrated=calibrated)
    engine.clear()


@torch.inference_mode()
def _look(
    pictures: Sequence[tuple[Frame, NDArray[np.uint8]]], perception: Perception
) -> tuple[WindowEstimate, NDArray[np.bool_] | None]:
    """The one window, and VGGT4D's masks (S, h, w) where asked for."""
    engine, config = perception.engine, perception.config.model
    network, device = engine.network, engine.device
    height, width = pictures[0][1].shape[:2]
    fit = ImageTransform.crop(width, height, engine.resolution, network.config.patch_size)
    images = torch.stack([image_to_network(image, fit, device) for _, image in pictures])
    frames = tuple(frame for frame, _ in pictures)
    with engine.arithmetic():
        if config.variant != 'vggt4d':
            return window_of(frames, fit, list(images), network(images)), None
        found = mine(network, images)
    first = window_of(frames, fit, list(images), found.output)
    second = found.output._replace(pose_enc=found.pose_enc[None])
    poses = window_of(frames, fit, list(images), second).T_gauge_camera
    return replace(first, T_gauge_camera=poses, dynamic=None), found.masks


def _until(window: WindowEstimate, index: int) -> WindowEstimate:
    """The window as it is up to a frame."""
    end = index + 1
    return replace(
        window,
        frames=window.frames[:end],
        images=window.images[:end],
        T_gauge_camera=window.T_gauge_camera[:end],
        cameras=window.cameras[:end],
        depth=window.depth[:end],
        confidence=window.confidence[:end],
        dynamic=None if window.dynamic is None else window.dynamic[:end],
        points=None if window.points is None else window.points[:end],
    )
