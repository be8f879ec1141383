"""TUM RGB-D sequences (folders of PNG files with lists) as recordings with ground truth."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import cv2
import numpy as np

from page4d_ros.bags import ground_truth
from page4d_ros.bags.images import parse_stamp
from page4d_ros.bags.writer import BagWriter
from page4d_ros.errors import BagError
from page4d_ros.geometry.camera import PinholeCamera
from page4d_ros.geometry.poses import from_quaternion
from page4d_ros.messages import encode
from page4d_ros.perception.base_frame import FORWARD
from page4d_ros.units import NS_PER_S

if TYPE_CHECKING:
    from typing import Any


DEPTH_UNITS = 5000.0  # per metre
PNG_FORMAT = 'rgb8; png compressed bgr8'

# As published with the benchmark, for the colour images; freiburg3 is undistorted already.
CAMERAS = {
    'freiburg1': (
        PinholeCamera(640, 480, 517.3, 516.5, 318.6, 255.3),
        (0.2624, -0.9531, -0.0054, 0.0026, 1.1633),
    ),
    'freiburg2': (
        PinholeCamera(640, 480, 520.9, 521.0, 325.1, 249.7),
        (0.2312, -0.7849, -0.0033, -0.0001, 0.9172),
    ),
    'freiburg3': (PinholeCamera(640, 480, 535.4, 539.2, 320.1, 247.6), (0.0, 0.0, 0.0, 0.0, 0.0)),
}


class Imported(NamedTuple):
    """Numbers of messages written, and of listed files that are missing."""

    images: int
    depths: int
    poses: int
    missing: int


class Entry(NamedTuple):
    """A line of a list: its time, and the rest of its words."""

    stamp_ns: int
    words: list[str]


def read_list(path: Path) -> list[Entry]:
    """Lines of rgb.txt, depth.txt or groundtruth.txt.

    Raises:
        BagError: there is no such list, or a line is malformed.
    """
    if not path.is_file():
        raise BagError(f'{path}: is missing; give the folder of a TUM RGB-D sequence')
    out = []
    for number, line in enumerate(path.read_text(encoding='utf-8').splitlines(), 1):
        words = line.split()
        if not words or words[0].startswith('#'):
            continue
        stamp_ns = parse_stamp(words[0])
        if stamp_ns is None or len(words) < 2:
            raise BagError(f'{path}:{number}: expected a time and a value, got {line!r}')
        out.append(Entry(stamp_ns, words[1:]))
    return out


def import_tum(
    folder: Path | str, output: Path | str, camera: str, *, force: bool = False
) -> Imported:
    """Write a sequence as a recording; files that are listed but not there are left out.

    The images stay as they are (PNG, lens distortion included) on ``/camera/image/compressed``.
    The camera is assumed to look forward from the origin of base_link.

    Args:
        folder: the sequence, with rgb.txt; depth.txt and groundtruth.txt where there are any.
        output: folder to make.
        camera: one of `CAMERAS`.
        force: replace a recording that is there.

    Raises:
        BagError: the sequence cannot be read or the recording not be written.
    """
    folder = Path(folder).expanduser()
    listed = {'rgb': read_list(folder / 'rgb.txt')}
    for name in ('depth', 'groundtruth'):
        path = folder / f'{name}.txt'
        listed[name] = read_list(path) if path.exists() else []
    there = {
        name: [entry for entry in listed[name] if (folder / entry.words[0]).is_file()]
        for name in ('rgb', 'depth')
    }
    missing = sum(len(listed[name]) - len(there[name]) for name in there)
    if not there['rgb']:
        raise BagError(f'{folder}: none of the images that rgb.txt names is there')
    first, last = there['rgb'][0].stamp_ns, there['rgb'][-1].stamp_ns
    poses = [
        entry
        for entry in listed['groundtruth']
        if first - NS_PER_S <= entry.stamp_ns <= last + NS_PER_S
    ]
    events = sorted(
        (entry.stamp_ns, kind, entry.words)
        for kind, entries in (*there.items(), ('pose', poses))
        for entry in entries
    )
    with BagWriter(output, force=force) as writer:
        sequence = _Sequence(folder, writer, *CAMERAS[camera])
        ground_truth.write_mount(writer, events[0][0], FORWARD)
        for stamp_ns, kind, words in events:
            getattr(sequence, kind)(stamp_ns, words)
    return Imported(len(there['rgb']), len(there['depth']), len(poses), missing)


class _Sequence:
    """Writes each kind of entry."""

    def __init__(
        self, folder: Path, writer: BagWriter, camera: PinholeCamera, distortion: tuple
    ) -> None:
        self._folder, self._writer, self._camera = folder, writer, camera
        self._distortion = np.array(distortion)
        self._odometry = ground_truth.GroundTruthOdometry(writer, FORWARD)

    def _info(self, head: Any) -> Any:
        info = encode.camera_info(self._writer.make, head, self._camera)
        info.d = self._writer.make.sequence(self._distortion)
        return info

    def rgb(self, stamp_ns: int, words: list[str]) -> None:
        """Image and calibration."""
        make = self._writer.make
        head = encode.header(make, stamp_ns, ground_truth.CAMERA)
        data = np.fromfile(self._folder / words[0], np.uint8)
        image = ground_truth.compressed(make, head, PNG_FORMAT, data)
        self._writer.write(ground_truth.CAMERA_INFO, stamp_ns, self._info(head))
        self._writer.write(ground_truth.IMAGE_COMPRESSED, stamp_ns, image)

    def depth(self, stamp_ns: int, words: list[str]) -> None:
        """Depth, registered to the image by the benchmark."""
        make, path = self._writer.make, self._folder / words[0]
        units = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
        if units is None or units.ndim != 2:
            raise BagError(f'{path}: is no depth image; delete it to leave it out')
        head = encode.header(make, stamp_ns, ground_truth.CAMERA)
        message = ground_truth.depth(make, head, units / DEPTH_UNITS)
        self._writer.write(ground_truth.DEPTH, stamp_ns, message)
        self._writer.write(ground_truth.DEPTH_INFO, stamp_ns, self._info(head))

    def pose(self, stamp_ns: int, words: list[str]) -> None:
        """Pose of the camera's optical frame in the world."""
        try:
            numbers = [float(word) for word in words[:7]]
            T_world_camera = from_quaternion(numbers[3:7], numbers[:3])
        except ValueError as error:
            raise BagError(
                f'{self._folder}/groundtruth.txt: no pose at {stamp_ns} ns: {" ".join(words)!r}'
            ) from error
        self._odometry.write(stamp_ns, T_world_camera)
