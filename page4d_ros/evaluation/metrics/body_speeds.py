"""Speed of the bodies of a rendered sequence, in pixels."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from page4d_ros.geometry.poses import inverse

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from page4d_ros.datasets.rendered import RenderedSequence

SPEED_STEP = 4  # pixels between those whose motion is taken


def speeds(sequence: RenderedSequence, index: int) -> NDArray[np.float64]:
    """Median motion of each body's pixels since the frame before, (B + 1,) in pixels.

    The camera's own motion is taken out; limbs count as their body does. 0 is the room, and
    bodies that the frame does not show do not move.
    """
    out = np.zeros(sequence.T_world_bodies.shape[1] + 1)
    if not index:
        return out
    view = (slice(None, None, SPEED_STEP),) * 2
    T_world_camera = sequence.T_world_camera[index]
    at = sequence.camera.unproject(sequence.depth[index])[view].reshape(-1, 3)
    at = at @ T_world_camera[:3, :3].T + T_world_camera[:3, 3]
    T_camera_world = inverse(T_world_camera)
    labels = sequence.bodies[index][view].ravel()
    for body in np.unique(labels[labels > 0]):
        T = sequence.T_world_bodies[index - 1, body - 1] @ inverse(
            sequence.T_world_bodies[index, body - 1]
        )
        now = at[labels == body]
        before = now @ T[:3, :3].T + T[:3, 3]
        pixels = [
            sequence.camera.project(points @ T_camera_world[:3, :3].T + T_camera_world[:3, 3])
            for points in (now, before)
        ]
        out[body] = np.median(np.linalg.norm(pixels[0] - pixels[1], axis=1))
    return out
