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
    middle = len(known) // 2
    known.partition(middle)
    upper = known[middle]
    return upper if len(known) % 2 else (known[:middle].max() + upper) / 2
