"""Covariance of a pose: what is measured, what gathers on the way, and what nobody saw.

A covariance (6, 6) is of a small turn and a small shift of the camera, in its own axes; in ROS's
order it is of shift and turn.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from page4d_ros.geometry.poses import rotation_angle
from page4d_ros.perception.bundle import adjoint

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from page4d_ros.config import OdometryConfig

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


class Pace:
    """Fastest motion of the last seconds, and the covariance of a motion that nobody saw."""

    def __init__(self) -> None:
        self._fastest = np.zeros(2)  # m/s and rad/s

    def add(self, twist: NDArray, seconds: float) -> None:
        """Take in a velocity (6,), linear and angular, and the time that it lasted."""
        now = np.linalg.norm(twist.reshape(2, 3), axis=1)
        self._fastest = np.maximum(now, np.exp(-seconds / MEMORY_S) * self._fastest)

    def unseen(self, seconds: float, depth: float) -> NDArray[np.float64]:
        """Covariance (6, 6) of a motion that lasted so long, in ROS's order.

        Args:
            seconds: its length in time.
            depth: of the scene, m.
        """
        turn, shift = CALM
        speed = np.maximum(self._fastest, (shift * depth, turn))
        return np.diag(np.repeat((speed * seconds) ** 2, 3))


def carried(covariance: NDArray, T_later_earlier: NDArray) -> NDArray[np.float64]:
    """Covariance (6, 6) of an earlier camera's pose as that of a later one tied to it."""
    J = adjoint(T_later_earlier)
    return J @ covariance @ J.T


def gathered(T_later_earlier: NDArray, depth: float) -> NDArray[np.float64]:
    """Covariance (6, 6) that a motion adds to that of the pose.

    It grows with the way itself and not with its square: errors of parts of the way that are
    further apart than `ALIKE` have nothing in common (Thrun et al., Probabilistic Robotics, 2005,
    section 5.4).

    Args:
        T_later_earlier: (4, 4) the motion.
        depth: of the scene, in the unit of the motion.
    """
    turn, shift = _errors(T_later_earlier, depth)
    return np.diag(np.repeat([ALIKE * TURN * turn, ALIKE * depth * SHIFT * shift], 3))


def of_motion(T_later_earlier: NDArray, depth: float) -> NDArray[np.float64]:
    """Covariance (6, 6) of a short motion itself, likewise."""
    return np.diag(np.repeat(np.square(_errors(T_later_earlier, depth)), 3))


def measured(information: NDArray) -> NDArray[np.float64]:
    """Covariance (6, 6) of an information by corners; zero without any."""
    return PERSISTENT * np.linalg.inv(information) if information.any() else np.zeros((6, 6))


def least(config: OdometryConfig) -> NDArray[np.float64]:
    """Covariance (6, 6) that no pose or twist goes below, in ROS's order."""
    return np.diag(np.repeat([config.position_covariance, config.orientation_covariance], 3))


def in_ros_order(covariance: NDArray, factor: float) -> NDArray[np.float64]:
    """Covariance (6, 6) of shift and turn, from one of turn and shift.

    Args:
        covariance: of turn and shift.
        factor: metres per unit of the shift.
    """
    order = np.roll(np.arange(6), 3)
    lengths = np.repeat([factor, 1.0], 3)
    return covariance[order[:, None], order] * lengths[:, None] * lengths


def _errors(T: NDArray, depth: float) -> tuple[float, float]:
    """Errors by which a turn and a shift may be wrong."""
    turn, shift = float(rotation_angle(T[:3, :3])), float(np.linalg.norm(T[:3, 3]))
    return TURN * turn, SHIFT * (shift + LOOKS_ALIKE * depth * turn)
