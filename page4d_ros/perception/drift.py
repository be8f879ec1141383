"""Covariance of a pose: what is measured, what gathers on the way, and what nobody saw.

A covariance (6, 6) is of a small turn and a small shift of the camera, in its own axes; ROS has
the shift first (`turn_first` exchanges them).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from page4d_ros.geometry.poses import adjoint, inverse, rotation_angle
from page4d_ros.perception.points import turn_first
from page4d_ros.units import NS_PER_S

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from page4d_ros.config import OdometryConfig
    from page4d_ros.perception.points import Step

# Errors of the calibration, of a rolling shutter, of corners that slide along edges: they are
# alike from frame to frame, so that no number of corners averages them away.
TURN, SHIFT = 0.04, 0.05  # shares of a turn and of a shift, by which it may be wrong
LOOKS_ALIKE = 0.1  # share of a turn, times the depth, that may look like a shift
ALIKE = 1.0  # turn in rad, and way in depths of the scene, over which these errors stay the same
PERSISTENT = 4.0  # views of a corner that are worth one: its error goes along from view to view

# Motion that nobody saw: as fast as the fastest lately, which counts for less by and by, and at
# least rad/s, and depths of the scene per second
CALM = 0.2, 0.1
MEMORY_S = 3.0
# likewise, and how many times as fast a motion is not to be believed of a network alone
BRISK, SUDDEN = (0.5, 0.2), 4.0
UNDECIDED = 0.02  # rad, and depths of the scene, by which a pose may be wrong without parallax
PROVEN_S = 2.0  # time after a gap, in which the view may be that of a body before the camera


class Pace:
    """Fastest motion of the last seconds, and the covariance of a motion that nobody saw."""

    def __init__(self) -> None:
        self._fastest = np.zeros(2)  # rad/s, and lengths per second

    def add(self, T_later_earlier: NDArray, seconds: float) -> None:
        """Take in a motion (4, 4), and the time that it lasted."""
        if seconds > 0:
            speed = _lengths(T_later_earlier) / seconds
            self._fastest = np.maximum(speed, np.exp(-seconds / MEMORY_S) * self._fastest)

    def _usual(self, least: tuple[float, float], depth: float) -> NDArray[np.float64]:
        return np.maximum(self._fastest, (least[0], least[1] * depth))

    def unseen(self, seconds: float, depth: float) -> NDArray[np.float64]:
        """Covariance (6, 6) of a motion.

        Args:
            seconds: time that it lasted.
            depth: of the scene.
        """
        return _diagonal((self._usual(CALM, depth) * seconds) ** 2)

    def exceeded(self, T_later_earlier: NDArray, seconds: float, depth: float) -> bool:
        """True if a motion (4, 4) is much faster than those before, if there are any.

        Args:
            T_later_earlier: the motion.
            seconds: time that it lasted.
            depth: of the scene.
        """
        most = SUDDEN * self._usual(BRISK, depth) * seconds
        return bool(self._fastest.any() and (_lengths(T_later_earlier) > most).any())


class Course:
    """Covariance along a trajectory.

    After a gap without anything known, the camera may as well see another body that moves: then
    the motion counts as an error altogether, until it has gone on for `PROVEN_S`.

    Attributes:
        covariance: (6, 6) of the last pose since the trajectory began, but for that doubt.
    """

    def __init__(self) -> None:
        self.covariance = np.zeros((6, 6))
        self._pace = Pace()
        self._last_ns: int | None = None  # stamp of the last pose
        self._T = np.eye(4)  # T_camera_world of it
        self._gap: tuple[int, NDArray] | None = None  # stamp and T_camera_world after a gap

    def seconds(self, stamp_ns: int) -> float:
        """Time since the last pose."""
        return 0.0 if self._last_ns is None else max(0, stamp_ns - self._last_ns) / NS_PER_S

    def sudden(self, stamp_ns: int, T_camera_world: NDArray, depth: float) -> bool:
        """True if a pose is too far from the last one to be believed of a network alone."""
        motion = T_camera_world @ inverse(self._T)
        return self._last_ns is not None and self._pace.exceeded(
            motion, self.seconds(stamp_ns), depth
        )

    def begin(
        self, stamp_ns: int, T_camera_world: NDArray, covariance: NDArray | None, depth: float
    ) -> None:
        """Begin at a pose.

        Args:
            stamp_ns: its time.
            T_camera_world: (4, 4) the pose.
            covariance: (6, 6) of it; None if nothing but the last pose is known.
            depth: of the scene.
        """
        gap = None
        if covariance is None:
            unseen = self._pace.unseen(self.seconds(stamp_ns), depth)
            covariance = self.covariance + self.doubt + unseen
            gap = None if self._last_ns is None else (stamp_ns, T_camera_world)
        self._gap = gap
        self._last_ns, self._T, self.covariance = stamp_ns, T_camera_world, covariance

    def advance(
        self, stamp_ns: int, T_camera_world: NDArray, covariance: NDArray
    ) -> NDArray[np.float64]:
        """Go on to the next pose.

        Args:
            stamp_ns: its time.
            T_camera_world: (4, 4) the pose.
            covariance: (6, 6) of it.

        Returns:
            Covariance (6, 6) of the doubt after a gap when it ends: from now on that of all poses.
        """
        self._pace.add(T_camera_world @ inverse(self._T), self.seconds(stamp_ns))
        self._last_ns, self._T, self.covariance = stamp_ns, T_camera_world, covariance
        if self._gap is None or stamp_ns - self._gap[0] < PROVEN_S * NS_PER_S:
            return np.zeros((6, 6))
        doubt, self._gap = self.doubt, None
        self.covariance = covariance + doubt
        return doubt

    @property
    def doubt(self) -> NDArray[np.float64]:
        """Covariance (6, 6) of the motion since a gap, if it may be another body's."""
        if self._gap is None:
            return np.zeros((6, 6))
        since_ns, T = self._gap
        moved = _lengths(self._T @ inverse(T)) ** 2
        unseen = self._pace.unseen((self._last_ns - since_ns) / NS_PER_S, 0.0)
        return _diagonal(moved) + unseen


