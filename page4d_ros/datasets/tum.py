"""TUM RGB-D (Sturm et al., 2012) and Bonn RGB-D Dynamic (Palazzolo et al., 2019)."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import cv2
import numpy as np

from page4d_ros.bags.tum import CAMERAS, read_list
from page4d_ros.datasets.files import nearest, read_depth_png, read_image
from page4d_ros.datasets.sequence import FileSequence
from page4d_ros.errors import BagError
from page4d_ros.geometry.camera import PinholeCamera
from page4d_ros.geometry.camera_calibration import CameraCalibration
from page4d_ros.geometry.poses import from_quaternion
from page4d_ros.truth import GroundTruthFrame

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from page4d_ros.bags.tum import Entry

UNITS = 5000.0
APART_NS = 20_000_000
BONN = PinholeCamera(640, 480, 542.822841, 542.57687, 315.593520, 237.756098)


def calibration_of(name: str) -> CameraCalibration | None:
    """Of a sequence by its name; None where that says nothing."""
    if 'bonn' in name:
        return CameraCalibration(BONN.width, BONN.height, BONN.K)
    for key, (camera, distortion) in CAMERAS.items():
        if key in name or f'fr{key[-1]}' in name:
            return CameraCalibration(camera.width, camera.height, camera.K, np.array(distortion))
    return None


def read(folder: Path) -> FileSequence:
    """One sequence folder with ``rgb.txt``, ``depth.txt`` and ``groundtruth.txt``.

    Images without a file, or without depth and pose within 20 ms, are left out. Distortion is
    taken out of images and depth.

    Raises:
        BagError: a list is missing or malformed, or no image has depth and pose.
    """
    lists = {name: read_list(folder / f'{name}.txt') for name in ('rgb', 'depth', 'groundtruth')}
    depths = [e for e in lists['depth'] if (folder / e.words[0]).is_file()]
    images = [e for e in lists['rgb'] if (folder / e.words[0]).is_file()]
    times = {
        'depth': np.array([e.stamp_ns for e in depths], np.int64),
        'pose': np.array([e.stamp_ns for e in lists['groundtruth']], np.int64),
    }
    matched = []
    for entry in images:
        depth = nearest(times['depth'], entry.stamp_ns, APART_NS)
        pose = nearest(times['pose'], entry.stamp_ns, APART_NS)
        if depth is not None and pose is not None:
            matched.append((entry, folder / depths[depth].words[0], lists['groundtruth'][pose]))
    if not matched:
        raise BagError(
            f'{folder}: of {len(images)} images that are there none has depth and pose within '
            '20 ms'
        )
    name = folder.resolve().name
    load = partial(_load, folder, matched, calibration_of(name))
    return FileSequence(name, len(matched), partial(map, load))


def _load(
    folder: Path,
    matched: list[tuple[Entry, Path, Entry]],
    calibration: CameraCalibration | None,
    index: int,
) -> GroundTruthFrame:
    entry, depth_file, pose = matched[index]
    rgb, depth = read_image(folder / entry.words[0]), read_depth_png(depth_file, UNITS)
    camera = None
    if calibration is not None:
        camera = calibration.pinhole
        if calibration.distorted:
            rgb, depth = calibration.rectify(rgb), _rectified(depth, calibration)
    values = [float(word) for word in pose.words]
    return GroundTruthFrame(
        entry.stamp_ns, rgb, camera, from_quaternion(values[3:7], values[:3]), depth
    )


def _rectified(depth: NDArray, calibration: CameraCalibration) -> NDArray[np.float32]:
    """Depth as the pinhole sees it; edges are not smeared."""
    maps = cv2.initUndistortRectifyMap(
        calibration.K, calibration.D, np.eye(3), calibration.pinhole.K, depth.shape[::-1],
        cv2.CV_32FC1,
    )  # fmt: skip
    return cv2.remap(
        depth, *maps, cv2.INTER_NEAREST, borderMode=cv2.BORDER_CONSTANT, borderValue=np.nan
    )
