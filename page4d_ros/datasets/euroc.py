"""EuRoC MAV (Burri et al., 2016), the left camera alone."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from page4d_ros.datasets.files import nearest, read_image, rigid, rows
from page4d_ros.datasets.sequence import FileSequence
from page4d_ros.errors import BagError
from page4d_ros.geometry.camera_calibration import CameraCalibration
from page4d_ros.geometry.poses import from_quaternion
from page4d_ros.settings import parse_yaml
from page4d_ros.truth import GroundTruthFrame

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

APART_NS = 20_000_000
COLUMNS = 8  # time, position, quaternion w x y z


def read(folder: Path) -> FileSequence:
    """One sequence: the folder that holds ``mav0``, with ``cam0`` and the ground truth.

    Raises:
        BagError: something is missing or malformed, or no image has a pose within 20 ms.
    """
    camera = folder / 'mav0' / 'cam0'
    calibration, T_body_camera = _sensor(camera / 'sensor.yaml')
    stamps = _stamps(camera / 'data.csv')
    truth = folder / 'mav0' / 'state_groundtruth_estimate0' / 'data.csv'
    table, times = rows(truth, COLUMNS, delimiter=','), _stamps(truth)
    matched = []
    for stamp in stamps.tolist():
        index = nearest(times, stamp, APART_NS)
        if index is not None:
            w, x, y, z = table[index, 4:]
            try:
                pose = from_quaternion((x, y, z, w), table[index, 1:4]) @ T_body_camera
            except ValueError as error:
                raise BagError(f'{truth}: no pose at {stamp} ns ({error})') from error
            if not np.isfinite(pose).all():
                raise BagError(f'{truth}: no pose at {stamp} ns, its numbers are not finite')
            matched.append((stamp, camera / 'data' / f'{stamp}.png', pose))
    if not matched:
        raise BagError(f'{folder}: none of {len(stamps)} images has a pose within 20 ms')
    return FileSequence(
        folder.resolve().name, len(matched), partial(map, partial(_load, matched, calibration))
    )


def _stamps(path: Path) -> NDArray[np.int64]:
    """The first column in integer nanoseconds, which floats would round."""
    if not path.is_file():
        raise BagError(f'{path}: is missing')
    lines = path.read_text(encoding='utf-8', errors='replace').splitlines()
    words = [line.split(',')[0].strip() for line in lines]
    try:
        return np.array([int(w) for w in words if w and not w.startswith('#')], np.int64)
    except (ValueError, OverflowError) as error:
        raise BagError(f'{path}: expected a time in nanoseconds on each line ({error})') from error


def _sensor(path: Path) -> tuple[CameraCalibration, NDArray[np.float64]]:
    """Calibration and T_body_camera of ``sensor.yaml``."""
    if not path.is_file():
        raise BagError(f'{path}: is missing; give the folder that holds mav0')
    try:
        tree = parse_yaml(path.read_text(encoding='utf-8'))
        fx, fy, cx, cy = (float(v) for v in tree['intrinsics'])
        width, height = (int(v) for v in tree['resolution'])
        distortion = np.array([*map(float, tree['distortion_coefficients']), 0.0])
        T = np.array(tree['T_BS']['data'], float).reshape(4, 4)
    except (KeyError, TypeError, ValueError, ArithmeticError) as error:
        raise BagError(f'{path}: is no sensor.yaml of a camera ({error!r})') from error
    K = np.array([[fx, 0, cx], [0, fy, cy], [0, 0, 1]])
    return CameraCalibration(width, height, K, distortion), rigid(T, path)


def _load(
    matched: list[tuple[int, Path, NDArray]], calibration: CameraCalibration, index: int
) -> GroundTruthFrame:
    stamp_ns, image, pose = matched[index]
    rgb = calibration.rectify(read_image(image))
    return GroundTruthFrame(stamp_ns, rgb, calibration.pinhole, pose)
