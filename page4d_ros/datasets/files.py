"""Files of published data sets: images, depth, masks, lists of numbers and poses."""

from __future__ import annotations

from typing import TYPE_CHECKING

import cv2
import numpy as np

from page4d_ros.errors import BagError

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

NOT_RIGID = 1e-2  # largest deviation of R R^T from the identity that is rounding


def read_image(path: Path) -> NDArray[np.uint8]:
    """RGB (H, W, 3) of an image file.

    Raises:
        BagError: it is missing or damaged.
    """
    return np.ascontiguousarray(_read(path, cv2.IMREAD_COLOR)[..., ::-1])


def read_depth_png(path: Path, units: float, *, invalid: int = 0) -> NDArray[np.float32]:
    """Depth (H, W) in metres of a 16-bit PNG file that has `units` per metre.

    Raises:
        BagError: it is missing, damaged, or has no 16 bits.
    """
    values = _read(path, cv2.IMREAD_UNCHANGED)
    if values.dtype != np.uint16 or values.ndim != 2:
        kind = f'{values.dtype}, {values.ndim} dimensions'
        raise BagError(f'{path}: expected depth as a 16-bit grey PNG, found {kind}')
    unknown = (values == 0) | (values == invalid)
    return np.where(unknown, np.nan, values / units).astype(np.float32)


def read_mask(path: Path) -> NDArray[np.bool_]:
    """Pixels (H, W) of an image that are not black.

    Raises:
        BagError: it is missing or damaged.
    """
    values = _read(path, cv2.IMREAD_UNCHANGED)
    return values > 0 if values.ndim == 2 else (values > 0).any(-1)


def _read(path: Path, flags: int) -> NDArray:
    if not path.is_file():
        raise BagError(f'{path}: is missing')
    image = cv2.imread(str(path), flags)
    if image is None:
        raise BagError(f'{path}: is no image, or a damaged one')
    return image


def listed(folder: Path, pattern: str, what: str) -> list[Path]:
    """Files of a folder in order of their names.

    Raises:
        BagError: there are none; says what was expected where.
    """
    found = sorted(folder.glob(pattern))
    if not found:
        raise BagError(f'{folder}: no {what} ({pattern}) here')
    return found


def rows(path: Path, columns: int, *, delimiter: str | None = None) -> NDArray[np.float64]:
    """Numbers (n, columns) of a text file; lines that begin with # are comments.

    Raises:
        BagError: it is missing, or a line has other columns.
    """
    if not path.is_file():
        raise BagError(f'{path}: is missing')
    out = []
    for number, line in enumerate(
        path.read_text(encoding='utf-8', errors='replace').splitlines(), 1
    ):
        if not line.strip() or line.lstrip().startswith('#'):
            continue
        try:
            values = [float(word) for word in line.split(delimiter)[:columns]]
        except ValueError:
            values = []
        if len(values) < columns:
            raise BagError(f'{path}:{number}: expected {columns} numbers, got {line[:60]!r}')
        out.append(values)
    return np.array(out).reshape(-1, columns)


def rigid(T: NDArray, path: Path) -> NDArray[np.float64]:
    """Published poses (..., 4, 4) with the nearest rotations: files round them to a few digits.

    Args:
        T: transforms; those with a value that is not finite are unknown, and become NaN.
        path: file that they are from, for messages.

    Raises:
        BagError: a matrix is not close to a rotation; names the file and the deviation.
    """
    out = np.array(T, np.float64)
    known = np.isfinite(out).all((-2, -1))
    out[~known] = np.nan
    R = out[known][:, :3, :3]
    errors = np.abs(R @ R.swapaxes(-1, -2) - np.eye(3)).max((-2, -1), initial=0.0)
    errors[np.linalg.det(R) <= 0] = np.inf
    if np.any(errors > NOT_RIGID):
        index = int(np.argmax(errors))
        which = f' {np.flatnonzero(known)[index]}' if out.ndim > 2 else ''
        how = 'it mirrors' if np.isinf(errors[index]) else f'R R^T is {errors[index]:.2g} off'
        raise BagError(f'{path}: the pose{which} is no rotation and translation ({how})')
    U, _, Vt = np.linalg.svd(R)
    nearest_rotations = out[known]
    nearest_rotations[:, :3, :3] = U @ Vt
    out[known] = nearest_rotations
    return out


def nearest(stamps: NDArray[np.int64], stamp_ns: int, within_ns: int) -> int | None:
    """Index of the nearest stamp; None if it is more than `within_ns` away."""
    if not len(stamps):
        return None
    index = int(np.argmin(np.abs(stamps - stamp_ns)))
    return index if abs(int(stamps[index]) - stamp_ns) <= within_ns else None
