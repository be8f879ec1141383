"""7-Scenes (Shotton et al., 2013)."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from page4d_ros.datasets.sequence import (
    Clip,
    ClipFrame,
    listed,
    read_depth_png,
    read_picture,
    rows,
)
from page4d_ros.errors import BagError
from page4d_ros.geometry.camera import PinholeCamera
from page4d_ros.units import NS_PER_S

if TYPE_CHECKING:
    from pathlib import Path

RATE_HZ = 30
UNITS, INVALID = 1000.0, 65535
CAMERA = PinholeCamera(640, 480, 585.0, 585.0, 320.0, 240.0)  # as published: not calibrated


def read(folder: Path) -> Clip:
    """One sequence: ``<scene>/seq-01`` with ``frame-000000.color.png``, depth and pose.

    Raises:
        BagError: pictures are missing, or a picture's depth or pose.
    """
    pictures = listed(folder, 'frame-*.color.png', 'pictures')
    for picture in pictures:
        for suffix in ('depth.png', 'pose.txt'):
            path = _beside(picture, suffix)
            if not path.is_file():
                raise BagError(f'{path}: is missing')
    name = f'{folder.parent.name}/{folder.name}'
    return Clip(name, len(pictures), partial(map, partial(_load, pictures)))


def _beside(picture: Path, suffix: str) -> Path:
    return picture.with_name(picture.name.replace('color.png', suffix))


def _load(pictures: list[Path], index: int) -> ClipFrame:
    picture = pictures[index]
    pose = rows(_beside(picture, 'pose.txt'), 4)
    if pose.shape != (4, 4):
        raise BagError(f'{_beside(picture, "pose.txt")}: expected 4 lines of 4 numbers')
    depth = read_depth_png(_beside(picture, 'depth.png'), UNITS, invalid=INVALID)
    stamp_ns = round((index + 1) * NS_PER_S / RATE_HZ)
    return ClipFrame(stamp_ns, read_picture(picture), CAMERA, pose, depth)
