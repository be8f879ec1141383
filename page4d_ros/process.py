"""Settings of the whole process, made once by its entry point."""

from __future__ import annotations

import ctypes
import os
import time
from pathlib import Path
from typing import NamedTuple

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # mallopt(3)
KEPT = 1 << 28  # bytes that were freed, at most
LARGEST = 1 << 25  # an allocation that comes from them: glibc's own limit
CORES = Path('/proc/stat')
CONTAINER = Path('/sys/fs/cgroup/cpu.max')  # version 2
WAITING, THREADS, BLAS = 'OMP_WAIT_POLICY', 'OMP_NUM_THREADS', 'OPENBLAS_NUM_THREADS'
UNSEEN = 0.2  # cores that interrupts and short work of others may take of a free one
SHORTEST = 0.2  # seconds over which cores are watched, at least


def prepare() -> None:
    """Set cores and memory up; for whoever owns the process, before NumPy and torch come."""
    share_cores()
    keep_memory()


def share_cores() -> None:
    """Let no threads spin while they wait for each other.

    Beside other busy processes, spinning threads keep those that they wait for from running.
    Threads of torch sleep; those of OpenBLAS cannot, and NumPy, whose matrices are small here,
    gets one. ``OMP_WAIT_POLICY`` and ``OPENBLAS_NUM_THREADS`` in the environment have their way;
    they are read when torch and NumPy are imported.
    """
    os.environ.setdefault(WAITING, 'passive')
    os.environ.setdefault(BLAS, '1')


def keep_memory() -> None:
    """Let this process keep the memory it frees.

    glibc gives large blocks back to the system at once, and takes them again, page by page, for
    the next map of an image: that took two thirds of the time of the maps. The setting is of the
    whole process, so it is for whoever owns the process to make: node and command line do, a
    library must not. Other allocators than glibc's are left alone.
    """
    libc = ctypes.CDLL(None)
    if hasattr(libc, 'mallopt'):
        libc.mallopt(M_MMAP_THRESHOLD, LARGEST)
        libc.mallopt(M_TRIM_THRESHOLD, KEPT)


class _Use(NamedTuple):
    """Counters of time in seconds: the wall's, all idle cores', and this process's own."""

    wall: float
    idle: float
    own: float

    @classmethod
    def now(cls) -> _Use | None:
        """Counters at this moment; None where the system has none."""
        try:
            fields = CORES.read_text().split('\n', 1)[0].split()
        except OSError:
            return None
        idle = sum(map(int, fields[4:6])) / os.sysconf('SC_CLK_TCK')  # waiting for disks, too
        return cls(time.monotonic(), idle, time.process_time())


BEGUN = _Use.now()  # imported first by the entry points


def allowed_cores() -> int:
    """Cores that this process may use, by its affinity and the limit of its container."""
    known = hasattr(os, 'sched_getaffinity')
    count = len(os.sched_getaffinity(0)) if known else os.cpu_count() or 1
    try:
        quota, period = CONTAINER.read_text().split()
    except OSError:
        return count
    return count if quota == 'max' else max(1, min(count, round(int(quota) / int(period))))


def free_cores() -> int:
    """Cores that others have left to this process since it began, at least one.

    One that others use part of the time is not free: threads that compute together wait for the
    slowest of them.
    """
    most = allowed_cores()
    if BEGUN is None:
        return most
    time.sleep(max(0.0, BEGUN.wall + SHORTEST - time.monotonic()))
    wall, idle, own = (now - then for now, then in zip(_Use.now(), BEGUN, strict=True))
    return max(1, min(most, int((idle + own) / wall + UNSEEN)))


def use_threads(count: int) -> int:
    """Let torch and OpenCV compute with so many threads; returns how many.

    Args:
        count: 0 takes ``OMP_NUM_THREADS`` of the environment, or else the free cores.
    """
    import cv2
    import torch

    if not count:
        given = os.environ.get(THREADS, '')
        count = int(given) if given.isdecimal() and int(given) else free_cores()
    torch.set_num_threads(count)
    cv2.setNumThreads(count)
    return count
