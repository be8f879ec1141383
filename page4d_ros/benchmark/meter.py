"""Clocks and counters for pieces of torch code, on a CPU or a GPU."""

from __future__ import annotations

import gzip
import json
import tempfile
import time
from collections import defaultdict
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np
import torch
from torch.profiler import ProfilerActivity, profile
from torch.utils.flop_counter import FlopCounterMode

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import ArrayLike
    from torch import nn

SIDE = 2048  # of the matrices whose product shows what the machine can do
BYTES = 256 << 20


def now(device: torch.device) -> float:
    """Seconds of computing so far: of this process on a CPU, where others may be busy, too."""
    if device.type == 'cuda':
        torch.cuda.synchronize(device)
        return time.perf_counter()
    return time.process_time()


def flops(run: Callable[[], object]) -> float:
    """Floating-point operations of matrix products, convolutions and attention in a call."""
    with FlopCounterMode(display=False) as counter:
        run()
    return float(counter.get_total_flops())


def peak_bytes(run: Callable[[], object], device: torch.device) -> int:
    """Most memory that torch held at once during a call, above what it held before."""
    if device.type == 'cuda':
        torch.cuda.synchronize(device)
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        run()
        torch.cuda.synchronize(device)
        return torch.cuda.max_memory_allocated(device) - before
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
        run()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / 'trace.json.gz'
        profiler.export_chrome_trace(str(path))
        with gzip.open(path) as file:
            events = json.load(file)['traceEvents']
    held = peak = 0
    changes = [e for e in events if e.get('name') == '[memory]']
    for event in sorted(changes, key=lambda e: e['ts']):
        held += event['args']['Bytes']
        peak = max(peak, held)
    return peak


class Stages:
    """Seconds spent in modules of a network, each on its own.

    Args:
        modules: what to time, by name of the stage; several may share one.
        device: where they run.
    """

    def __init__(self, modules: list[tuple[str, nn.Module]], device: torch.device) -> None:
        self.device = device
        self.seconds: dict[str, float] = defaultdict(float)
        self._handles = []
        for name, module in modules:
            started: list[float] = []

            def before(*_: object, started: list[float] = started) -> None:
                started.append(now(device))

            def after(*_: object, started: list[float] = started, name: str = name) -> None:
                self.seconds[name] += now(device) - started.pop()

            self._handles += [
                module.register_forward_pre_hook(before),
                module.register_forward_hook(after),
            ]

    def close(self) -> dict[str, float]:
        """Stop timing; milliseconds by stage."""
        for handle in self._handles:
            handle.remove()
        return {name: 1e3 * value for name, value in self.seconds.items()}


@contextmanager
def threads(count: int | None) -> Iterator[None]:
    """Let torch and OpenCV use so many threads of the CPU; None leaves them alone."""
    before = torch.get_num_threads(), cv2.getNumThreads()
    torch.set_num_threads(count or before[0])
    cv2.setNumThreads(count or before[1])
    try:
        yield
    finally:
        torch.set_num_threads(before[0])
        cv2.setNumThreads(before[1])


def machine(device: torch.device, dtype: torch.dtype) -> dict[str, float]:
    """Best rates of the machine at this moment: TFLOP/s of a matrix product, GB/s of a copy."""
    a = torch.randn(SIDE, SIDE, device=device, dtype=dtype)
    memory = torch.empty(BYTES, dtype=torch.uint8, device=device)
    other = torch.empty_like(memory)
    product = best(lambda: torch.mm(a, a), device)
    copy = best(lambda: other.copy_(memory), device)
    return {'tflops': 2e-12 * SIDE**3 / product, 'copy_gb_per_s': 2e-9 * BYTES / copy}


def best(run: Callable[[], object], device: torch.device, times: int = 5) -> float:
    """Seconds of the quickest of some calls."""
    out = []
    for _ in range(times):
        start = now(device)
        run()
        out.append(now(device) - start)
    return min(out)


def spread(values: ArrayLike) -> list[float]:
    """Median and 95th percentile."""
    return [float(q) for q in np.quantile(values, (0.5, 0.95))]
