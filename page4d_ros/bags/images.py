"""Folders of image files as sources of frames."""

from __future__ import annotations

import math
import re
from collections import Counter, defaultdict
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, NamedTuple

import cv2
import numpy as np
from PIL import Image, UnidentifiedImageError

from page4d_ros.bags.reader import natural
from page4d_ros.errors import BagError, ConfigError, FrameError
from page4d_ros.geometry.camera import PinholeCamera
from page4d_ros.perception.types import Frame
from page4d_ros.units import NS_PER_S

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray

    from page4d_ros.bags.stream import Item, Span

IMAGE_SUFFIXES = ('.jpg', '.jpeg', '.png')
DEFAULT_RATE = 30.0
FIRST_STAMP_NS = 1_000_000_000  # time zero means "the latest" to tf
UNITS = {19: 1, 16: 1_000, 13: 1_000_000, 10: 1_000_000_000}  # digits -> nanoseconds
UNCALIBRATED = "no camera_info: using the network's own intrinsics"
# words in names of files and folders that data sets give to images that no camera took in colour
OTHER_KINDS = {
    'depth': 'depth image',
    'depths': 'depth image',
    'disp': 'depth image',
    'disparity': 'depth image',
    'mask': 'mask',
    'masks': 'mask',
    'annotations': 'mask',
    'label': 'mask',
    'labels': 'mask',
    'seg': 'mask',
    'segmentation': 'mask',
    'semantic': 'mask',
    'instance': 'mask',
    'normal': 'normal map',
    'normals': 'normal map',
    'flow': 'flow image',
    'confidence': 'confidence map',
}
PNG_HEADER = 26  # bytes up to bit depth and colour type
DEEP, GREY, PALETTE = b'\x10\x00', b'\x00', b'\x03'  # 16 bits of one channel; colour types
PLAIN = 'image without colour'
MASK_LEVELS = 16  # at most
DEEPEST, MOST_NAMED = 4, 5  # folders that are searched for images, and named


def parse_stamp(text: str) -> int | None:
    """Nanoseconds of ``1305031235.429666`` (seconds), or of an integer of seconds, ms, us or ns.

    None where the text does not look like a time. Exact: no floating point is involved.
    """
    if match := re.fullmatch(r'(\d{1,10})\.(\d{1,9})', text):
        return int(match[1]) * NS_PER_S + int(match[2].ljust(9, '0'))
    return int(text) * UNITS[len(text)] if text.isdecimal() and len(text) in UNITS else None


class Intrinsics(NamedTuple):
    """Focal lengths and principal point in pixels of the images; (0, 0) is the first's centre."""

    fx: float
    fy: float
    cx: float
    cy: float

    @classmethod
    def parse(cls, text: str) -> Intrinsics:
        """Read ``fx,fy,cx,cy``.

        Raises:
            ConfigError: the text is not four numbers, or a focal length is not positive.
        """
        try:
            found = cls(*(float(word) for word in text.split(',')))
        except (TypeError, ValueError):
            found = None
        if found is None or not all(map(math.isfinite, found)) or min(found.fx, found.fy) <= 0:
            raise ConfigError(
                f'--camera {text}: expected fx,fy,cx,cy in pixels, such as 525,525,319.5,239.5'
            )
        return found

    def camera(self, width: int, height: int) -> PinholeCamera:
        """Camera of images of this size.

        Raises:
            BagError: the principal point lies outside, so that another size must be meant.
        """
        if not (0 <= self.cx < width and 0 <= self.cy < height):
            raise BagError(
                f'--camera: the principal point ({self.cx:g}, {self.cy:g}) lies outside the '
                f'images of {width}x{height} pixels; give the intrinsics for this size'
            )
        return PinholeCamera(width, height, *self)


class ImageFolder:
    """The colour or grey images (jpg, png) of a folder; depth images and masks are left out.

    Stamps are taken from names that are all times, otherwise from the rate.

    Args:
        path: the folder.
        frame_id: optical frame of the images.
        rate: frames per second for names that are not times.
        span: part to take.
        intrinsics: of the images; None leaves the camera uncalibrated.

    Raises:
        BagError: there are no images, or several per moment; says what there is and what to do.
    """

    T_base_camera = None
    mounts = MappingProxyType({})

    def __init__(
        self,
        path: Path,
        frame_id: str,
        rate: float | None,
        span: Span,
        intrinsics: Intrinsics | None = None,
    ) -> None:
        self.name = str(path)
        self._frame_id = frame_id
        files, self._warnings = select_images(path)
        self._camera = intrinsics and intrinsics.camera(*_size(files[0]))
        if intrinsics is None:
            self._warnings.append(UNCALIBRATED)
        stamps = [parse_stamp(file.stem) for file in files]
        if rate or None in stamps:
            period = NS_PER_S / (rate or DEFAULT_RATE)
            stamps = [FIRST_STAMP_NS + round(i * period) for i in range(len(files))]
        timed = sorted(zip(stamps, files, strict=True), key=lambda item: item[0])
        self.extent = timed[0][0], timed[-1][0] + 1
        begin, end = span.bounds(timed[0][0])
        self._files = [(stamp, file) for stamp, file in timed if begin <= stamp < end]
        self.total = len(self._files)

    def items(self) -> Iterator[Item]:
        """Frames; each file is read when its frame is decoded."""
        for stamp_ns, file in self._files:
            yield Frame(stamp_ns, self._frame_id, _image_reader(file), self._camera)

    def take_warnings(self) -> list[str]:
        """Return the new warnings."""
        taken, self._warnings = self._warnings, []
        return taken

    def close(self) -> None:
        """Nothing is held open."""


