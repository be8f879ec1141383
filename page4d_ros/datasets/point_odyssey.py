"""PointOdyssey (Zheng et al., 2023)."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING
from zipfile import BadZipFile

import numpy as np

from page4d_ros.datasets.sequence import (
    Clip,
    ClipFrame,
    listed,
    read_depth_png,
    read_picture,
)
from page4d_ros.errors import BagError
from page4d_ros.geometry.camera import PinholeCamera
from page4d_ros.geometry.poses import inverse
from page4d_ros.units import NS_PER_S

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

RATE_HZ = 30
UNITS = 65535 / 1000.0  # per metre


def read(folder: Path) -> Clip:
    """One sequence: a folder with ``rgbs``, ``depths`` and ``anno.npz``.

    Raises:
        BagError: something is missing, or there are fewer cameras or depths than pictures.
    """
    pictures = listed(folder / 'rgbs', 'rgb_*.jpg', 'pictures')
    depths = listed(folder / 'depths', 'depth_*.png', 'depth')
    annotations = folder / 'anno.npz'
    try:
        with np.load(annotations) as file:
            K = file['intrinsics'].astype(np.float64)
            T_camera_world = file['extrinsics'].astype(np.float64)
    except (OSError, EOFError, BadZipFile, KeyError, ValueError) as error:
        raise BagError(
            f'{annotations}: expected intrinsics (S, 3, 3) and extrinsics (S, 4, 4) ({error})'
        ) from error
    for what, found in (('depths', depths), ('cameras', T_camera_world), ('intrinsics', K)):
        if len(found) < len(pictures):
            raise BagError(f'{folder}: {len(pictures)} pictures, but {len(found)} {what}')
    load = partial(_load, pictures, depths, K, inverse(T_camera_world))
    return Clip(folder.name, len(pictures), partial(map, load))


def _load(
    pictures: list[Path], depths: list[Path], K: NDArray, T_world_camera: NDArray, index: int
) -> ClipFrame:
    rgb = read_picture(pictures[index])
    height, width = rgb.shape[:2]
    return ClipFrame(
        round((index + 1) * NS_PER_S / RATE_HZ),
        rgb,
        PinholeCamera.from_matrix(K[index], width, height),
        T_world_camera[index],
        read_depth_png(depths[index], UNITS),
    )
