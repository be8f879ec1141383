"""DyCheck's iPhone sequences (Gao et al., 2022), the moving phone alone."""

from __future__ import annotations

import json
from functools import partial
from typing import TYPE_CHECKING

import cv2
import numpy as np

from page4d_ros.datasets.files import listed, read_image, rigid
from page4d_ros.datasets.sequence import FileSequence
from page4d_ros.errors import BagError
from page4d_ros.geometry.camera import PinholeCamera
from page4d_ros.geometry.poses import inverse, transform
from page4d_ros.truth import GroundTruthFrame
from page4d_ros.units import NS_PER_S

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

RATE_HZ = 30
SCALE = 2  # images at half size, as the papers take them


def read(folder: Path) -> FileSequence:
    """One sequence: a folder with ``rgb/2x``, ``depth/2x`` and ``camera``, frames ``0_*``.

    Raises:
        BagError: something is missing or malformed.
    """
    images = listed(folder / 'rgb' / f'{SCALE}x', '0_*.png', 'images of the moving phone')
    load = partial(_load, folder, images)
    return FileSequence(folder.name, len(images), partial(map, load))


def _load(folder: Path, images: list[Path], index: int) -> GroundTruthFrame:
    image = images[index]
    camera, T_world_camera = read_camera(folder / 'camera' / f'{image.stem}.json')
    path = folder / 'depth' / f'{SCALE}x' / f'{image.stem}.npy'
    try:
        depth = np.load(path).astype(np.float32).squeeze()
    except Exception as error:  # NumPy raises whatever it meets in a broken file
        raise BagError(f'{path}: is missing or damaged ({error})') from error
    rgb = read_image(image)
    if depth.ndim == 2 and depth.shape != rgb.shape[:2]:
        depth = cv2.resize(depth, rgb.shape[1::-1], interpolation=cv2.INTER_NEAREST)
    depth[depth <= 0] = np.nan
    stamp_ns = round((index + 1) * NS_PER_S / RATE_HZ)
    return GroundTruthFrame(stamp_ns, rgb, camera, T_world_camera, depth)


def read_camera(path: Path) -> tuple[PinholeCamera, NDArray[np.float64]]:
    """Intrinsics at the images' size, and T_world_camera (4, 4), of a Nerfies camera file.

    Raises:
        BagError: it is missing or malformed.
    """
    try:
        tree = json.loads(path.read_text(encoding='utf-8'))
        R_camera_world = np.array(tree['orientation'], float).reshape(3, 3)
        position = np.array(tree['position'], float).reshape(3)
        focal = float(tree['focal_length'])
        cx, cy = (float(v) for v in tree['principal_point'])
        width, height = (int(v) for v in tree['image_size'])
    except (OSError, LookupError, TypeError, ValueError, ArithmeticError, RecursionError) as error:
        raise BagError(f'{path}: is missing or no camera file ({error!r})') from error
    T = rigid(transform(R_camera_world, -R_camera_world @ position), path)
    small = (value / SCALE for value in (focal, focal, cx, cy))
    return PinholeCamera(width // SCALE, height // SCALE, *small), inverse(T)
