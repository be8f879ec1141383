"""Options of drives and shards; imports nothing heavy, so that command lines can show them."""

from __future__ import annotations

from enum import Enum
from typing import NamedTuple


class Rig(str, Enum):
    """Carrier of the camera: a hand, a robot on wheels or legs, a drone, or a tripod."""

    HANDHELD = 'handheld'
    WHEELS = 'wheels'
    LEGGED = 'legged'
    FLIGHT = 'flight'
    TRIPOD = 'tripod'


class Traffic(str, Enum):
    """Number of moving bodies of each kind: none, one or two, or two or three."""

    NONE = 'none'
    SOME = 'some'
    MANY = 'many'


class ShardFormat(NamedTuple):
    """Image size and timing common to the shards of a folder.

    Attributes:
        width: image width in pixels.
        height: image height in pixels.
        fov_x_deg: horizontal field of view in degrees; wider than the network's input, so
            that views can be rotated and zoomed at random; 0 gives each drive its own.
        frames: frames per drive.
        rate_hz: frames per second.
    """

    width: int = 160
    height: int = 120
    fov_x_deg: float = 72.0
    frames: int = 20
    rate_hz: float = 10.0
