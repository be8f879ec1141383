"""What every data set gives: sequences of pictures with whatever truth there is, one at a time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import cv2
import numpy as np

from page4d_ros.errors import BagError
from page4d_ros.perception.types import Frame

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from page4d_ros.geometry.camera import PinholeCamera


class ClipFrame(NamedTuple):
    """One picture, and what is known of it.

    Attributes:
        stamp_ns: time in nanoseconds; counted, where the data set has no times.
        rgb: (H, W, 3) uint8.
        camera: intrinsics of `rgb`.
        T_world_camera: (4, 4) pose of the optical frame, metres where the data set is metric.
        depth: (H, W) float32 along the optical axis, NaN where unknown.
        mask: (H, W) bool, what moves.
    """

    stamp_ns: int
    rgb: NDArray[np.uint8]
    camera: PinholeCamera | None = None
    T_world_camera: NDArray[np.float64] | None = None
    depth: NDArray[np.float32] | None = None
    mask: NDArray[np.bool_] | None = None

    @property
    def frame(self) -> Frame:
        """What a camera driver would hand to the perception."""
        return Frame(self.stamp_ns, 'camera', lambda: self.rgb, self.camera)


@dataclass(frozen=True)
class Clip:
    """A sequence of a data set.

    Attributes:
        name: of the sequence.
        count: frames.
        read: gives the frames with these indices, which rise; raises BagError.
        max_depth: depths beyond do not count (the data set's protocol).
        change: made to every frame before anybody sees it.
        remarks: what is doubtful about it.
    """

    name: str
    count: int
    read: Callable[[Sequence[int]], Iterable[ClipFrame]]
    max_depth: float = 70.0
    change: Callable[[ClipFrame], ClipFrame] | None = None
    remarks: tuple[str, ...] = ()

    def frames(self, indices: Sequence[int] | None = None) -> Iterator[ClipFrame]:
        """Read frames in order, one in memory at a time; all, or those with these indices.

        Raises:
            BagError: a file cannot be read, or does not fit its picture; says which.
        """
        wanted = range(self.count) if indices is None else indices
        for index, frame in zip(wanted, self.read(wanted), strict=True):
            shape = frame.rgb.shape[:2]
            for name in ('depth', 'mask'):
                truth = getattr(frame, name)
                if truth is not None and truth.shape != shape:
                    raise BagError(
                        f'{self.name}, frame {index}: the {name} has '
                        f'{truth.shape[1]}x{truth.shape[0]} pixels and the picture '
                        f'{shape[1]}x{shape[0]}'
                    )
            yield self.change(frame) if self.change else frame


def read_picture(path: Path) -> NDArray[np.uint8]:
    """RGB (H, W, 3) of a picture file.

    Raises:
        BagError: it is missing or damaged.
    """
    return np.ascontiguousarray(_read(path, cv2.IMREAD_COLOR)[..., ::-1])


def read_depth_png(path: Path, units: float, *, invalid: int = 0) -> NDArray[np.float32]:
    """Depth (H, W) in metres of a 16-bit PNG file with so many units per metre.

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
    """Pixels (H, W) of a picture that are not black.

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
        raise BagError(f'{path}: is no picture, or a damaged one')
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


def sequences(root: Path, names: Sequence[str], what: str) -> list[Path]:
    """Folders of the named sequences, or all.

    Raises:
        BagError: one is not there, or there is none.
    """
    if not root.is_dir():
        raise BagError(f'{root}: no such folder; expected {what}')
    found = [root / name for name in names] or sorted(p for p in root.iterdir() if p.is_dir())
    for folder in found:
        if not folder.is_dir():
            there = ', '.join(sorted(p.name for p in root.iterdir() if p.is_dir())[:10])
            raise BagError(f'{folder}: no such sequence; there are {there or "none"}')
    if not found:
        raise BagError(f'{root}: is empty; expected {what}')
    return found


def rows(path: Path, columns: int, *, delimiter: str | None = None) -> NDArray[np.float64]:
    """Numbers (n, columns) of a text file; lines that begin with # are remarks.

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


def nearest(stamps: NDArray[np.int64], stamp_ns: int, within_ns: int) -> int | None:
    """Index of the stamp that is nearest, if it is near enough."""
    if not len(stamps):
        return None
    index = int(np.argmin(np.abs(stamps - stamp_ns)))
    return index if abs(int(stamps[index]) - stamp_ns) <= within_ns else None
