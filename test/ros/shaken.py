"""A scheduler that perturbs timing: threads switch at any moment, and sleep around every lock."""

import contextlib
import random
import sys
import threading
import time
from types import SimpleNamespace

MODULES = (
    'page4d_ros.perception.intake',
    'page4d_ros.perception.runner',
    'page4d_ros.perception.scale',
    'page4d_ros.ros.worker',
)
SWITCH = 1e-6  # seconds between switches of threads
LONGEST = 3e-4  # seconds of a sleep
RANDOM = random.Random(0)  # of CPython, thread safe


def nap():
    """Sleep for a moment, or give way, or do neither."""
    choice = RANDOM.random()
    if choice < 0.5:
        time.sleep(0.0 if choice < 0.25 else RANDOM.uniform(0.0, LONGEST))


class ShakenLock:
    """A lock around whose acquisition and release threads sleep."""

    def __init__(self, lock):
        self._lock = lock

    def acquire(self, *args, **kwargs):
        nap()
        got = self._lock.acquire(*args, **kwargs)
        nap()
        return got

    def release(self):
        nap()
        self._lock.release()
        nap()

    def __enter__(self):
        return self.acquire()

    def __exit__(self, *_):
        self.release()

    def __getattr__(self, name):  # of RLock, for conditions
        return getattr(self._lock, name)


@contextlib.contextmanager
def scheduler(monkeypatch):
    """Shake all locks that the package makes meanwhile."""
    shaken = SimpleNamespace(**vars(threading))
    shaken.Lock = lambda: ShakenLock(threading.Lock())
    shaken.RLock = lambda: ShakenLock(threading.RLock())
    shaken.Condition = lambda lock=None: threading.Condition(lock or shaken.RLock())
    for name in MODULES:
        monkeypatch.setattr(f'{name}.threading', shaken)
    monkeypatch.setattr('page4d_ros.ros.worker.IDLE', 1e-3)
    before = sys.getswitchinterval()
    sys.setswitchinterval(SWITCH)
    try:
        yield
    finally:
        sys.setswitchinterval(before)
