"""DAVIS 2016 and 2017 (Perazzi et al., 2016; Pont-Tuset et al., 2017): images and masks."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from page4d_ros.datasets.files import read_image, read_mask
from page4d_ros.datasets.sequence import FileSequence
from page4d_ros.errors import BagError
from page4d_ros.truth import GroundTruthFrame
from page4d_ros.units import NS_PER_S

if TYPE_CHECKING:
    from pathlib import Path

RATE_HZ = 24
ANNOTATIONS = 'Annotations_unsupervised', 'Annotations'


def read(folder: Path) -> FileSequence:
    """One sequence: ``JPEGImages/480p/<name>``, with masks of any object in ``Annotations``.

    Raises:
        BagError: images are missing, or masks of some.
    """
    images = sorted(folder.glob('*.jpg'))
    if not images:
        raise BagError(
            f'{folder}: no images (*.jpg); DAVIS has JPEGImages/480p/<sequence>/00000.jpg and '
            'Annotations/480p/<sequence>/00000.png'
        )
    resolution, root = folder.parent.name, folder.parents[2]
    places = [root / name / resolution / folder.name for name in ANNOTATIONS]
    masks = next((place for place in places if place.is_dir()), places[-1])
    wanted = [masks / f'{image.stem}.png' for image in images]
    missing = [path for path in wanted if not path.is_file()]
    if missing:
        raise BagError(f'{missing[0]}: {len(missing)} of {len(wanted)} masks are missing')
    return FileSequence(folder.name, len(images), partial(map, partial(_load, images, wanted)))


def _load(images: list[Path], masks: list[Path], index: int) -> GroundTruthFrame:
    stamp_ns = round((index + 1) * NS_PER_S / RATE_HZ)
    return GroundTruthFrame(stamp_ns, read_image(images[index]), mask=read_mask(masks[index]))
