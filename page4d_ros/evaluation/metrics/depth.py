"""Errors of depth and motion masks against the truth, at the pixels of the source."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from page4d_ros.evaluation.metrics.depth_alignment import LEAST_DEPTH, OURS, SizeError, at_source
from page4d_ros.evaluation.metrics.samples import Samples, some
from page4d_ros.evaluation.result import Unknown

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from numpy.typing import NDArray

    from page4d_ros.evaluation.metrics.depth_alignment import DepthRules

    Pairs = Callable[[], Iterable[tuple[int, NDArray, NDArray]]]

MAX_DEPTH = 70.0  # metres, the limit of the published protocol
NEAR = 1.25
# errors of single frames
DEPTH_ERROR, MASK_ERROR = 'depth error (AbsRel)', 'mask error (share of pixels)'


class DepthError:
    """Errors of depth p against truth g, over all pixels that are taken in.

    Attributes:
        rows: of each frame the pixels, and sums over them of |p - g| / g, (p - g)^2 / g,
            (p - g)^2, (log p - log g)^2 and of max(p/g, g/p) < 1.25, 1.25^2 and 1.25^3.
    """

    COLUMNS = (
        'pixels',
        'abs_rel',
        'sq_rel_m',
        'rmse_m',
        'log_rmse',
        'delta_1_25',
        'delta_1_25_2',
        'delta_1_25_3',
    )

    def __init__(self) -> None:
        self.rows: list[NDArray[np.float64]] = []

    def add(self, prediction: NDArray | float, truth: NDArray) -> float:
        """Take in a frame's pixels (n,); returns their own AbsRel."""
        prediction = np.broadcast_to(prediction, truth.shape)
        error = np.abs(prediction - truth)
        with np.errstate(divide='ignore'):
            ratio = np.maximum(prediction / truth, truth / prediction)
        logarithm = np.log(np.maximum(prediction, LEAST_DEPTH) / truth)
        relative = error / truth
        sums = relative.sum(), error @ relative, error @ error, logarithm @ logarithm
        near = (np.count_nonzero(ratio < NEAR**power) for power in (1, 2, 3))
        self.rows.append(np.array([truth.size, *sums, *near], np.float64))
        return float(self.rows[-1][1] / truth.size) if truth.size else np.nan

    def result(self) -> dict[str, float]:
        """Means, of the squares their roots; each pixel of the sequence counts the same."""
        pixels, *sums = np.sum(self.rows, axis=0)
        names = self.COLUMNS[1:]
        means = dict(zip(names, (float(x / pixels) for x in sums), strict=True))
        roots = {name: means[name] ** 0.5 for name in ('rmse_m', 'log_rmse')}
        return {'pixels': int(pixels)} | means | roots


class DepthResult(NamedTuple):
    """Errors of a sequence.

    Attributes:
        tree: by kind of fit.
        over_time: (stamp, AbsRel) of each frame, scaled for itself.
        rows: by kind of fit, `DepthError.rows` of each frame that `pairs` gave.
    """

    tree: dict[str, Any] | Unknown
    over_time: list[tuple[int, float]]
    rows: dict[str, list[NDArray[np.float64]]]

    @classmethod
    def unknown(cls, reason: str) -> DepthResult:
        """Nothing to measure."""
        return cls(Unknown(reason), [], {})


