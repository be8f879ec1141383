"""TUM RGB-D sequences (folders of PNG files with lists) as recordings with ground truth."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from page4d_ros.bags import ground_truth
from page4d_ros.bags.writer import BagWriter
from page4d_ros.datasets.files import read_depth_png
from page4d_ros.datasets.tum import KINECTS, UNITS, read_lists
from page4d_ros.errors import BagError
from page4d_ros.messages import encode
from page4d_ros.perception.base_frame import FORWARD
from page4d_ros.units import NS_PER_S

if TYPE_CHECKING:
    from typing import Any

    from numpy.typing import NDArray

    from page4d_ros.geometry.camera_calibration import CameraCalibration

IMAGES = b'\x89PNG\r\n', b'\xff\xd8\xff'  # first bytes
PNG_FORMAT = 'rgb8; png compressed bgr8'


class Imported(NamedTuple):
    """Numbers of messages written, and of listed files that are missing."""

    images: int
    depths: int
    poses: int
    missing: int


def import_tum(
    folder: Path | str, output: Path | str, camera: str, *, force: bool = False
) -> Imported:
    """Write a sequence as a recording; files that are listed but not there are left out.

    The images stay as they are (PNG, lens distortion included) on ``/camera/image/compressed``.
    The camera is assumed to look forward from the origin of base_link.

    Args:
        folder: the sequence, with rgb.txt; depth.txt and groundtruth.txt where there are any.
        output: folder to make.
        camera: one of `KINECTS`.
        force: replace a recording that is there.

    Raises:
        BagError: the sequence cannot be read or the recording not be written.
    """
    images, depths, poses, missing = read_lists(Path(folder).expanduser())
    first, last = images[0][0], images[-1][0]
    poses = [pose for pose in poses if first - NS_PER_S <= pose[0] <= last + NS_PER_S]
    with BagWriter(output, force=force) as writer:
        sequence = _Recording(writer, KINECTS[camera])
        events = [
            *((stamp_ns, sequence.depth, file) for stamp_ns, file in depths),
            *((stamp_ns, sequence.pose, T) for stamp_ns, T in poses),
            *((stamp_ns, sequence.image, file) for stamp_ns, file in images),
        ]
        events.sort(key=lambda event: event[0])
        ground_truth.write_mount(writer, events[0][0], FORWARD)
        for stamp_ns, write, what in events:
            write(stamp_ns, what)
    return Imported(len(images), len(depths), len(poses), missing)


class _Recording:
    """Writes each kind of entry."""

    def __init__(self, writer: BagWriter, calibration: CameraCalibration) -> None:
        self._writer, self._calibration = writer, calibration
        self._odometry = ground_truth.GroundTruthOdometry(writer, FORWARD)

    def _info(self, head: Any) -> Any:
        info = encode.camera_info(self._writer.make, head, self._calibration.pinhole)
        info.d = self._writer.make.sequence(self._calibration.D)
        return info

    def image(self, stamp_ns: int, file: Path) -> None:
        """Image and calibration."""
        make = self._writer.make
        head = encode.header(make, stamp_ns, ground_truth.CAMERA)
        data = np.fromfile(file, np.uint8)
        if not data.tobytes().startswith(IMAGES):
            raise BagError(f'{file}: is no PNG or JPEG image')
        image = ground_truth.compressed(make, head, PNG_FORMAT, data)
        self._writer.write(ground_truth.CAMERA_INFO, stamp_ns, self._info(head))
        self._writer.write(ground_truth.IMAGE_COMPRESSED, stamp_ns, image)

    def depth(self, stamp_ns: int, file: Path) -> None:
        """Depth, registered to the image by the benchmark."""
        make = self._writer.make
        head = encode.header(make, stamp_ns, ground_truth.CAMERA)
        message = ground_truth.depth(make, head, read_depth_png(file, UNITS))
        self._writer.write(ground_truth.DEPTH, stamp_ns, message)
        self._writer.write(ground_truth.DEPTH_INFO, stamp_ns, self._info(head))

    def pose(self, stamp_ns: int, T_world_camera: NDArray) -> None:
        """Pose of the camera's optical frame in the world."""
        self._odometry.write(stamp_ns, T_world_camera)
