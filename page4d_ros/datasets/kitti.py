"""KITTI odometry (Geiger et al., 2012)."""

from __future__ import annotations

import contextlib
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from page4d_ros.bags.stream import LONGEST
from page4d_ros.datasets.files import listed, read_depth_png, read_image, rigid, rows
from page4d_ros.datasets.sequence import FileSequence
from page4d_ros.errors import BagError
from page4d_ros.geometry.camera import PinholeCamera
from page4d_ros.geometry.poses import transform
from page4d_ros.truth import GroundTruthFrame
from page4d_ros.units import NS_PER_S

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

CAMERA = 2  # left colour
UNITS = 256.0  # per metre, of the depth benchmark


def read(folder: Path) -> FileSequence:
    """One sequence: ``sequences/<number>`` with ``image_2``, ``calib.txt`` and ``times.txt``.

    Poses are in ``poses/<number>.txt`` beside ``sequences``; depth of the depth benchmark may lie
    in ``sequences/<number>/depth_2``, a file of the same name for each image that has any.

    Raises:
        BagError: something is missing, or there are fewer poses or times than images.
    """
    images = listed(folder / f'image_{CAMERA}', '*.png', 'images of the left colour camera')
    times = rows(folder / 'times.txt', 1)[:, 0]
    path = folder.parents[1] / 'poses' / f'{folder.name}.txt'
    poses = rows(path, 12).reshape(-1, 3, 4)
    for what, found in (('times', times), ('poses', poses)):
        if len(found) < len(images):
            raise BagError(f'{folder}: {len(images)} images, but {len(found)} {what}')
    if not (np.abs(times) < LONGEST).all():
        raise BagError(f'{folder}/times.txt: times that are not finite, or absurdly large')
    P = _projection(folder / 'calib.txt')
    K = P[:, :3]
    T_camera0_camera = transform(np.eye(3), -np.linalg.solve(K, P[:, 3]))
    T_world_camera = rigid(transform(poses[:, :, :3], poses[:, :, 3]), path) @ T_camera0_camera
    load = partial(_load, images, times, T_world_camera, K, folder / f'depth_{CAMERA}')
    return FileSequence(folder.name, len(images), partial(map, load), max_depth=np.inf)


def _projection(path: Path) -> NDArray[np.float64]:
    """P2 (3, 4) of ``calib.txt``."""
    text = path.read_text(encoding='utf-8', errors='replace') if path.is_file() else ''
    for line in text.splitlines():
        name, _, values = line.partition(':')
        if name == f'P{CAMERA}':
            with contextlib.suppress(ValueError):
                P = np.array(values.split(), float).reshape(3, 4)
                if np.isfinite(P).all() and abs(np.linalg.det(P[:, :3])) > 0:
                    return P
    raise BagError(f'{path}: no line "P{CAMERA}:" with the 12 numbers of a camera')


def _load(
    images: list[Path],
    times: NDArray,
    T_world_camera: NDArray,
    K: NDArray,
    depths: Path,
    index: int,
) -> GroundTruthFrame:
    rgb = read_image(images[index])
    height, width = rgb.shape[:2]
    depth = depths / images[index].name
    return GroundTruthFrame(
        round((1 + times[index]) * NS_PER_S),
        rgb,
        PinholeCamera.from_matrix(K, width, height),
        T_world_camera[index],
        read_depth_png(depth, UNITS) if depth.is_file() else None,
    )
