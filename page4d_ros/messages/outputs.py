"""Messages of one estimate, pose first, because controllers wait for it, and clouds last."""

from __future__ import annotations

from collections import deque
from functools import cache, partial
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from page4d_ros.geometry.poses import inverse
from page4d_ros.messages import encode
from page4d_ros.messages.markers import body_markers
from page4d_ros.messages.topics import of_camera
from page4d_ros.perception.base_frame import FORWARD
from page4d_ros.perception.cloud_map import CloudMap
from page4d_ros.perception.clouds import cloud, organized
from page4d_ros.perception.intake import Restart
from page4d_ros.perception.scan import bearings, scan
from page4d_ros.perception.upsampling import CameraPixels
from page4d_ros.units import NS_PER_S

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray

    from page4d_ros.config import Config
    from page4d_ros.messages.factory import MessageFactory
    from page4d_ros.perception.base_frame import BaseFrame
    from page4d_ros.perception.rig import Rig
    from page4d_ros.perception.types import Estimate, ViewEstimate

MILLIMETRES_MAX = 65_535
MOVING_TINT = 127, 20, 20, 0
CLOUDS = ('points/static', 'points/dynamic', 'points/organized')
NEAREST = 0.01  # of the farthest depth that has a colour: the nearest
FARTHEST = 100.0  # depth with the last colour, without ``depth.max_range``
INFOS = ('depth/camera_info', 'rgb/camera_info', 'mask/camera_info')


