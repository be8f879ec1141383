"""7-Scenes (Shotton et al., 2013): images and depth of a Kinect whose two cameras differ.

The published intrinsics (focal length 585) are those of the depth camera. Matches between colour
images of redkitchen (10,788 with known poses, 4 cm or more apart, over the excerpt's 150 frames)
have their least epipolar error, with the published centre, at a focal length of 524.3 +- 1.0
pixels and a radial distortion of -0.069 +- 0.002; its median is 0.88 pixels, 0.93 without
distortion, and 1.7 at 585. Colour is therefore rectified, and depth resampled from 585 to 525,
which moves it at the image's edge by 33 pixels. The few centimetres between the cameras are
neither published nor to be seen above the noise of the poses.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import cv2
import numpy as np

from page4d_ros.datasets.files import listed, read_depth_png, read_image, rigid, rows
from page4d_ros.datasets.sequence import FileSequence
from page4d_ros.errors import BagError
from page4d_ros.geometry.camera import PinholeCamera
from page4d_ros.geometry.camera_calibration import CameraCalibration
from page4d_ros.truth import GroundTruthFrame
from page4d_ros.units import NS_PER_S

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

RATE_HZ = 30
UNITS, INVALID = 1000.0, 65535
CAMERA = PinholeCamera(640, 480, 525.0, 525.0, 320.0, 240.0)  # of colour, rectified
COLOUR = CameraCalibration(640, 480, CAMERA.K, np.array([-0.07, 0.0, 0.0, 0.0, 0.0]))
DEPTH_FOCAL = 585.0


def read(folder: Path) -> FileSequence:
    """One sequence: ``<scene>/seq-01`` with ``frame-000000.color.png``, depth and pose.

    Raises:
        BagError: images are missing, or an image's depth or pose.
    """
    images = listed(folder, 'frame-*.color.png', 'images')
    for image in images:
        for suffix in ('depth.png', 'pose.txt'):
            path = _beside(image, suffix)
            if not path.is_file():
                raise BagError(f'{path}: is missing')
    name = f'{folder.parent.name}/{folder.name}'
    return FileSequence(name, len(images), partial(map, partial(_load, images)))


def _beside(image: Path, suffix: str) -> Path:
    return image.with_name(image.name.replace('color.png', suffix))


def _load(images: list[Path], index: int) -> GroundTruthFrame:
    image = images[index]
    path = _beside(image, 'pose.txt')
    pose = rows(path, 4)
    if pose.shape != (4, 4):
        raise BagError(f'{path}: expected 4 lines of 4 numbers')
    depth = _registered(read_depth_png(_beside(image, 'depth.png'), UNITS, invalid=INVALID))
    stamp_ns = round((index + 1) * NS_PER_S / RATE_HZ)
    colour = read_image(image)
    if colour.shape[:2] != (COLOUR.height, COLOUR.width):
        raise BagError(f'{image}: expected {COLOUR.width} x {COLOUR.height} pixels')
    return GroundTruthFrame(stamp_ns, COLOUR.rectify(colour), CAMERA, rigid(pose, path), depth)


def _registered(depth: NDArray[np.float32]) -> NDArray[np.float32]:
    """Depth (H, W) at the colour camera's pixels; NaN at the edge, which colour alone sees."""
    height, width = depth.shape
    zoom = CAMERA.fx / DEPTH_FOCAL
    affine = np.array([[zoom, 0, (1 - zoom) * width / 2], [0, zoom, (1 - zoom) * height / 2]])
    return cv2.warpAffine(
        depth, affine, (width, height), flags=cv2.INTER_NEAREST, borderValue=float('nan')
    )
