"""A stream that leaves a known room for another place from one frame to the next."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, Any, NamedTuple

import cv2
import numpy as np

from page4d_ros.evaluation.metrics.reliance import NOT_ASKED
from page4d_ros.evaluation.metrics.sequence import PoseErrors
from page4d_ros.evaluation.result import Measured, Unknown
from page4d_ros.geometry.camera import ImageTransform
from page4d_ros.perception.trust import TRUSTED
from page4d_ros.units import NS_PER_S

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from page4d_ros.evaluation.protocol import Selection
    from page4d_ros.evaluation.result import Errors, Output
    from page4d_ros.truth import GroundTruthFrame

KNOWN, NEW = 40, 150  # frames of the room, and at most of the other place


class Switch(NamedTuple):
    """Frames of a known room, then those of another place as the same camera would give them.

    Attributes:
        room: frames with the truth.
        place: the other recording.
    """

    room: list[GroundTruthFrame]
    place: Selection

    @property
    def at(self) -> int:
        """Stamp of the first frame of the other place, nanoseconds."""
        return 2 * self.room[-1].stamp_ns - self.room[-2].stamp_ns

    def frames(self) -> Iterator[GroundTruthFrame]:
        """Frames in order; the other place in the size of the room's."""
        yield from self.room
        shift = None
        size = self.room[0].rgb.shape[1::-1]
        for frame in islice(self.place.frames(), NEW):
            shift = self.at - frame.stamp_ns if shift is None else shift
            yield resized(frame, size)._replace(stamp_ns=frame.stamp_ns + shift)


def resized(frame: GroundTruthFrame, size: tuple[int, int]) -> GroundTruthFrame:
    """The middle of an image in another (width, height), with its camera and its pose."""
    height, width = frame.rgb.shape[:2]
    scale = max(size[0] / width, size[1] / height)
    whole = round(scale * width), round(scale * height)
    x, y = ((whole[k] - size[k]) // 2 for k in range(2))
    fit = ImageTransform(width, height, *whole, x, y, *size)
    image = cv2.resize(frame.rgb, whole, interpolation=cv2.INTER_AREA)
    return frame._replace(
        rgb=np.ascontiguousarray(image[y : y + size[1], x : x + size[0]]),
        camera=None if frame.camera is None else fit.camera_to_network(frame.camera),
        depth=None,
        mask=None,
    )


class Course(NamedTuple):
    """Trust along a stream.

    Attributes:
        seconds: (n,) since the switch.
        trust: (n,) in the network.
        relies_on: n names of `RELIANCE`.
    """

    seconds: NDArray[np.float64]
    trust: NDArray[np.float64]
    relies_on: list[str]


class Courses:
    """Observer of the trust along a stream.

    Args:
        at: stamp of the switch, nanoseconds.
    """

    def __init__(self, at: int) -> None:
        self.at = at
        self._stamps: list[int] = []
        self._trust: list[float] = []
        self._relies: list[str] = []

    def add(self, output: Output) -> None:
        """Take in the next frame."""
        odometry = output.estimate.odometry
        self._stamps.append(output.frame.stamp_ns)
        self._trust.append(odometry.network_trust)
        self._relies.append(odometry.relies_on)

    def finish(self, _measured: Measured | None = None) -> Course:
        """Trust along the stream."""
        seconds = (np.array(self._stamps) - self.at) / NS_PER_S
        return Course(seconds, np.array(self._trust), self._relies)


class SwitchFigures:
    """Fall of the trust after the switch, and errors of both parts, as ``switch``.

    Args:
        at: stamp of the switch, nanoseconds.
    """

    def __init__(self, at: int) -> None:
        self._parts = PoseErrors(), PoseErrors()
        self._courses = Courses(at)

    def add(self, output: Output) -> None:
        """Take in the next frame."""
        self._courses.add(output)
        self._parts[output.frame.stamp_ns >= self._courses.at].add(output)

    def result(self) -> Measured:
        """Measured fall and errors.

        Returns:
            ``before``: trust in the last frame of the room; ``frames`` and ``seconds`` from the
            first frame of the other place until the network is not trusted; ``room`` and
            ``place``: errors of each part, aligned by itself.
        """
        course = self._courses.finish()
        after = course.seconds >= 0
        trusted = course.trust >= TRUSTED
        tree: dict[str, Any] = {'before': float(course.trust[~after][-1])}
        fallen = np.flatnonzero(~trusted[after])
        if not course.trust.any():
            tree = dict.fromkeys(('before', 'frames', 'seconds'), NOT_ASKED)
        elif not trusted[~after][-1]:
            tree |= dict.fromkeys(('frames', 'seconds'), Unknown('it was not trusted before'))
        elif not len(fallen):
            tree |= dict.fromkeys(('frames', 'seconds'), Unknown('it is trusted to the end'))
        else:
            first = int(fallen[0])
            tree |= {'frames': first + 1, 'seconds': float(course.seconds[after][first])}
        errors: dict[str, Errors] = {}
        for name, part in zip(('room', 'place'), self._parts, strict=True):
            found = part.result()
            pose = found.tree['pose']
            tree[name] = pose if isinstance(pose, Unknown) else pose['sim3']
            for error, known in found.errors.items():
                errors[error] = [*errors.get(error, []), *known]
        return Measured({'switch': tree}, errors)
