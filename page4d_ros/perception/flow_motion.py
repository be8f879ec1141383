"""Evidence of motion from dense optical flow: where it leaves what a static scene can show.

A static point lies on its epipolar line in an earlier image, and at positive depth on one part of
that line. Depth of a network counts only within a wide factor, so that wrong depth does not look
like motion. What remains of a wrong pose is a smooth field, which the scene's larger part has.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

import cv2
import numpy as np

from page4d_ros.perception.medians import median
from page4d_ros.perception.residuals import MAD

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from page4d_ros.geometry.camera import ImageTransform
    from page4d_ros.perception.residuals import View

COLUMNS = 224  # of the images that flow is computed between
LEAST_ROWS = 16  # that they need
STRIDE, DESCENTS = 5, 6  # pixels between patches, steps of their descent
FACTOR = 4.0  # by which depth may be wrong, both ways
NEAREST = 0.1  # of its depth, that a point keeps at least
ROUND_TRIP = 1.0  # largest error of flow forth and back, in pixels of those images
FLOOR = 0.2  # least deviation of flow, likewise
ENOUGH = 1.5  # distance from where it could be static, likewise, beyond which no more counts
SAMPLE = 32  # columns of the grid of pixels that statistics are taken over
ROUNDS = 4  # of the fit of the smooth field
OUTSIDE = 1e3, 1e3  # flow back from there agrees with nothing
LINEAR = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
NEAR = cv2.INTER_NEAREST | cv2.WARP_INVERSE_MAP


class Flow(NamedTuple):
    """Flow of a frame's pixels into an earlier one; all (h, w).

    Attributes:
        u: column of the pixel's content in the earlier frame.
        v: row, likewise.
        known: True where flow forth and back agree.
        away: distance from the places of static points, at most `ENOUGH`, in standard deviations;
            0 if not known.
    """

    u: NDArray[np.float32]
    v: NDArray[np.float32]
    known: NDArray[np.bool_]
    away: NDArray[np.float32]


def grey_view(image: NDArray[np.uint8], fit: ImageTransform) -> NDArray[np.uint8]:
    """Part of an image (H, W, 3) RGB that the network sees, grey, `COLUMNS` wide.

    Args:
        image: of the camera.
        fit: from it to the network's image.
    """
    scale = COLUMNS / fit.width
    size = round(fit.resized_width * scale), round(fit.resized_height * scale)
    small = cv2.resize(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), size, interpolation=cv2.INTER_AREA)
    left, top = round(fit.crop_x * scale), round(fit.crop_y * scale)
    kept = small[top : top + max(1, round(fit.height * scale)), left : left + COLUMNS]
    return np.ascontiguousarray(kept)


def flow_between(now: View, before: View, grey: NDArray, earlier: NDArray, step: int) -> Flow:
    """Flow of a frame's pixels into an earlier frame of the same camera (DIS; Kroeger, 2016).

    Args:
        now: the frame; its calibration is that of both.
        before: the earlier frame.
        grey: image of the frame by `grey_view`.
        earlier: that of the earlier frame.
        step: pixels of the network per pixel of the views.
    """
    height, width = now.depth.shape
    u, v = _pixels(height, width)
    far, said, near = _places(now, before)
    fine = grey.shape[1] / (width * step)  # pixels of the grey image per pixel of the network
    to_fine = np.array([[fine * step, 0, (fine - 1) / 2], [0, fine * step, (fine - 1) / 2]])
    scale = np.float32(fine * step)
    start = cv2.merge([said[0] - u, said[1] - v]) * scale
    back = -cv2.remap(start, *said, cv2.INTER_LINEAR, None, cv2.BORDER_REPLICATE)
    to_thin = cv2.invertAffineTransform(to_fine)
    start, back = (
        cv2.warpAffine(
            each, to_thin, grey.shape[::-1], flags=LINEAR, borderMode=cv2.BORDER_REPLICATE
        )
        for each in (start, back)
    )
    fine_flow, agree = _forth_and_back(grey, earlier, start, back)
    flow = cv2.warpAffine(fine_flow, to_fine, (width, height), flags=LINEAR) / scale
    known = cv2.warpAffine(agree, to_fine, (width, height), flags=NEAR) > 0
    u, v = u + flow[..., 0], v + flow[..., 1]
    place = _nearest(far, near, u, v)
    shift = _smooth(u - place[0], v - place[1], known)
    place = _nearest(far, near, u - shift[0], v - shift[1])
    away = cv2.magnitude(u - shift[0] - place[0], v - shift[1] - place[1]) * scale
    every = -(-width // SAMPLE)
    sample = away[::every, ::every][known[::every, ::every]]
    deviation = max(MAD * float(median(sample)), FLOOR) if sample.size else FLOOR
    away = np.minimum(away, np.float32(ENOUGH)) / np.float32(deviation)
    return Flow(u, v, known, np.where(known, away, np.float32(0)))


def _forth_and_back(
    grey: NDArray, earlier: NDArray, start: NDArray, back: NDArray
) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
    """Flow (h, w, 2), and above 0 (h, w) where flow back returns to the pixel.

    Args:
        grey: (h, w) the image.
        earlier: (h, w) the earlier one.
        start: (h, w, 2) first guess of the flow.
        back: (h, w, 2) likewise, from the earlier image to the newer one.
    """
    dis = cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    dis.setFinestScale(0)
    dis.setPatchStride(STRIDE)
    dis.setGradientDescentIterations(DESCENTS)
    dis.setVariationalRefinementIterations(0)
    flow = dis.calc(grey, earlier, start)
    back = dis.calc(earlier, grey, back)
    u, v = cv2.split(flow)
    x, y = _pixels(*grey.shape)
    away = flow + cv2.remap(back, x + u, y + v, cv2.INTER_LINEAR, borderValue=OUTSIDE)
    return flow, cv2.compare(cv2.magnitude(*cv2.split(away)), ROUND_TRIP, cv2.CMP_LT)


def _places(now: View, before: View) -> list[NDArray[np.float32]]:
    """Places (2, h, w) of static points in the earlier frame: at far, said and near depths."""
    height, width = now.depth.shape
    u, v = _pixels(height, width)
    T = np.linalg.solve(before.T_gauge_camera, now.T_gauge_camera)
    H = (now.K @ T[:3, :3] @ np.linalg.inv(now.K)).astype(np.float32)
    t = (now.K @ T[:3, 3]).astype(np.float32)
    x, y, z = (H[i, 0] * u + (H[i, 1] * v + H[i, 2]) for i in range(3))
    known = (now.depth > 0) & (now.depth < np.inf)
    inverse = np.divide(1, now.depth, out=np.zeros_like(now.depth), where=known)
    if not known.all() and known.any():
        inverse[~known] = np.median(inverse[known])
    out = []
    for factor in (1 / FACTOR, 1, FACTOR):
        w = inverse * np.float32(factor)
        if t[2] < 0:
            w = np.minimum(w, (NEAREST - 1) * z / t[2])
        depth = np.maximum(z + w * t[2], np.float32(1e-3))
        out.append(np.stack([(x + w * t[0]) / depth, (y + w * t[1]) / depth]))
    return out


def _nearest(far: NDArray, near: NDArray, u: NDArray, v: NDArray) -> NDArray[np.float32]:
    """Points (2, h, w) between far and near ones that are nearest to columns and rows (h, w)."""
    along = near - far
    length = np.maximum(along[0] ** 2 + along[1] ** 2, np.float32(1e-6))
    share = ((u - far[0]) * along[0] + (v - far[1]) * along[1]) / length
    return far + share.clip(0, 1) * along


def _smooth(du: NDArray, dv: NDArray, known: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Affine field (2, h, w) that most of the residuals (h, w) share (Geman and McClure)."""
    height, width = du.shape
    every = -(-width // SAMPLE)
    thin = np.s_[::every, ::every]
    use = known[thin].ravel()
    u, v = _pixels(height, width)
    x, y = u / width - np.float32(0.5), v / width - np.float32(0.5)
    A = np.column_stack([np.ones(use.size), x[thin].ravel(), y[thin].ravel()])[use]
    b = np.column_stack([du[thin].ravel(), dv[thin].ravel()])[use]
    if len(A) < A.shape[1]:
        return np.zeros((2, height, width), np.float32)
    weight, c = np.ones(len(A)), np.zeros((3, 2))
    for _ in range(ROUNDS):
        weighted = A.T * weight
        c = np.linalg.solve(weighted @ A + 1e-6 * np.eye(3), weighted @ b)
        squared = ((b - A @ c) ** 2).sum(1)
        weight = 1 / (1 + squared / max(2 * float(np.median(squared)), 1e-3)) ** 2
    c = c.astype(np.float32)
    return np.stack([c[0, i] + c[1, i] * x + c[2, i] * y for i in range(2)])


@lru_cache(maxsize=8)
def _pixels(height: int, width: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Columns and rows (h, w) of an image's pixels."""
    v, u = np.mgrid[:height, :width].astype(np.float32)
    return u, v
