"""Trajectory of the robot's base from that of its camera: REP 103 axes, REP 105 frames."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy.spatial.transform import Rotation

from page4d_ros.geometry.poses import R_BODY_OPTICAL, adjoint, inverse, transform

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from page4d_ros.config import FramesConfig

FORWARD = transform(R_BODY_OPTICAL, np.zeros(3))


def assumed_mount(config: FramesConfig) -> NDArray[np.float64]:
    """T_base_camera (4, 4) where tf tells none: that of ``frames.mount``, or a look forward."""
    if not config.mount:
        return FORWARD
    at, angles = config.mount[:3], config.mount[3:]
    return transform(Rotation.from_euler('ZYX', angles).as_matrix(), at) @ FORWARD


class BaseFrame:
    """Pose of the robot's base in `odom`, which starts at identity, from that of its camera.

    Without a base frame (egocentric) the child frame is the camera's optical frame itself, and
    `odom` is the first camera pose in body axes (x forward).

    Attributes:
        egocentric: True without a base frame.
        mounted: True if T_base_camera is known, False while it is assumed.
        T_child_camera: (4, 4) pose of the camera on the child frame.
        T_odom_world: (4, 4) pose of the trajectory's world, the first camera, in odom.
    """

    def __init__(self, config: FramesConfig) -> None:
        self.config = config
        self.egocentric = not config.base
        self.mounted = self.egocentric
        self.T_child_camera = np.eye(4) if self.egocentric else assumed_mount(config)
        self._adjoint = adjoint(self.T_child_camera)
        self.T_odom_world = FORWARD if self.egocentric else self.T_child_camera
        self._T_odom_child = np.eye(4)

    def mount(self, T_base_camera: NDArray, T_world_camera: NDArray | None = None) -> None:
        """Set the camera's pose on the base, (4, 4).

        With the camera's present pose given, the base stays where `advance` left it and the
        camera's world moves instead: a mount that becomes known late makes no jump.

        Raises:
            ValueError: a number is not finite; nothing has changed.
        """
        if not np.isfinite(T_base_camera).all():
            raise ValueError(f'T_base_camera is not finite: {T_base_camera}')
        self.T_child_camera, self._adjoint = T_base_camera, adjoint(T_base_camera)
        world_camera = np.eye(4) if T_world_camera is None else T_world_camera
        self.T_odom_world = self._T_odom_child @ T_base_camera @ inverse(world_camera)
        self.mounted = True

    def forget_mount(self, T_world_camera: NDArray) -> None:
        """Assume a mount again: another camera, at (4, 4), took the place of the last.

        The base stays where `advance` left it.
        """
        if not self.egocentric:
            self.mount(assumed_mount(self.config), T_world_camera)
            self.mounted = False

    def restart(self) -> None:
        """Begin again at identity."""
        self._T_odom_child = np.eye(4)
        self.T_odom_world = FORWARD if self.egocentric else self.T_child_camera

    def advance(self, T_world_camera: NDArray) -> None:
        """Move the base to where the camera (4, 4) has gone: a late mount will keep it there."""
        self._T_odom_child = self.pose(T_world_camera)

    def place(self, T_odom_child: NDArray) -> None:
        """Move the trajectory so that the child is at (4, 4) where it was last."""
        self.T_odom_world = T_odom_child @ inverse(self._T_odom_child) @ self.T_odom_world
        self._T_odom_child = T_odom_child

    def pose(self, T_world_camera: NDArray) -> NDArray[np.float64]:
        """T_odom_child, (4, 4), of a camera pose (4, 4); changes nothing."""
        return self.T_odom_world @ T_world_camera @ inverse(self.T_child_camera)

    def twist(self, of_camera: NDArray) -> NDArray[np.float64]:
        """Velocity (6,) of the child in its own axes, from the camera's in optical axes."""
        return self._adjoint @ of_camera

    def twist_covariance(self, of_camera: NDArray) -> NDArray[np.float64]:
        """Covariance (6, 6) of the child's velocity, from that of the camera's."""
        return self._adjoint @ of_camera @ self._adjoint.T

    def pose_covariance(self, of_camera: NDArray, T_odom_child: NDArray) -> NDArray[np.float64]:
        """Covariance (6, 6) of the child's pose, in the axes of odom.

        Args:
            of_camera: (6, 6) of the camera's pose, in its own axes.
            T_odom_child: (4, 4) the child's pose.
        """
        R = np.kron(np.eye(2), T_odom_child[:3, :3])
        return R @ self.twist_covariance(of_camera) @ R.T

    def child(self, optical_frame: str) -> str:
        """Name of the child frame."""
        return optical_frame if self.egocentric else self.config.base

    @property
    def up(self) -> NDArray[np.float64]:
        """The base's up direction in the optical frame, unit vector (3,)."""
        return self.T_level_camera[:3, :3].T @ (0.0, 0.0, 1.0)

    @property
    def T_level_camera(self) -> NDArray[np.float64]:
        """(4, 4) pose of the camera on the base; without one, in its own body axes."""
        return FORWARD if self.egocentric else self.T_child_camera
