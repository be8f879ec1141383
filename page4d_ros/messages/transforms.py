"""Tree of transforms, filled from tf messages."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from page4d_ros.geometry import poses

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

SHORTEST = 1e-6  # length of a quaternion that still has a direction
FARTHEST = 1e9  # metres; on the way to an overflow


def is_rigid(rotation: ArrayLike, translation: ArrayLike) -> bool:
    """True if a quaternion xyzw has a direction and all coordinates, in metres, are sane."""
    return bool(
        SHORTEST < np.linalg.norm(rotation) < np.inf and np.abs(translation).max() < FARTHEST
    )


class TransformBuffer:
    """The latest transform between any two frames of one tree."""

    def __init__(self) -> None:
        self._parents: dict[str, tuple[str, NDArray]] = {}

    def store(self, message: Any) -> list[str]:
        """Take over a tf2_msgs/TFMessage; frames lose a leading slash.

        Returns:
            A text for each transform that was refused because it is not rigid: a coordinate is
            not finite or absurdly far, or its quaternion is (almost) zero.
        """
        refused = []
        for item in message.transforms:
            q, p = item.transform.rotation, item.transform.translation
            rotation, translation = np.array((q.x, q.y, q.z, q.w)), (p.x, p.y, p.z)
            parent, child = item.header.frame_id.lstrip('/'), item.child_frame_id.lstrip('/')
            if not is_rigid(rotation, translation):
                refused.append(
                    f'{parent!r} to {child!r} with rotation {rotation.tolist()} and translation '
                    f'{list(translation)}'
                )
                continue
            T = poses.from_quaternion(rotation / np.linalg.norm(rotation), translation)
            self._parents[child] = parent, T
        return refused

    def lookup(self, target: str, source: str) -> NDArray | None:
        """T_target_source (4, 4), or None while the frames are not connected."""
        from_target, from_source = self._chain(target), self._chain(source)
        for frame, T_frame_source in from_source.items():
            if frame in from_target:
                return poses.inverse(from_target[frame]) @ T_frame_source
        return None

    def _chain(self, frame: str) -> dict[str, NDArray]:
        """Transforms from `frame` to itself and each of its ancestors, nearest first."""
        chain, T = {frame: np.eye(4)}, np.eye(4)
        while frame in self._parents:
            frame, T_parent_frame = self._parents[frame]
            if frame in chain:
                break
            T = T_parent_frame @ T
            chain[frame] = T
        return chain
