"""Medians that ignore NaN."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray


def median(values: NDArray[np.floating]) -> np.floating:
    """Median of the values that are not NaN, in their type; NaN if there are none.

    Takes a fraction of np.nanmedian's time for small arrays.
    """
    known = values[~np.isnan(values)]
    if not len(known):
        return values.dtype.type(np.nan)
    middle = len(known) // 2
    known.partition(middle)
    upper = known[middle]
    return upper if len(known) % 2 else (known[:middle].max() + upper) / 2


def weighted_median(values: NDArray, weights: NDArray) -> float:
    """Value (of N) up to which half of the weight lies."""
    order = np.argsort(values)
    weight = np.cumsum(weights[order])
    return float(values[order][np.searchsorted(weight, weight[-1] / 2)])
