"""Mixed precision as part of a graph: what autocast does on a GPU, written out."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import torch
from torch.nn import functional
from torch.overrides import TorchFunctionMode

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor


class MixedPrecision(TorchFunctionMode):
    """Context in which a network multiplies in the types of its weights.

    Layers with weights of 16 bits multiply in 16 bits, and so does attention to values of 16 bits.
    Norms, softmax, the rotation of queries and keys, the residual stream and all that has weights
    of 32 bits stay in 32 bits. A network of 32 bits runs as it does without.
    """

    def __torch_function__(
        self, func: Callable, _types: Any, args: tuple = (), kwargs: dict | None = None
    ) -> Any:
        """Run a function of torch with its inputs converted."""
        kwargs = kwargs or {}
        if func is functional.linear:
            x, weight, *rest = args
            return func(_as(x, weight.dtype), weight, *rest, **kwargs)
        if func is functional.layer_norm:
            return func(_wide(args[0]), *args[1:], **kwargs)
        if func is functional.scaled_dot_product_attention and _halved(args[2]):
            return _attention(*args, **kwargs)
        return func(*args, **kwargs)


def _attention(q: Tensor, k: Tensor, v: Tensor, attn_mask: Tensor | None = None) -> Tensor:
    """Attention whose products have the type of v, with a softmax of 32 bits.

    Queries are scaled before they are multiplied, as TensorRT's fused attention wants it.
    """
    q = _as(q / math.sqrt(q.shape[-1]), v.dtype)
    logits = _wide(q @ _as(k, v.dtype).transpose(-2, -1))
    if attn_mask is not None and attn_mask.dtype == torch.bool:
        logits = logits.masked_fill(~attn_mask, -torch.inf)
    elif attn_mask is not None:
        logits = logits + _wide(attn_mask)
    return logits.softmax(-1).to(v.dtype) @ v


def _halved(x: Tensor) -> bool:
    return x.dtype in {torch.float16, torch.bfloat16}


def _wide(x: Tensor) -> Tensor:
    return x.float() if _halved(x) else x


def _as(x: Tensor, dtype: torch.dtype) -> Tensor:
    return x if x.dtype == dtype else x.to(dtype)
