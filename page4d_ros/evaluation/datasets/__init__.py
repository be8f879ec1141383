"""Data sets in their published layouts: one small reader each, behind one interface."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from page4d_ros.errors import BagError
from page4d_ros.evaluation.datasets import (
    davis,
    dycheck,
    euroc,
    kitti,
    point_odyssey,
    seven_scenes,
    sintel,
    tum,
)
from page4d_ros.evaluation.datasets.clip import Clip, ClipFrame, sequences

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

__all__ = ['DATASETS', 'Clip', 'ClipFrame', 'open_clips']


class Dataset(NamedTuple):
    """How a data set is found on disk.

    Attributes:
        read: reads the folder of one sequence.
        marker: what a sequence's folder holds, as a pattern.
        below: where sequences lie, below the folder that is given.
        layout: for messages.
    """

    read: Callable[[Path], Clip]
    marker: str
    below: tuple[str, ...]
    layout: str


_TUM = Dataset(tum.read, 'rgb.txt', ('',), '<sequence>/rgb.txt, depth.txt, groundtruth.txt')
DATASETS = {
    'tum': _TUM,
    'bonn': _TUM,
    'sintel': Dataset(
        sintel.read, 'frame_*.png', ('training/final', 'final'), 'training/final/<sequence>'
    ),
    'davis': Dataset(
        davis.read,
        '*.jpg',
        ('JPEGImages/480p', 'JPEGImages/Full-Resolution', 'JPEGImages/1080p'),
        'JPEGImages/480p/<sequence> and Annotations/480p/<sequence>',
    ),
    'kitti': Dataset(
        kitti.read, 'image_2', ('sequences',), 'sequences/<number>/image_2 and poses/<number>.txt'
    ),
    '7scenes': Dataset(seven_scenes.read, 'frame-*.color.png', ('',), '<scene>/seq-<number>'),
    'euroc': Dataset(euroc.read, 'mav0', ('',), '<sequence>/mav0'),
    'pointodyssey': Dataset(
        point_odyssey.read, 'anno.npz', ('',), '<sequence>/rgbs, depths and anno.npz'
    ),
    'dycheck': Dataset(dycheck.read, 'camera', ('',), '<sequence>/rgb/2x, depth/2x and camera'),
}


def open_clips(name: str, folder: Path, wanted: Sequence[str] = ()) -> list[Clip]:
    """Sequences of a data set: of its folder, or of one sequence's folder.

    Args:
        name: of `DATASETS`.
        folder: as it was unpacked.
        wanted: names of sequences; () takes all.

    Raises:
        BagError: the folder has another layout, or a sequence is broken; says what and where.
    """
    if name not in DATASETS:
        raise BagError(f'no data set {name!r}; there are {", ".join(DATASETS)}')
    dataset, folder = DATASETS[name], folder.expanduser().resolve()
    if not folder.is_dir():
        raise BagError(f'{folder}: no such folder; expected {dataset.layout}')
    if any(folder.glob(dataset.marker)):
        if wanted and list(wanted) != [folder.name]:
            raise BagError(f'{folder}: is itself a sequence; leave out --sequence')
        return [dataset.read(folder)]
    root = next((folder / b for b in dataset.below if (folder / b).is_dir()), None)
    if root is None:
        raise BagError(f'{folder}: is no {name}; expected {dataset.layout}')
    found = sequences(root, wanted, dataset.layout)
    if not wanted:
        found = [path for path in found if any(path.glob(dataset.marker))]
    if not found:
        raise BagError(f'{root}: holds no sequence of {name}; expected {dataset.layout}')
    return [dataset.read(path) for path in found]
