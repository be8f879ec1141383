"""What SIGINT and SIGTERM do: end the process, or ROS from outside, but never by an exception.

KeyboardInterrupt is raised wherever Python happens to be. Where the C++ of rclpy called Python, it
aborts the process. In code that is executed from text, as dataclasses do when torch is imported,
``python -m`` remembers it although it is caught, and dies by the signal in the end.
"""

from __future__ import annotations

import contextlib
import os
import signal
from typing import TYPE_CHECKING

from page4d_ros.errors import Page4dError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

SIGNALS = signal.SIGINT, signal.SIGTERM


def leave_at_once() -> None:
    """From now on a signal ends the process with 0; while modules are imported nothing is lost."""
    for sent in SIGNALS:
        signal.signal(sent, lambda *_: os._exit(0))


@contextlib.contextmanager
def ros(
    args: list[str] | None = None, on_signal: Callable[..., None] = lambda *_: None
) -> Iterator[None]:
    """ROS, whose context a signal shuts down; what then meets the end of ROS within is no error.

    Args:
        args: the process's, None for those of `sys.argv`.
        on_signal: called as well, as `signal.signal` says.
    """
    import rclpy

    # blocked, a signal waits until there is somebody to answer it
    before = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    try:
        for sent in SIGNALS:
            signal.signal(sent, on_signal)
        rclpy.init(args=args)  # its own handlers call those that they find
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    try:
        yield
    except (Page4dError, OSError):
        raise
    except Exception:
        if rclpy.ok():
            raise
    finally:
        # Ctrl-C under `ros2 launch` comes twice, and the interpreter's end restores the default
        for sent in SIGNALS:
            signal.signal(sent, signal.SIG_IGN)
        rclpy.try_shutdown()
