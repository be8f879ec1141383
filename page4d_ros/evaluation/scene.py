"""The published clouds put together in the odom frame."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from page4d_ros.evaluation.recording import cloud_of
from page4d_ros.messages.topics import POINT_CLOUD

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from page4d_ros.evaluation.metrics import Case
    from page4d_ros.evaluation.recording import Track
    from page4d_ros.evaluation.trajectory import Aligned

CLOUDS = 40
POINTS_PER_CLOUD = 1_500
ABOVE_CAMERA = 0.3  # heights of the camera above the floor


@dataclass(frozen=True, eq=False)
class Scene:
    """What was seen, in the frame of the estimated trajectory (z up).

    Attributes:
        static: (n, 6) x, y, z, red, green, blue; dynamic: (m, 6) likewise.
        path: (k, 3) estimated positions of the camera, or of the base where the mount is unknown.
        truth: (j, 3) true positions, aligned to the path; None where there are none.
    """

    static: NDArray[np.float64]
    dynamic: NDArray[np.float64]
    path: NDArray[np.float64]
    truth: NDArray[np.float64] | None

    def seen_from(self, view: str) -> NDArray[np.float64]:
        """Static points; from 'above' without what hangs over the camera and would hide all."""
        if view != 'above' or not len(self.static):
            return self.static
        top, floor = self.path[:, 2].max(), np.percentile(self.static[:, 2], 2)
        return self.static[self.static[:, 2] <= top + ABOVE_CAMERA * max(top - floor, 0.0)]

    def limits(self, across: tuple[int, int]) -> NDArray[np.float64]:
        """Lower and upper bound of two axes, (2, 2), without stray points, with all paths."""
        paths = self.path if self.truth is None else np.vstack([self.path, self.truth])
        bounds = [paths.min(0), paths.max(0)]
        if len(self.static):
            bounds += [*np.percentile(self.static[:, :3], (2, 98), axis=0)]
        low, high = np.min(bounds, 0), np.max(bounds, 0)
        margin = 0.05 * max(float((high - low).max()), 1e-6)
        return np.stack([low - margin, high + margin], 1)[list(across)]


def build_scene(case: Case, aligned: Aligned | None) -> Scene | None:
    """Put clouds and paths together; None where there is no pose."""
    track = case.track
    if track is None:
        return None
    T_child_camera = case.mount(track.child)
    clouds = [np.zeros((0, 6))] * 2
    if T_child_camera is not None:
        track = track.moved_to(case.camera_frame, T_child_camera)
        clouds = [_gathered(case, track, name) for name in ('points/static', 'points/dynamic')]
    truth = aligned.to_estimate(aligned.truth) if aligned else None
    return Scene(*clouds, track.poses[:, :3, 3], truth)


def _gathered(case: Case, track: Track, name: str) -> NDArray[np.float64]:
    """Some points (n, 6) of some clouds, spread evenly over the recording."""
    topic = case.output(name, POINT_CLOUD)
    poses = dict(zip(track.stamps.tolist(), track.poses, strict=True))
    stamps = [s for s in case.recording.stamps.get(topic, ()) if s in poses]
    chosen = set(stamps[:: -(-len(stamps) // CLOUDS)]) if stamps else set()
    parts = [np.zeros((0, 6))]
    if chosen:
        for stamp, points in case.recording.decoded(topic, cloud_of, chosen.__contains__):
            some = points[np.isfinite(points).all(1)].astype(np.float64)
            some = some[:: max(1, len(some) // POINTS_PER_CLOUD)]
            R, t = poses[stamp][:3, :3], poses[stamp][:3, 3]
            parts.append(np.hstack([some[:, :3] @ R.T + t, some[:, 3:]]))
    return np.vstack(parts)
