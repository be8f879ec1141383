"""Checks of a camera's topics, from what was seen of them for some seconds."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from itertools import pairwise
from statistics import median
from typing import TYPE_CHECKING

from page4d_ros.doctor.result import ERROR, SKIPPED, WARN, Check, Finding, ok

if TYPE_CHECKING:
    from page4d_ros.geometry.camera_calibration import CameraCalibration

LOSS = 0.6  # of the camera_info: fewer images than these are a loss
FAR = 5.0  # seconds between stamps and clock that no camera takes
SLOW = 5.0  # images per second under which tracking suffers


@dataclass
class Seen:
    """Facts of a camera's topics.

    Attributes:
        topic: of the images, resolved.
        info_topic: of their calibration.
        seconds: for which both were watched.
        types: message types of the image topic's publishers.
        reliable: for each of these publishers, True if it is.
        others: image topics that the graph has.
        stamps: of the images, in ns, as they came.
        ages: seconds from stamp to arrival, by the clock.
        encoding: of the newest image.
        size: width and height of the newest image.
        refusal: reason why the newest image cannot be read; "" if it can.
        infos: count of calibrations.
        calibration: the newest; None where it says that the camera is not calibrated.
        info_refusal: reason why it cannot be used; "" if it can.
        frame_id: of the images.
        base: ``frames.base``; "" for none.
        mounted: True if tf leads from base to frame_id.
        rectifies: True with ``input.rectify``.
    """

    topic: str
    info_topic: str
    seconds: float
    base: str = ''
    rectifies: bool = False
    types: list[str] = field(default_factory=list)
    reliable: list[bool] = field(default_factory=list)
    others: list[str] = field(default_factory=list)
    stamps: list[int] = field(default_factory=list)
    ages: list[float] = field(default_factory=list)
    encoding: str = ''
    size: tuple[int, int] = (0, 0)
    refusal: str = ''
    infos: int = 0
    calibration: CameraCalibration | None = None
    info_refusal: str = ''
    frame_id: str = ''
    mounted: bool = False


def checks(seen: Seen) -> list[Check]:
    """Checks of a camera that was watched."""
    return [
        Check('camera', partial(_camera, seen)),
        Check('camera rate', partial(_rate, seen), ('camera',)),
        Check('camera image', partial(_image, seen), ('camera',)),
        Check('camera stamps', partial(_stamps, seen), ('camera',)),
        Check('camera_info', partial(_info, seen), ('camera',)),
        Check('tf', partial(_tf, seen), ('camera',)),
    ]


def _camera(seen: Seen) -> Finding:
    if not seen.types:
        there = ', '.join(seen.others) or 'no images at all'
        return (
            ERROR,
            f'nobody publishes {seen.topic}; there is {there}',
            'start the camera, or give --image-topic; see ROS_DOMAIN_ID, and firewalls between '
            'machines and containers (docs/transport.md)',
        )
    kind = seen.types[0].rsplit('/', 1)[-1]
    if not seen.stamps:
        return (
            ERROR,
            f'{seen.topic} has {len(seen.types)} publishers of {kind}, and nothing came for '
            f'{seen.seconds:.0f} s',
            'look whether the camera runs; if it does, images are lost on the way '
            '(docs/transport.md)',
        )
    if len(seen.types) > 1:
        return (
            WARN,
            f'{seen.topic} has {len(seen.types)} publishers',
            'stop all but one, or their frames mix',
        )
    return ok(f'{seen.topic}, {kind}')


def _rate(seen: Seen) -> Finding:
    images, infos = len(seen.stamps) / seen.seconds, seen.infos / seen.seconds
    how = 'reliable' if all(seen.reliable) else 'best effort'
    text = f'{images:.1f} images/s, {infos:.1f} camera_info/s, {how}'
    if images < LOSS * infos:
        return (
            WARN,
            f'{text}: images are lost on the way',
            'let the camera publish reliably, or start it with the profile of docs/transport.md',
        )
    if images < SLOW:
        return WARN, text, 'raise the rate of the camera: corners are followed from image to image'
    return ok(text)


def _image(seen: Seen) -> Finding:
    width, height = seen.size
    text = f'{width}x{height} {seen.encoding}'
    if seen.refusal:
        return ERROR, f'{text}: {seen.refusal}', 'publish rgb8, bgr8, mono8, or compressed images'
    return ok(text)


def _stamps(seen: Seen) -> Finding:
    backwards = sum(b <= a for a, b in pairwise(seen.stamps))
    age = median(seen.ages)
    text = f'{1e3 * age:.0f} ms old on arrival'
    if backwards:
        return (
            WARN,
            f'{backwards} of {len(seen.stamps)} stamps repeat or go back',
            'stop a second publisher, or see the driver: such images are dropped',
        )
    if abs(age) > FAR:
        return (
            WARN,
            f'{text}: stamps are far from the clock',
            'set use_sim_time where a recording plays, or synchronise the clocks (chrony, PTP)',
        )
    return ok(text)


def _info(seen: Seen) -> Finding:
    if not seen.infos:
        return (
            WARN,
            f"nothing came on {seen.info_topic}: intrinsics will be the network's guess",
            'publish camera_info beside the images, or give --camera-info-topic',
        )
    if seen.info_refusal:
        return ERROR, seen.info_refusal, 'calibrate the camera (camera_calibration)'
    found = seen.calibration
    if found is None:
        return WARN, 'K[0] is 0: not calibrated', 'calibrate the camera (camera_calibration)'
    text = f'{found.width}x{found.height}, fx {found.pinhole.fx:.1f}, {found.model}'
    if all(seen.size) and seen.size != (found.width, found.height):
        return (
            ERROR,
            f'{text}, for images of {seen.size[0]}x{seen.size[1]}: it is ignored',
            'publish the calibration of this size',
        )
    if found.distorted and not seen.rectifies:
        return (
            WARN,
            f'{text}, with lens distortion',
            'use the rectified topic (image_rect) if there is one, or set input.rectify',
        )
    return ok(text)


def _tf(seen: Seen) -> Finding:
    if not seen.base:
        return SKIPPED, 'frames.base is empty: the camera itself is tracked', ''
    if seen.mounted:
        return ok(f'{seen.base} to {seen.frame_id}')
    return (
        WARN,
        f'no transform from {seen.base!r} to {seen.frame_id!r}: the camera is assumed to look '
        'forward from the base',
        f'start robot_state_publisher, or: ros2 run tf2_ros static_transform_publisher --frame-id '
        f'{seen.base} --child-frame-id {seen.frame_id} --x 0 --y 0 --z 0 --yaw -1.5708 --pitch 0 '
        '--roll -1.5708',
    )
