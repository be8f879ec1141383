"""Cameras of a rig whose images are taken a little before or after those of the main one."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from page4d_ros.geometry.poses import between, inverse, rotation_angle

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from page4d_ros.perception.types import FrameKey

SIMULTANEOUS = 0.005  # seconds; images nearer in time are of one moment
MOST_LATE = 0.05  # likewise, up to which motion is extended
FIRST = 2.0  # rad/s^2, of a camera in the hand
LEAST = 0.3
UNKNOWN = 1.0  # rad/s, of a rig of which nothing is known yet
RATE = 0.1  # share of a new measurement


class Late(NamedTuple):
    """Motion of a rig between the image of its main camera and those of the V cameras.

    Attributes:
        T_then_now: (V, 4, 4) from the main camera at its own image to where it is when the other
            image is taken, in units of the map; as corners tell it by now.
        expected: (V, 4, 4) likewise, at constant velocity.
        sigma: (V,) standard deviations of that in rad, and in depths of the scene; 0 of images of
            one moment.
    """

    T_then_now: NDArray[np.float64]
    expected: NDArray[np.float64]
    sigma: NDArray[np.float64]

    @classmethod
    def none(cls, count: int) -> Late:
        """All images are of one moment."""
        still = np.tile(np.eye(4), (2, count, 1, 1))
        return cls(*still, np.zeros(count))

    def scaled(self, ratio: float) -> Late:
        """The same where lengths have so many times as many units."""
        T, expected = self.T_then_now.copy(), self.expected.copy()
        T[..., :3, 3] *= ratio
        expected[..., :3, 3] *= ratio
        return self._replace(T_then_now=T, expected=expected)


class Pacing:
    """Motion of the main camera between and beyond its images, at constant velocity.

    How much the velocity changes is measured, and gives the deviations.

    Args:
        count: of the cameras.

    Attributes:
        after: seconds from the newest main image to that of a view, negative if it is older.
        newest: identity of the last image with a pose; None where there is none.
    """

    def __init__(self, count: int) -> None:
        self.after: Mapping[int, float] = {}
        self._count = count
        self._acceleration = FIRST  # rad/s^2; of shifts in depths of the scene
        self.forget()

    def forget(self) -> None:
        """Begin anew, with an unknown velocity."""
        self._last: tuple[NDArray, float] | None = None  # step and its seconds
        self.begin(None)

    def begin(self, key: FrameKey | None) -> None:
        """Begin with an image, beside which the late ones do not count."""
        self.newest = key
        self._of_newest: Mapping[int, float] = {}  # its `after`

    def foreseen(self, seconds: float) -> Late:
        """Late cameras of the newest images, before it is known how the rig has moved until then.

        Args:
            seconds: time since the last pose.
        """
        if self._last is None:
            return self._extended(np.eye(4), 1.0, UNKNOWN / self._acceleration)
        return self._extended(*self._last, seconds)

    def extended(self, step: NDArray, seconds: float) -> Late:
        """Likewise, once it is known.

        Args:
            step: (4, 4) T_camera_world of the newest main image over that of the last pose.
            seconds: time between them; 0 if they are of one time.
        """
        return self._extended(step, seconds, 0.0) if seconds > 0 else self.foreseen(seconds)

    def _extended(self, step: NDArray, took: float, since: float) -> Late:
        """The motion goes on as in a step that took some seconds and ended so many ago."""
        late = Late.none(self._count)
        for view, part in self.after.items():
            if abs(part) > SIMULTANEOUS:
                late.expected[view] = _part(step, part / took)
                half = abs(took + part) / 2 + since
                late.sigma[view] = self._acceleration * abs(part) * half
        return late._replace(T_then_now=late.expected.copy())

    def enclosed(self, late: Late, step: NDArray, seconds: float) -> Late:
        """Late cameras beside `newest`, now that the step to a further image is known.

        Args:
            late: what was known of them; earlier cameras stay.
            step: (4, 4) from there to that image.
            seconds: time between them.
        """
        expected, sigma = late.expected.copy(), late.sigma.copy()
        for view, part in self._of_newest.items():
            if SIMULTANEOUS < part < seconds:
                expected[view] = _part(step, part / seconds)
                sigma[view] = self._acceleration * part * (seconds - part) / 2
        return late._replace(expected=expected, sigma=sigma)

    def learn(self, step: NDArray, seconds: float, depth: float) -> None:
        """Measure how much the velocity has changed, by a step (4, 4) that took some seconds.

        Args:
            step: both of its poses as they are adjusted by now.
            seconds: time between them.
            depth: of the scene.
        """
        if self._last is not None and seconds > 0:
            before, took = self._last
            off = step @ inverse(_part(before, seconds / took))
            turn, shift = rotation_angle(off[:3, :3]), np.linalg.norm(off[:3, 3]) / depth
            found = 2 * np.hypot(turn, shift) / (seconds * (seconds + took))
            self._acceleration += RATE * (max(found, LEAST) - self._acceleration)

    def go_on(self, key: FrameKey, step: NDArray, seconds: float) -> None:
        """Go on to the next image with a pose, by a step (4, 4) that took some seconds."""
        self.newest, self._of_newest = key, self.after
        if seconds > 0:
            self._last = step, seconds


def _part(step: NDArray, share: float) -> NDArray[np.float64]:
    """Share of a motion (4, 4) at constant velocity."""
    return between(np.eye(4)[None], step[None], np.array([share]))[0]


def stacked(each: Sequence[Late]) -> Late:
    """Late cameras of K times, each field with K rows."""
    return Late(*map(np.stack, zip(*each, strict=True)))


def noise(
    late: NDArray, sigma: float, group: NDArray
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Standard deviations of observations, and by how much they tell less of a pose.

    An unknown motion moves all corners of an image alike. So n of them do not tell n times as
    much about the pose: their weights make them count together as if they had its deviation.

    Args:
        late: (M,) deviation of the motion of each one's image, in normalised coordinates.
        sigma: of an observation itself.
        group: (M,) integers, the same for those of one image.

    Returns:
        (M,) deviations, and (M,) factors of the variance beyond that, 1 where nothing is late.
    """
    total = np.hypot(sigma, late)
    counts = np.bincount(group)[group] if len(group) else np.zeros(0)
    return total, 1 + np.maximum(counts - 1, 0) * (late / total) ** 2
