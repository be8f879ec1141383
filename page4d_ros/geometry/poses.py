"""Rigid transforms as 4x4 matrices: ``T_a_b`` maps points of frame b into frame a."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import scipy
from scipy.spatial.transform import Rotation

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

# Optical axes (x right, y down, z forward) seen from body axes (x forward, y left, z up): REP 103.
R_BODY_OPTICAL = np.array([[0.0, 0.0, 1.0], [-1.0, 0.0, 0.0], [0.0, -1.0, 0.0]])


# Without this, SciPy >= 1.17 orthonormalises each matrix, which takes five times longer.
_SCIPY = tuple(int(part) for part in scipy.__version__.split('.')[:2])
_VALID = {'assume_valid': True} if _SCIPY >= (1, 17) else {}


def rotation(R: NDArray) -> Rotation:
    """SciPy's object for orthonormal matrices (3, 3) or (N, 3, 3)."""
    return Rotation.from_matrix(R, **_VALID)


def transform(R: ArrayLike, t: ArrayLike) -> NDArray[np.float64]:
    """Assemble (..., 4, 4) from rotation (..., 3, 3) and translation (..., 3)."""
    R, t = np.asarray(R, np.float64), np.asarray(t, np.float64)
    T = np.zeros((*R.shape[:-2], 4, 4))
    T[..., :3, :3], T[..., :3, 3], T[..., 3, 3] = R, t, 1.0
    return T


def inverse(T: NDArray) -> NDArray[np.float64]:
    """Inverse of rigid transforms (..., 4, 4)."""
    R = np.swapaxes(T[..., :3, :3], -1, -2)
    return transform(R, -(R @ T[..., :3, 3:])[..., 0])


def from_quaternion(xyzw: ArrayLike, t: ArrayLike) -> NDArray[np.float64]:
    """(4, 4) from a quaternion, scalar last and of any length but zero, and a translation."""
    return transform(Rotation.from_quat(xyzw).as_matrix(), t)


def quaternion(T: NDArray) -> NDArray[np.float64]:
    """Unit quaternion xyzw, w >= 0, of a transform (4, 4) or a rotation (3, 3)."""
    xyzw = rotation(T[:3, :3]).as_quat()
    return xyzw if xyzw[3] >= 0 else -xyzw


def rotation_angle(R: NDArray) -> NDArray[np.float64]:
    """Angle of rotations (..., 3, 3), in radians."""
    R = np.asarray(R)
    twice_sine = np.sqrt(
        (R[..., 2, 1] - R[..., 1, 2]) ** 2
        + (R[..., 0, 2] - R[..., 2, 0]) ** 2
        + (R[..., 1, 0] - R[..., 0, 1]) ** 2
    )
    return np.arctan2(twice_sine, R[..., 0, 0] + R[..., 1, 1] + R[..., 2, 2] - 1)


def adjoint(T_a_b: NDArray) -> NDArray[np.float64]:
    """(..., 6, 6) from the twist of frame b, in its axes, to that of a frame a tied to it, in a's.

    Twists are linear, then angular velocity.
    """
    R, x, y, z = T_a_b[..., :3, :3], *(T_a_b[..., axis, 3] for axis in range(3))
    cross = np.zeros_like(R)
    cross[..., 0, 1], cross[..., 0, 2], cross[..., 1, 2] = -z, y, -x
    cross[..., 1, 0], cross[..., 2, 0], cross[..., 2, 1] = z, -y, x
    out = np.zeros((*T_a_b.shape[:-2], 6, 6))
    out[..., :3, :3] = out[..., 3:, 3:] = R
    out[..., :3, 3:] = cross @ R
    return out


def twist(T_world_a: NDArray, T_world_b: NDArray, seconds: float) -> NDArray[np.float64]:
    """Mean velocity from pose a to pose b, (6,): linear m/s then angular rad/s, in frame b."""
    T = inverse(T_world_a) @ T_world_b
    in_b = T[:3, :3].T
    linear = in_b @ T[:3, 3]
    angular = in_b @ rotation(T[:3, :3]).as_rotvec()
    return np.concatenate([linear, angular]) / seconds


def between(T_a: NDArray, T_b: NDArray, part: NDArray) -> NDArray[np.float64]:
    """Poses (N, 4, 4) interpolated from a to b by the fractions `part` (N,)."""
    turn = rotation(np.swapaxes(T_a[:, :3, :3], 1, 2) @ T_b[:, :3, :3]).as_rotvec()
    R = T_a[:, :3, :3] @ Rotation.from_rotvec(part[:, None] * turn).as_matrix()
    return transform(R, T_a[:, :3, 3] + part[:, None] * (T_b[:, :3, 3] - T_a[:, :3, 3]))


def at_times(
    times: NDArray, T: NDArray, at: NDArray, same: float = 0.0
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Interpolate a trajectory.

    Args:
        times: increasing (N,).
        T: poses (N, 4, 4) at these times.
        at: (M,).
        same: distance in time up to which a pose of the trajectory is taken as it is.

    Returns:
        Poses (M, 4, 4), those at the ends before and after the trajectory; and where (M,) they
        lie in it.
    """
    after = np.searchsorted(times, at).clip(1, max(len(times) - 1, 1))
    first, second = after - 1, np.minimum(after, len(times) - 1)
    span = np.maximum(times[second] - times[first], 1)
    part = (at - times[first]) / span
    nearest = np.where(np.abs(at - times[first]) <= np.abs(at - times[second]), first, second)
    taken = np.abs(at - times[nearest]) <= same
    out = between(T[first], T[second], part.clip(0, 1))
    out[taken] = T[nearest[taken]]
    return out, taken | ((part >= 0) & (part <= 1))
