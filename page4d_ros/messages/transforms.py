"""The tree of tf, from its messages."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from page4d_ros.geometry import poses

if TYPE_CHECKING:
    from numpy.typing import NDArray


class TransformBuffer:
    """The latest transform between any two frames of one tree."""

    def __init__(self) -> None:
        self._parents: dict[str, tuple[str, NDArray]] = {}

    def store(self, message: Any) -> None:
        """Take over a tf2_msgs/TFMessage without null rotations; frames lose a leading slash."""
        for item in message.transforms:
            q, p = item.transform.rotation, item.transform.translation
            if not any((q.x, q.y, q.z, q.w)):
                continue
            T = poses.from_quaternion((q.x, q.y, q.z, q.w), (p.x, p.y, p.z))
            child = item.child_frame_id.lstrip('/')
            self._parents[child] = item.header.frame_id.lstrip('/'), T

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
