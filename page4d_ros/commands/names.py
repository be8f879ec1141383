"""Commands that write what others need to know of the node's names: policy and layouts."""

from __future__ import annotations

import re
from enum import Enum
from typing import Annotated

from typer import Argument, Option

from page4d_ros.errors import ConfigError

NAME = r'(/[A-Za-z_][A-Za-z0-9_]*)+'

Cameras = Annotated[
    list[str] | None, Option('--camera', help="Name of a rig's camera; repeat it for each.")
]
NodeName = Annotated[str, Option(help='Fully qualified name of the node.')]


class Viewer(str, Enum):
    """Programs that show what the node publishes."""

    rviz = 'rviz'
    foxglove = 'foxglove'


def policy(*, camera: Cameras = None, node_name: NodeName = '/page4d') -> None:
    """Print the SROS 2 policy of the node: the topics and services that it may use."""
    from page4d_ros.messages.policy import policy as text

    namespace, name = _parts(node_name)
    print(text(_cameras(camera), namespace or '/', name), end='')


def layout(
    viewer: Annotated[Viewer, Argument(help='Program to lay out.')],
    *,
    camera: Cameras = None,
    node_name: NodeName = '/page4d',
    odom_frame: Annotated[str, Option(help='Frame of the trajectory (frames.odom).')] = 'odom',
    base_frame: Annotated[str, Option(help='Frame that the view follows.')] = 'base_link',
) -> None:
    """Print a layout of RViz or Foxglove for the node and each of its cameras.

    Open it with ``rviz2 -d FILE``, started in the node's namespace, or as a layout that Foxglove
    imports from a file.
    """
    from page4d_ros.messages.layouts import Shown, foxglove, rviz

    namespace, name = _parts(node_name)
    shown = Shown(_cameras(camera), namespace, name, odom_frame, base_frame)
    print(rviz(shown) if viewer is Viewer.rviz else foxglove(shown), end='')


def _parts(node_name: str) -> tuple[str, str]:
    """Namespace and name of a node."""
    if not re.fullmatch(NAME, node_name):
        raise ConfigError(f'--node-name {node_name!r}: expected a name such as /robot/page4d')
    namespace, _, name = node_name.rpartition('/')
    return namespace, name


def _cameras(names: list[str] | None) -> list[str]:
    """Names of a rig's cameras, checked."""
    from page4d_ros.config import Config

    return Config().with_values({'cameras': names or []}).cameras
