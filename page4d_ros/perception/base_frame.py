"""From the camera's trajectory to the robot's: REP 103 axes, REP 105 frames."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from page4d_ros.geometry.poses import R_BODY_OPTICAL, adjoint, inverse, transform

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from page4d_ros.config import FramesConfig

FORWARD = transform(R_BODY_OPTICAL, np.zeros(3))


class BaseFrame:
    """Places the camera's world in `odom` so that the body starts at identity.

    Without a base frame (egocentric) the child is the optical frame itself, and only the axes of
    `odom` are a body's: those of the first camera pose.

    Attributes:
        mounted: T_base_camera is known, not assumed.
        T_child_camera: (4, 4) where the camera sits on the child frame.
        T_odom_world: (4, 4) the trajectory's world, the first camera's, in the odom frame.
    """

    def __init__(self, config: FramesConfig) -> None:
        self.config = config
        self.egocentric = not config.base
        self.mounted = self.egocentric
        self.T_child_camera = np.eye(4) if self.egocentric else FORWARD
        self._adjoint = adjoint(self.T_child_camera)
        self.T_odom_world = FORWARD
        self._T_odom_child = np.eye(4)

    def mount(self, T_base_camera: NDArray, T_world_camera: NDArray | None = None) -> None:
        """Set where the camera sits on the base, (4, 4).

        Given the present pose of the camera, the body stays where it is and the camera's world
        is placed anew: a mount that becomes known late makes no jump.
        """
        self.T_child_camera, self._adjoint = T_base_camera, adjoint(T_base_camera)
        world_camera = np.eye(4) if T_world_camera is None else T_world_camera
        self.T_odom_world = self._T_odom_child @ T_base_camera @ inverse(world_camera)
        self.mounted = True

    def restart(self) -> None:
        """Begin again at identity."""
        self._T_odom_child = np.eye(4)
        self.T_odom_world = FORWARD if self.egocentric else self.T_child_camera

    def pose(self, T_world_camera: NDArray) -> NDArray[np.float64]:
        """T_odom_child, (4, 4)."""
        self._T_odom_child = self.T_odom_world @ T_world_camera @ inverse(self.T_child_camera)
        return self._T_odom_child

    def twist(self, of_camera: NDArray) -> NDArray[np.float64]:
        """Velocity (6,) of the child in its own axes, from the camera's in optical axes."""
        return self._adjoint @ of_camera

    def child(self, optical_frame: str) -> str:
        """Name of the child frame."""
        return optical_frame if self.egocentric else self.config.base

    @property
    def up(self) -> NDArray[np.float64]:
        """The body's up direction in the optical frame, (3,)."""
        R = FORWARD[:3, :3] if self.egocentric else self.T_child_camera[:3, :3]
        return R.T @ (0.0, 0.0, 1.0)
