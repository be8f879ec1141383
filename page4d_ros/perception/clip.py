"""A whole clip in one forward pass, as the papers evaluate; for desks, not for robots."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from page4d_ros.errors import DeviceMemoryError, FrameError
from page4d_ros.geometry.camera import ImageTransform
from page4d_ros.geometry.poses import inverse, twist
from page4d_ros.model.preprocess import image_to_network
from page4d_ros.perception.drift import carried, gathered, least
from page4d_ros.perception.dynamics import DYNAMIC, Dynamics
from page4d_ros.perception.flow_motion import grey_view
from page4d_ros.perception.medians import median
from page4d_ros.perception.memory import (
    MIB,
    explained,
    free_bytes,
    largest_width,
    most_frames,
)
from page4d_ros.perception.moving_bodies import MovingBodyTracker
from page4d_ros.perception.pipeline import assemble, with_calibration
from page4d_ros.perception.points import turn_first
from page4d_ros.perception.types import OdometryEstimate
from page4d_ros.units import NS_PER_S

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from numpy.typing import NDArray
    from torch import Tensor

    from page4d_ros.perception.engine import SequenceEstimate
    from page4d_ros.perception.pipeline import Perception
    from page4d_ros.perception.types import Estimate, Frame, WindowEstimate


class Clip:
    """Frames that are estimated at once; of their images it keeps as much as is looked at.

    Args:
        perception: provides the engine, the settings and the classifier.

    Attributes:
        frames: without their images.
        fit: from their images to the network's; None before the first.
    """

    def __init__(self, perception: Perception) -> None:
        self._perception = perception
        self.frames: list[Frame] = []
        self.fit: ImageTransform | None = None
        self._pixels: list[Tensor] = []
        self._greys: list[NDArray[np.uint8]] = []

    def add(self, frame: Frame, image: NDArray[np.uint8]) -> None:
        """Take the next frame with its image (H, W, 3).

        Raises:
            FrameError: the image has another size than the first.
        """
        engine = self._perception.engine
        fit = ImageTransform.crop(*image.shape[1::-1], engine.resolution, engine.patch_size)
        if self.fit not in (None, fit):
            wanted, found = ((f.source_width, f.source_height) for f in (self.fit, fit))
            raise FrameError(
                f'the clip has images of {wanted} pixels (width, height), and one of {found}'
            )
        self.fit = fit
        self.frames.append(replace(frame, decode=_nothing_left))
        self._pixels.append(image_to_network(image, fit, engine.device))
        self._greys.append(grey_view(image, fit))

    def check(self, frames: int) -> str:
        """Memory that so many frames like the first will take, in words.

        Raises:
            DeviceMemoryError: it is more than there is; says what would fit.
        """
        if self._needed(frames, self.fit) > free_bytes(self._perception.engine.device):
            raise DeviceMemoryError(self._too_much(frames))
        return self._demand(frames)

    def _needed(self, frames: int, fit: ImageTransform) -> int:
        return self._perception.engine.sequence_bytes(frames, fit)

    def _demand(self, frames: int) -> str:
        engine, fit = self._perception.engine, self.fit
        needed = self._needed(frames, fit) / MIB
        return (
            f'{frames} frames of {fit.width}x{fit.height} pixels in one pass need about '
            f'{needed:.0f} MiB, and {free_bytes(engine.device) / MIB:.0f} are free on '
            f'{engine.device}'
        )

    def _too_much(self, frames: int) -> str:
        engine, fit = self._perception.engine, self.fit
        available = free_bytes(engine.device)
        fewer = most_frames(lambda n: self._needed(n, fit), frames, available)
        width = largest_width(
            lambda narrow: self._needed(frames, narrow), fit, engine.patch_size, available
        )
        stride = self._perception.config.window.stride * math.ceil(frames / max(fewer, 1))
        settings = [f'window.stride {stride}'] if fewer else []
        settings += [f'model.resolution {width}'] if width else []
        advice = f'set {" or ".join(settings)}, or ' if settings else ''
        return f'{self._demand(frames)}; {advice}estimate frame after frame, without --clip'

    def estimates(self) -> Iterator[Estimate]:
        """Estimates of all frames from one window that holds them all; to be asked for once.

        Masks are the network variant's own where it gives any (VGGT4D as published), else those
        of `Dynamics` on the one window. Poses are in the first camera's frame, in the window's
        unit, or in metres with ``scale.mode`` fixed.

        Raises:
            ConfigError: something that VGGT4D needs is not installed.
            DeviceMemoryError: there is no room for so many frames.
        """
        count = len(self.frames)
        self.check(count)
        with explained(lambda: self._too_much(count)):
            seen = self._perception.engine.sequence(self.frames, self.fit, self._pixels)
        self._pixels.clear()  # the window has them
        return _estimates(seen, self.frames, self._greys, self._perception)


def _nothing_left() -> NDArray[np.uint8]:
    raise FrameError('the image of this frame was decoded before, and is not kept')


def estimate_clip(
    pictures: Iterable[tuple[Frame, NDArray[np.uint8]]], perception: Perception
) -> Iterator[Estimate]:
    """Estimates of frames with their images (H, W, 3), all of one size; see `Clip`."""
    clip = Clip(perception)
    for frame, image in pictures:
        clip.add(frame, image)
    return clip.estimates()


def _estimates(
    seen: SequenceEstimate,
    frames: Sequence[Frame],
    greys: Sequence[NDArray[np.uint8]],
    perception: Perception,
) -> Iterator[Estimate]:
    config = perception.config
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
            dynamics.follow(part.sets[-1], greys[index : index + 1])
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
