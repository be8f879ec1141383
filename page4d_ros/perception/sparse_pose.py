"""Pose of a camera in a local map."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from page4d_ros.perception.types import NETWORK, NETWORK_AND_POINTS, POINTS

if TYPE_CHECKING:
    from numpy.typing import NDArray

FEWEST = 12  # corners that fit, for a pose


class SparsePose(NamedTuple):
    """Pose of a camera in the map.

    Attributes:
        T_world_camera: (4, 4), in the unit of the map.
        T_world_previous: (4, 4) of the frame before in the same map, which may be another one now.
        covariance: (6, 6) of the pose since the trajectory began; see `drift`.
        of_step: (6, 6) of the motion since the frame before.
        tracked: corners with a known place.
        fits: how many of them agree with the pose.
        unit: units of the map per unit of the window's gauge; NaN where not known.
        lost: True if neither corners nor a trusted network know the pose; it is the last one.
    """

    T_world_camera: NDArray[np.float64]
    T_world_previous: NDArray[np.float64]
    covariance: NDArray[np.float64]
    of_step: NDArray[np.float64]
    tracked: int
    fits: int
    unit: float
    lost: bool = False

    @property
    def by_points(self) -> bool:
        """True if corners determine the pose."""
        return self.fits >= FEWEST


def relies_on(pose: SparsePose | None, *, trusted: bool) -> str:
    """Evidence that determines a known pose, in words.

    Args:
        pose: by corners; None where they are not used.
        trusted: True if corners agree with the network.
    """
    if pose is None:
        return NETWORK
    if not trusted:
        return POINTS
    return NETWORK_AND_POINTS if pose.by_points else NETWORK


class Found(NamedTuple):
    """Pose of the newest camera as it is measured.

    Attributes:
        T_camera_world: (4, 4).
        error: (N,) errors of its corners in standard deviations.
        covariance: (6, 6) since the trajectory began.
        of_step: (6, 6) of the motion since the frame before.
    """

    T_camera_world: NDArray[np.float64]
    error: NDArray[np.float64]
    covariance: NDArray[np.float64]
    of_step: NDArray[np.float64]
