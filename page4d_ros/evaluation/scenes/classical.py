"""What is possible without learning: tracked corners for poses, differences for motion."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple

import cv2
import numpy as np

from page4d_ros.config import MaskConfig
from page4d_ros.evaluation.scenes.answers import Answer, Grid, Truth, overlap
from page4d_ros.evaluation.scenes.methods import Path
from page4d_ros.geometry.camera import ImageTransform
from page4d_ros.geometry.poses import inverse, transform
from page4d_ros.model.preprocess import image_to_network
from page4d_ros.perception.dynamics import clean
from page4d_ros.window_scores import MOVING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from numpy.typing import NDArray

    from page4d_ros.datasets.rendered import RenderedSequence

# chosen on drives of the training, for the smallest errors of poses
CORNERS = 800
FLOW = {'winSize': (11, 11), 'maxLevel': 3}
TOLERANCE = 0.2  # pixels between an inlier and its epipolar line
ROUND_TRIP = 1.0  # pixels that a corner may be off after being tracked there and back
FEWEST = 8  # tracks that a pose needs
LEVELS = 60  # thresholds that differencing may choose from


def grey_images(footage: RenderedSequence, fit: ImageTransform) -> list[NDArray[np.uint8]]:
    """The frames as a network of this size sees them, but grey: N times (h, w)."""
    out = []
    for image in footage.rgb:
        small = image_to_network(image, fit, 'cpu').permute(1, 2, 0).numpy()
        out.append(np.rint(255 * cv2.cvtColor(small, cv2.COLOR_RGB2GRAY)).astype(np.uint8))
    return out


def follow(images: Sequence[NDArray]) -> list[tuple[NDArray, NDArray]]:
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
        fit: how small the images are made.
        grid: of the network, for the form of the answer.
    """

    def __init__(self, fit: ImageTransform, grid: Grid) -> None:
        self.fit, self.grid = fit, grid
        self.label = f'KLT, {fit.width}x{fit.height}'

    @classmethod
    def at_camera(cls, size: tuple[int, int], grid: Grid) -> Klt:
        """On the camera's own (width, height) pixels."""
        return cls(ImageTransform(*size, *size, 0, 0, *size), grid)

    def answer(self, footage: RenderedSequence) -> Answer:
        """Answer for a window."""
        images, K = grey_images(footage, self.fit), self.fit.camera_to_network(footage.camera).K
        E = inverse(footage.T_world_camera)
        relative, failures = [], 0
        for i in range(len(images) - 1):
            for j, (a, b) in enumerate(follow(images[i:]), i + 1):
                pose = two_view_pose(a, b, K)
                failures += pose is None
                relative.append(_with_length(pose, (E[j] @ footage.T_world_camera[i])[:3, 3]))
        return Answer(self.grid, relative=np.stack(relative), failures=failures)

    def track(self, footage: RenderedSequence) -> Path:
        """Chain the poses from each frame to the next."""
        images, K = grey_images(footage, self.fit), self.fit.camera_to_network(footage.camera).K
        poses = chain(zip(images, footage.T_world_camera, strict=True), K)
        return Path(footage.stamps, np.stack(list(poses)))


def chain(frames: Iterable[tuple[NDArray, NDArray]], K: NDArray) -> Iterator[NDArray]:
    """Poses (4, 4) in the first camera, each from the frame before, as far as it truly is.

    Args:
        frames: grey image (H, W) and true T_world_camera of each.
        K: intrinsics (3, 3) of all.
    """
    T, last = np.eye(4), None
    for image, T_world_camera in frames:
        if last is not None:
            before, T_world_before = last
            pose = two_view_pose(*follow([before, image])[0], K)
            step = _with_length(pose, (inverse(T_world_camera) @ T_world_before)[:3, 3])
            T = T @ inverse(transform(step[:, :3], step[:, 3]))
        last = image, T_world_camera
        yield T


def _with_length(pose: NDArray | None, true: NDArray) -> NDArray[np.float64]:
    """The pose (3, 4) with a translation as long as the true one (3,); identity for None."""
    if pose is None:
        return np.eye(4)[:3]
    return np.column_stack([pose[:, :3], np.linalg.norm(true) * pose[:, 3]])


class _Levels(NamedTuple):
    patches: float
    pixels: float


class Differencing:
    """Grey difference of a frame and the one before (of the first, the one after).

    Its thresholds are those with the best IoU on the training's drives; its mask is cleaned up as
    the product cleans its own.

    Args:
        grid: pixels and patches of the network.
        prior: windows of the training.
        compensate: undo the camera's motion first, by the homography that most KLT tracks obey.
    """

    def __init__(self, grid: Grid, prior: Sequence[RenderedSequence], *, compensate: bool) -> None:
        self.grid, self.compensate = grid, compensate
        self.label = f'frame difference{", stabilised" if compensate else ""}'
        self.levels = self._learn(prior)

    def answer(self, footage: RenderedSequence) -> Answer:
        """Answer for a window."""
        pixels, patches = self._difference(footage)
        return Answer(
            self.grid,
            motion=patches,
            threshold=self.levels.patches,
            mask=self._mask(pixels[-1], self.levels.pixels),
        )

    def _mask(self, difference: NDArray, level: float) -> NDArray[np.bool_]:
        return clean(difference > level, MaskConfig()) > 0

    def _difference(self, footage: RenderedSequence) -> tuple[NDArray, NDArray]:
        """Differences of pixels (S, h, w) and their means over patches (S, h', w'), 0 to 1."""
        fit, patch = self.grid
        images = grey_images(footage, fit)
        pixels = [self._against(images[1], images[0])]
        pixels += [self._against(a, b) for a, b in pairwise(images)]
        pixels = np.stack(pixels)
        blocks = pixels.reshape(len(pixels), fit.height // patch, patch, fit.width // patch, patch)
        return pixels, blocks.mean((2, 4))

    def _against(self, other: NDArray, image: NDArray) -> NDArray[np.float32]:
        H = None
        if self.compensate:
            a, b = follow([other, image])[0]
            cv2.setRNGSeed(0)
            H = cv2.findHomography(a, b, cv2.RANSAC, 1.0)[0] if len(a) >= FEWEST else None
        H = np.eye(3) if H is None else H
        size = image.shape[::-1]
        moved = cv2.warpPerspective(other, H, size)
        seen = cv2.warpPerspective(np.full_like(other, 255), H, size) == 255
        return np.where(seen, cv2.absdiff(moved, image), 0).astype(np.float32) / 255

    def _learn(self, prior: Sequence[RenderedSequence]) -> _Levels:
        levels = np.geomspace(0.005, 0.8, LEVELS)
        counts = np.zeros((2, LEVELS, 2))
        for footage in prior:
            truth, (pixels, patches) = Truth.of(footage, self.grid), self._difference(footage)
            for index, level in enumerate(levels):
                counts[0, index] += overlap(patches > level, truth.motion > MOVING)
                counts[1, index] += overlap(self._mask(pixels[-1], level), truth.mask[-1])
        best = (counts[..., 0] / np.maximum(counts[..., 1], 1)).argmax(1)
        return _Levels(*(float(levels[i]) for i in best))
