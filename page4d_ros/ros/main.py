"""Entry of ``ros2 run page4d_ros page4d_node``: light, so that an early Ctrl-C is answered."""

from __future__ import annotations

import sys

from page4d_ros.process import keep_memory
from page4d_ros.ros import signals


def main(args: list[str] | None = None) -> int:
    """Run the node; 0 when it is told to stop, however early, 1 where it cannot start."""
    signals.leave_at_once()
    keep_memory()
    try:
        from page4d_ros.ros.node import run

        return run(args)
    except ModuleNotFoundError as error:
        print(
            f'page4d_node: {error}; README.md, "On a robot", says what to install', file=sys.stderr
        )
        return 1


if __name__ == '__main__':
    sys.exit(main())
