"""Calibration of a camera as in sensor_msgs/CameraInfo."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

import cv2
import numpy as np

from page4d_ros.errors import FrameError
from page4d_ros.geometry.camera import PinholeCamera

if TYPE_CHECKING:
    from numpy.typing import NDArray


FISHEYE = ('equidistant', 'fisheye')


@dataclass(frozen=True, eq=False)
class CameraCalibration:
    """Intrinsics and distortion of the images of one camera (sensor_msgs/CameraInfo, REP 104).

    Attributes:
        width: of the images this describes, in pixels; height likewise.
        K: (3, 3) of the image as taken.
        D: distortion coefficients; empty or zero for a pinhole.
        R: (3, 3) rectifying rotation.
        P: (3, 3) of the rectified image; zero where unknown.
        model: ``plumb_bob``, ``rational_polynomial``, ``equidistant`` …
    """

    width: int
    height: int
    K: NDArray[np.float64]
    D: NDArray[np.float64] = field(default_factory=lambda: np.zeros(0))
    R: NDArray[np.float64] = field(default_factory=lambda: np.eye(3))
    P: NDArray[np.float64] = field(default_factory=lambda: np.zeros((3, 3)))
    model: str = 'plumb_bob'

    def same_as(self, other: CameraCalibration | None) -> bool:
        """True if all numbers are equal, so that values derived from them stay valid."""
        if other is None or (self.width, self.height, self.model) != (
            other.width,
            other.height,
            other.model,
        ):
            return False
        return all(np.array_equal(getattr(self, n), getattr(other, n)) for n in 'KDRP')

    @property
    def distorted(self) -> bool:
        """True if the image as taken has lens distortion."""
        return bool(np.any(self.D)) or self.model in FISHEYE

    @property
    def pinhole(self) -> PinholeCamera:
        """Intrinsics of the rectified image: P, or K where there is no P."""
        matrix = self.P if self.P[0, 0] > 0 and self.P[1, 1] > 0 else self.K
        return PinholeCamera.from_matrix(matrix, self.width, self.height)

    def rectify(self, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Undistort an image (H, W[, C]) into the camera `pinhole`.

        Raises:
            FrameError: the image is of another size than the calibration.
        """
        if image.shape[:2] != (self.height, self.width):
            raise FrameError(
                f'image of {image.shape[1]}x{image.shape[0]} pixels, camera_info of '
                f'{self.width}x{self.height}'
            )
        return cv2.remap(image, *self._maps, interpolation=cv2.INTER_LINEAR)

    @cached_property
    def _maps(self) -> tuple[NDArray, NDArray]:
        size, K = (self.width, self.height), self.pinhole.K
        R = self.R if abs(np.linalg.det(self.R) - 1.0) < 1e-3 else np.eye(3)
        if self.model in FISHEYE:
            D = np.resize(self.D, 4) if len(self.D) else np.zeros(4)
            return cv2.fisheye.initUndistortRectifyMap(self.K, D, R, K, size, cv2.CV_16SC2)
        return cv2.initUndistortRectifyMap(self.K, self.D, R, K, size, cv2.CV_16SC2)
