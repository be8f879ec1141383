"""PointOdyssey (Zheng et al., 2023)."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from page4d_ros.datasets.files import listed, read_depth_png, read_image, rigid
from page4d_ros.datasets.sequence import FileSequence
from page4d_ros.errors import BagError
from page4d_ros.geometry.camera import PinholeCamera
from page4d_ros.geometry.poses import inverse
from page4d_ros.truth import GroundTruthFrame
from page4d_ros.units import NS_PER_S

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

RATE_HZ = 30
UNITS = 65535 / 1000.0  # per metre
LARGEST = 1 << 27  # bytes of the cameras of a sequence, for a million of them; not read beyond


def read(folder: Path) -> FileSequence:
    """One sequence: a folder with ``rgbs``, ``depths`` and ``anno.npz``.

    Raises:
        BagError: something is missing, or there are fewer cameras or depths than images.
    """
    images = listed(folder / 'rgbs', 'rgb_*.jpg', 'images')
    depths = listed(folder / 'depths', 'depth_*.png', 'depth')
    annotations = folder / 'anno.npz'
    K, T_camera_world = _cameras(annotations)
    for what, found in (('depths', depths), ('cameras', T_camera_world), ('intrinsics', K)):
        if len(found) < len(images):
            raise BagError(f'{folder}: {len(images)} images, but {len(found)} {what}')
    load = partial(_load, images, depths, K, inverse(rigid(T_camera_world, annotations)))
    return FileSequence(folder.name, len(images), partial(map, load))


def _cameras(path: Path) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """K (S, 3, 3) and T_camera_world (S, 4, 4) of ``anno.npz``."""
    out = []
    try:
        with np.load(path) as file:
            for name, side in (('intrinsics', 3), ('extrinsics', 4)):
                large = file.zip.getinfo(f'{name}.npy').file_size > LARGEST
                values = () if large else np.asarray(file[name], np.float64)
                out.append(np.reshape(values, (-1, side, side)))
    except Exception as error:  # NumPy and zipfile raise whatever they meet in a broken file
        raise BagError(
            f'{path}: expected intrinsics (S, 3, 3) and extrinsics (S, 4, 4) ({error})'
        ) from error
    return out[0], out[1]


def _load(
    images: list[Path], depths: list[Path], K: NDArray, T_world_camera: NDArray, index: int
) -> GroundTruthFrame:
    rgb = read_image(images[index])
    height, width = rgb.shape[:2]
    return GroundTruthFrame(
        round((index + 1) * NS_PER_S / RATE_HZ),
        rgb,
        PinholeCamera.from_matrix(K[index], width, height),
        T_world_camera[index],
        read_depth_png(depths[index], UNITS),
    )
