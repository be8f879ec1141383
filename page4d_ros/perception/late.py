"""Cameras of a rig whose images are taken a little before or after those of the main one."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from page4d_ros.geometry.poses import between, inverse, rotation_angle

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

SIMULTANEOUS = 0.005  # seconds; images nearer in time are of one moment
MOST = 0.05  # likewise, up to which motion is extended
FIRST = 2.0  # rad/s^2, of a camera in the hand
LEAST = 0.3
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
    """

    def __init__(self, count: int) -> None:
        self.after: Mapping[int, float] = {}
        self._count = count
        self._acceleration = FIRST  # rad/s^2; of shifts in depths of the scene
        self._last: tuple[NDArray, float] | None = None  # step and its seconds

    def forget(self) -> None:
        """Begin anew."""
        self._last = None

    def extended(self, step: NDArray, seconds: float) -> Late:
        """Late cameras of the newest images, where the motion since the last ones goes on.

        Args:
            step: (4, 4) T_camera_world of the newest main image over that of the one before.
            seconds: time between them; 0 if there was none.
        """
        late = Late.none(self._count)
        for view, part in self.after.items():
            if abs(part) > SIMULTANEOUS:
                if seconds > 0:
                    late.expected[view] = _part(step, part / seconds)
                late.sigma[view] = self._acceleration * abs(part * (seconds + part)) / 2
        return late._replace(T_then_now=late.expected.copy())

    def enclosed(
        self, late: Late, after: Mapping[int, float], step: NDArray, seconds: float
    ) -> Late:
        """Late cameras of the images before, now that the step to the newest ones is known.

        Args:
            late: what was known of them; earlier cameras stay.
            after: see the attribute, of those images.
            step: (4, 4) from them to the newest ones.
            seconds: time between them.
        """
        expected, sigma = late.expected.copy(), late.sigma.copy()
        for view, part in after.items():
            if SIMULTANEOUS < part < seconds:
                expected[view] = _part(step, part / seconds)
                sigma[view] = self._acceleration * part * (seconds - part) / 2
        return late._replace(expected=expected, sigma=sigma)

    def learn(self, step: NDArray, seconds: float, depth: float) -> None:
        """Measure how much the velocity changes.

        Args:
            step: (4, 4) from the last pose to the newest one.
            seconds: time between them.
            depth: of the scene.
        """
        if self._last is not None and min(seconds, self._last[1]) > 0:
            before, took = self._last
            off = step @ inverse(_part(before, seconds / took))
            turn, shift = rotation_angle(off[:3, :3]), np.linalg.norm(off[:3, 3]) / depth
            found = 2 * np.hypot(turn, shift) / (seconds * (seconds + took))
            self._acceleration += RATE * (max(found, LEAST) - self._acceleration)
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
