"""Trajectories as text, for evo and others."""

from __future__ import annotations

from typing import TYPE_CHECKING

from page4d_ros.geometry.poses import inverse, quaternion
from page4d_ros.units import NS_PER_S

if TYPE_CHECKING:
    from numpy.typing import NDArray

SUFFIXES = '.tum', '.kitti', '.times'


class TrajectoryText:
    """Lines of a trajectory's poses in the formats of TUM and KITTI.

    KITTI's poses are those of the camera in its first optical frame, twelve numbers of (3, 4) by
    rows; their times, in seconds, are lines of a file of their own.
    """

    def __init__(self) -> None:
        self._T_first_odom: NDArray | None = None

    def lines(self, stamp_ns: int, T_odom_camera: NDArray) -> dict[str, str]:
        """Line of a pose (4, 4) for the file of each of `SUFFIXES`."""
        if self._T_first_odom is None:
            self._T_first_odom = inverse(T_odom_camera)
        T = self._T_first_odom @ T_odom_camera
        line = trajectory_line(stamp_ns, T_odom_camera)
        kitti = ' '.join(f'{value:.9e}' for value in T[:3].reshape(-1))
        return dict(zip(SUFFIXES, (line, f'{kitti}\n', f'{line.split()[0]}\n'), strict=True))


def trajectory_files(poses: list[tuple[int, NDArray]]) -> dict[str, bytes]:
    """Content of the file of each of `SUFFIXES`, of stamps (ns) and poses T_odom_camera (4, 4)."""
    text = TrajectoryText()
    lines = [text.lines(*pose) for pose in poses]
    return {suffix: ''.join(line[suffix] for line in lines).encode() for suffix in SUFFIXES}


def trajectory_line(stamp_ns: int, T: NDArray) -> str:
    """TUM's line ``time tx ty tz qx qy qz qw`` of a pose (4, 4); the time is exact."""
    seconds, rest = divmod(stamp_ns, NS_PER_S)
    numbers = ' '.join(f'{value:.9f}' for value in (*T[:3, 3], *quaternion(T)))
    return f'{seconds}.{rest:09d} {numbers}\n'
