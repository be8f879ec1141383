"""Command that writes the node's security policy."""

from __future__ import annotations

import re
from typing import Annotated

from typer import Option

from page4d_ros.errors import ConfigError

NODE_NAME = r'(/[A-Za-z_][A-Za-z0-9_]*)+'


def policy(
    *,
    camera: Annotated[
        list[str] | None, Option(help="Name of a rig's camera; repeat it for each.")
    ] = None,
    node_name: Annotated[str, Option(help='Fully qualified name of the node.')] = '/page4d',
) -> None:
    """Print the SROS 2 policy of the node: the topics and services that it may use."""
    from page4d_ros.config import Config
    from page4d_ros.messages.policy import policy as text

    if not re.fullmatch(NODE_NAME, node_name):
        raise ConfigError(f'--node-name {node_name!r}: expected a name such as /robot/page4d')
    cameras = Config().with_values({'cameras': camera or []}).cameras
    namespace, _, name = node_name.rpartition('/')
    print(text(cameras, namespace or '/', name), end='')
