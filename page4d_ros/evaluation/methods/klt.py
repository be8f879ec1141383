"""Poses without learning: tracked corners (KLT) and the essential matrix."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

import cv2
import numpy as np

from page4d_ros.evaluation.metrics.prediction import Grid, Prediction
from page4d_ros.evaluation.result import Output
from page4d_ros.geometry.camera import ImageTransform
from page4d_ros.geometry.poses import inverse, transform
from page4d_ros.model.preprocess import image_to_network, in_unit_range

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from page4d_ros.datasets.rendered import RenderedSequence
    from page4d_ros.evaluation.result import Source

LABEL = 'KLT + essential matrix, told the lengths'
# chosen on drives of the training, for the smallest errors of poses
CORNERS = 800
FLOW = {'winSize': (11, 11), 'maxLevel': 3}
TOLERANCE = 0.2  # pixels between an inlier and its epipolar line
ROUND_TRIP = 1.0  # pixels that a corner may be off after being tracked there and back
FEWEST = 8  # tracks that a pose needs


def grey_image(image: NDArray[np.uint8], fit: ImageTransform) -> NDArray[np.uint8]:
    """An image (H, W, 3) as a network of this size sees it, but grey (h, w)."""
    small = in_unit_range(image_to_network(image, fit, 'cpu')).permute(1, 2, 0).numpy()
    return np.rint(255 * cv2.cvtColor(small, cv2.COLOR_RGB2GRAY)).astype(np.uint8)


def follow_corners(images: Sequence[NDArray]) -> list[tuple[NDArray, NDArray]]:
    """Track corners of the first image (KLT, pyramidal) through all others.

    Returns:
        For each later image, matching points (n, 2) in the first and in that one, of the corners
        that were tracked all the way, there and back.
    """
    width = images[0].shape[1]
    start = cv2.goodFeaturesToTrack(images[0], CORNERS, 0.01, max(3, round(width / 45)))
    start = np.zeros((0, 2), np.float32) if start is None else start.reshape(-1, 2)
    now, out = start, []
    for image, following in pairwise(images):
        if len(now):
            there, found, _ = cv2.calcOpticalFlowPyrLK(image, following, now, None, **FLOW)
            back, returned, _ = cv2.calcOpticalFlowPyrLK(following, image, there, None, **FLOW)
            near = np.linalg.norm(back - now, axis=1) < ROUND_TRIP
            keep = near & (found.ravel() == 1) & (returned.ravel() == 1)
            start, now = start[keep], there[keep]
        out.append((start, now))
    return out


def two_view_pose(a: NDArray, b: NDArray, K: NDArray) -> NDArray | None:
    """Pose (3, 4) from camera a to camera b with a baseline of 1, or None.

    Args:
        a: points (n, 2) in pixels.
        b: the same points in the other image.
        K: intrinsics (3, 3) of both.
    """
    if len(a) < FEWEST:
        return None
    cv2.setRNGSeed(0)
    E, inliers = cv2.findEssentialMat(a, b, K, cv2.USAC_DEFAULT, 0.999, TOLERANCE)
    if E is None or E.shape != (3, 3):
        return None
    count, R, t, _ = cv2.recoverPose(E, a, b, K, mask=inliers)
    return np.column_stack([R, t]) if count >= FEWEST else None


class Klt:
    """Corners and the essential matrix, with true intrinsics and true lengths of baselines.

    RANSAC is OpenCV's USAC, with local optimisation; what fails is identity.

    Args:
        fit: how small the images are made; None takes them as they are.
        grid: of the network, for the form of predictions for windows.
    """

    def __init__(self, fit: ImageTransform | None = None, grid: Grid | None = None) -> None:
        self.fit, self.grid = fit, grid
        self.label = LABEL if fit is None else f'KLT, {fit.width}x{fit.height}'

    @classmethod
    def at_camera(cls, size: tuple[int, int], grid: Grid) -> Klt:
        """On the camera's own (width, height) pixels."""
        return cls(ImageTransform(*size, *size, 0, 0, *size), grid)

    def predict(self, sequence: RenderedSequence) -> Prediction:
        """Predict for a window."""
        images = [grey_image(image, self.fit) for image in sequence.rgb]
        K = self.fit.camera_to_network(sequence.camera).K
        E = inverse(sequence.T_world_camera)
        relative, failures = [], 0
        for i in range(len(images) - 1):
            for j, (a, b) in enumerate(follow_corners(images[i:]), i + 1):
                pose = two_view_pose(a, b, K)
                failures += pose is None
                relative.append(_with_length(pose, (E[j] @ sequence.T_world_camera[i])[:3, 3]))
        return Prediction(self.grid, relative=np.stack(relative), failures=failures)

    def run(self, source: Source) -> Iterator[Output]:
        """Poses from each image to the next; frames without a true pose are left out."""
        chain = None
        for frame in source.data.frames():
            if not frame.has_pose:
                continue
            if self.fit is None:
                image, camera = cv2.cvtColor(frame.rgb, cv2.COLOR_RGB2GRAY), frame.camera
            else:
                image = grey_image(frame.rgb, self.fit)
                camera = self.fit.camera_to_network(frame.camera)
            chain = chain or Chain(camera.K)
            yield Output(frame, chain.add(image, frame.T_world_camera))


class Chain:
    """Poses in the first camera, each from the frame before, as far as it truly is.

    Args:
        K: intrinsics (3, 3) of all images.
    """

    def __init__(self, K: NDArray) -> None:
        self.K, self._T = K, np.eye(4)
        self._before: tuple[NDArray, NDArray] | None = None

    def add(self, image: NDArray, T_world_camera: NDArray) -> NDArray[np.float64]:
        """Pose (4, 4) of the next grey image (H, W), whose true pose lends its length."""
        if self._before is not None:
            before, T_world_before = self._before
            pose = two_view_pose(*follow_corners([before, image])[0], self.K)
            step = _with_length(pose, (inverse(T_world_camera) @ T_world_before)[:3, 3])
            self._T = self._T @ inverse(transform(step[:, :3], step[:, 3]))
        self._before = image, T_world_camera
        return self._T


def _with_length(pose: NDArray | None, true: NDArray) -> NDArray[np.float64]:
    """The pose (3, 4) with a translation as long as the true one (3,); identity for None."""
    if pose is None:
        return np.eye(4)[:3]
    return np.column_stack([pose[:, :3], np.linalg.norm(true) * pose[:, 3]])