def select_images(folder: Path) -> tuple[list[Path], list[str]]:
    """Images of a folder in natural order, and remarks about those that are left out.

    PNG files without colour are masks beside images in colour, or where they have few levels.

    Raises:
        BagError: there is nothing but depth images and masks, or several images have one number.
    """
    kinds: dict[str, list[Path]] = defaultdict(list)
    for path in sorted(_images(folder), key=natural):
        kinds[_kind(path)].append(path)
    files, plain = kinds.pop('', []), kinds.pop(PLAIN, [])
    if plain and (files or _are_masks(plain)):
        kinds['mask'] += plain
    else:
        files = plain or files
    others = ', '.join(f'{len(paths)} {kind}s' for kind, paths in kinds.items())
    if not files and others:
        raise BagError(f'{folder}: holds {others}, but no images of a camera')
    if not files:
        raise BagError(f'{folder}: holds neither a recording nor jpg or png files{_hint(folder)}')
    series: dict[str, list[str]] = defaultdict(list)
    for path in files:
        name = re.sub(r'\d+', '#', path.stem)
        series[name].append(' '.join(re.findall(r'\d+', path.stem)))
    numbers = Counter(number for found in series.values() for number in set(found) if number)
    if numbers and max(numbers.values()) > 1:
        found = ', '.join(f'{len(v)} {name}' for name, v in sorted(series.items()))
        raise BagError(
            f'{folder}: holds several series of images ({found}); put the images of one camera '
            'into a folder of their own'
        )
    return files, [f'{folder}: left out {others}'] if others else []


def _images(folder: Path) -> list[Path]:
    return [path for path in folder.iterdir() if path.suffix.lower() in IMAGE_SUFFIXES]


def _kind(path: Path) -> str:
    """Kind of an image by its name, or by the header of a PNG; '' for those of cameras."""
    for word in re.split(r'[^a-z]+', path.stem.lower()):
        if word in OTHER_KINDS:
            return OTHER_KINDS[word]
    if path.suffix.lower() == '.png' and path.is_file():
        with path.open('rb') as file:
            header = file.read(PNG_HEADER)
        if header[12:16] == b'IHDR':
            if header[24:26] == DEEP:
                return 'depth image'
            if header[25:26] in (GREY, PALETTE):
                return PLAIN
    return ''


def _are_masks(files: list[Path]) -> bool:
    """True if the first, the middle and the last have too few grey levels for a camera's image."""
    for index in {0, len(files) // 2, len(files) - 1}:
        image = cv2.imread(str(files[index]), cv2.IMREAD_GRAYSCALE)
        if image is None or np.count_nonzero(np.bincount(image.ravel())) > MASK_LEVELS:
            return False
    return True


def _hint(folder: Path) -> str:
    """Folders below that hold images of a camera, as the rest of a message."""
    found, level = [], [folder]
    for _ in range(DEEPEST):
        level = sorted(p for parent in level for p in parent.iterdir() if p.is_dir())
        level = [p for p in level if p.name.lower() not in OTHER_KINDS]
        found += [p for p in level if any(_kind(image) in ('', PLAIN) for image in _images(p))]
    text = f'; give {" or ".join(map(str, found[:MOST_NAMED]))}' if found else ''
    if (folder / 'rgb.txt').exists():
        text += '; `page4d import-tum` makes a recording of it, with calibration'
    return text


def _size(path: Path) -> tuple[int, int]:
    try:
        with Image.open(path) as image:
            return image.size
    except (OSError, UnidentifiedImageError) as error:
        raise BagError(f'{path}: is no image, or a damaged one') from error


def _image_reader(path: Path) -> Callable[[], NDArray]:
    def read() -> NDArray:
        image = cv2.imread(str(path), cv2.IMREAD_COLOR)
        if image is None:
            raise FrameError(f'{path}: cannot be decoded')
        return cv2.cvtColor(image, cv2.COLOR_BGR2RGB)

    return read
