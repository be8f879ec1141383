"""Points with inverse depths, expected motions, and the derivatives of projections.

Points are homogeneous in a fixed reference frame each: a point (x, y, w) is (x, y, 1) / w in the
frame of the camera that saw it first, so that far points (w = 0) are ordinary ones (inverse
depth; Civera, Davison and Montiel, 2008).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple

import cv2
import numpy as np

from page4d_ros.geometry.poses import adjoint, transform

if TYPE_CHECKING:
    from numpy.typing import NDArray

LOOSE = 3.0  # standard deviations from which on an expected motion gives way
SWAPPED = np.roll(np.arange(6), 3)


class Points(NamedTuple):
    """N points in reference frames of their own.

    Attributes:
        xyw: (N, 3) normalised image coordinates x, y and inverse depth w in the reference frame.
        R_world_ref: (N, 3, 3) orientation of the reference frame.
        t_world_ref: (N, 3) its origin.
        prior: (N,) expected inverse depth.
        deviation: (N,) standard deviation of `prior`.
    """

    xyw: NDArray[np.float64]
    R_world_ref: NDArray[np.float64]
    t_world_ref: NDArray[np.float64]
    prior: NDArray[np.float64]
    deviation: NDArray[np.float64]

    def __getitem__(self, index: NDArray) -> Points:
        """Points of an index or a mask."""
        return Points(*(column[index] for column in self))

    @property
    def homogeneous(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """(N, 3) positions in the world times w, and w (N,)."""
        w = self.xyw[:, 2]
        rays = self.xyw.copy()
        rays[:, 2] = 1.0
        return (self.R_world_ref @ rays[..., None])[..., 0] + self.t_world_ref * w[:, None], w

    def inverse_depth(self, T_camera_world: NDArray) -> NDArray[np.float64]:
        """(N,) inverse depths along z of a camera; not finite or negative behind it.

        Args:
            T_camera_world: (4, 4) its pose, or (N, 4, 4) one for each point.
        """
        X, w = self.homogeneous
        with np.errstate(divide='ignore', invalid='ignore'):
            if T_camera_world.ndim > 2:
                z = T_camera_world[:, 2]
                return w / ((X * z[:, :3]).sum(1) + z[:, 3] * w)
            return w / (X @ T_camera_world[2, :3] + T_camera_world[2, 3] * w)


@dataclass(frozen=True)
class Step:
    """Expected motion between two cameras.

    Attributes:
        T_later_earlier: (4, 4) from the earlier camera to the later one.
        turn: standard deviation in rad.
        shift: standard deviation in units of the map.
    """

    T_later_earlier: NDArray[np.float64]
    turn: float
    shift: float

    @cached_property
    def adjoint(self) -> NDArray[np.float64]:
        """(6, 6) from turn and shift of the earlier camera to those of the later one."""
        return turn_first(adjoint(self.T_later_earlier))

    @property
    def covariance(self) -> NDArray[np.float64]:
        """(6, 6) of three turns, then three shifts."""
        return np.diag(np.repeat([self.turn**2, self.shift**2], 3))

    def pull(
        self, T_later_world: NDArray, T_earlier_world: NDArray
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Information (6,), and the motion (6,) of the later camera that is expected.

        Both are of three turns, then three shifts, in the later camera's frame. The information
        is that of Cauchy's distribution, so that a wrong expectation gives way.
        """
        T = self.T_later_earlier @ T_earlier_world
        R = T[:3, :3] @ T_later_world[:3, :3].T
        off, information = np.empty(6), np.empty(6)
        off[:3], off[3:] = cv2.Rodrigues(R)[0][:, 0], T[:3, 3] - R @ T_later_world[:3, 3]
        information[:3] = 1 / (self.turn**2 + off[:3] @ off[:3] / LOOSE**2)
        information[3:] = 1 / (self.shift**2 + off[3:] @ off[3:] / LOOSE**2)
        return information, off

    def excludes(self, T_later_world: NDArray, T_earlier_world: NDArray) -> bool:
        """True if such a motion is over `LOOSE` standard deviations from the expected one."""
        off = self.pull(T_later_world, T_earlier_world)[1].reshape(2, 3)
        sigma = np.array([self.turn, self.shift])
        return bool((np.linalg.norm(off, axis=1) > LOOSE * sigma).any())


def turn_first(matrix: NDArray) -> NDArray[np.float64]:
    """Matrix (..., 6, 6) over turn and shift, from one over shift and turn; and back."""
    return matrix[..., SWAPPED[:, None], SWAPPED]


def moved(T: NDArray, step: NDArray) -> NDArray[np.float64]:
    """Poses (F, 4, 4) after steps (F, 6) of turn and shift in the frames of the cameras."""
    turn = np.array([cv2.Rodrigues(each)[0] for each in step[:, :3]])
    shift = (turn @ T[:, :3, 3:])[..., 0] + step[:, 3:]
    R = turn @ T[:, :3, :3]
    # a Newton step to the nearest rotation: predictions from motions would double the rounding
    # errors with each frame
    return transform(1.5 * R - 0.5 * R @ R.swapaxes(1, 2) @ R, shift)


def by_pose(uv: NDArray, near: NDArray) -> NDArray[np.float64]:
    """Derivatives (6, 2, M) of projections by turn and shift of the camera.

    Args:
        uv: (2, M) normalised image coordinates.
        near: (M,) inverse depths.
    """
    x, y = uv
    J = np.zeros((6, 2, len(x)))
    J[0, 0], J[1, 0], J[2, 0] = -x * y, 1 + x * x, -y
    J[0, 1], J[1, 1], J[2, 1] = -1 - y * y, x * y, x
    J[3, 0] = J[4, 1] = near
    J[5] = -uv * near
    return J
