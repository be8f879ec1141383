"""Entry point of ``ros2 run page4d_ros page4d_node``: light, so that Ctrl-C works early."""

from __future__ import annotations

import sys

from page4d_ros.errors import Page4dError
from page4d_ros.process import prepare
from page4d_ros.ros import signals


def main(args: list[str] | None = None) -> int:
    """Run the node; returns 0 after a signal, however early, and 1 if it cannot start."""
    signals.leave_at_once()
    prepare()
    try:
        from page4d_ros.ros.node import run

        return run(args)
    except Page4dError as error:
        print(f'page4d_node: {error}', file=sys.stderr)
        return 1
    except ModuleNotFoundError as error:
        print(
            f'page4d_node: {error}; README.md, "On a robot", says what to install', file=sys.stderr
        )
        return 1


if __name__ == '__main__':
    sys.exit(main())