class Outputs:
    """Turns estimates into messages, and computes only those that are wanted.

    Args:
        config: all settings.
        make: factory of the message classes.
        base_frame: pose of the base, from that of the camera.
        rig: knows where further cameras sit; None for one camera.
    """

    def __init__(
        self, config: Config, make: MessageFactory, base_frame: BaseFrame, rig: Rig | None = None
    ) -> None:
        self.config = config
        self.make = make
        self.base_frame = base_frame
        self.rig = rig
        self._poses: deque[tuple[int, NDArray]] = deque(maxlen=config.path.max_poses)
        self._path: deque[Any] = deque(maxlen=config.path.max_poses)
        self._due_ns: dict[str, int] = {}
        self.map = CloudMap(config.map)
        self._tf_ns: int | None = None

    def restart(self, restart: Restart) -> None:
        """Accept older stamps from now on; forget the trajectory if the pose restarts."""
        if restart is not Restart.NONE:
            self._due_ns.clear()
            self._tf_ns = None
        if restart is Restart.POSE:
            self.forget_trajectory()

    def forget_trajectory(self) -> None:
        """Forget the path, and the points that were gathered along it."""
        self._poses.clear()
        self._path.clear()
        self.map.clear()

    def messages(
        self, estimate: Estimate, wanted: Callable[[str], bool]
    ) -> Iterator[tuple[str, Any]]:
        """(topic, message) of one estimate; ``/tf`` yields a TransformStamped.

        Args:
            estimate: the newest frame.
            wanted: True if anybody listens to a topic.
        """
        yield from self._trajectory(estimate, wanted)
        if estimate.still:
            return
        yield from self._images(estimate, wanted)
        if self.config.dynamics.clusters:
            yield from self._bodies(estimate, wanted)
        for camera, view in self._cameras(estimate):
            if _calibrated(view):
                T_level_camera = self._level(estimate, view)
                yield from self._scan(of_camera('scan', camera), view, T_level_camera, wanted)
                yield from self._clouds(camera, view, T_level_camera, wanted)

    def _bodies(
        self, estimate: Estimate, wanted: Callable[[str], bool]
    ) -> Iterator[tuple[str, Any]]:
        make, bodies, T_odom_world = self.make, estimate.bodies, self.base_frame.T_odom_world
        head = encode.header(make, estimate.frame.stamp_ns, self.config.frames.odom)
        if wanted('bodies'):
            yield 'bodies', encode.detections(make, head, bodies, T_odom_world)
        if wanted('markers'):
            metric = bool(estimate.odometry.metric)
            yield 'markers', body_markers(make, head, bodies, T_odom_world, metric=metric)

    def _scan(
        self, name: str, view: ViewEstimate, T: NDArray | None, wanted: Callable[[str], bool]
    ) -> Iterator[tuple[str, Any]]:
        """Scan in the base frame, if there is one and the camera's pose T on it is known."""
        if T is None or self.base_frame.egocentric or not wanted(name):
            return
        config = self.config.scan
        head = encode.header(self.make, view.frame.stamp_ns, self.config.frames.base)
        start, step, _ = bearings(config)
        ranges = scan(view, config, T)
        yield name, encode.laser_scan(self.make, head, ranges, start, step, config.max_range)

    def _clouds(
        self, camera: str, view: ViewEstimate, T: NDArray | None, wanted: Callable[[str], bool]
    ) -> Iterator[tuple[str, Any]]:
        for kind in CLOUDS:
            name = of_camera(kind, camera)
            if wanted(name) and self._due(name, view.frame.stamp_ns, self.config.points.rate):
                yield (
                    name,
                    encode.cloud(self.make, self._optical(view), self._points(kind, view, T)),
                )

    def _points(self, kind: str, view: ViewEstimate, T: NDArray | None) -> NDArray:
        config = self.config.points
        if kind == 'points/organized':
            return organized(view, config, T)
        return cloud(view, config, dynamic=kind == 'points/dynamic', T_level_camera=T)

    def _level(self, estimate: Estimate, view: ViewEstimate) -> NDArray | None:
        """Pose (4, 4) of a camera on the base, see `BaseFrame.T_level_camera`; None if unknown."""
        T = self._mount(estimate, view)
        return FORWARD @ T if T is not None and self.base_frame.egocentric else T

    def _mount(self, estimate: Estimate, view: ViewEstimate) -> NDArray | None:
        """Pose (4, 4) of a camera on the child frame; None if unknown."""
        if view.frame.frame_id == estimate.pose_frame:
            return self.base_frame.T_child_camera
        return self.rig.mounts.get(view.frame.view) if self.rig else None

    def _cameras(self, estimate: Estimate) -> Iterator[tuple[str, ViewEstimate]]:
        """Name and results of each camera; without names, of the reference view."""
        if not self.config.cameras:
            yield '', estimate.views[0]
            return
        for view in estimate.views:
            yield self.config.cameras[view.frame.view], view

    def _optical(self, view: ViewEstimate) -> Any:
        return encode.header(self.make, view.frame.stamp_ns, view.frame.frame_id)

    def _trajectory(
        self, estimate: Estimate, wanted: Callable[[str], bool]
    ) -> Iterator[tuple[str, Any]]:
        make, frames, odometry = self.make, self.config.frames, estimate.odometry
        stamp_ns = estimate.frame.stamp_ns
        child = self.base_frame.child(estimate.pose_frame)
        head = encode.header(make, stamp_ns, frames.odom)
        if odometry.lost:
            if self.config.odometry.publish_when_lost:
                at = encode.null_pose(make)
                yield 'odom', encode.odometry(make, head, child, at, np.zeros(6), encode.LOST)
            return
        T_odom_child = self.base_frame.pose(odometry.T_world_camera)
        at = encode.pose(make, T_odom_child)
        if frames.publish_tf and (self._tf_ns is None or stamp_ns > self._tf_ns):
            self._tf_ns = stamp_ns
            if frames.invert_tf:
                yield '/tf', self._inverted(stamp_ns, child, T_odom_child)
            else:
                yield '/tf', encode.transform_stamped(make, head, child, at)
        covariances = np.array(
            [
                self.base_frame.pose_covariance(odometry.covariance, T_odom_child),
                self.base_frame.twist_covariance(odometry.twist_covariance),
            ]
        )
        velocity = self.base_frame.twist(odometry.twist)
        yield 'odom', encode.odometry(make, head, child, at, velocity, covariances)
        self._poses.append((stamp_ns, odometry.T_world_camera))
        self._path.append(make.element(encode.pose_stamped(make, head, at)))
        if wanted('path'):
            yield 'path', self.path(head)

    def _inverted(self, stamp_ns: int, child: str, T_odom_child: NDArray) -> Any:
        """Transform from child to odom, for a child that already has another parent."""
        head = encode.header(self.make, stamp_ns, child)
        at = encode.pose(self.make, inverse(T_odom_child))
        return encode.transform_stamped(self.make, head, self.config.frames.odom, at)

    def path(self, head: Any) -> Any:
        """nav_msgs/Path of the trajectory so far, with this header."""
        return encode.path(self.make, head, list(self._path))

    def trajectory(self) -> list[tuple[int, NDArray]]:
        """(stamp, T_odom_camera) of the newest ``path.max_poses`` poses of the optical frame."""
        return [(stamp_ns, self.base_frame.T_odom_world @ T) for stamp_ns, T in list(self._poses)]

    def _images(
        self, estimate: Estimate, wanted: Callable[[str], bool]
    ) -> Iterator[tuple[str, Any]]:
        """Images of each camera, each with its camera_info if the intrinsics are known."""
        for camera, view in self._cameras(estimate):
            for name, message in self._images_of(
                view, lambda n, c=camera: wanted(of_camera(n, c))
            ):
                yield of_camera(name, camera), message

    def _images_of(
        self, view: ViewEstimate, wanted: Callable[[str], bool]
    ) -> Iterator[tuple[str, Any]]:
        make, head, encoding = self.make, self._optical(view), self.config.depth.encoding
        of = view if view.image is None else CameraPixels(view)
        camera = cache(partial(encode.camera_info, make, head, of.camera))
        arrays = {
            'depth/image': lambda: depth_array(of.depth, encoding),
            'depth/static': lambda: depth_array(static_depth(of.depth, of.mask), encoding),
            'depth/colormap': lambda: colormap(of.depth, self.config.depth.max_range),
            'rgb/image': lambda: of.rgb,
            'mask/image': lambda: of.mask,
            'mask/probability': lambda: of.probability,
            'mask/overlay': lambda: overlay_array(of.rgb, of.mask),
            'confidence/image': lambda: of.confidence,
        }
        for name, array in arrays.items():
            if wanted(name):
                yield name, encode.image(make, head, array())
            info = name.replace('image', 'camera_info')
            if info in INFOS and _calibrated(view) and wanted(info):
                yield info, camera()

    def gather(self, estimate: Estimate) -> None:
        """Add the static points of an estimate to `map`, if ``map.voxel`` asks for it."""
        config, odometry = self.config, estimate.odometry
        self.map.config = config.map
        if not config.map.voxel or odometry.lost or estimate.still:
            return
        T_world_child = odometry.T_world_camera @ inverse(self.base_frame.T_child_camera)
        for camera, view in self._cameras(estimate):
            T_child_camera, due = self._mount(estimate, view), f'map of {camera}'
            if (
                T_child_camera is not None
                and _calibrated(view)
                and self._due(due, view.frame.stamp_ns, config.map.rate)
            ):
                level = self._level(estimate, view)
                points = cloud(view, config.points, dynamic=False, T_level_camera=level)
                self.map.add(points, T_world_child @ T_child_camera)

    def _due(self, name: str, stamp_ns: int, rate: float) -> bool:
        """True if something may go out: `rate` on average, whatever the frames' rate is."""
        due = self._due_ns.get(name)
        if not rate:
            return True
        period = round(NS_PER_S / rate)
        if due is None or not -2 * period < stamp_ns - due < 2 * period:  # the first, or a jump
            due = stamp_ns
        # 1 % of slack, so that a camera at exactly the rate keeps all of its frames
        if stamp_ns < due - period // 100:
            return False
        self._due_ns[name] = due + period
        return True


