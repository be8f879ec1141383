"""Frames with their ground truth."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import cv2
import numpy as np

from page4d_ros.perception.types import Frame

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from page4d_ros.geometry.camera import ImageTransform, PinholeCamera


class GroundTruthFrame(NamedTuple):
    """One image and its ground truth; what is unknown is None.

    Attributes:
        stamp_ns: time in nanoseconds; counted at a fixed rate where the source has no times.
        rgb: (H, W, 3) uint8.
        camera: intrinsics of `rgb`; integer coordinates are the centres of pixels.
        T_world_camera: (4, 4) pose of the optical frame (x right, y down, z forward) in the world,
            in metres where the source is metric.
        depth: (H, W) float32 along the optical axis, NaN where unknown.
        mask: (H, W) bool, True where the pixel shows something that moves.
        bodies: (H, W) uint8, number of the rendered body that the pixel shows; 0 is the room.
        T_world_bodies: (B, 4, 4) pose of rendered body i + 1 in the world.
    """

    stamp_ns: int
    rgb: NDArray[np.uint8]
    camera: PinholeCamera | None = None
    T_world_camera: NDArray[np.float64] | None = None
    depth: NDArray[np.float32] | None = None
    mask: NDArray[np.bool_] | None = None
    bodies: NDArray[np.uint8] | None = None
    T_world_bodies: NDArray[np.float64] | None = None

    @property
    def frame(self) -> Frame:
        """The image and its intrinsics as a camera driver would deliver them."""
        return Frame(self.stamp_ns, 'camera', lambda: self.rgb, self.camera)

    @property
    def has_pose(self) -> bool:
        """True if the pose is known and finite."""
        return self.T_world_camera is not None and bool(np.isfinite(self.T_world_camera).all())


def patch_shares(mask: NDArray[np.bool_], fit: ImageTransform, patch: int) -> NDArray[np.float32]:
    """Share (h', w') of each of the network's patches that a mask (H, W) of the source covers."""
    size = fit.resized_width, fit.resized_height
    share = cv2.resize(mask.astype(np.float32), size, interpolation=cv2.INTER_AREA)
    share = share[fit.crop_y : fit.crop_y + fit.height, fit.crop_x : fit.crop_x + fit.width]
    rows, columns = fit.height // patch, fit.width // patch
    return share.reshape(rows, patch, columns, patch).mean((1, 3))
