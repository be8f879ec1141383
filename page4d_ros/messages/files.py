"""Files that the node and `page4d replay` save beside messages: clouds, and whole files only."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from page4d_ros.errors import Page4dError
from page4d_ros.perception.clouds import colours

if TYPE_CHECKING:
    from numpy.typing import NDArray

PLY = np.dtype(
    [(axis, '<f4') for axis in 'xyz']
    + [(colour, 'u1') for colour in ('red', 'green', 'blue')]
    + [('confidence', '<f4')]
)
PCD = np.dtype([(name, '<f4') for name in ('x', 'y', 'z', 'rgb', 'confidence')])
PLY_TYPES = {'f4': 'float', 'u1': 'uchar'}


def cloud_files(points: NDArray, frame: str) -> dict[str, bytes]:
    """Content of a ``.ply`` and a ``.pcd`` file, binary, of points (n,) of `POINT` in a frame."""
    return {'.ply': _ply(points, frame), '.pcd': _pcd(points, frame)}


def _ply(points: NDArray, frame: str) -> bytes:
    rows = np.empty(len(points), PLY)
    for name in ('x', 'y', 'z', 'confidence'):
        rows[name] = points[name]
    rows['red'], rows['green'], rows['blue'] = colours(points).T
    head = [
        'ply',
        'format binary_little_endian 1.0',
        f'comment frame {frame}, metres if the odometry is metric',
        f'element vertex {len(points)}',
        *(f'property {PLY_TYPES[PLY[name].str[1:]]} {name}' for name in PLY.names),
        'end_header',
    ]
    return '\n'.join([*head, '']).encode() + rows.tobytes()


def _pcd(points: NDArray, frame: str) -> bytes:
    rows = np.empty(len(points), PCD)
    for name in PCD.names:
        rows[name] = points[name]
    each = len(PCD.names)
    head = [
        f'# .PCD v0.7, frame {frame}, metres if the odometry is metric',
        'VERSION 0.7',
        f'FIELDS {" ".join(PCD.names)}',
        f'SIZE {" ".join("4" * each)}',
        f'TYPE {" ".join("F" * each)}',
        f'COUNT {" ".join("1" * each)}',
        f'WIDTH {len(points)}',
        'HEIGHT 1',
        'VIEWPOINT 0 0 0 1 0 0 0',
        f'POINTS {len(points)}',
        'DATA binary',
    ]
    return '\n'.join([*head, '']).encode() + rows.tobytes()


def save(folder: Path, stem: str, files: dict[str, bytes]) -> Path:
    """Write files that differ in their suffix; returns the first one's path.

    Args:
        folder: made if it does not exist.
        stem: of their names.
        files: content by suffix.

    Raises:
        OSError: a file cannot be written; none that looks whole is left of it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for suffix, content in files.items():
        path = folder / f'{stem}{suffix}'
        part = path.with_name(path.name + '.part')
        try:
            part.write_bytes(content)
            part.replace(path)  # a full disk leaves no file that looks whole
        finally:
            part.unlink(missing_ok=True)
    return folder / f'{stem}{next(iter(files))}'


def save_in(folder: str, stem: str, files: dict[str, bytes]) -> Path:
    """Write files as `save` does, into the folder that ``path.folder`` names.

    Raises:
        Page4dError: a file cannot be written.
    """
    path = Path(folder)
    try:
        path = path.expanduser()
        return save(path, stem, files)
    except OSError as error:
        raise Page4dError(f'{path / stem}: cannot be written: {error.strerror}') from error
    except (RuntimeError, ValueError) as error:  # no such user; a null character
        raise Page4dError(f'path.folder {folder!r}: {error}') from error
