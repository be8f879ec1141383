"""From scores of drives to figures with intervals, and to differences between methods."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from page4d_ros.evaluation.result import Unknown
from page4d_ros.window_scores import average_precision

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

RESAMPLES = 500
INTERVAL = 2.5, 97.5  # percent
NOT_ANSWERED = Unknown('the method does not answer this, or nothing of the kind happens')


class Metric(NamedTuple):
    """One figure of a set of drives.

    Attributes:
        head: of its column.
        less: whether less is better.
        statistic: scores of the drives -> figure; NaN where there is none.
        meaning: in words.
    """

    head: str
    less: bool
    statistic: Callable[[Sequence[Any]], float]
    meaning: str


def _mean(of: Callable[[Any], float]) -> Callable[[Sequence[Any]], float]:
    return lambda scores: float(np.mean([of(score) for score in scores]))


def _median(of: Callable[[Any], NDArray]) -> Callable[[Sequence[Any]], float]:
    def statistic(scores: Sequence[Any]) -> float:
        values = np.concatenate([of(score) for score in scores])
        return float(np.median(values)) if len(values) else np.nan

    return statistic


def _iou(of: Callable[[Any], NDArray]) -> Callable[[Sequence[Any]], float]:
    def statistic(scores: Sequence[Any]) -> float:
        both, either = np.sum([of(score) for score in scores], axis=0)
        return float(both / either) if either else np.nan

    return statistic


def _precision(scores: Sequence[Any]) -> float:
    answered = [score.window for score in scores if len(score.window.probability)]
    if not answered:
        return np.nan
    moving = np.concatenate([window.moving for window in answered])
    return average_precision(moving, np.concatenate([w.probability for w in answered]))


METRICS = {
    'abs_rel': Metric(
        'AbsRel ↓',
        True,
        _mean(lambda score: score.window.abs_rel),
        'mean relative error of depth after one median scale per window, mean over windows; '
        'every pixel of the network counts, against the depth at its centre',
    ),
    'delta': Metric(
        'δ < 1.25 ↑',
        False,
        _mean(lambda score: score.window.delta),
        'fraction of pixels within a factor of 1.25 after that scale, mean over windows',
    ),
    'rotation_deg': Metric(
        'rotation [°] ↓',
        True,
        _median(lambda score: score.window.rotation_deg if score.rolling else np.zeros(0)),
        'error of the relative rotation, median over all pairs of views of moving cameras',
    ),
    'translation': Metric(
        'translation ↓',
        True,
        _median(lambda score: score.window.translation),
        'error of the relative translation, after the scale of depth, over the true baseline; '
        'median over all pairs more than 5 cm apart; 1 is standing still',
    ),
    'motion_ap': Metric(
        'motion AP ↑',
        False,
        _precision,
        'average precision over patches; a patch moves where more than half of it does',
    ),
    'motion_iou': Metric(
        'motion IoU ↑',
        False,
        _iou(lambda score: score.patches),
        'intersection over union of moving patches at the shipped threshold, over all windows',
    ),
    'mask_iou': Metric(
        'mask IoU ↑',
        False,
        _iou(lambda score: score.pixels),
        "the same of pixels, of the product's mask of each window's newest frame",
    ),
    'called_moving': Metric(
        'called moving ↓',
        True,
        _mean(lambda score: score.called),
        'fraction of pixels that the mask of the newest frame calls moving',
    ),
    'ate': Metric(
        'ATE / extent ↓',
        True,
        _mean(lambda score: score.ate),
        'RMSE of position after Sim(3) alignment (evo), over the largest distance between two '
        'true positions of the drive; mean over drives',
    ),
    'rpe_translation_m': Metric(
        'RPE [m] ↓',
        True,
        _mean(lambda score: score.rpe_translation_m),
        'RMSE of the motion from one frame (0.1 s) to the next after that alignment (evo)',
    ),
    'rpe_rotation_deg': Metric(
        'RPE [°] ↓',
        True,
        _mean(lambda score: score.rpe_rotation_deg),
        'the same of rotation',
    ),
}


class Figure(NamedTuple):
    """A figure over blocks of drives.

    Attributes:
        mean: of the blocks; NaN where one has none.
        low, high: 95 % of what other drives would have given: percentile bootstrap, drives drawn
            within their blocks.
        blocks: figure of each block.
        samples: (RESAMPLES,) means of the resampled blocks; the same index has the same drives
            for every method.
    """

    mean: float
    low: float
    high: float
    blocks: list[float]
    samples: NDArray[np.float64]

    @property
    def tree(self) -> dict[str, Any]:
        """For JSON."""
        values = {'mean': self.mean, 'low': self.low, 'high': self.high, 'blocks': self.blocks}
        return values if np.isfinite(self.mean) else values | {'mean': NOT_ANSWERED}


def figure(blocks: Sequence[Sequence[Any]], metric: Metric, seed: int = 0) -> Figure:
    """Compute a figure of the scores of each block; equal lengths draw equal drives."""
    values = [metric.statistic(scores) for scores in blocks]
    mean = float(np.mean(values))
    if not np.isfinite(mean):
        return Figure(mean, np.nan, np.nan, values, np.full(RESAMPLES, np.nan))
    rng = np.random.default_rng(seed)
    samples = np.empty((RESAMPLES, len(blocks)))
    for index in range(RESAMPLES):
        for b, scores in enumerate(blocks):
            drawn = rng.integers(0, len(scores), len(scores))
            samples[index, b] = metric.statistic([scores[i] for i in drawn])
    samples = samples.mean(1)
    low, high = np.nanpercentile(samples, INTERVAL)
    return Figure(mean, float(low), float(high), values, samples)


def difference(other: Figure, first: Figure) -> dict[str, Any]:
    """Difference `other` minus `first`, with the interval of the paired bootstrap."""
    if not np.isfinite(other.mean - first.mean):
        return {'mean': NOT_ANSWERED, 'low': np.nan, 'high': np.nan}
    low, high = np.nanpercentile(other.samples - first.samples, INTERVAL)
    return {'mean': other.mean - first.mean, 'low': float(low), 'high': float(high)}
