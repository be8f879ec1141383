"""Settings of what comes in: images, the cameras of a rig, and tf frames."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

from page4d_ros.settings import Settings, setting

CAMERA_NAME = r'[A-Za-z](_?[A-Za-z0-9])*'
NO_CAMERAS = (
    'bodies', 'confidence', 'depth', 'markers', 'mask', 'odom', 'path', 'points', 'rgb', 'scale',
    'scan',
)  # fmt: skip
MOST_OFFSET = 3600.0


def _check_frame(value: str) -> str:
    return f'{value!r} starts with a slash, which tf2 forbids' if value.startswith('/') else ''


def check_cameras(names: tuple[str, ...]) -> str:
    """Complaint about the names of cameras; "" for none."""
    if not isinstance(names, tuple):
        return f'expected a list of names, got {names!r}'
    wrong = [n for n in names if not (isinstance(n, str) and re.fullmatch(CAMERA_NAME, n))]
    if wrong:
        return f'{wrong[0]!r} is no name: letters, digits and _, beginning with a letter'
    taken = [n for n in names if n in NO_CAMERAS]
    if taken:
        return f'{taken[0]!r} is the name of other topics of the node'
    return f'{list(names)} names a camera twice' if len(set(names)) < len(names) else ''


def _check_offsets(seconds: tuple[float, ...]) -> str:
    if not isinstance(seconds, tuple):
        return f'expected a list of seconds, got {seconds!r}'
    numbers = all(isinstance(s, int | float) and abs(s) < MOST_OFFSET for s in seconds)
    return '' if numbers else f'{list(seconds)} are not all seconds, below {MOST_OFFSET:g}'


def _check_mount(numbers: tuple[float, ...]) -> str:
    given = all(isinstance(n, int | float) and math.isfinite(n) for n in numbers)
    return '' if given and len(numbers) in {0, 6} else f'{list(numbers)} are not six numbers'


@dataclass(frozen=True)
class InputConfig(Settings):
    """Subscription and preparation of images."""

    transport: str = setting(
        'raw', 'raw or compressed (image/compressed).', choices=('raw', 'compressed')
    )
    queue_depth: int = setting(5, 'Messages kept by the image subscription.', low=1, high=1000)
    rectify: bool = setting(
        False, 'Undistort with camera_info first; for cameras without a rectified topic.'
    )
    max_latency: float = setting(
        0.0,
        'Drop frames older than this on arrival, in seconds of the node clock; 0 keeps all.',
        low=0.0,
        high=3600.0,
        dynamic=True,
    )


@dataclass(frozen=True)
class RigConfig(Settings):
    """Joining the frames of several cameras into sets."""

    tolerance: float = setting(
        0.03,
        'Frames of a set are this near to the time of its first frame, in seconds.',
        low=0.0,
        high=10.0,
    )
    timeout: float = setting(
        0.1,
        'A set goes on without a missing camera after so many seconds, and sooner if that camera '
        'has lately been quicker, or silent.',
        low=0.0,
        high=10.0,
    )
    offsets: tuple[float, ...] = setting(
        (),
        "Seconds that each camera's stamps are ahead of the first one's clock, in the order of "
        'cameras; empty for none.',
        check=_check_offsets,
    )


@dataclass(frozen=True)
class FramesConfig(Settings):
    """tf frames (REP 103, REP 105)."""

    odom: str = setting('odom', 'Frame of the trajectory.', check=_check_frame)
    base: str = setting(
        'base_link',
        'Body frame of the robot; "" tracks the camera itself (egocentric).',
        check=_check_frame,
    )
    camera: str = setting(
        '', 'Replaces the frame_id of the images; "" keeps theirs.', check=_check_frame
    )
    publish_tf: bool = setting(True, 'Send odom to base on /tf.', dynamic=True)
    invert_tf: bool = setting(
        False, 'Send base to odom instead, where base already has another parent.'
    )
    tf_timeout: float = setting(
        1.0,
        'Wait this long for the static transform from base to camera before assuming that the '
        'camera looks forward from the base origin, in seconds.',
        low=0.0,
        high=60.0,
    )
    mount: tuple[float, ...] = setting(
        (),
        'Pose of the camera on base where tf tells none: x, y, z, yaw, pitch, roll of its body '
        'axes (x forward), in metres and radians; empty assumes the base origin, after '
        'tf_timeout.',
        check=_check_mount,
    )
    publish_mount: bool = setting(
        True,
        'Send the mount on /tf_static where tf tells none, so that depth and clouds can be '
        'transformed.',
    )
