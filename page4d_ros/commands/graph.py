"""Commands on the ROS graph; they need a ROS 2 installation."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

import typer
from typer import Argument, Option

from page4d_ros.errors import Page4dError, printable

WAIT_SECONDS = 300.0


def need_ros() -> None:
    """Refuse politely where there is no ROS 2.

    Raises:
        Page4dError: rclpy is not installed.
    """
    if find_spec('rclpy') is None:
        raise Page4dError(
            'this command needs ROS 2: source an installation; `page4d replay` works without'
        )


def play(
    source: Annotated[Path, Argument(help='rosbag1, rosbag2 folder, .mcap or .db3.')],
    *,
    rate: Annotated[float, Option(min=0.01, help='Speed; 1 is real time.')] = 1.0,
    loops: Annotated[int, Option(min=1, help='How often.')] = 1,
    wait: Annotated[bool, Option('--wait', help='Until somebody listens to images.')] = False,
    topic: Annotated[list[str] | None, Option(help='Play only these topics; repeat it.')] = None,
) -> None:
    """Play a recording on the ROS graph, with /clock."""
    need_ros()
    from page4d_ros.ros.signals import leave_at_once

    leave_at_once()  # with 0, as nodes do: `ros2 launch` calls anything else a death
    from page4d_ros.ros.player import play as run

    seconds = WAIT_SECONDS if wait else 0.0
    run(source, rate=rate, loops=loops, wait=seconds, topics=topic or (), say=print)


def record(
    output: Annotated[Path, Argument(help='Folder to make (rosbag2, MCAP).')],
    *,
    node_name: Annotated[str, Option(help='Fully qualified name of the node.')] = '/page4d',
    sim_time: Annotated[bool, Option('--sim-time', help='Log times are of /clock.')] = False,
    topic: Annotated[
        list[str] | None, Option(help='Record only these outputs; repeat it.')
    ] = None,
    camera: Annotated[
        list[str] | None, Option(help="Name of a rig's camera; repeat it for each.")
    ] = None,
    force: Annotated[bool, Option('--force', help='Replace a recording that is there.')] = False,
) -> None:
    """Record what the node publishes, until interrupted."""
    need_ros()
    from page4d_ros.ros.recorder import record as run

    run(
        output,
        node_name=node_name,
        force=force,
        sim_time=sim_time,
        topics=topic or (),
        cameras=camera or (),
        say=print,
    )


def top(
    *,
    node: Annotated[
        list[str] | None, Option(help='Fully qualified name of a node; repeat it. All if none.')
    ] = None,
    once: Annotated[bool, Option('--once', help='Print the present state, and end.')] = False,
    interval: Annotated[float, Option(min=0.1, max=60, help='Seconds between updates.')] = 0.5,
    patience: Annotated[float, Option(min=0.1, help='Seconds to wait for a node.')] = 5.0,
) -> None:
    """Show rates, stages, window, trust, scale, drops and paths of all nodes, until Ctrl-C."""
    need_ros()
    from rich.console import Console
    from rich.live import Live

    from page4d_ros.dashboard import dashboard
    from page4d_ros.ros.top import listen

    console = Console()
    if not once and not console.is_terminal:
        raise Page4dError('there is no terminal to draw on: use --once')
    given = {'patience': patience, 'once': once, 'interval': interval}
    if once:
        listen(node or (), show=lambda states: console.print(dashboard(states)), **given)
        return
    with Live(console=console, auto_refresh=False, screen=True) as live:
        listen(
            node or (),
            show=lambda states: live.update(dashboard(states), refresh=True),
            **given,
        )


def health(
    *,
    node: Annotated[str, Option(help='Fully qualified name of the node.')] = '/page4d',
    patience: Annotated[float, Option(min=0.1, help='Seconds to wait for its answer.')] = 5.0,
) -> None:
    """Print what a node's diagnostics say; exit with 1 on an error, or if none come."""
    need_ros()
    from page4d_ros.ros.health import health as ask

    fine, text = ask(node, patience)
    print(printable(text))
    if not fine:
        raise typer.Exit(1)
