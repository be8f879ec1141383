"""True windows of a drive, and how fast its bodies move through the picture."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from page4d_ros.geometry.camera import ImageTransform
from page4d_ros.geometry.poses import inverse
from page4d_ros.model.preprocess import image_to_network
from page4d_ros.perception.types import FrameSet, WindowEstimate

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from page4d_ros.datasets.rendered import RenderedSequence

CONFIDENCE = 0.8
SPEED_STEP = 4  # pixels between those whose motion is taken


def whole(footage: RenderedSequence) -> ImageTransform:
    """The camera's own pixels."""
    height, width = footage.rgb.shape[1:3]
    return ImageTransform(width, height, width, height, 0, 0, width, height)


def true_window(
    footage: RenderedSequence, fit: ImageTransform, depth: NDArray, index: int, size: int
) -> WindowEstimate:
    """Window estimate with the true poses and depths of the frames up to this one.

    Args:
        footage: the drive.
        fit: which pixels.
        depth: (N, h, w) of all its frames at these pixels, metres; the two newest are given.
        index: of the newest frame.
        size: of the window, at most.
    """
    first = max(0, index + 1 - size)
    frames = tuple(known.frame for known in footage.frames(range(first, index + 1)))
    known = depth[max(first, index - 1) : index + 1]
    return WindowEstimate(
        sets=tuple(map(FrameSet.of, frames)),
        transforms=(fit,) * len(frames),
        images=tuple(image_to_network(frame.decode(), fit, 'cpu') for frame in frames),
        T_gauge_camera=footage.T_world_camera[first : index + 1],
        cameras=(fit.camera_to_network(footage.camera),) * len(frames),
        depth=known,
        confidence=np.full(known.shape, CONFIDENCE, np.float32),
        dynamic=None,
    )


def speeds(footage: RenderedSequence, index: int) -> NDArray[np.float64]:
    """Median motion of each body's pixels since the frame before, (B + 1,) in pixels.

    The camera's own motion is taken out; limbs count as their body does. 0 is the room, and
    bodies that the frame does not show do not move.
    """
    out = np.zeros(footage.T_world_bodies.shape[1] + 1)
    if not index:
        return out
    view = (slice(None, None, SPEED_STEP),) * 2
    T_world_camera = footage.T_world_camera[index]
    at = footage.camera.unproject(footage.depth[index])[view].reshape(-1, 3)
    at = at @ T_world_camera[:3, :3].T + T_world_camera[:3, 3]
    T_camera_world = inverse(T_world_camera)
    labels = footage.bodies[index][view].ravel()
    for body in np.unique(labels[labels > 0]):
        T = footage.T_world_bodies[index - 1, body - 1] @ inverse(
            footage.T_world_bodies[index, body - 1]
        )
        now = at[labels == body]
        before = now @ T[:3, :3].T + T[:3, 3]
        pixels = [
            footage.camera.project(points @ T_camera_world[:3, :3].T + T_camera_world[:3, 3])
            for points in (now, before)
        ]
        out[body] = np.median(np.linalg.norm(pixels[0] - pixels[1], axis=1))
    return out
