"""Room for whole images in the shared memory of Fast DDS, also after processes were killed."""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import time
from pathlib import Path

from rclpy.utilities import get_rmw_implementation_identifier

from page4d_ros.errors import Page4dError
from page4d_ros.share import share_file

PROFILE = 'config/fastdds_shm.xml'
FAST_DDS = 'rmw_fastrtps'
VARIABLES = 'FASTRTPS_DEFAULT_PROFILES_FILE', 'FASTDDS_DEFAULT_PROFILES_FILE'  # before 3.0, since
TRANSPORTS = 'FASTDDS_BUILTIN_TRANSPORTS'
FILES = 'DEFAULT_FASTRTPS_PROFILES.xml', 'DEFAULT_FASTDDS_PROFILES.xml'  # read from here
SHARED_MEMORY = Path('/dev/shm')  # noqa: S108 - the system's, and only asked for its size
SEGMENT = re.compile(r'fastrtps_[0-9a-f]{16}')
LOCK = '_el'  # ends the name of the file beside a segment that its process keeps locked
YOUNG = 1.0  # seconds in which a new file may not be locked yet
ROOM = 48 << 20  # bytes: a segment of the profile and some more


def make_room() -> None:
    """Let Fast DDS use our profile in this process; to be called before rclpy is initialised.

    Its shared-memory segment holds 0.5 MB by default, less than one VGA image. Nothing is done
    where the user has chosen profile or transports, or where there is no room. What processes
    that were killed have left there is removed before.
    """
    if get_rmw_implementation_identifier().startswith(FAST_DDS):
        sweep()
    if not chosen() and room() >= ROOM:
        try:
            profile = str(share_file(PROFILE))
        except Page4dError:  # modules alone, as a wheel has them
            return
        os.environ.update(dict.fromkeys(VARIABLES, profile))


def sweep() -> None:
    """Remove segments whose process is gone, as ``fastdds shm clean`` does; each is some 34 MB."""
    for lock in SHARED_MEMORY.glob(f'*{LOCK}'):
        segment = lock.with_name(lock.name.removesuffix(LOCK))
        if not SEGMENT.fullmatch(segment.name):
            continue
        with contextlib.suppress(OSError), lock.open('r+') as file:  # locked, or somebody else's
            if time.time() - os.fstat(file.fileno()).st_mtime < YOUNG:
                continue
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            segment.unlink(missing_ok=True)
            lock.unlink(missing_ok=True)


def advice() -> str:
    """Remedy for images that are lost before they arrive, in the imperative."""
    remedy = 'let the camera publish reliably'
    try:
        profile = share_file(PROFILE)
    except Page4dError:
        return remedy
    return f'{remedy}, or start it with {VARIABLES[0]}={profile}'


def chosen() -> bool:
    """True if another middleware runs, or the user has told Fast DDS what to use."""
    return (
        not get_rmw_implementation_identifier().startswith(FAST_DDS)
        or any(os.environ.get(name) for name in (*VARIABLES, TRANSPORTS))
        # Humble then makes transports of its own, and ours would reach the network beside them
        or os.environ.get('ROS_LOCALHOST_ONLY') == '1'
        or any(Path(name).is_file() for name in FILES)
    )


def room() -> int:
    """Bytes that are free in shared memory: in a container few; 0 where there is none."""
    try:
        free = os.statvfs(SHARED_MEMORY)
    except OSError:
        return 0
    return free.f_bavail * free.f_frsize
