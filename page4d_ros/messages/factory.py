"""Construction of messages, independent of the library that defines their classes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from page4d_ros.geometry.poses import quaternion

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class MessageFactory(Protocol):
    """Makes messages of one ROS implementation."""

    def __call__(self, kind: str, /, **fields: Any) -> Any:
        """Message ``package/msg/Name`` with every field given."""

    def sequence(self, values: NDArray) -> Any:
        """Value of an unbounded primitive array field, filled by one copy."""

    def fixed(self, values: NDArray[np.float64]) -> Any:
        """Value of a float64 array field of fixed size."""

    def element(self, pose_stamped: Any) -> Any:
        """Element of a nav_msgs/Path for a geometry_msgs/PoseStamped, kept for many paths."""
        return pose_stamped

    def quaternion(self, T: NDArray) -> NDArray[np.float64]:
        """Unit quaternion xyzw of a transform (4, 4)."""
        return quaternion(T)
