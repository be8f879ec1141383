"""Stand-ins for a GPU's streams and graphs, on the CPU.

A graph is recorded operation by operation; a replay does the same operations on the same memory,
and no Python between them, as on a GPU.
"""

from contextlib import contextmanager, nullcontext
from types import SimpleNamespace

import torch
from torch.utils import _pytree as pytree
from torch.utils._python_dispatch import TorchDispatchMode


class Graph:
    """Stands for `torch.cuda.CUDAGraph`."""

    def __init__(self):
        self.operations = []

    def replay(self):
        for func, args, kwargs, kept in self.operations:
            for place, value in zip(kept, tensors(func(*args, **kwargs)), strict=True):
                if place.data_ptr() != value.data_ptr():  # no view, and not in place
                    place.copy_(value)


def tensors(tree):
    return [each for each in pytree.tree_leaves(tree) if isinstance(each, torch.Tensor)]


class Recorder(TorchDispatchMode):
    def __init__(self, graph):
        super().__init__()
        self.graph = graph

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        self.graph.operations.append((func, args, kwargs or {}, tensors(out)))
        return out


class Stream:
    """Stands for `torch.cuda.Stream`; notes who waits for whom."""

    def __init__(self, log, name):
        self.log, self.name, self.cuda_stream = log, name, hash(name)
        self.device = torch.device('cuda', 0)

    def wait_stream(self, other):
        self.log.append(f'{self.name} waits for {other.name}')


def install(monkeypatch, log):
    """Put the stand-ins into `torch.cuda`; what happens is written to a list.

    Returns:
        Settings of the stand-ins: an exception as ``failure`` is raised by recording.
    """
    settings = SimpleNamespace(failure=None, pools=0)
    caller, side = Stream(log, 'caller'), Stream(log, 'side')

    @contextmanager
    def record(graph, *, pool, stream, capture_error_mode):
        log.append(f'record on {stream.name}, pool {pool}, {capture_error_mode}')
        if settings.failure is not None:
            raise settings.failure
        with Recorder(graph):
            yield

    def new_pool():
        settings.pools += 1
        return settings.pools

    fakes = {
        'CUDAGraph': Graph,
        'Stream': lambda *_: side,
        'current_stream': lambda *_: caller,
        'stream': lambda _: nullcontext(),
        'graph': record,
        'graph_pool_handle': new_pool,
    }
    for name, fake in fakes.items():
        monkeypatch.setattr(torch.cuda, name, fake)
    return settings
