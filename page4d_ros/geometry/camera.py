"""Pinhole cameras and the exact map between the camera's pixels and the network's.

OpenCV conventions: x right, y down, z forward; the centre of the first pixel has the
coordinates (0, 0). Resizing follows the half-pixel rule u' = s (u + 0.5) - 0.5.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from page4d_ros.errors import FrameError

if TYPE_CHECKING:
    from numpy.typing import NDArray

MAX_ASPECT = 64


def check_shape(width: int, height: int) -> None:
    """Refuse images so narrow that resizing them would exhaust the memory.

    Raises:
        FrameError: one side is over `MAX_ASPECT` times the other.
    """
    if max(width, height) > MAX_ASPECT * min(width, height):
        raise FrameError(
            f'image of {width}x{height} pixels is far too narrow: one side may be at most '
            f'{MAX_ASPECT} times the other'
        )


@dataclass(frozen=True)
class PinholeCamera:
    """Intrinsics of an undistorted image, in pixels."""

    width: int
    height: int
    fx: float
    fy: float
    cx: float
    cy: float

    @classmethod
    def from_matrix(cls, K: NDArray, width: int, height: int) -> PinholeCamera:
        """Build from a (3, 3) intrinsic matrix without skew."""
        return cls(width, height, float(K[0, 0]), float(K[1, 1]), float(K[0, 2]), float(K[1, 2]))

    @property
    def K(self) -> NDArray[np.float64]:
        """Intrinsic matrix, (3, 3)."""
        return np.array([[self.fx, 0.0, self.cx], [0.0, self.fy, self.cy], [0.0, 0.0, 1.0]])

    def project(self, points: NDArray) -> NDArray:
        """Project points of the optical frame, (..., 3) metres, to pixels (..., 2) as (u, v)."""
        uv = points[..., :2] / points[..., 2:3]
        return uv * (self.fx, self.fy) + (self.cx, self.cy)

    def unproject(self, depth: NDArray) -> NDArray:
        """Lift a depth map (H, W) along z, in metres, to points (H, W, 3) of the optical frame."""
        v, u = np.mgrid[: depth.shape[0], : depth.shape[1]]
        rays = np.stack(
            [(u - self.cx) / self.fx, (v - self.cy) / self.fy, np.ones(u.shape)], axis=-1
        )
        return rays * depth[..., None]


@dataclass(frozen=True)
class ImageTransform:
    """Resizing and cropping of a source image into the network's input.

    Attributes:
        source_width: width of the camera's image in pixels; source_height likewise.
        resized_width: width after resizing, before the crop; resized_height likewise.
        crop_x: first kept column of the resized image; crop_y: first kept row.
        width: width of the network's input; height likewise.
    """

    source_width: int
    source_height: int
    resized_width: int
    resized_height: int
    crop_x: int
    crop_y: int
    width: int
    height: int

    @classmethod
    def crop(cls, source_width: int, source_height: int, size: int, patch: int) -> ImageTransform:
        """Width becomes `size`, height follows in whole patches, a tall image is centre-cropped.

        This is the published preprocessing's mode "crop" (VGGT, load_and_preprocess_images),
        with a height of at least one patch.

        Raises:
            FrameError: the image is far too narrow.
        """
        check_shape(source_width, source_height)
        height = max(patch, round(source_height * (size / source_width) / patch) * patch)
        kept = min(height, size)
        return cls(source_width, source_height, size, height, 0, (height - kept) // 2, size, kept)

    @classmethod
    def fill(
        cls, source_width: int, source_height: int, width: int, height: int
    ) -> ImageTransform:
        """The largest centred part of an image that has the shape of the network's input.

        Raises:
            FrameError: the image is far too narrow.
        """
        check_shape(source_width, source_height)
        scale = max(width / source_width, height / source_height)
        resized = (
            max(width, round(scale * source_width)),
            max(height, round(scale * source_height)),
        )
        crop = (resized[0] - width) // 2, (resized[1] - height) // 2
        return cls(source_width, source_height, *resized, *crop, width, height)

    @property
    def scale_x(self) -> float:
        """Resized pixels per source pixel, horizontally."""
        return self.resized_width / self.source_width

    @property
    def scale_y(self) -> float:
        """Resized pixels per source pixel, vertically."""
        return self.resized_height / self.source_height

    def to_network(self, uv: NDArray) -> NDArray:
        """Map source pixels (..., 2) to network pixels."""
        scale = (self.scale_x, self.scale_y)
        return (np.asarray(uv) + 0.5) * scale - 0.5 - (self.crop_x, self.crop_y)

    def network_pixels(self, uv: NDArray) -> tuple[NDArray[np.intp], NDArray[np.bool_]]:
        """Network pixels that source coordinates fall into.

        Args:
            uv: (N, 2) source pixels.

        Returns:
            Columns and rows (N, 2), clipped to the image; True (N,) for those inside.
        """
        at = np.rint(self.to_network(uv)).astype(np.intp)
        inside = at.clip(0, (self.width - 1, self.height - 1))
        return inside, (inside == at).all(1)

    def to_source(self, uv: NDArray) -> NDArray:
        """Map network pixels (..., 2) to source pixels; inverse of `to_network`."""
        scale = (self.scale_x, self.scale_y)
        return (np.asarray(uv) + (self.crop_x, self.crop_y) + 0.5) / scale - 0.5

    def camera_to_network(self, camera: PinholeCamera) -> PinholeCamera:
        """Intrinsics of the network's image, from those of the source image."""
        cx, cy = self.to_network((camera.cx, camera.cy))
        return PinholeCamera(
            self.width,
            self.height,
            camera.fx * self.scale_x,
            camera.fy * self.scale_y,
            float(cx),
            float(cy),
        )

    def camera_to_source(self, camera: PinholeCamera) -> PinholeCamera:
        """Intrinsics of the source image, from those of the network's image."""
        cx, cy = self.to_source((camera.cx, camera.cy))
        return replace(
            camera,
            width=self.source_width,
            height=self.source_height,
            fx=camera.fx / self.scale_x,
            fy=camera.fy / self.scale_y,
            cx=float(cx),
            cy=float(cy),
        )

    def nearest(self, image: NDArray) -> NDArray:
        """Sample a map (H, W[, C]) of the source's size at the network's pixels, (h, w[, C]).

        Nearest neighbour, because neither depth nor masks may be blended across edges.
        """
        u, _ = self.to_source(np.stack([np.arange(self.width)] * 2, -1)).T
        _, v = self.to_source(np.stack([np.arange(self.height)] * 2, -1)).T
        column = np.clip(np.rint(u).astype(int), 0, self.source_width - 1)
        row = np.clip(np.rint(v).astype(int), 0, self.source_height - 1)
        return image[np.ix_(row, column)]

    def image_to_source(self, image: NDArray, fill: float = 0) -> NDArray:
        """Sample a map (h, w[, C]) of the network's size at the source's pixels.

        Nearest neighbour, because neither depth nor masks may be blended across edges; what the
        crop cut away is `fill`.

        Returns:
            Array (source_height, source_width[, C]) of the same type.
        """
        u, _ = self.to_network(np.stack([np.arange(self.source_width)] * 2, -1)).T
        _, v = self.to_network(np.stack([np.arange(self.source_height)] * 2, -1)).T
        column, row = np.rint(u).astype(int), np.rint(v).astype(int)
        inside_x = (u > -0.5) & (u < self.width - 0.5)
        inside_y = (v > -0.5) & (v < self.height - 0.5)
        out = image[np.clip(row, 0, self.height - 1)][:, np.clip(column, 0, self.width - 1)].copy()
        out[~inside_y] = fill
        out[:, ~inside_x] = fill
        return out
