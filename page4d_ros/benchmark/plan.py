"""Memory that networks and windows would need, without running them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, NamedTuple

import torch

from page4d_ros.benchmark.cases import HALF_WIDTH
from page4d_ros.config import ModelConfig
from page4d_ros.model.checkpoint import untrained_network
from page4d_ros.model.config import FourDVGGTConfig, NetworkConfig
from page4d_ros.perception.devices import PRECISIONS
from page4d_ros.perception.memory import MIB

NOWHERE = torch.device('meta')
NEWEST = 2  # frames that get depth: the new one, and the anchor of odometry


class Wish(NamedTuple):
    """A network and the images it is to see; the windows' sizes and precisions are varied."""

    name: str
    network: NetworkConfig
    size: tuple[int, int]  # height and width


WISHES = (
    Wish('page4d-small', NetworkConfig.small(), (84, 112)),
    Wish('page4d-small', NetworkConfig.small(), (154, 210)),
    Wish('width 384', HALF_WIDTH, (154, 210)),
    Wish('width 384', HALF_WIDTH, (392, 518)),
    Wish('published', NetworkConfig.published(), (154, 210)),
    Wish('published', NetworkConfig.published(), (392, 518)),
    Wish('4D-VGGT', FourDVGGTConfig.published(), (154, 210)),
    Wish('4D-VGGT', FourDVGGTConfig.published(), (392, 518)),
)
WINDOWS = 4, 8, 16


def plan(
    wishes: tuple[Wish, ...] = WISHES, windows: tuple[int, ...] = WINDOWS
) -> list[dict[str, Any]]:
    """Memory of each network, window and precision; in MiB.

    Returns:
        For each: its name, window, size and precision; ``weights_mb``, ``cache_mb`` and
        ``working_mb`` as in `Memory`, and their sum, ``total_mb``.
    """
    rows = []
    for name, config, (height, width) in wishes:
        for precision in ('fp32', 'bf16'):
            with NOWHERE:
                network = untrained_network(replace(config, mask_enabled=config.mask_head))
            network.prepare(NOWHERE, PRECISIONS[precision], points=ModelConfig.point_head)
            for frames in windows:
                memory = network.memory(frames, (height, width), min(NEWEST, frames))
                parts = {f'{part}_mb': size / MIB for part, size in memory._asdict().items()}
                about = {'name': name, 'frames': frames, 'height': height, 'width': width}
                about['precision'] = precision
                rows.append(about | parts | {'total_mb': sum(memory) / MIB})
    return rows
