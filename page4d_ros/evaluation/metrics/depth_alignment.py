"""Alignment of depth with its ground truth: by our rules, or by those of PAGE-4D's published code.

Both give the fits of the published protocol: a scale for each image, one for the sequence, one
scale and shift. Ours minimise what they say; the published code stops short of it in places.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import cv2
import numpy as np
import torch

from page4d_ros.geometry.camera import ImageTransform
from page4d_ros.model.config import NetworkConfig

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray
    from torch import Tensor

PATCH = NetworkConfig.published().patch_size
LAD_STEPS, LAD_FLOOR = 50, 1e-6
LEAST_DEPTH = 1e-5  # metres, of a prediction that a shift has moved behind the camera
WEISZFELD_STEPS, WEISZFELD_FLOOR, LEAST_SCALE = 10, 1e-8, 1e-3
ADAM_STEPS, ADAM_RATE, ADAM_ENOUGH = 1000, 1e-4, 1e-6


class SizeError(ValueError):
    """Two images cannot be of one camera."""


class DepthRules(NamedTuple):
    """Fits and resampling.

    Attributes:
        frame_scale: prediction (n,), truth (n,) -> scale of one image.
        scale: the same for a sequence.
        scale_and_shift: prediction, truth -> both, so that s * prediction + t is near the truth.
        resample: prediction (h, w), shape of the truth (H, W) -> (H, W), NaN where it does not
            count; raises SizeError.
        farthest: metres, to which predictions are cut after the fit.
        each_frame: whether each image is also given a scale and a shift of its own.
    """

    frame_scale: Callable[[NDArray, NDArray], float]
    scale: Callable[[NDArray, NDArray], float]
    scale_and_shift: Callable[[NDArray, NDArray], tuple[float, float]]
    resample: Callable[[NDArray, tuple[int, int]], NDArray]
    farthest: float = np.inf
    each_frame: bool = True


def at_source(image: NDArray, shape: tuple[int, int], fill: float) -> NDArray:
    """Sample a map (h, w[, C]) of the network's size at the pixels of the source.

    Args:
        image: what the node published.
        shape: (H, W) of the source's image.
        fill: for pixels that the network's crop cut away.

    Raises:
        SizeError: a source of this size does not make a network image of that size.
    """
    height, width = image.shape[:2]
    fit = ImageTransform.crop(shape[1], shape[0], width, PATCH)
    if (fit.height, fit.width) != (height, width):
        raise SizeError(
            f'the source has {shape[1]}x{shape[0]} pixels, which becomes {fit.width}x{fit.height}'
            f' and not the published {width}x{height}'
        )
    return fit.image_to_source(image, fill)


def median_ratio(prediction: NDArray, truth: NDArray) -> float:
    """Median of truth / prediction."""
    return float(np.median(truth / prediction))


def optimal_scale(prediction: NDArray, truth: NDArray) -> float:
    """Minimise sum |s * prediction - truth| over s: a median of ratios weighted by prediction."""
    ratio = truth / prediction
    order = np.argsort(ratio)
    weight = np.cumsum(prediction[order])
    return float(ratio[order][np.searchsorted(weight, weight[-1] / 2)])


def scale_and_shift(prediction: NDArray, truth: NDArray) -> tuple[float, float]:
    """Minimise sum |s * prediction + t - truth| over s and t, by reweighted least squares."""
    A = np.column_stack([prediction, np.ones_like(prediction)]).astype(np.float64)
    weight = np.ones(len(A))
    found = np.array([optimal_scale(prediction, truth), 0.0])
    for _ in range(LAD_STEPS):
        W = A * weight[:, None]
        found = np.linalg.lstsq(W.T @ A, W.T @ truth, rcond=None)[0]
        weight = 1 / np.maximum(np.abs(A @ found - truth), LAD_FLOOR * np.median(truth))
    return float(found[0]), float(found[1])


def _nearest(prediction: NDArray, shape: tuple[int, int]) -> NDArray:
    found = at_source(prediction, shape, np.nan)
    return np.where(found > 0, found, np.nan)


def published_frame_scale(prediction: NDArray, truth: NDArray) -> float:
    """Ratio of medians, the lower ones of even counts, as torch takes them."""
    low_truth, low = (np.sort(x)[(len(x) - 1) // 2] for x in (truth, prediction))
    return float(low_truth / low)


def published_scale(prediction: NDArray, truth: NDArray) -> float:
    """Ten steps of reweighting towards `optimal_scale`, from the ratio of means.

    In 32 bits as published: pixels that happen to fit weigh up to 1e8, so rounding decides.
    """
    p, g = _single(prediction), _single(truth)
    scale = g.mean() / p.mean()
    for _ in range(WEISZFELD_STEPS):
        weight = 1 / ((scale * p - g).abs() + WEISZFELD_FLOOR)
        scale = (weight * p * g).sum() / (weight * p * p).sum()
    return max(float(scale), LEAST_SCALE)


def published_scale_and_shift(prediction: NDArray, truth: NDArray) -> tuple[float, float]:
    """Adam with a rate of 1e-4: no more than 0.1 from the ratio of medians and no shift."""
    p, g = _single(prediction), _single(truth)
    p = torch.where(p < LEAST_DEPTH, 0, p)
    fit = torch.stack([g.median() / p.median(), torch.zeros(())]).requires_grad_()
    adam = torch.optim.Adam([fit], lr=ADAM_RATE)
    last = torch.inf
    for _ in range(ADAM_STEPS):
        adam.zero_grad()
        loss = (fit[0] * p + fit[1] - g).abs().sum()
        loss.backward()
        adam.step()
        if abs(last - loss.item()) < ADAM_ENOUGH:
            break
        last = loss.item()
    scale, shift = fit.detach().tolist()
    return scale, shift


def _single(values: NDArray) -> Tensor:
    return torch.from_numpy(np.asarray(values, np.float32))


def published_resample(prediction: NDArray, shape: tuple[int, int]) -> NDArray:
    """Cubic, over edges and into what the network's crop cut away."""
    return cv2.resize(prediction, shape[::-1], interpolation=cv2.INTER_CUBIC)


OURS = DepthRules(median_ratio, optimal_scale, scale_and_shift, _nearest)
PUBLISHED = DepthRules(
    published_frame_scale,
    published_scale,
    published_scale_and_shift,
    published_resample,
    each_frame=False,
)
