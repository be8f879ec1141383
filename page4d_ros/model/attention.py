"""Choice of the quickest attention kernel for a shape, made once by timing."""

from __future__ import annotations

import inspect
import math
import time
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import TYPE_CHECKING

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.functional import scaled_dot_product_attention

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

NAMES = 'FLASH_ATTENTION', 'EFFICIENT_ATTENTION', 'CUDNN_ATTENTION'  # some are of newer torch
KERNELS = [getattr(SDPBackend, name) for name in NAMES if hasattr(SDPBackend, name)]
ROUNDS = 5


def quickest(
    shape: tuple[int, int, int, int], dtype: torch.dtype, device: torch.device
) -> list[SDPBackend]:
    """Kernels of a GPU for queries (B, heads, N, D), as `by_speed`; none: let torch choose."""
    ranked = 'set_priority' in inspect.signature(sdpa_kernel).parameters  # torch 2.6
    if device.type != 'cuda' or not ranked:
        return []
    return by_speed(partial(_seconds, torch.zeros(shape, dtype=dtype, device=device)))


def by_speed(seconds: Callable[[SDPBackend], float]) -> list[SDPBackend]:
    """Kernels, the quickest first; last is the plain one, which can do whatever they cannot.

    Args:
        seconds: that a kernel takes; RuntimeError where it cannot run.
    """
    measured = {kernel: _or_never(seconds, kernel) for kernel in KERNELS}
    able = [kernel for kernel in KERNELS if measured[kernel] < math.inf]
    return [*sorted(able, key=measured.__getitem__), SDPBackend.MATH]


def _or_never(seconds: Callable[[SDPBackend], float], kernel: SDPBackend) -> float:
    try:
        return seconds(kernel)
    except RuntimeError:
        return math.inf


def preferring(kernels: Sequence[SDPBackend]) -> AbstractContextManager:
    """Context in which attention takes the first of these kernels that can do it."""
    return sdpa_kernel(list(kernels), set_priority=True) if kernels else nullcontext()


def _seconds(q: torch.Tensor, kernel: SDPBackend) -> float:
    with sdpa_kernel(kernel), torch.inference_mode():
        scaled_dot_product_attention(q, q, q)  # the first call prepares
        torch.cuda.synchronize(q.device)
        start = time.perf_counter()
        for _ in range(ROUNDS):
            scaled_dot_product_attention(q, q, q)
        torch.cuda.synchronize(q.device)
        return time.perf_counter() - start
