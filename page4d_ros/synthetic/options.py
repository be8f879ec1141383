"""What can be asked of drives and of their pictures; light, so that command lines can show it."""

from __future__ import annotations

from enum import Enum
from typing import NamedTuple


class Rig(str, Enum):
    """What carries the camera: a hand, a robot that looks ahead, a drone, or a stand."""

    HANDHELD = 'handheld'
    WHEELS = 'wheels'
    FLIGHT = 'flight'
    TRIPOD = 'tripod'


class Traffic(str, Enum):
    """How much moves: nothing, a body or two of each kind, or one more of each."""

    NONE = 'none'
    SOME = 'some'
    MANY = 'many'


class ShardFormat(NamedTuple):
    """What every shard of a set has in common.

    Attributes:
        width: image width in pixels.
        height: image height in pixels.
        fov_x_deg: horizontal field of view; wider than the network's, so that views can be
            turned and zoomed within it.
        frames: frames per drive.
        rate_hz: frames per second.
    """

    width: int = 160
    height: int = 120
    fov_x_deg: float = 72.0
    frames: int = 20
    rate_hz: float = 10.0
