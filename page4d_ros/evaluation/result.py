"""Numbers that are not known, and why."""

from __future__ import annotations

import math
from typing import Any

import numpy as np


class Unknown(str):
    """Stands in a tree of metrics for what cannot be computed; its text is the reason."""

    __slots__ = ()


def settle(tree: Any) -> tuple[Any, dict[str, str]]:
    """Make a tree of metrics fit for JSON.

    Args:
        tree: dicts and lists of numbers, texts and `Unknown`.

    Returns:
        The tree in plain types, with None for what is unknown or not finite, and the reasons by
        dotted path.
    """
    reasons: dict[str, str] = {}

    def plain(value: Any, path: str) -> Any:
        if isinstance(value, dict):
            return {k: plain(v, f'{path}.{k}' if path else k) for k, v in value.items()}
        if isinstance(value, list | tuple):
            return [plain(v, f'{path}.{i}') for i, v in enumerate(value)]
        if isinstance(value, np.generic):
            value = value.item()
        if isinstance(value, float) and not math.isfinite(value):
            value = Unknown('the result is not a finite number')
        if isinstance(value, Unknown):
            reasons[path] = str(value)
            return None
        return value

    return plain(tree, ''), reasons
