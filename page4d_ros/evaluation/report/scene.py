"""Scene in one frame of reference: static cloud, moving points over time, and the path."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from page4d_ros.config import PointsConfig
from page4d_ros.datasets.bag_index import cloud_of
from page4d_ros.evaluation.report.cloud import VoxelCloud
from page4d_ros.geometry.poses import R_BODY_OPTICAL, transform
from page4d_ros.messages.topics import POINT_CLOUD
from page4d_ros.perception.clouds import cloud, colours

if TYPE_CHECKING:
    from collections.abc import Container, Iterator, Sequence

    from numpy.typing import NDArray

    from page4d_ros.evaluation.metrics.recording import Case
    from page4d_ros.evaluation.result import Aligned
    from page4d_ros.perception.types import Estimate

CLOUDS = 200  # of a recording, spread evenly
POINTS = PointsConfig(max_points=10_000)  # of a frame
MOMENTS = 24
MOVING_POINTS = 500  # of a moment
ABOVE_CAMERA = 0.3  # heights of the camera above the floor
T_UPRIGHT_OPTICAL = transform(R_BODY_OPTICAL, np.zeros(3))


class Moment(NamedTuple):
    """Moving points of one frame, or of the frames of several cameras at about one time.

    Attributes:
        stamp_ns: when.
        T_world_cameras: (4, 4) of each camera.
        points: (n, 6) x, y, z, red, green, blue in the scene's frame.
    """

    stamp_ns: int
    T_world_cameras: tuple[NDArray[np.float64], ...]
    points: NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Scene:
    """Scene in the frame of the estimated trajectory (z up).

    Attributes:
        static: (n, 6) x, y, z, red, green, blue.
        moments: some frames in order of time, at most `MOMENTS`.
        path: (k, 3) estimated positions of the camera, or of the base where the mount is unknown.
        truth: (j, 3) true positions, aligned to the path; None where there are none.
    """

    static: NDArray[np.float64]
    moments: list[Moment]
    path: NDArray[np.float64]
    truth: NDArray[np.float64] | None

    @property
    def dynamic(self) -> NDArray[np.float64]:
        """Moving points (m, 6) of all moments."""
        return np.vstack([np.zeros((0, 6)), *(moment.points for moment in self.moments)])

    def seen_from(self, view: str) -> NDArray[np.float64]:
        """Static points; from 'above' without what hangs over the camera and would hide all."""
        if view != 'above' or not len(self.static):
            return self.static
        top, floor = self.path[:, 2].max(), np.percentile(self.static[:, 2], 2)
        return self.static[self.static[:, 2] <= top + ABOVE_CAMERA * max(top - floor, 0.0)]

    def limits(self) -> NDArray[np.float64]:
        """Lower and upper bound of the axes, (3, 2), without stray points, with all paths."""
        paths = self.path if self.truth is None else np.vstack([self.path, self.truth])
        bounds = [paths.min(0), paths.max(0)]
        if len(self.static):
            bounds += [*np.percentile(self.static[:, :3], (2, 98), axis=0)]
        low, high = np.min(bounds, 0), np.max(bounds, 0)
        margin = 0.05 * max(float((high - low).max()), 1e-6)
        return np.stack([low - margin, high + margin], 1)


class SceneBuilder:
    """Gathers frames that come one after the other, in memory that does not grow with them."""

    def __init__(self) -> None:
        self.static = VoxelCloud()
        self.moments: list[Moment] = []
        self._count, self._stride = 0, 1

    def add_static(self, T_world_camera: NDArray, points: NDArray) -> None:
        """Take in points (n, 6) at rest, in the camera's optical frame."""
        self.static.add(_moved(T_world_camera, points))

    def add_moment(self, stamp_ns: int, T_world_camera: NDArray, points: NDArray) -> None:
        """Take in moving points (n, 6) of a frame; of long recordings every n-th is kept."""
        if self._count % self._stride == 0:
            few = VoxelCloud(MOVING_POINTS)
            few.add(_moved(T_world_camera, points))
            self.moments.append(Moment(stamp_ns, (T_world_camera,), few.points))
            if len(self.moments) > MOMENTS:
                self.moments = self.moments[::2]
                self._stride *= 2
        self._count += 1

    def add(self, estimate: Estimate) -> None:
        """Take in an estimate whose pose is known."""
        T = T_UPRIGHT_OPTICAL @ estimate.odometry.T_world_camera
        parts = [cloud(estimate, POINTS, dynamic=dynamic) for dynamic in (False, True)]
        static, moving = (
            np.column_stack([p['x'], p['y'], p['z'], colours(p) / 255]) for p in parts
        )
        self.add_static(T, static)
        self.add_moment(estimate.frame.stamp_ns, T, moving)

    def scene(self, path: NDArray, truth: NDArray | None) -> Scene:
        """Put the clouds beside positions (k, 3) in their frame."""
        return Scene(self.static.points, self.moments, path, truth)


def merged(scenes: Sequence[Scene]) -> Scene:
    """One scene of what several cameras saw, with the paths of the first.

    Args:
        scenes: of each camera, all in one frame.
    """
    static = VoxelCloud()
    for scene in scenes:
        static.add(scene.static)
    times = max((scene.moments for scene in scenes), key=len)
    moments = []
    for index, each in enumerate(times):
        near = [m for scene in scenes for m in scene.moments if _nearest(times, m) == index]
        cameras = tuple(T for moment in near for T in moment.T_world_cameras)
        points = np.vstack([moment.points for moment in near])
        moments.append(Moment(each.stamp_ns, cameras, points))
    return Scene(static.points, moments, scenes[0].path, scenes[0].truth)


def _nearest(moments: Sequence[Moment], moment: Moment) -> int:
    return int(np.argmin([abs(each.stamp_ns - moment.stamp_ns) for each in moments]))


def _moved(T: NDArray, points: NDArray) -> NDArray[np.float64]:
    return np.hstack([points[:, :3] @ T[:3, :3].T + T[:3, 3], points[:, 3:]])


def build_scene(case: Case, aligned: Aligned | None) -> Scene | None:
    """Put the published clouds and paths of a recording together; None where there is no pose."""
    track = case.track
    if track is None:
        return None
    builder = SceneBuilder()
    T_child_camera = case.mount(track.child)
    if T_child_camera is not None:
        track = track.moved_to(case.camera_frame, T_child_camera)
        poses = dict(zip(track.stamps.tolist(), track.poses, strict=True))
        for stamp, points in _clouds(case, poses, 'points/static'):
            builder.add_static(poses[stamp], points)
        for stamp, points in _clouds(case, poses, 'points/dynamic'):
            builder.add_moment(stamp, poses[stamp], points)
    truth = aligned.to_estimate(aligned.truth) if aligned else None
    return builder.scene(track.poses[:, :3, 3], truth)


def _clouds(
    case: Case, poses: Container[int], name: str
) -> Iterator[tuple[int, NDArray[np.float32]]]:
    """(stamp, points) of clouds with a pose, spread evenly over the recording."""
    topic = case.output(name, POINT_CLOUD)
    stamps = [s for s in case.recording.stamps.get(topic, ()) if s in poses]
    if stamps:
        chosen = set(stamps[:: -(-len(stamps) // CLOUDS)])
        yield from case.recording.decoded(topic, cloud_of, chosen.__contains__)
