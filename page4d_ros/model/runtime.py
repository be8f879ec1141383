"""Tools that keep the forward pass free of surprises at run time."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from functools import lru_cache, wraps
from typing import TYPE_CHECKING, ParamSpec, TypeVar

import torch
from torch import nn
from torch.utils import _pytree as pytree

from page4d_ros.errors import ConfigError

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


def compiled(function: Callable[P, T], device: torch.device) -> Callable[P, T]:
    """Compile a function of tensors for fixed shapes, on a GPU into CUDA graphs.

    Raises:
        ConfigError: this machine cannot compile.
    """
    mode = 'reduce-overhead' if device.type == 'cuda' else 'default'
    fast = torch.compile(function, dynamic=False, mode=mode)

    @wraps(function)
    def run(*args: P.args, **kwargs: P.kwargs) -> T:
        torch.compiler.cudagraph_mark_step_begin()
        try:
            out = fast(*args, **kwargs)
        except torch._dynamo.exc.BackendCompilerFailed as error:
            reason = str(error).splitlines()[0]
            raise ConfigError(
                f'model.compile: cannot compile here ({reason}); install g++, or set it to false'
            ) from error
        # the next run of a CUDA graph overwrites its outputs
        return pytree.tree_map_only(torch.Tensor, torch.clone, out)

    return run


def compile_parts(network: nn.Module, kinds: tuple[type[nn.Module], ...], **options: str) -> None:
    """Compile all modules of some kinds, each by itself, in place.

    Equal blocks share their code, so that this takes a fraction of what the whole network takes.

    Args:
        network: whose parts are compiled with their first call of each shape.
        kinds: classes of the modules.
        options: of `torch.compile`.
    """
    for part in network.modules():
        if isinstance(part, kinds):
            part.compile(dynamic=False, **options)