def _calibrated(view: ViewEstimate) -> bool:
    """True if the intrinsics are numbers: the network's may be anything."""
    return bool(np.isfinite(view.camera.K).all())


def depth_array(depth: NDArray, encoding: str) -> NDArray:
    """Depth (h, w): metres as float32 with NaN, or millimetres as uint16 with 0 (REP 118)."""
    if encoding == '32FC1':
        return depth
    millimetres = np.nan_to_num(depth * 1e3, nan=0.0)
    return np.where(millimetres > MILLIMETRES_MAX, 0, millimetres.round()).astype(np.uint16)


def static_depth(depth: NDArray[np.float32], mask: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Depth (h, w) that is NaN where its mask (h, w) is dynamic."""
    return cv2.copyTo(np.full_like(depth, np.nan), mask, depth.copy())


def colormap(depth: NDArray[np.float32], max_range: float) -> NDArray[np.uint8]:
    """Depth (h, w) in colours (h, w, 3), near red, far blue, invalid black; for display only.

    A colour is a depth, the same in every image: from 1 % of `max_range` (of 100 m where it is 0)
    to all of it, logarithmic.
    """
    farthest = max_range or FARTHEST
    share = np.log(np.nan_to_num(depth, nan=farthest) / farthest) / np.log(NEAREST)
    level = np.rint(255 * np.clip(share, 0, 1)).astype(np.uint8)
    colours = cv2.cvtColor(cv2.applyColorMap(level, cv2.COLORMAP_TURBO), cv2.COLOR_BGR2RGB)
    return cv2.copyTo(colours, np.isfinite(depth).view(np.uint8))


def overlay_array(image: NDArray[np.uint8], mask: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Image (h, w, 3) tinted red where its mask (h, w) is dynamic; for display only."""
    tinted = cv2.add(image >> 1, MOVING_TINT)
    return cv2.copyTo(tinted, mask, image.copy())
