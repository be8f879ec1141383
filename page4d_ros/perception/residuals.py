"""Evidence of motion from depth and pose: reprojection of the newest frame into earlier ones.

A static point was where it is now. If an earlier frame saw through that place, the point has
come there; if it saw another colour there, something has changed. Places that were hidden behind
something nearer give no evidence, so that parallax of a static scene scores nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import cv2
import numpy as np

from page4d_ros.perception.medians import median

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray
    from torch import Tensor

    from page4d_ros.perception.types import WindowEstimate

DEPTH_FLOOR = 0.01  # least deviation of the logarithm of depth, even of a good network
COLOUR_FLOOR = 0.02 * 255
MAD = 1.4826  # standard deviations of a normal distribution per median absolute deviation
COLUMNS = 48  # of the grid of pixels that medians are taken over
AROUND = np.ones((3, 3), np.uint8)
MEAN = np.full((1, 3), 1 / 3, np.float32)


class View(NamedTuple):
    """One frame of a window at every n-th pixel, as arrays on the host.

    Attributes:
        T_gauge_camera: (4, 4).
        K: (3, 3) for the size (h, w).
        image: (h, w, 3), RGB.
        depth: (h, w) in the window's unit.
    """

    T_gauge_camera: NDArray[np.float64]
    K: NDArray[np.float64]
    image: NDArray[np.uint8]
    depth: NDArray[np.float32]

    @classmethod
    def of(
        cls,
        window: WindowEstimate,
        index: int,
        depth: NDArray[np.float32],
        image: NDArray[np.uint8],
    ) -> View:
        """View of a frame from its depth (h, w) and image (h, w, 3), both thinned already."""
        K = window.cameras[index].K
        K[:2] /= -(-window.cameras[index].width // depth.shape[1])
        return cls(window.T_gauge_camera[index], K, image, depth)


class ReprojectionResiduals(NamedTuple):
    """Comparison of a frame's pixels with n earlier frames; all (n, h, w).

    Attributes:
        depth: signed distance in front of the surface that the earlier frame saw there, in
            standard deviations of that frame; negative behind it.
        colour: difference of colour, in standard deviations; 0 where the place was hidden.
        visible: True where the place was in view and not hidden.
        u: column of the place in the earlier frame; arbitrary where it was not in view.
        v: row, likewise.
    """

    depth: NDArray[np.float32]
    colour: NDArray[np.float32]
    visible: NDArray[np.bool_]
    u: NDArray[np.float32]
    v: NDArray[np.float32]


def thinned(values: NDArray, step: int) -> NDArray:
    """Every step-th pixel of a map (h, w), contiguous in memory."""
    return np.ascontiguousarray(values[::step, ::step])


def thinned_rgb(image: Tensor, step: int = 1) -> NDArray[np.uint8]:
    """Every step-th pixel of an image (3, h, w) of bytes, as RGB (h', w', 3)."""
    planes = np.ascontiguousarray(image[:, ::step, ::step].cpu().numpy())
    return cv2.merge(list(planes))


@np.errstate(divide='ignore', invalid='ignore', over='ignore')
def reprojection_residuals(
    now: View, confidence: NDArray[np.float32], earlier: Sequence[View]
) -> ReprojectionResiduals:
    """Reproject a frame's pixels into n earlier frames, and compare.

    Args:
        now: the frame.
        confidence: (h, w) of its depth, in [0, 1).
        earlier: the earlier frames, of the same size.
    """
    place = _place(now, earlier)
    z = place[:, 2]
    u, v = place[:, 0] / z, place[:, 1] / z
    pairs = list(zip(earlier, u, v, strict=True))
    surface = np.array(
        [sample_nearest(cv2.erode(before.depth, AROUND), *at) for before, *at in pairs]
    )
    through = np.log(surface / z)  # of a place behind the camera or out of view, no finite number
    unknown = ~np.isfinite(through)
    np.copyto(through, np.nan, where=unknown)
    _standardize(through, DEPTH_FLOOR)
    through *= _trust(confidence)
    visible = through > -1
    hidden = ~visible
    colour = np.array([_out_of_range(now.image, before.image, *at) for before, *at in pairs])
    np.copyto(colour, np.nan, where=hidden)
    _standardize(colour, COLOUR_FLOOR)
    np.copyto(through, 0, where=unknown)
    np.copyto(colour, 0, where=hidden)
    return ReprojectionResiduals(through, colour, visible, u, v)


def sample_nearest(values: NDArray, u: NDArray[np.float32], v: NDArray[np.float32]) -> NDArray:
    """Values (h, w[, 3]) at the pixels nearest to columns u and rows v (h, w); 0 outside."""
    return cv2.remap(values, u, v, cv2.INTER_NEAREST)


def _place(now: View, earlier: Sequence[View]) -> NDArray[np.float32]:
    """Homogeneous pixels (n, 3, h, w) of a frame's points in earlier frames, z last."""
    height, width = now.depth.shape
    (fx, _, cx), (_, fy, cy), _ = now.K
    x = ((np.arange(width) - cx) / fx).astype(np.float32)
    y = ((np.arange(height)[:, None] - cy) / fy).astype(np.float32)
    T = np.linalg.solve(np.array([e.T_gauge_camera for e in earlier]), now.T_gauge_camera)
    P = (np.array([e.K for e in earlier]) @ T[:, :3]).astype(np.float32)[..., None, None]
    place = P[:, :, 0] * x + (P[:, :, 1] * y + P[:, :, 2])
    place *= now.depth
    place += P[:, :, 3]
    return place


def _out_of_range(image: NDArray, before: NDArray, u: NDArray, v: NDArray) -> NDArray[np.float32]:
    """Distance (h, w) of colours (h, w, 3) from the range of colours around their place before."""
    extremes = cv2.erode(before, AROUND), cv2.dilate(before, AROUND)
    least, most = (sample_nearest(extreme, u, v) for extreme in extremes)
    out = cv2.add(cv2.subtract(least, image), cv2.subtract(image, most))  # one of them is 0
    return cv2.transform(out.astype(np.float32), MEAN)


def _standardize(values: NDArray[np.float32], floor: float) -> None:
    """Divide deviations from the median by a robust standard deviation, (n, h, w), in place."""
    sample = _sample(values)
    middle = np.array([median(each) for each in sample], values.dtype)[:, None, None]
    deviation = np.array([median(each) for each in np.abs(sample - middle)], values.dtype)
    values -= middle
    values /= np.maximum(MAD * deviation, floor)[:, None, None]


def _trust(confidence: NDArray) -> NDArray[np.float32]:
    """Published c >= 1 over its median; the expected error falls with it (VGGT, 3.4)."""
    c = 1 / np.maximum(1 - confidence, np.float32(1e-6))
    return (c / median(_sample(c))).clip(0.1, 3)


def _sample(values: NDArray) -> NDArray:
    """Pixels (..., h', w') of a coarse grid, enough for a median."""
    step = -(-values.shape[-1] // COLUMNS)
    return values[..., ::step, ::step]
