"""Rendering of a scene into frames with exact depth, motion mask and pose."""

from __future__ import annotations

import math
from operator import itemgetter
from typing import TYPE_CHECKING

import cv2
import numpy as np

from page4d_ros.errors import SceneError
from page4d_ros.geometry.camera import PinholeCamera
from page4d_ros.synthetic.drive import DRIVE_SECONDS
from page4d_ros.synthetic.options import Rig, Traffic
from page4d_ros.synthetic.rig import ALONE
from page4d_ros.synthetic.scene import NEAR, Scene, import_mujoco, no_opengl
from page4d_ros.truth import GroundTruthFrame

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from types import TracebackType

    from numpy.typing import NDArray

    from page4d_ros.synthetic.rig import RigCamera
    from page4d_ros.synthetic.sensor import Path

# Seeds of the sample drive.
SAMPLE_ROOM_SEED = 1
SAMPLE_DRIVE_SEED = 5

# tf takes time zero for "the latest", so no frame has it.
FIRST_STAMP_NS = 1_000_000_000

# The camera sits 0.2 m ahead of and 1.2 m above the robot's base_link (x forward, y left, z up)
# and looks forward; its own axes are optical (x right, y down, z forward).
T_base_camera = np.array(
    [[0.0, 0.0, 1.0, 0.2], [-1.0, 0.0, 0.0, 0.0], [0.0, -1.0, 0.0, 1.2], [0.0, 0.0, 0.0, 1.0]]
)
T_base_camera.flags.writeable = False


def centred_camera(width: int, height: int, fov_x_deg: float = 60.0) -> PinholeCamera:
    """Camera with square pixels and the principal point in the middle of the image."""
    focal = width / 2 / math.tan(math.radians(fov_x_deg) / 2)
    return PinholeCamera(width, height, focal, focal, width / 2 - 0.5, height / 2 - 0.5)


