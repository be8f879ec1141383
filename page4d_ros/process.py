"""Settings of the whole process, made once by its entry point."""

from __future__ import annotations

import ctypes

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # mallopt(3)
KEPT = 1 << 28  # bytes that were freed, at most
LARGEST = 1 << 25  # an allocation that comes from them: glibc's own limit


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
