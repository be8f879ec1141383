"""Cameras of a rendered rig: their places beside the main one, and their delays."""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from page4d_ros.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

NAME = re.compile(r'[A-Za-z][A-Za-z0-9_]*')


class RigCamera(NamedTuple):
    """One camera of a rig.

    Attributes:
        name: of its topics and its frame; "" is the only camera of a robot.
        T_main_camera: (4, 4) pose of its optical frame in that of the main camera.
        delay: seconds by which it takes its images after the main camera.
    """

    name: str
    T_main_camera: NDArray[np.float64]
    delay: float = 0.0

    @classmethod
    def parse(cls, text: str) -> RigCamera:
        """Read ``NAME=YAW,LEFT[,DELAY]``: degrees and metres to the left, and milliseconds.

        Raises:
            ConfigError: the text does not say so.
        """
        name, _, place = text.partition('=')
        try:
            yaw, left, *delay = map(float, place.split(',')) if place else (0.0, 0.0)
            (delay,) = delay or (0.0,)
        except ValueError:
            yaw = left = delay = math.nan
        if not NAME.fullmatch(name) or not np.isfinite([yaw, left, delay]).all():
            raise ConfigError(
                f'--camera {text}: give NAME=YAW,LEFT or NAME=YAW,LEFT,DELAY: degrees and metres '
                'to the left of the first camera, and milliseconds, such as left=45,0.2,10'
            )
        cos, sin = math.cos(math.radians(yaw)), math.sin(math.radians(yaw))
        T = np.eye(4)
        T[:3, :3] = [[cos, 0, -sin], [0, 1, 0], [sin, 0, cos]]  # y is down: left is negative
        T[0, 3] = -left
        return cls(name, T, 1e-3 * delay)


ALONE = RigCamera('', np.eye(4))


def parse_rig(texts: Sequence[str]) -> list[RigCamera]:
    """Cameras of a rig, the main one first; `ALONE` without any.

    Raises:
        ConfigError: a text says no camera, two have one name, or the first one sits elsewhere.
    """
    cameras = [RigCamera.parse(text) for text in texts] or [ALONE]
    names = [camera.name for camera in cameras]
    if len(set(names)) < len(names):
        raise ConfigError(f'--camera: {", ".join(names)} are not all different')
    main = cameras[0]
    if main.delay or not np.array_equal(main.T_main_camera, np.eye(4)):
        raise ConfigError(
            f'--camera {main.name}: the first camera is the main one; give its name alone, and '
            'the places of the others beside it'
        )
    if any(camera.delay < 0 for camera in cameras):
        raise ConfigError('--camera: a camera cannot be ahead of the first one; put it first')
    return cameras
