"""Streams in which the images stop telling where the camera is, made of a recording of a room."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import cv2
import numpy as np

from page4d_ros.geometry.camera import PinholeCamera
from page4d_ros.geometry.poses import transform

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray

    from page4d_ros.truth import GroundTruthFrame

BLUR = 0.08  # standard deviation, of the width: no corner remains
ZOOM = 1.6  # of the camera that turns, so that it sees nothing but the image
SWING_DEG = 7.0
COVER = 0.95  # of the view
SMALL = 0.15
NOISE = 3.0  # grey levels
CALM, STRESS, LONG = 20, 20, 30  # frames; a recording of the sample room has 15 a second


@dataclass(frozen=True)
class Stress:
    """A stream of frames in memory, with a bad time in the middle.

    Attributes:
        name: in tables.
        known: frames with the truth.
        begin: index of the last frame before the bad time; 0 if that is from the first on.
        still: True if the camera does not move; then the masks of the frames are true.
    """

    name: str
    known: list[GroundTruthFrame]
    begin: int
    still: bool = False

    def frames(self) -> Iterator[GroundTruthFrame]:
        """Frames in order."""
        return iter(self.known)


def stresses(room: list[GroundTruthFrame]) -> list[Stress]:
    """All of them, of the frames of a recording (60 or more)."""
    rng = np.random.default_rng(0)
    middle = range(CALM, CALM + STRESS)
    dark = range(CALM - (LONG - STRESS) // 2, CALM + STRESS + (LONG - STRESS) // 2)
    sigma = BLUR * room[0].rgb.shape[1]
    height, width = room[0].rgb.shape[:2]
    cover, small = (_texture(rng, height, round(share * width)) for share in (COVER, SMALL))

    def dim(image: NDArray, _since: int) -> NDArray:
        return cv2.GaussianBlur(image, (0, 0), sigma)

    def black(image: NDArray, _since: int) -> NDArray:
        return np.zeros_like(image)

    def covered(image: NDArray, since: int) -> NDArray:
        return _pasted(image, np.roll(cover, (since, 4 * since), (0, 1)), 0)

    def noisy(image: NDArray) -> NDArray:
        return np.clip(image + rng.normal(0, NOISE, image.shape), 0, 255).astype(np.uint8)

    def crossing(since: int) -> int:
        return (4 * since) % (width - small.shape[1])

    still = []
    for k, frame in enumerate(room):
        mask = np.zeros((height, width), bool)
        mask[:, crossing(k) : crossing(k) + small.shape[1]] = True
        image = noisy(_pasted(room[CALM].rgb, small, crossing(k)))
        still.append(room[CALM]._replace(stamp_ns=frame.stamp_ns, rgb=image, mask=mask))
    return [
        Stress('white walls', _altered(room, middle, dim), CALM - 1),
        Stress('pure rotation', turning(room[:CALM], 2 * STRESS), CALM - 1),
        Stress('pure rotation from the first frame', turning(room[:2], 2 * STRESS)[1:], 0),
        Stress('blackout of 2 s', _altered(room, dark, black), dark.start - 1),
        Stress('95 % of the view moves', _altered(room, middle, covered), CALM - 1),
        Stress('still camera, noise, a mover', still, 0, still=True),
    ]


def _altered(
    room: list[GroundTruthFrame], when: range, change: Callable[[NDArray, int], NDArray]
) -> list[GroundTruthFrame]:
    return [
        frame._replace(rgb=change(frame.rgb, k - when.start)) if k in when else frame
        for k, frame in enumerate(room)
    ]


def turning(room: list[GroundTruthFrame], frames: int) -> list[GroundTruthFrame]:
    """A drive that stops, and looks around twice from that very place.

    All frames are seen by a camera of a smaller field of view, so that the pure rotation is a
    homography of one image.

    Args:
        room: the drive.
        frames: of the turn, there and back.
    """
    angles = np.radians(SWING_DEG) * np.sin(np.linspace(0, 4 * np.pi, frames + 1))[1:]
    start, period = room[0].stamp_ns, room[1].stamp_ns - room[0].stamp_ns
    shots = [(frame, 0.0) for frame in room] + [(room[-1], angle) for angle in angles]
    return [
        _turned(frame, angle)._replace(stamp_ns=start + k * period)
        for k, (frame, angle) in enumerate(shots)
    ]


def _turned(frame: GroundTruthFrame, angle: float) -> GroundTruthFrame:
    """The frame as a camera sees it that is turned to the side, with a smaller field of view."""
    camera = frame.camera
    K = np.diag([ZOOM, ZOOM, 1.0]) @ camera.K
    K[:2, 2] = camera.K[:2, 2]
    R = cv2.Rodrigues(np.array([0.3 * angle, angle, 0.0]))[0]  # R_frame_turned
    H = camera.K @ R @ np.linalg.inv(K)  # pixel of the turned image -> pixel of the frame
    size = camera.width, camera.height

    def warped(image: NDArray, how: int) -> NDArray:
        return cv2.warpPerspective(image, H, size, flags=how | cv2.WARP_INVERSE_MAP)

    # along the turned axis depth is smaller or larger by less than 1 %, which no figure rests on
    return frame._replace(
        rgb=warped(frame.rgb, cv2.INTER_AREA),
        camera=PinholeCamera.from_matrix(K, *size),
        T_world_camera=frame.T_world_camera @ transform(R, np.zeros(3)),
        depth=None if frame.depth is None else warped(frame.depth, cv2.INTER_NEAREST),
        mask=None,
        bodies=None,
    )


def _texture(rng: np.random.Generator, height: int, width: int) -> NDArray[np.uint8]:
    """Blobs (height, width, 3) with many corners."""
    coarse = rng.integers(0, 256, (-(-height // 8), -(-width // 8), 3), np.uint8)
    return cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)


def _pasted(image: NDArray, patch: NDArray, x: int) -> NDArray[np.uint8]:
    out = image.copy()
    out[:, x : x + patch.shape[1]] = patch
    return out