class Renderer:
    """Off-screen renderer of a scene; a context manager that frees its OpenGL context.

    Args:
        scene: scene to draw.
        camera: intrinsics of the frames.

    Raises:
        SceneError: OpenGL does not work without a display here.
    """

    def __init__(self, scene: Scene, camera: PinholeCamera) -> None:
        self._mj = import_mujoco()
        self.scene, self.camera = scene, camera
        width, height = 2 * camera.width, 2 * camera.height
        visual = scene.model.vis.global_
        visual.offwidth, visual.offheight = width, height
        self._view = self._mj.MjvScene(scene.model, maxgeom=2 * scene.model.ngeom + 10)
        self._option = self._mj.MjvOption()
        try:
            self._gl = self._mj.GLContext(width, height)
            self._gl.make_current()
            self._context = self._mj.MjrContext(scene.model, self._mj.mjtFontScale.mjFONTSCALE_100)
        except Exception as error:
            raise no_opengl(error) from error
        self._mj.mjr_setBuffer(self._mj.mjtFramebuffer.mjFB_OFFSCREEN, self._context)
        self._context.readDepthMap = self._mj.mjtDepthMap.mjDEPTH_ZEROFAR

    def __enter__(self) -> Renderer:
        """Return the renderer."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close the renderer."""
        self.close()

    def close(self) -> None:
        """Free the OpenGL context; the renderer cannot be used afterwards."""
        self._gl.make_current()
        self._context.free()
        self._gl.free()

    def frame(self, t: float, T_main_camera: NDArray = ALONE.T_main_camera) -> GroundTruthFrame:
        """Render the scene at time t, in seconds since the start of the drive.

        `T_main_camera` (4, 4) is the pose of a camera beside the one of the drive.

        All of the ground truth is known but for the depth of the sky, which is NaN.
        The mask holds every body that moves during the drive, including resting limbs of a
        walking person and a mover that pauses; shadows and standing people are static. Bodies are
        numbered from 1, moving ones first; a carried box belongs to its carrier. The pose of a
        ball or a crate is that of the whole body, the pose of a person that of the pelvis.
        """
        T_world_camera = self.scene.at(t) @ T_main_camera
        self._gl.make_current()
        self._mj.mjv_updateScene(
            self.scene.model,
            self.scene.data,
            self._option,
            None,
            self._mj.MjvCamera(),
            self._mj.mjtCatBit.mjCAT_ALL,
            self._view,
        )
        self._look(T_world_camera)
        image, _ = self._draw(2, labels=False)
        labels, depth = self._draw(1, labels=True)
        bodies = self._bodies(labels)
        size = (self.camera.width, self.camera.height)
        rgb = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
        if self.scene.drive.sensor is not None:
            path = _Beside(self.scene.drive.camera, T_main_camera)
            rgb = self.scene.drive.sensor.expose(rgb, depth, self.camera, path, t)
        return GroundTruthFrame(
            stamp_ns=FIRST_STAMP_NS + round(t * 1e9),
            rgb=rgb,
            depth=np.where(depth < self.scene.room.SKY, depth, np.float32(np.nan)),
            mask=self.scene.moving[bodies],
            bodies=bodies,
            T_world_camera=T_world_camera,
            T_world_bodies=self.scene.T_world_bodies,
            camera=self.camera,
        )

    def _look(self, T_world_camera: NDArray) -> None:
        """Set pose and frustum of MuJoCo's two cameras to those of the optical frame."""
        camera, far = self.camera, self.scene.room.FAR
        for eye in self._view.camera:
            eye.pos = T_world_camera[:3, 3]
            eye.forward = T_world_camera[:3, 2]
            eye.up = -T_world_camera[:3, 1]
            eye.frustum_near, eye.frustum_far = NEAR, far
            eye.frustum_top = NEAR * (camera.cy + 0.5) / camera.fy
            eye.frustum_bottom = NEAR * (camera.cy + 0.5 - camera.height) / camera.fy
            eye.frustum_center = NEAR * (camera.width / 2 - camera.cx - 0.5) / camera.fx
            eye.frustum_width = NEAR * camera.width / 2 / camera.fx

    def _draw(self, scale: int, *, labels: bool) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
        """Render colours, or geom labels and depth, at a multiple of the camera's size."""
        flags = self._mj.mjtRndFlag
        self._view.flags[flags.mjRND_SEGMENT] = labels
        self._view.flags[flags.mjRND_IDCOLOR] = labels
        self._view.flags[flags.mjRND_SHADOW] = not labels
        rect = self._mj.MjrRect(0, 0, scale * self.camera.width, scale * self.camera.height)
        image = np.empty((rect.height, rect.width, 3), np.uint8)
        buffer = np.empty((rect.height, rect.width), np.float32) if labels else None
        self._mj.mjr_render(rect, self._view, self._context)
        self._mj.mjr_readPixels(image, buffer, rect, self._context)
        # OpenGL counts rows from the bottom; the depth buffer holds 1 at NEAR and 0 at FAR
        if buffer is None:
            return np.flipud(image), None
        far = self.scene.room.FAR
        depth = NEAR * far / (NEAR + np.flipud(buffer).astype(np.float64) * (far - NEAR))
        return np.flipud(image), depth.astype(np.float32)

    def _bodies(self, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Number of each pixel's body, decoded from the geom labels of a rendered image."""
        label = image.astype(np.int32) @ (1, 1 << 8, 1 << 16)
        bodies = np.zeros(self._view.ngeom + 1, np.uint8)
        for geom in self._view.geoms[: self._view.ngeom]:
            bodies[geom.segid + 1] = self.scene.bodies[geom.objid]
        return bodies[label]


class _Beside:
    """Path of a camera that sits beside another one."""

    def __init__(self, path: Path, T_main_camera: NDArray) -> None:
        self._path, self._T_main_camera = path, T_main_camera

    def at(self, t: float) -> NDArray[np.float64]:
        return self._path.at(t) @ self._T_main_camera


def render_clip(
    room_seed: int = SAMPLE_ROOM_SEED,
    drive_seed: int = SAMPLE_DRIVE_SEED,
    frames: int = 60,
    rate_hz: float = 15.0,
    width: int = 320,
    height: int = 240,
    *,
    rig: Rig = Rig.HANDHELD,
    traffic: Traffic = Traffic.SOME,
    seconds: float = DRIVE_SECONDS,
) -> Iterator[GroundTruthFrame]:
    """Render the first frames of a drive with one camera; see `render_rig`."""
    views = render_rig(
        (ALONE,),
        room_seed,
        drive_seed,
        frames,
        rate_hz,
        width,
        height,
        rig=rig,
        traffic=traffic,
        seconds=seconds,
    )
    return (frame for _, frame in views)


def render_rig(
    cameras: Sequence[RigCamera],
    room_seed: int = SAMPLE_ROOM_SEED,
    drive_seed: int = SAMPLE_DRIVE_SEED,
    frames: int = 60,
    rate_hz: float = 15.0,
    width: int = 320,
    height: int = 240,
    *,
    rig: Rig = Rig.HANDHELD,
    traffic: Traffic = Traffic.SOME,
    seconds: float = DRIVE_SECONDS,
) -> Iterator[tuple[RigCamera, GroundTruthFrame]]:
    """Render the first frames of a drive, one at a time.

    Args:
        cameras: of the rig, all with the same intrinsics.
        room_seed: seed of the room.
        drive_seed: seed of the drive through it.
        frames: number of frames of each camera.
        rate_hz: frames per second.
        width: image width in pixels.
        height: image height in pixels.
        rig: carrier of the camera.
        traffic: number of moving bodies.
        seconds: duration of the drive, which begins with the frames. Another duration is another
            drive; more bodies fit into a shorter one.

    Returns:
        Cameras with their frames, in order of time; equal arguments give equal bits on the same
        machine.

    Raises:
        SceneError: the drive is shorter than the frames, or cannot be rendered here.
    """
    last = max(camera.delay for camera in cameras)
    if (frames - 1) / rate_hz + last > seconds:
        raise SceneError(
            f'{frames} frames at {rate_hz:g} Hz last longer than the drive of {seconds:g} s; '
            f'at most {math.floor((seconds - last) * rate_hz) + 1} fit'
        )
    scene = Scene.draw(room_seed, drive_seed, rig=rig, traffic=traffic, seconds=seconds)
    return _render(scene, cameras, centred_camera(width, height), frames, rate_hz)


def _render(
    scene: Scene,
    cameras: Sequence[RigCamera],
    intrinsics: PinholeCamera,
    frames: int,
    rate_hz: float,
) -> Iterator[tuple[RigCamera, GroundTruthFrame]]:
    moments = [(i / rate_hz + each.delay, each) for i in range(frames) for each in cameras]
    with Renderer(scene, intrinsics) as renderer:
        for t, camera in sorted(moments, key=itemgetter(0)):
            yield camera, renderer.frame(t, camera.T_main_camera)
