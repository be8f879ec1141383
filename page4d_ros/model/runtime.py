"""Two tools that keep the forward pass free of surprises at run time."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from functools import lru_cache, wraps
from typing import TYPE_CHECKING, ParamSpec, TypeVar

import torch

if TYPE_CHECKING:
    from collections.abc import Callable

P = ParamSpec('P')
T = TypeVar('T')


def cached_table(build: Callable[P, T]) -> Callable[P, T]:
    """Cache constant tensors by the plain Python arguments that they follow from.

    A table first asked for inside `torch.inference_mode` is still an ordinary tensor, so training
    may use it later. While torch.compile traces, the table becomes part of the graph instead.
    Warm the cache before capturing a CUDA graph.
    """
    cached = lru_cache(maxsize=64)(torch.inference_mode(mode=False)(build))

    @wraps(build)
    def table(*args: P.args, **kwargs: P.kwargs) -> T:
        chosen = build if torch.compiler.is_compiling() else cached
        return chosen(*args, **kwargs)

    table.cache_clear = cached.cache_clear
    return table


def full_precision(x: torch.Tensor) -> AbstractContextManager:
    """Switch autocast off for the device of `x`: the heads run in their parameters' type."""
    if x.device.type == 'meta':
        return nullcontext()
    return torch.autocast(x.device.type, enabled=False)
