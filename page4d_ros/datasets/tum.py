"""TUM RGB-D (Sturm et al., 2012) and Bonn RGB-D Dynamic (Palazzolo et al., 2019)."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import cv2
import numpy as np

from page4d_ros.bags.images import parse_stamp
from page4d_ros.datasets.files import nearest, read_depth_png, read_image
from page4d_ros.datasets.sequence import FileSequence
from page4d_ros.errors import BagError
from page4d_ros.geometry.camera import PinholeCamera
from page4d_ros.geometry.camera_calibration import CameraCalibration
from page4d_ros.geometry.poses import from_quaternion
from page4d_ros.truth import GroundTruthFrame
from page4d_ros.units import NS_PER_S

if TYPE_CHECKING:
    from numpy.typing import NDArray

UNITS = 5000.0  # of depth, per metre
APART_NS = 20_000_000
BONN = CameraCalibration(
    640, 480, PinholeCamera(640, 480, 542.822841, 542.57687, 315.593520, 237.756098).K
)


def _kinect(fx: float, fy: float, cx: float, cy: float, *distortion: float) -> CameraCalibration:
    K = PinholeCamera(640, 480, fx, fy, cx, cy).K
    return CameraCalibration(640, 480, K, np.array(distortion or (0.0,) * 5))


# As published with the benchmark, for the colour images; freiburg3 is undistorted already.
KINECTS = {
    'freiburg1': _kinect(517.3, 516.5, 318.6, 255.3, 0.2624, -0.9531, -0.0054, 0.0026, 1.1633),
    'freiburg2': _kinect(520.9, 521.0, 325.1, 249.7, 0.2312, -0.7849, -0.0033, -0.0001, 0.9172),
    'freiburg3': _kinect(535.4, 539.2, 320.1, 247.6),
}


def calibration_of(name: str) -> CameraCalibration | None:
    """Of a sequence by its name; None where that says nothing."""
    if 'bonn' in name:
        return BONN
    for key, calibration in KINECTS.items():
        if key in name or f'fr{key[-1]}' in name:
            return calibration
    return None


class Entry(NamedTuple):
    """A line of a list: its time, and the rest of its words."""

    stamp_ns: int
    words: list[str]


class Listing(NamedTuple):
    """Contents of a sequence's folder by its lists, in their order.

    Attributes:
        images: time and file of each image that is there.
        depths: time and file of each depth image that is there.
        poses: time and T_world_camera of each pose.
        missing: number of listed files that are not there.
    """

    images: list[tuple[int, Path]]
    depths: list[tuple[int, Path]]
    poses: list[tuple[int, NDArray[np.float64]]]
    missing: int


def read_list(path: Path) -> list[Entry]:
    """Lines of rgb.txt, depth.txt or groundtruth.txt.

    Raises:
        BagError: there is no such list, or a line is malformed.
    """
    if not path.is_file():
        raise BagError(f'{path}: is missing; give the folder of a TUM RGB-D sequence')
    out = []
    text = path.read_text(encoding='utf-8', errors='replace')
    for number, line in enumerate(text.splitlines(), 1):
        words = line.split()
        if not words or words[0].startswith('#'):
            continue
        stamp_ns = parse_stamp(words[0])
        if stamp_ns is None or len(words) < 2:
            raise BagError(f'{path}:{number}: expected a time and a value, got {line[:60]!r}')
        out.append(Entry(stamp_ns, words[1:]))
    return out


def read_lists(folder: Path) -> Listing:
    """Lists of a sequence; depth.txt and groundtruth.txt may be missing.

    Raises:
        BagError: rgb.txt is missing, none of its images is there, or a line is malformed.
    """
    listed = {'rgb': read_list(folder / 'rgb.txt')}
    for name in ('depth', 'groundtruth'):
        path = folder / f'{name}.txt'
        listed[name] = read_list(path) if path.exists() else []
    files = {
        name: [
            (stamp_ns, file)
            for stamp_ns, words in listed[name]
            if (file := _inside(folder, words[0])).is_file()
        ]
        for name in ('rgb', 'depth')
    }
    if not files['rgb']:
        raise BagError(f'{folder}: none of the images that rgb.txt names is there')
    poses = [(entry.stamp_ns, _pose(folder, entry)) for entry in listed['groundtruth']]
    missing = sum(len(listed[name]) - len(files[name]) for name in files)
    return Listing(files['rgb'], files['depth'], poses, missing)


def _inside(folder: Path, name: str) -> Path:
    """File of a sequence by its name in a list.

    Raises:
        BagError: the name leads out of the folder.
    """
    if Path(name).is_absolute() or '..' in Path(name).parts or '\0' in name:
        raise BagError(f'{folder}: a list names {name!r}, which is outside')
    return folder / name


def _pose(folder: Path, entry: Entry) -> NDArray[np.float64]:
    try:
        numbers = [float(word) for word in entry.words[:7]]
        T = from_quaternion(numbers[3:7], numbers[:3])
    except ValueError:
        T = np.full((4, 4), np.nan)
    if not np.isfinite(T).all():
        raise BagError(
            f'{folder}/groundtruth.txt: no pose at {entry.stamp_ns / NS_PER_S:.6f} s: '
            f'{" ".join(entry.words)!r:.80}'
        )
    return T


def read(folder: Path) -> FileSequence:
    """One sequence folder with ``rgb.txt``, ``depth.txt`` and ``groundtruth.txt``.

    Images without a file, or without depth and pose within 20 ms, are left out. Distortion is
    taken out of images and depth.

    Raises:
        BagError: a list is missing or malformed, or no image has depth and pose.
    """
    for name in ('depth', 'groundtruth'):
        if not (folder / f'{name}.txt').is_file():
            raise BagError(f'{folder}/{name}.txt: is missing; evaluation needs depth and poses')
    images, depths, poses, _ = read_lists(folder)
    times = [np.array([stamp_ns for stamp_ns, _ in each], np.int64) for each in (depths, poses)]
    matched = []
    for stamp_ns, image in images:
        depth, pose = (nearest(stamps, stamp_ns, APART_NS) for stamps in times)
        if depth is not None and pose is not None:
            matched.append((stamp_ns, image, depths[depth][1], poses[pose][1]))
    if not matched:
        raise BagError(
            f'{folder}: of {len(images)} images that are there none has depth and pose within '
            '20 ms'
        )
    name = folder.resolve().name
    load = partial(_load, matched, calibration_of(name))
    return FileSequence(name, len(matched), partial(map, load))


def _load(
    matched: list[tuple[int, Path, Path, NDArray]],
    calibration: CameraCalibration | None,
    index: int,
) -> GroundTruthFrame:
    stamp_ns, image, depth_file, T_world_camera = matched[index]
    rgb, depth = read_image(image), read_depth_png(depth_file, UNITS)
    camera = None
    if calibration is not None:
        camera = calibration.pinhole
        if calibration.distorted:
            rgb, depth = calibration.rectify(rgb), _rectified(depth, calibration)
    return GroundTruthFrame(stamp_ns, rgb, camera, T_world_camera, depth)


def _rectified(depth: NDArray, calibration: CameraCalibration) -> NDArray[np.float32]:
    """Depth as the pinhole sees it; edges are not smeared."""
    maps = cv2.initUndistortRectifyMap(
        calibration.K, calibration.D, np.eye(3), calibration.pinhole.K, depth.shape[::-1],
        cv2.CV_32FC1,
    )  # fmt: skip
    return cv2.remap(
        depth, *maps, cv2.INTER_NEAREST, borderMode=cv2.BORDER_CONSTANT, borderValue=np.nan
    )
