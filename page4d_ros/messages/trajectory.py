"""Trajectories as text, for evo and others."""

from __future__ import annotations

from typing import TYPE_CHECKING

from page4d_ros.geometry.poses import quaternion
from page4d_ros.units import NS_PER_S

if TYPE_CHECKING:
    from numpy.typing import NDArray


def trajectory_line(stamp_ns: int, T: NDArray) -> str:
    """TUM's line ``time tx ty tz qx qy qz qw`` of a pose (4, 4); the time is exact."""
    seconds, rest = divmod(stamp_ns, NS_PER_S)
    numbers = ' '.join(f'{value:.9f}' for value in (*T[:3, 3], *quaternion(T)))
    return f'{seconds}.{rest:09d} {numbers}\n'
