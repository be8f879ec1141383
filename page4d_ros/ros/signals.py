"""SIGINT and SIGTERM end the process, or ROS from outside, but never by an exception.

KeyboardInterrupt is raised wherever Python happens to be. Where the C++ of rclpy called Python, it
aborts the process. In code that is executed from text, as dataclasses do when torch is imported,
``python -m`` remembers it although it is caught, and dies by the signal in the end.
"""

from __future__ import annotations

import contextlib
import os
import signal
from typing import TYPE_CHECKING

from page4d_ros.errors import Page4dError, RosError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

SIGNALS = signal.SIGINT, signal.SIGTERM


def leave_at_once() -> None:
    """Let signals end the process with 0 at once: while modules load, nothing is lost."""
    for sent in SIGNALS:
        signal.signal(sent, lambda *_: os._exit(0))


@contextlib.contextmanager
def ros(
    args: list[str] | None = None, on_signal: Callable[[], None] = lambda: None
) -> Iterator[None]:
    """Run ROS until a signal shuts its context down; drop exceptions that follow from that.

    rclpy's own handler wakes the executor before it shuts the context down, in a thread: an
    executor that is back in its wait by then sleeps for ever. So it is done here as well, before
    the interrupted code goes on.

    Args:
        args: the process's, None for those of `sys.argv`.
        on_signal: called first.

    Raises:
        RosError: ROS does not start: an argument is malformed, or there is no such keystore.
    """
    import rclpy

    from page4d_ros.ros import transport

    transport.make_room()
    context = rclpy.get_default_context()
    signalled = False

    def end(*_: object) -> None:
        nonlocal signalled
        signalled = True
        on_signal()
        if context.handle is not None:
            with contextlib.suppress(RuntimeError):  # rclpy's thread was first
                # not of the context, whose lock the interrupted code may hold
                context.handle.shutdown()

    # blocked, a signal waits until its handler is installed
    before = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    try:
        for sent in SIGNALS:
            signal.signal(sent, end)
        rclpy.init(args=args)  # its own handlers call those that they find
    except RuntimeError as error:
        raise RosError(f'ROS does not start: {" ".join(str(error).split())}') from error
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    if signalled:  # in another thread, before rclpy's handler was there
        rclpy.try_shutdown()
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
