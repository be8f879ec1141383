"""Errors of depth and motion masks against the truth, at the pixels of the source."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from page4d_ros.evaluation.samples import Samples
from page4d_ros.evaluation.unknown import Unknown
from page4d_ros.geometry.camera import ImageTransform

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from numpy.typing import NDArray

    Pairs = Callable[[], Iterable[tuple[int, NDArray, NDArray]]]

MAX_DEPTH = 70.0  # metres, the limit of the published protocol
PATCH = 14
LAD_STEPS, LAD_FLOOR = 50, 1e-6
LEAST_DEPTH = 1e-5  # metres, of a prediction that a shift has moved behind the camera


class SizeError(ValueError):
    """Two pictures cannot be of one camera."""


def at_source(image: NDArray, shape: tuple[int, int], fill: float) -> NDArray:
    """Sample a map (h, w[, C]) of the network's size at the pixels of the source.

    Args:
        image: what the node published.
        shape: (H, W) of the source's picture.
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


class DepthError:
    """AbsRel = mean |p - g| / g and the share of max(p/g, g/p) < 1.25, over all pixels."""

    def __init__(self) -> None:
        self.pixels, self._relative, self._near = 0, 0.0, 0

    def add(self, prediction: NDArray | float, truth: NDArray) -> float:
        """Count the pixels (n,) of one frame, in metres; returns their own AbsRel."""
        relative = np.abs(prediction - truth) / truth
        ratio = np.maximum(prediction / truth, truth / prediction)
        self.pixels += truth.size
        self._relative += float(relative.sum())
        self._near += int((ratio < 1.25).sum())
        return float(relative.mean())

    def result(self) -> dict[str, float]:
        """Both numbers, each pixel of the sequence counting the same."""
        return {'abs_rel': self._relative / self.pixels, 'delta_1_25': self._near / self.pixels}


def depth_metrics(
    pairs: Pairs, *, metric: bool, max_depth: float = MAX_DEPTH
) -> tuple[dict[str, Any] | Unknown, list[tuple[int, float]]]:
    """Depth errors of a sequence, after PAGE-4D's evaluation of image and video depth.

    ``per_frame`` scales each depth image by the median ratio to its truth, ``per_sequence`` all
    of them by the one scale with the least absolute error, ``per_sequence_scale_shift`` by one
    scale and one shift, ``unscaled`` takes them as they are.
    Pixels count where the truth is nearer than `max_depth` and the prediction is valid. The
    baseline is a flat wall, that is one depth everywhere, aligned in the same way and on the same
    pixels.

    Args:
        pairs: gives (stamp, prediction (h, w), truth (H, W)), metres, NaN where unknown; called
            twice, because the scale of a sequence is known only after it.
        metric: whether the prediction claims to be in metres.
        max_depth: metres; the published protocol has 70.

    Returns:
        The metrics, and (stamp, AbsRel) of each frame, scaled for itself.
    """
    samples = Samples()
    frames = covered = known = 0
    try:
        for _, prediction, truth in pairs():
            p, g, count = _valid(prediction, truth, max_depth)
            frames, covered, known = frames + 1, covered + p.size, known + count
            samples.add(p, g)
    except SizeError as error:
        return Unknown(str(error)), []
    if not frames:
        return Unknown('no published depth image has the stamp of a true one'), []
    if not covered:
        return Unknown('no valid pixel of the published depth has a true depth'), []
    sample = samples.pixels()
    scale, wall = optimal_scale(*sample), float(np.median(sample[1]))
    slope, shift = scale_and_shift(*sample)
    errors = {
        name: DepthError()
        for name in ('frame', 'frame_wall', 'all', 'all_wall', 'shifted', 'unscaled')
    }
    over_time: list[tuple[int, float]] = []
    for stamp, prediction, truth in pairs():
        p, g, _ = _valid(prediction, truth, max_depth)
        if p.size:
            over_time.append((stamp, errors['frame'].add(p * np.median(g / p), g)))
            errors['frame_wall'].add(float(np.median(g)), g)
            errors['all'].add(p * scale, g)
            errors['all_wall'].add(wall, g)
            errors['shifted'].add(np.maximum(slope * p + shift, LEAST_DEPTH), g)
            errors['unscaled'].add(p, g)
    results = {name: error.result() for name, error in errors.items()}
    not_metric = Unknown('the depth is not in metres (scale.mode is none)')
    tree = {
        'frames': frames,
        'coverage': covered / known,
        'scale': scale,
        'per_frame': results['frame'],
        'per_frame_flat_wall': results['frame_wall'],
        'per_sequence': results['all'],
        'per_sequence_flat_wall': results['all_wall'],
        'per_sequence_scale_shift': results['shifted'],
        'unscaled': results['unscaled'] if metric else not_metric,
    }
    return tree, over_time


def _valid(prediction: NDArray, truth: NDArray, max_depth: float) -> tuple[NDArray, NDArray, int]:
    """Prediction and truth (n,) where both are known, and how many pixels have a truth."""
    prediction = at_source(prediction, truth.shape, np.nan)
    known = (truth > 0) & (truth < max_depth)
    both = known & np.isfinite(prediction) & (prediction > 0)
    return prediction[both].astype(np.float64), truth[both].astype(np.float64), int(known.sum())


def mask_metrics(pairs: Pairs) -> dict[str, Any] | Unknown:
    """Precision, recall, IoU and accuracy of motion masks, each pixel counting the same.

    IoU is the region similarity J of DAVIS (Perazzi et al., 2016), over the sequence instead of
    per frame, so that frames in which nothing moves count as well. The baselines call everything
    static, or everything moving.

    Args:
        pairs: gives (stamp, prediction (h, w), truth (H, W)), boolean, true where things move.
    """
    table, frames = np.zeros((2, 2), np.int64), 0  # by truth, prediction
    try:
        for _, prediction, truth in pairs():
            guess = at_source(prediction.astype(np.int8), truth.shape, -1)
            index = truth[guess >= 0] * 2 + guess[guess >= 0]
            table += np.bincount(index.astype(np.int64), minlength=4).reshape(2, 2)
            frames += 1
    except SizeError as error:
        return Unknown(str(error))
    if not frames:
        return Unknown('no published mask has the stamp of a true one')
    still, moving = table.sum(1)
    return {
        'frames': frames,
        'moving_share': moving / table.sum(),
        'estimate': _scores(table),
        'all_static': _scores(np.array([[still, 0], [moving, 0]])),
        'all_moving': _scores(np.array([[0, still], [0, moving]])),
    }


def _scores(table: NDArray) -> dict[str, Any]:
    (_, false), (missed, hit) = table

    def ratio(part: int, whole: int, reason: str) -> Any:
        return float(part / whole) if whole else Unknown(reason)

    return {
        'precision': ratio(hit, hit + false, 'nothing was called moving'),
        'recall': ratio(hit, hit + missed, 'nothing moves in truth'),
        'iou': ratio(hit, hit + false + missed, 'nothing moves, and nothing was called moving'),
        'accuracy': float(np.trace(table) / table.sum()),
    }
