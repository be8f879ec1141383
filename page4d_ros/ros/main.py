"""Entry of ``ros2 run page4d_ros page4d_node``: light, so that an early Ctrl-C is answered."""

from __future__ import annotations

import os
import signal
import sys

SIGNALS = signal.SIGINT, signal.SIGTERM


def main(args: list[str] | None = None) -> int:
    """Run the node; 0 when it is told to stop, however early, 1 where it cannot start."""
    usual = [signal.signal(sent, _leave) for sent in SIGNALS]
    try:
        from page4d_ros.ros.node import run

        for sent, handler in zip(SIGNALS, usual, strict=True):
            signal.signal(sent, handler)
        return run(args)
    except KeyboardInterrupt:
        return 0
    except ModuleNotFoundError as error:
        print(
            f'page4d_node: {error}; README.md, "On a robot", says what to install', file=sys.stderr
        )
        return 1


def _leave(*_: object) -> None:
    """End at once: an exception would be lost, or misread, in the import of some C extension."""
    os._exit(0)


if __name__ == '__main__':
    sys.exit(main())
