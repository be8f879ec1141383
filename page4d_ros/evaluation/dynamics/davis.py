"""Clips with masks in the layout of DAVIS 2016 and 2017 (Perazzi et al.; Pont-Tuset et al.)."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import cv2
import numpy as np

from page4d_ros.errors import BagError
from page4d_ros.perception.types import Frame

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from numpy.typing import NDArray

RATE_HZ = 24
RESOLUTIONS = '480p', 'Full-Resolution', '1080p'
ANNOTATIONS = 'Annotations_unsupervised', 'Annotations'


class Clip(NamedTuple):
    """Pictures and masks of one sequence, in order."""

    name: str
    images: list[Path]
    masks: list[Path]

    def frames(self) -> Iterator[tuple[Frame, NDArray[np.bool_]]]:
        """Frame, and mask (H, W) of any object.

        Raises:
            BagError: a picture cannot be read, or its mask has another size.
        """
        for index, (image, mask) in enumerate(zip(self.images, self.masks, strict=True)):
            picture = np.ascontiguousarray(_read(image, cv2.IMREAD_COLOR)[..., ::-1])
            truth = _read(mask, cv2.IMREAD_UNCHANGED)
            if truth.shape[:2] != picture.shape[:2]:
                sizes = ' and '.join(f'{a.shape[1]}x{a.shape[0]}' for a in (picture, truth))
                raise BagError(f'{mask}: picture and mask have different sizes, {sizes}')
            moving = truth > 0 if truth.ndim == 2 else (truth > 0).any(-1)
            stamp = round((index + 1) * 1e9 / RATE_HZ)
            yield Frame(stamp, 'camera', lambda image=picture: image), moving


def clips(folder: Path) -> list[Clip]:
    """Sequences of a folder that holds ``JPEGImages`` and ``Annotations``.

    Raises:
        BagError: it has another layout, or a frame has no mask; says which.
    """
    resolution = next((r for r in RESOLUTIONS if (folder / 'JPEGImages' / r).is_dir()), None)
    if resolution is None:
        raise BagError(
            f'{folder}: no DAVIS, which has JPEGImages/480p/<sequence>/00000.jpg and '
            'Annotations/480p/<sequence>/00000.png'
        )
    out = []
    for images in sorted((folder / 'JPEGImages' / resolution).iterdir()):
        pictures = sorted(images.glob('*.jpg'))
        places = [folder / name / resolution / images.name for name in ANNOTATIONS]
        masks = next((place for place in places if place.is_dir()), None)
        if masks is None or not pictures:
            continue
        wanted = [masks / f'{picture.stem}.png' for picture in pictures]
        missing = [path for path in wanted if not path.is_file()]
        if missing:
            raise BagError(f'{missing[0]}: {len(missing)} of {len(wanted)} masks are missing')
        out.append(Clip(images.name, pictures, wanted))
    if not out:
        raise BagError(f'{folder}: no sequence has both pictures and annotations')
    return out


def _read(path: Path, flags: int) -> NDArray:
    image = cv2.imread(str(path), flags)
    if image is None:
        raise BagError(f'{path}: is no picture, or a damaged one')
    return image
