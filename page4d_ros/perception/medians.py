"""Medians of maps that are not known everywhere."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray


def median(values: NDArray[np.floating]) -> np.floating:
    """Median of what is not NaN, in the type of the values; NaN where nothing is.

    For few values this takes a fraction of np.nanmedian's time.
    """
    known = values[~np.isnan(values)]
    if not len(known):
        return values.dtype.type(np.nan)
    upper, lower = len(known) // 2, (len(known) - 1) // 2
    known.partition((lower, upper))
    return (known[lower] + known[upper]) / 2
