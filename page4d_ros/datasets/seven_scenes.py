"""7-Scenes (Shotton et al., 2013)."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from page4d_ros.datasets.files import listed, read_depth_png, read_image, rigid, rows
from page4d_ros.datasets.sequence import FileSequence
from page4d_ros.errors import BagError
from page4d_ros.geometry.camera import PinholeCamera
from page4d_ros.truth import GroundTruthFrame
from page4d_ros.units import NS_PER_S

if TYPE_CHECKING:
    from pathlib import Path

RATE_HZ = 30
UNITS, INVALID = 1000.0, 65535
CAMERA = PinholeCamera(640, 480, 585.0, 585.0, 320.0, 240.0)  # as published: not calibrated


def read(folder: Path) -> FileSequence:
    """One sequence: ``<scene>/seq-01`` with ``frame-000000.color.png``, depth and pose.

    Raises:
        BagError: images are missing, or an image's depth or pose.
    """
    images = listed(folder, 'frame-*.color.png', 'images')
    for image in images:
        for suffix in ('depth.png', 'pose.txt'):
            path = _beside(image, suffix)
            if not path.is_file():
                raise BagError(f'{path}: is missing')
    name = f'{folder.parent.name}/{folder.name}'
    return FileSequence(name, len(images), partial(map, partial(_load, images)))


def _beside(image: Path, suffix: str) -> Path:
    return image.with_name(image.name.replace('color.png', suffix))


def _load(images: list[Path], index: int) -> GroundTruthFrame:
    image = images[index]
    path = _beside(image, 'pose.txt')
    pose = rows(path, 4)
    if pose.shape != (4, 4):
        raise BagError(f'{path}: expected 4 lines of 4 numbers')
    depth = read_depth_png(_beside(image, 'depth.png'), UNITS, invalid=INVALID)
    stamp_ns = round((index + 1) * NS_PER_S / RATE_HZ)
    return GroundTruthFrame(stamp_ns, read_image(image), CAMERA, rigid(pose, path), depth)
