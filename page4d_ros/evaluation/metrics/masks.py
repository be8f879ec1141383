"""Region and boundary measures of DAVIS (Perazzi et al., 2016), as VGGT4D evaluates them."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import cv2
import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from page4d_ros.geometry.camera import ImageTransform

BOUND = 0.008  # of the image's diagonal: how far boundaries may be apart
RECALLED = 0.5


class Measure(NamedTuple):
    """A measure over the frames of a sequence.

    Attributes:
        mean: of the frames.
        recall: fraction of frames above 0.5.
        decay: mean of the first quarter of the frames less that of the last.
    """

    mean: float
    recall: float
    decay: float

    @classmethod
    def of(cls, values: Sequence[float], *, as_published: bool = False) -> Measure:
        """Of the frames' values; NaN of none.

        Args:
            values: of each frame, in order.
            as_published: count the quarters in 8 bits, as DAVIS' code does, which goes wrong with
                more than 255 frames.
        """
        if not len(values):
            return cls(np.nan, np.nan, np.nan)
        x = np.asarray(values)
        ends = np.rint(np.linspace(1, len(x), 5) + 1e-10).astype(int) - 1
        if as_published:
            ends = ends.astype(np.uint8)
        quarters = x[ends[0] : int(ends[1]) + 1], x[ends[3] : int(ends[4]) + 1]
        first, last = (q.mean() if len(q) else np.nan for q in quarters)
        return cls(float(x.mean()), float((x > RECALLED).mean()), float(first - last))


def at_network(mask: NDArray[np.bool_], fit: ImageTransform) -> NDArray[np.bool_]:
    """A mask (H, W) of the source at the network's pixels (h, w), as VGGT4D evaluates."""
    size = fit.resized_width, fit.resized_height
    small = cv2.resize(mask.astype(np.uint8), size, interpolation=cv2.INTER_NEAREST)
    return small[fit.crop_y :, fit.crop_x :][: fit.height, : fit.width] > 0


def region(mask: NDArray[np.bool_], truth: NDArray[np.bool_]) -> float:
    """J: intersection over union of two masks (H, W); 0 where both are empty."""
    union = (mask | truth).sum()
    return float((mask & truth).sum() / union) if union else 0.0


def boundary(mask: NDArray[np.bool_], truth: NDArray[np.bool_]) -> float:
    """F: harmonic mean of precision and recall of the boundaries of two masks (H, W)."""
    ours, true = outline(mask), outline(truth)
    if not ours.any() or not true.any():
        return float(ours.any() == true.any())
    radius = int(np.ceil(BOUND * np.hypot(*mask.shape)))
    near_ours, near_true = _grown(ours, radius), _grown(true, radius)
    precision = (ours & near_true).sum() / ours.sum()
    recall = (true & near_ours).sum() / true.sum()
    return float(2 * precision * recall / (precision + recall)) if precision + recall else 0.0


def outline(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Pixels (H, W) whose neighbour to the right, below, or both, is on the other side."""
    out = np.zeros_like(mask)
    out[:, :-1] |= mask[:, :-1] ^ mask[:, 1:]
    out[:-1] |= mask[:-1] ^ mask[1:]
    out[:-1, :-1] |= mask[:-1, :-1] ^ mask[1:, 1:]
    return out


def _grown(mask: NDArray[np.bool_], radius: int) -> NDArray[np.bool_]:
    v, u = np.mgrid[-radius : radius + 1, -radius : radius + 1]
    disk = (u * u + v * v <= radius * radius).astype(np.uint8)
    return cv2.dilate(mask.astype(np.uint8), disk) > 0
