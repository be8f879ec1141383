"""Camera poses at any time, interpolated from odometry, poses or tf of a recording."""

from __future__ import annotations

from functools import reduce
from typing import TYPE_CHECKING

import numpy as np
from scipy.spatial.transform import Rotation

from page4d_ros.errors import BagError
from page4d_ros.geometry.poses import transform

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from page4d_ros.datasets.bag_index import BagIndex, Track

POSE_GAP_NS = 200_000_000  # poses further apart are not interpolated
STATIC = '/tf_static'


class CameraPoses:
    """Poses of the camera in the world, at any time.

    Args:
        links: chain from the world to the camera: fixed transforms (4, 4) and tracks.
    """

    def __init__(self, links: list[NDArray | Track]) -> None:
        self._links = links

    def at(self, stamp: int) -> NDArray[np.float64] | None:
        """T_world_camera (4, 4) at a time in nanoseconds; None where unknown."""
        found = [
            link if isinstance(link, np.ndarray) else pose_at(link, stamp) for link in self._links
        ]
        return None if any(T is None for T in found) else reduce(np.matmul, found)


def camera_poses(index: BagIndex, topic: str, camera: str) -> CameraPoses:
    """Poses of the camera's optical frame, from a topic of a recording.

    Args:
        index: index of the recording.
        topic: nav_msgs/Odometry of the camera, or of a frame that a static transform connects to
            it; geometry_msgs/PoseStamped of the camera, as its messages name no child; or
            tf2_msgs/TFMessage, whose root above the camera is taken as the world.
        camera: name of the optical frame.

    Raises:
        BagError: the topic has no poses, or no transform connects them to the camera.
    """
    path = index.bag.path
    if topic in index.links:
        return CameraPoses(_branch(index, topic, camera))
    track = index.tracks.get(topic)
    if not track:
        found = ', '.join(sorted(name for name, t in index.tracks.items() if t)) or 'none'
        raise BagError(f'{path}: no poses on {topic}; those that it has are on {found}')
    if track.child in {'', camera}:
        return CameraPoses([track])
    T_child_camera = index.transforms.lookup(track.child, camera)
    if T_child_camera is None:
        raise BagError(f'{path}: no transform from {track.child!r} to {camera!r} in {STATIC}')
    return CameraPoses([track, T_child_camera])


def _branch(index: BagIndex, topic: str, camera: str) -> list[NDArray | Track]:
    """Transforms and tracks from the root of the tf tree to the camera."""
    static = index.links.get(STATIC, {})
    tracks = {child: track for child, track in (static | index.links[topic]).items() if track}
    out, frame, passed = [], camera, set()
    while frame in tracks and frame not in passed:
        passed.add(frame)
        track = tracks[frame]
        moves = len(track) > 1 and track is not static.get(frame)
        out.insert(0, track if moves else track.poses[-1])
        frame = track.parent
    if all(isinstance(link, np.ndarray) for link in out):
        moving = ', '.join(sorted(index.links[topic])) or 'none'
        raise BagError(
            f'{index.bag.path}: {topic} moves neither {camera!r} nor what carries it; it moves '
            f'{moving}'
        )
    return out


def pose_at(track: Track, stamp: int) -> NDArray[np.float64] | None:
    """Interpolated pose (4, 4) at a time in nanoseconds; None outside the track or in a gap."""
    after = int(np.searchsorted(track.stamps, stamp))
    if after < len(track) and track.stamps[after] == stamp:
        return track.poses[after]
    if after in {0, len(track)}:
        return None
    before = after - 1
    gap = int(track.stamps[after] - track.stamps[before])
    if gap > POSE_GAP_NS:
        return None
    share = int(stamp - track.stamps[before]) / gap
    A, B = track.poses[before], track.poses[after]
    turn = Rotation.from_matrix(A[:3, :3].T @ B[:3, :3]).as_rotvec()
    R = A[:3, :3] @ Rotation.from_rotvec(share * turn).as_matrix()
    return transform(R, (1 - share) * A[:3, 3] + share * B[:3, 3])
