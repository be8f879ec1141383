"""A whole clip in one forward pass, as the papers evaluate; for desks, not for robots."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch

from page4d_ros.errors import DeviceMemoryError, FrameError
from page4d_ros.geometry.camera import ImageTransform
from page4d_ros.geometry.poses import inverse, twist
from page4d_ros.model.preprocess import image_to_network
from page4d_ros.model.vggt4d import look, mine
from page4d_ros.perception.dynamics import DYNAMIC, Dynamics
from page4d_ros.perception.engine import window_of
from page4d_ros.perception.moving_bodies import MovingBodyTracker
from page4d_ros.perception.pipeline import assemble, with_calibration
from page4d_ros.perception.types import OdometryEstimate
from page4d_ros.units import NS_PER_S

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from page4d_ros.perception.pipeline import Perception
    from page4d_ros.perception.types import Estimate, Frame, WindowEstimate


def estimate_clip(
    pictures: Sequence[tuple[Frame, NDArray[np.uint8]]], perception: Perception
) -> Iterator[Estimate]:
    """Estimates of all frames from one window that holds them all.

    With ``model.variant`` vggt4d the masks and poses are those of VGGT4D as published, else the
    masks are what `Dynamics` makes of the one window. Poses are in the first camera's frame, in
    the window's unit, or in metres with ``scale.mode`` fixed.

    Args:
        pictures: frames with their images (H, W, 3), all of one size.
        perception: whose network, settings and classifier are used.

    Raises:
        FrameError: an image has another size than the first.
        ConfigError: what VGGT4D needs is not installed.
        DeviceMemoryError: the GPU has no room for so many frames.
    """
    config = perception.config
    shapes = {image.shape for _, image in pictures}
    if len(shapes) > 1:
        raise FrameError(f'a clip needs images of one size, and these have {sorted(shapes)}')
    try:
        seen = _look(pictures, perception)
    except torch.OutOfMemoryError as error:
        raise DeviceMemoryError(
            f'{perception.engine.device} has no room for {len(pictures)} frames at once; take '
            'fewer, or set model.resolution lower'
        ) from error
    scale = config.scale.factor if config.scale.mode == 'fixed' else 1.0
    poses = inverse(seen.window.T_gauge_camera[0]) @ seen.window.T_gauge_camera
    poses[:, :3, 3] *= scale
    dynamics = Dynamics(config.mask, perception.dynamics.classifier)
    bodies = MovingBodyTracker()
    stamps = [frame.stamp_ns for frame, _ in pictures]
    for index, pose in enumerate(poses):
        part, calibrated = with_calibration(_until(seen, index))
        velocity = np.zeros(6)
        if index and stamps[index] > stamps[index - 1]:
            seconds = (stamps[index] - stamps[index - 1]) / NS_PER_S
            velocity = twist(poses[index - 1], pose, seconds)
        odometry = OdometryEstimate(
            T_world_camera=pose,
            twist=velocity,
            position_variance=config.odometry.position_covariance,
            orientation_variance=config.odometry.orientation_covariance,
            scale=scale,
            metric=config.scale.mode == 'fixed',
            scale_state='fixed' if config.scale.mode == 'fixed' else 'none',
        )
        if seen.masks is None:
            motion = dynamics.update(part)
        else:  # refined and grown already
            moving = seen.masks[index]
            motion = Mined(moving.astype(np.float32), moving.view(np.uint8) * np.uint8(DYNAMIC))
        estimate = assemble(part, odometry, [motion], config.depth, calibrated=calibrated)
        if config.dynamics.clusters:
            estimate = replace(estimate, bodies=tuple(bodies.update(estimate)))
        yield estimate


class Mined(NamedTuple):
    """A `Motion` whose maps are known: of VGGT4D."""

    probability: NDArray[np.float32]
    mask: NDArray[np.uint8]


class _Seen(NamedTuple):
    window: WindowEstimate
    gram: NDArray[np.float32]  # (S, h', w')
    masks: NDArray[np.bool_] | None  # (S, h, w) of VGGT4D


@torch.inference_mode()
def _look(pictures: Sequence[tuple[Frame, NDArray[np.uint8]]], perception: Perception) -> _Seen:
    engine, variant = perception.engine, perception.config.model.variant
    network, device = engine.network, engine.device
    height, width = pictures[0][1].shape[:2]
    fit = ImageTransform.crop(width, height, engine.resolution, network.config.patch_size)
    images = torch.stack([image_to_network(image, fit, device) for _, image in pictures])
    frames = tuple(frame for frame, _ in pictures)
    with engine.arithmetic():
        if variant != 'vggt4d':
            output, gram, _ = look(network, images, float(network.config.mask_enabled))
            window = window_of(frames, fit, list(images), output)
            return _Seen(window, gram.float().cpu().numpy(), None)
        found = mine(network, images)
    first = window_of(frames, fit, list(images), found.output)
    second = found.output._replace(pose_enc=found.pose_enc[None])
    poses = window_of(frames, fit, list(images), second).T_gauge_camera
    window = replace(first, T_gauge_camera=poses, dynamic=None)
    return _Seen(window, np.zeros((len(images), 1, 1), np.float32), found.masks)


def _until(seen: _Seen, index: int) -> WindowEstimate:
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
        gram=seen.gram[index, None],
        points=None if window.points is None else window.points[:end],
    )