def depth_metrics(
    pairs: Pairs, *, metric: bool, max_depth: float = MAX_DEPTH, rules: DepthRules = OURS
) -> DepthResult:
    """Depth errors of a sequence, after PAGE-4D's evaluation of image and video depth.

    ``per_frame`` scales each depth image by the median ratio to its truth,
    ``per_frame_scale_shift`` by a scale and a shift of its own, ``per_sequence`` all of them by
    the one scale with the least absolute error, ``per_sequence_scale_shift`` by one scale and one
    shift, ``unscaled`` takes them as they are.
    Pixels count where the truth is nearer than `max_depth` and the prediction is valid. The
    baseline is a flat wall, that is one depth everywhere, aligned in the same way and on the same
    pixels.

    Args:
        pairs: gives (stamp, prediction (h, w), truth (H, W)), metres, NaN where unknown; called
            twice, because the scale of a sequence is known only after it.
        metric: whether the prediction claims to be in metres.
        max_depth: metres; the published protocol has 70.
        rules: how depth is fitted and resampled.
    """
    samples = Samples()
    frames = covered = known = 0
    try:
        for _, prediction, truth in pairs():
            p, g, count = _valid(prediction, truth, max_depth, rules)
            frames, covered, known = frames + 1, covered + p.size, known + count
            samples.add(p, g)
    except SizeError as error:
        return DepthResult.unknown(str(error))
    if not frames:
        return DepthResult.unknown('no published depth image has the stamp of a true one')
    if not covered:
        return DepthResult.unknown('no valid pixel of the published depth has a true depth')
    sample = samples.pixels()
    scale, wall = rules.scale(*sample), float(np.median(sample[1]))
    slope, shift = rules.scale_and_shift(*sample)
    names = ('per_frame', 'per_frame_flat_wall', 'per_frame_scale_shift')
    names += ('per_sequence', 'per_sequence_flat_wall', 'per_sequence_scale_shift', 'unscaled')
    errors = {name: DepthError() for name in names}
    over_time: list[tuple[int, float]] = []
    for stamp, prediction, truth in pairs():
        p, g, _ = _valid(prediction, truth, max_depth, rules)
        own, (s, t) = 1.0, (1.0, 0.0)
        if p.size:
            own = rules.frame_scale(p, g)
            s, t = rules.scale_and_shift(*some(p, g)) if rules.each_frame else (own, 0.0)
        fitted = {
            'per_frame': p * own,
            'per_frame_flat_wall': np.median(g) if g.size else 0.0,
            'per_frame_scale_shift': np.maximum(s * p + t, LEAST_DEPTH),
            'per_sequence': p * scale,
            'per_sequence_flat_wall': wall,
            'per_sequence_scale_shift': np.maximum(slope * p + shift, LEAST_DEPTH),
            'unscaled': p,
        }
        found = {
            name: errors[name].add(np.minimum(depth, rules.farthest), g)
            for name, depth in fitted.items()
        }
        if p.size:
            over_time.append((stamp, found['per_frame']))
    tree = {'frames': frames, 'coverage': covered / known, 'scale': scale}
    tree |= {name: error.result() for name, error in errors.items()}
    if not metric:
        tree['unscaled'] = Unknown('the depth is not in metres (scale.mode is none)')
    if not rules.each_frame:
        tree['per_frame_scale_shift'] = Unknown('the published code has no such fit')
    return DepthResult(tree, over_time, {name: error.rows for name, error in errors.items()})


def _valid(
    prediction: NDArray, truth: NDArray, max_depth: float, rules: DepthRules
) -> tuple[NDArray, NDArray, int]:
    """Prediction and truth (n,) where both are known, and how many pixels have a truth."""
    prediction = rules.resample(prediction, truth.shape)
    known = (truth > 0) & (truth < max_depth)
    both = known & np.isfinite(prediction)
    return prediction[both].astype(np.float64), truth[both].astype(np.float64), int(known.sum())


def mask_metrics(
    pairs: Pairs,
) -> tuple[dict[str, Any] | Unknown, list[tuple[int, float]]]:
    """Precision, recall, IoU and accuracy of motion masks, each pixel counting the same.

    IoU is the region similarity J of DAVIS (Perazzi et al., 2016), over the sequence instead of
    per frame, so that frames in which nothing moves count as well. The baselines call everything
    static, or everything moving.

    Args:
        pairs: gives (stamp, prediction (h, w), truth (H, W)), boolean, true where things move.

    Returns:
        The metrics, and (stamp, share of the pixels that are wrong) of each frame.
    """
    table = np.zeros((2, 2), np.int64)  # by truth, prediction
    over_time: list[tuple[int, float]] = []
    try:
        for stamp, prediction, truth in pairs():
            guess = at_source(prediction.astype(np.int8), truth.shape, -1)
            index = truth[guess >= 0] * 2 + guess[guess >= 0]
            table += np.bincount(index.astype(np.int64), minlength=4).reshape(2, 2)
            over_time.append((stamp, float(np.isin(index, (1, 2)).mean())))
    except SizeError as error:
        return Unknown(str(error)), []
    if not over_time:
        return Unknown('no published mask has the stamp of a true one'), []
    still, moving = table.sum(1)
    tree = {
        'frames': len(over_time),
        'moving_share': moving / table.sum(),
        'estimate': _scores(table),
        'all_static': _scores(np.array([[still, 0], [moving, 0]])),
        'all_moving': _scores(np.array([[0, still], [0, moving]])),
    }
    return tree, over_time


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
