"""Data sets in their published layouts: one small reader each, behind one interface."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from page4d_ros.bags.reader import is_bag
from page4d_ros.datasets import (
    bag,
    davis,
    dycheck,
    euroc,
    kitti,
    point_odyssey,
    seven_scenes,
    sintel,
    tum,
)
from page4d_ros.datasets.bag import FOUND, Topics
from page4d_ros.datasets.sequence import FileSequence
from page4d_ros.errors import BagError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

BAG = 'bag'
LOOK = 5  # frames at the beginning that are searched for depth


class Dataset(NamedTuple):
    """Layout of a data set on disk.

    Attributes:
        read: reads the folder of one sequence.
        marker: pattern of a file or folder that every sequence's folder holds; "" for recordings.
        roots: folders of sequences, below the root of the data set; () where that is its root.
        layout: description for messages.
        units: units of depth in its files, for messages.
        usual: least and largest median of a depth image in metres; beyond, the units are doubted.
    """

    read: Callable[[Path], FileSequence]
    marker: str
    roots: tuple[str, ...]
    layout: str
    units: str = ''
    usual: tuple[float, float] = (0.0, np.inf)

    def holds(self, path: Path) -> bool:
        """True if the folder is that of a sequence."""
        return any(path.glob(self.marker)) if self.marker else is_bag(path)

    def below(self, folder: Path, wanted: Sequence[str]) -> list[Path]:
        """Folders of the sequences below the root of a data set, a scene or a folder above.

        Args:
            folder: where to search.
            wanted: names of sequences, with or without that of the scene; () takes all.

        Raises:
            BagError: there is none, or not the wanted one; says what was expected.
        """
        above = (folder, *sorted(path for path in folder.iterdir() if path.is_dir()))
        roots = [root / name for root in above for name in self.roots]
        places = [(root, '*') for root in roots] + [(folder, '*'), (folder, '*/*')]
        for root, pattern in places:
            inside = sorted(path for path in root.glob(pattern) if path.is_dir())
            found = [path for path in inside if self.holds(path)]
            if found:
                break
        else:
            raise BagError(f'{folder}: holds no sequence; expected {self.layout}')
        out = []
        for name in wanted:
            chosen = [p for p in inside if name in {p.name, p.relative_to(root).as_posix()}]
            if not chosen:
                there = ', '.join(path.relative_to(root).as_posix() for path in found[:10])
                raise BagError(f'{root / name}: no such sequence; there are {there}')
            out += chosen
        return out or found

    def doubted(self, sequence: FileSequence) -> FileSequence:
        """Add a remark to a sequence whose depth is implausible in metres."""
        if not self.units:
            return sequence
        for frame in sequence.frames(range(min(sequence.count, LOOK))):
            known = () if frame.depth is None else frame.depth[np.isfinite(frame.depth)]
            if len(known):
                break
        else:
            return sequence
        median, (least, most) = float(np.median(known)), self.usual
        if least <= median <= most:
            return sequence
        text = (
            f'{sequence.name}: the median of a depth image is {median:.3g} m, and {least:g} to '
            f'{most:g} m are usual; its values have to be {self.units}'
        )
        return replace(sequence, remarks=(*sequence.remarks, text))


_INDOORS = 0.5, 8.0
_TUM = Dataset(
    tum.read,
    'rgb.txt',
    (),
    '<sequence>/rgb.txt, depth.txt, groundtruth.txt',
    f'{tum.UNITS:g} a metre, and not millimetres',
    _INDOORS,
)
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
        kitti.read,
        'image_2',
        ('sequences',),
        'sequences/<number>/image_2 and poses/<number>.txt',
        '256 a metre',
        (3.0, 40.0),
    ),
    '7scenes': Dataset(
        seven_scenes.read,
        'frame-*.color.png',
        (),
        '<scene>/seq-<number>',
        'millimetres',
        _INDOORS,
    ),
    'euroc': Dataset(euroc.read, 'mav0', (), '<sequence>/mav0'),
    'pointodyssey': Dataset(
        point_odyssey.read, 'anno.npz', (), '<sequence>/rgbs, depths and anno.npz'
    ),
    'dycheck': Dataset(dycheck.read, 'camera', (), '<sequence>/rgb/2x, depth/2x and camera'),
    BAG: Dataset(
        bag.read,
        '',
        (),
        'a rosbag1, a rosbag2 folder, an .mcap or .db3 file, or a folder of rosbag2 folders',
        'metres (32FC1) or millimetres (16 bits)',
        (0.2, 100.0),
    ),
}


def open_sequences(
    name: str, folder: Path, wanted: Sequence[str] = (), topics: Topics = FOUND
) -> list[FileSequence]:
    """Open sequences of a data set.

    Args:
        name: name of the data set, of `DATASETS`.
        folder: root of the data set as it was unpacked, a scene, or a single sequence.
        wanted: names of sequences; () takes all.
        topics: topics of recordings, where they cannot be found automatically.

    Raises:
        BagError: the folder has another layout, or a sequence is broken; says what and where.
    """
    if name not in DATASETS:
        raise BagError(f'no data set {name!r}; there are {", ".join(DATASETS)}')
    dataset, folder = DATASETS[name], folder.expanduser().resolve()
    if name == BAG:
        dataset = dataset._replace(read=partial(bag.read, topics=topics))
    elif any(topics):
        raise BagError(f'{name} has no topics; options such as --image-topic are for {BAG}')
    if not (folder.exists() if name == BAG else folder.is_dir()):
        raise BagError(f'{folder}: no such folder; expected {dataset.layout}')
    if folder.is_file() or dataset.holds(folder):
        if wanted and list(wanted) != [folder.name]:
            raise BagError(f'{folder}: is itself a sequence; leave out --sequence')
        found = [folder]
    else:
        found = dataset.below(folder, wanted)
    return [dataset.doubted(dataset.read(path)) for path in found]
