"""Memory that is free, and settings with which a window or a clip would fit into it."""

from __future__ import annotations

import gc
import math
import resource
from bisect import bisect_right
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from page4d_ros.errors import DeviceMemoryError
from page4d_ros.geometry.camera import ImageTransform

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

MIB = 1 << 20
KIB = 1 << 10
SYSTEM = Path('/proc/meminfo')
PROCESS = Path('/proc/self/statm')  # sizes in pages (proc(5))
CONTAINER = Path('/sys/fs/cgroup')  # version 2
NO_ROOM_ON_CPU = 'DefaultCPUAllocator'  # in the text of torch's error, which has no class


def free_bytes(device: torch.device) -> float:
    """Memory that a device can still give to this process; infinite where nobody tells.

    On a CPU the least of what the system, the container (cgroup 2) and the limit of the process
    (``ulimit -v``) leave.
    """
    if device.type == 'cuda':
        unused = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return torch.cuda.mem_get_info(device)[0] + unused
    return min(_system(), _container(), _process())


def taken_bytes(device: torch.device) -> int:
    """Memory of a GPU that this process has taken, caches included."""
    return torch.cuda.memory_reserved(device)


def resident_bytes() -> int:
    """Memory of this process, code included; 0 where the system does not tell."""
    try:
        return int(PROCESS.read_text().split()[1]) * resource.getpagesize()
    except OSError:
        return 0


def _system() -> float:
    try:
        lines = SYSTEM.read_text().splitlines()
    except OSError:
        return math.inf
    known = dict(line.split(':') for line in lines)
    return KIB * int(known['MemAvailable'].split()[0]) if 'MemAvailable' in known else math.inf


def _container() -> float:
    try:
        most = (CONTAINER / 'memory.max').read_text().strip()
        used = int((CONTAINER / 'memory.current').read_text())
    except OSError:
        return math.inf
    return math.inf if most == 'max' else int(most) - used


def _process() -> float:
    most, _ = resource.getrlimit(resource.RLIMIT_AS)
    if most == resource.RLIM_INFINITY or not PROCESS.exists():
        return math.inf
    return most - resource.getpagesize() * int(PROCESS.read_text().split()[0])


@contextmanager
def explained(explain: Callable[[], str]) -> Iterator[None]:
    """Turn the errors of a device without room into ours.

    Args:
        explain: says what was too much, and what would fit.

    Raises:
        DeviceMemoryError: there was no room.
    """
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        known = isinstance(error, torch.OutOfMemoryError | MemoryError)
        if not known and NO_ROOM_ON_CPU not in str(error):
            raise
        gc.collect()
        torch.cuda.empty_cache()
        raise DeviceMemoryError(explain()) from error


def most_frames(needed: Callable[[int], int], frames: int, available: float) -> int:
    """Largest number of frames, fewer than these, that needs no more; 0 for none."""
    return bisect_right(range(1, frames), available, key=needed)


def largest_width(
    needed: Callable[[ImageTransform], int], fit: ImageTransform, patch: int, available: float
) -> int:
    """Largest width of the network's image, less than now, that needs no more; 0 for none."""
    widths = range(patch, fit.width, patch)
    source = fit.source_width, fit.source_height

    def of_width(width: int) -> int:
        return needed(ImageTransform.crop(*source, width, patch))

    return bisect_right(widths, available, key=of_width) * patch
