"""MPI Sintel (Butler et al., 2012) with depth and cameras."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from page4d_ros.datasets.files import listed, read_image, read_mask, rigid
from page4d_ros.datasets.sequence import FileSequence
from page4d_ros.errors import BagError
from page4d_ros.geometry.camera import PinholeCamera
from page4d_ros.geometry.poses import inverse
from page4d_ros.truth import GroundTruthFrame
from page4d_ros.units import NS_PER_S

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

TAG = 202021.25
RATE_HZ = 24
MASKS = 'dynamic_label_perframe'  # not of the data set: derived from its flow by others


def read(folder: Path, *, rendering: str = 'final') -> FileSequence:
    """One sequence: ``training/final/<name>``.

    Depth, cameras and masks are looked for beside the rendering: ``depth/<name>/*.dpt``,
    ``camdata_left/<name>/*.cam``, ``dynamic_label_perframe/<name>/*.png``.

    Args:
        folder: of the images.
        rendering: the folder above, for messages.

    Raises:
        BagError: images, depths or cameras are missing or differ in number.
    """
    images = listed(folder, 'frame_*.png', f'images of the {rendering} rendering')
    root, name = folder.parents[1], folder.name
    depths = listed(root / 'depth' / name, 'frame_*.dpt', 'depth')
    cameras = listed(root / 'camdata_left' / name, 'frame_*.cam', 'cameras')
    masks = sorted((root / MASKS / name).glob('frame_*.png'))
    for what, found in (('depths', depths), ('cameras', cameras)):
        if len(found) != len(images):
            raise BagError(f'{folder}: {len(images)} images, but {len(found)} {what}')
    return FileSequence(
        name, len(images), partial(map, partial(_load, images, depths, cameras, masks))
    )


def _load(
    images: list[Path], depths: list[Path], cameras: list[Path], masks: list[Path], index: int
) -> GroundTruthFrame:
    rgb = read_image(images[index])
    K, T_camera_world = read_camera(cameras[index])
    height, width = rgb.shape[:2]
    mask = next((m for m in masks if m.stem == images[index].stem), None)
    return GroundTruthFrame(
        round((index + 1) * NS_PER_S / RATE_HZ),
        rgb,
        PinholeCamera.from_matrix(K, width, height),
        inverse(rigid(T_camera_world, cameras[index])),
        read_depth(depths[index]),
        None if mask is None else read_mask(mask),
    )


def read_depth(path: Path) -> NDArray[np.float32]:
    """Depth (H, W) in metres of a ``.dpt`` file: tag, width, height, values.

    Raises:
        BagError: it is damaged.
    """
    data = path.read_bytes()
    width, height = np.frombuffer(data, '<i4', 2, 4).tolist() if len(data) >= 12 else (0, 0)
    fits = width > 0 < height and len(data) == 12 + 4 * width * height
    if not (_tagged(data) and fits):
        raise BagError(f'{path}: is no .dpt file, or a damaged one')
    return np.frombuffer(data, '<f4', offset=12).reshape(height, width).copy()


def read_camera(path: Path) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """K (3, 3) and T_camera_world (4, 4) of a ``.cam`` file.

    Raises:
        BagError: it is damaged.
    """
    data = path.read_bytes()
    if not _tagged(data) or len(data) < 4 + 8 * 21:
        raise BagError(f'{path}: is no .cam file, or a damaged one')
    values = np.frombuffer(data, '<f8', 21, 4)
    return values[:9].reshape(3, 3), np.vstack([values[9:].reshape(3, 4), [0, 0, 0, 1]])


def _tagged(data: bytes) -> bool:
    return len(data) >= 4 and np.isclose(np.frombuffer(data, '<f4', 1)[0], TAG)