def undecided(depth: float) -> NDArray[np.float64]:
    """Covariance (6, 6) of a pose before there is parallax: a turn looks like a shift."""
    return _diagonal(np.square([UNDECIDED, UNDECIDED * depth]))


def carried(covariance: NDArray, T_later_earlier: NDArray) -> NDArray[np.float64]:
    """Covariance (..., 6, 6) of an earlier camera's pose as that of later ones tied to it."""
    J = turn_first(adjoint(T_later_earlier))
    return J @ covariance @ J.swapaxes(-1, -2)


def after(covariance: NDArray, step: Step) -> NDArray[np.float64]:
    """Covariance (6, 6) of a pose that is known by a step alone, from that before it."""
    return carried(covariance, step.T_later_earlier) + step.covariance


def gathered(T_later_earlier: NDArray, depth: float) -> NDArray[np.float64]:
    """Covariance (..., 6, 6) that motions add to that of the pose.

    It grows with the way itself and not with its square: errors of parts of the way that are
    further apart than `ALIKE` have nothing in common (Thrun et al., Probabilistic Robotics, 2005,
    section 5.4).

    Args:
        T_later_earlier: (..., 4, 4) the motions.
        depth: of the scene, in their unit.
    """
    errors = _errors(T_later_earlier, depth)
    return _diagonal(errors * (ALIKE * TURN, ALIKE * SHIFT * depth))


def of_motion(T_later_earlier: NDArray, depth: float) -> NDArray[np.float64]:
    """Covariance (6, 6) of a short motion itself, likewise."""
    return _diagonal(_errors(T_later_earlier, depth) ** 2)


def measured(information: NDArray) -> NDArray[np.float64]:
    """Covariance (6, 6) of an information by corners."""
    return PERSISTENT * np.linalg.inv(information)


def least(config: OdometryConfig) -> NDArray[np.float64]:
    """Covariance (6, 6) that no pose or twist goes below, of shift and turn."""
    return np.diag(np.repeat([config.position_covariance, config.orientation_covariance], 3))


def rescaled(covariance: NDArray, factor: float) -> NDArray[np.float64]:
    """Covariance (..., 6, 6) in another unit of length, `factor` of which are one of the old."""
    lengths = np.repeat([1.0, factor], 3)
    return covariance * lengths[:, None] * lengths


def _errors(T: NDArray, depth: float) -> NDArray[np.float64]:
    """Errors (..., 2) by which turns and shifts may be wrong."""
    turn, shift = np.moveaxis(_lengths(T), -1, 0)
    return np.stack([TURN * turn, SHIFT * (shift + LOOKS_ALIKE * depth * turn)], axis=-1)


def _lengths(T: NDArray) -> NDArray[np.float64]:
    """Angles and lengths (..., 2) of motions (..., 4, 4)."""
    length = np.linalg.norm(T[..., :3, 3], axis=-1)
    return np.stack([rotation_angle(T[..., :3, :3]), length], axis=-1)


def _diagonal(variances: NDArray) -> NDArray[np.float64]:
    """Covariances (..., 6, 6) of independent errors of the variances (..., 2), turn and shift."""
    return np.repeat(variances, 3, axis=-1)[..., None] * np.eye(6)
