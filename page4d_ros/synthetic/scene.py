"""A room and a drive as a MuJoCo model; only kinematics and rendering are used, no dynamics."""

from __future__ import annotations

import os
from collections import defaultdict
from typing import TYPE_CHECKING

import numpy as np

from page4d_ros.errors import SceneError
from page4d_ros.synthetic.drive import DRIVE_SECONDS, Drive
from page4d_ros.synthetic.options import Rig, Traffic
from page4d_ros.synthetic.place import draw_room
from page4d_ros.synthetic.shapes import merge

if TYPE_CHECKING:
    from types import ModuleType

    import mujoco
    from numpy.typing import NDArray

    from page4d_ros.synthetic.light import Lamp
    from page4d_ros.synthetic.movers import Actor
    from page4d_ros.synthetic.paint import Paint, Part
    from page4d_ros.synthetic.room import Room

NEAR = 0.05
SUNLIT = 15.0  # metres around the beginning of a drive within which things cast shadows in the sun


class Scene:
    """World of one drive in one room; z up, origin on the floor, metres and seconds.

    Args:
        room: the static world.
        drive: the camera's path and all bodies.
        shadow_size: edge of the shadow map in texels.

    Attributes:
        model: the compiled model.
        data: state of the model, set by `at`.
        bodies: (ngeom,) uint8, number of the body that a geom belongs to: moving bodies first,
            then still ones, from 1; 0 is the room.
        moving: (1 + N,) bool, true if the body with that number moves.

    Raises:
        SceneError: MuJoCo or OpenGL is missing.
    """

    def __init__(self, room: Room, drive: Drive, shadow_size: int = 1024) -> None:
        self._mujoco = import_mujoco()
        self.room, self.drive = room, drive
        self._actors = [*drive.movers, *drive.still]
        builder = _Builder(self._mujoco, room, drive, shadow_size)
        for index, actor in enumerate(self._actors):
            builder.add_actor(f'actor{index}', actor)
        self.model: mujoco.MjModel = builder.spec.compile()
        self.data: mujoco.MjData = self._mujoco.MjData(self.model)
        # MuJoCo numbers the roots in the order in which they were added.
        root = self.model.body_rootid[self.model.geom_bodyid]
        self.bodies = (self.model.body_mocapid[root] + 1).astype(np.uint8)
        self.moving = np.array([False] + [True] * len(drive.movers) + [False] * len(drive.still))
        self._roots = np.flatnonzero(self.model.body_mocapid >= 0)

    @classmethod
    def draw(
        cls,
        room_seed: int,
        drive_seed: int,
        *,
        rig: Rig = Rig.HANDHELD,
        traffic: Traffic = Traffic.SOME,
        seconds: float = DRIVE_SECONDS,
    ) -> Scene:
        """Draw a room from one seed and a drive through it from another.

        Raises:
            SceneError: MuJoCo or OpenGL is missing, or the room is too full for such a drive.
        """
        room = draw_room(room_seed)
        drive = Drive.draw(room, drive_seed, rig=rig, traffic=traffic, seconds=seconds)
        return cls(room, drive)

    def at(self, t: float) -> NDArray[np.float64]:
        """Set the pose of every body at time t.

        Args:
            t: seconds since the start of the drive, up to its end.

        Returns:
            T_world_camera (4, 4), pose of the camera's optical frame (x right, y down, z forward).
        """
        if not 0 <= t <= self.drive.seconds:
            raise SceneError(
                f'the drive lasts from 0 to {self.drive.seconds:g} s; there is no {t:g} s'
            )
        postures = [actor.posture(t) for actor in self._actors]
        self.data.mocap_pos[:] = [posture.position for posture in postures]
        self.data.mocap_quat[:] = [np.roll(posture.rotation.as_quat(), 1) for posture in postures]
        self.data.qpos[:] = np.concatenate([posture.angles for posture in postures])
        self._mujoco.mj_kinematics(self.model, self.data)
        self._mujoco.mj_camlight(self.model, self.data)
        return self.drive.camera.at(t)

    @property
    def T_world_bodies(self) -> NDArray[np.float64]:
        """Poses of the bodies' roots at the time set by `at`, (N, 4, 4)."""
        poses = np.tile(np.eye(4), (len(self._roots), 1, 1))
        poses[:, :3, :3] = self.data.xmat[self._roots].reshape(-1, 3, 3)
        poses[:, :3, 3] = self.data.xpos[self._roots]
        return poses


class _Builder:
    """Builds an MjSpec; the meshes of a body with the same paint become one geom."""

    def __init__(self, mujoco: ModuleType, room: Room, drive: Drive, shadow_size: int) -> None:
        self.mujoco = mujoco
        self.spec = mujoco.MjSpec()
        self.materials: dict[Paint, str] = {}
        self._set_options(room, shadow_size)
        for name, image in room.textures.items():
            height, width, channels = image.shape
            texture = self.spec.add_texture(
                name=name,
                type=mujoco.mjtTexture.mjTEXTURE_2D,
                width=width,
                height=height,
                nchannel=channels,
            )
            texture.data = image.tobytes()
        self.centre = drive.camera.position(0.0)
        for lamp in room.lamps(drive.light):
            self._add_lamp(lamp)
        self.add_parts(self.spec.worldbody, 'room', room.parts)

    def _set_options(self, room: Room, shadow_size: int) -> None:
        visual = self.spec.visual
        self.spec.stat.extent = 1  # near and far are multiples of it
        visual.map.znear, visual.map.zfar = NEAR, room.FAR
        visual.map.shadowclip = SUNLIT
        visual.quality.shadowsize = shadow_size
        visual.quality.offsamples = 0
        # The headlight moves with the camera, which would break photometric constancy.
        visual.headlight.active = 0

    def _add_lamp(self, lamp: Lamp) -> None:
        if lamp.position is None:
            kind = {'pos': self.centre, 'type': self.mujoco.mjtLightType.mjLIGHT_DIRECTIONAL}
        else:
            kind = {'pos': lamp.position}
        self.spec.worldbody.add_light(
            dir=lamp.direction,
            diffuse=lamp.diffuse,
            ambient=lamp.ambient,
            castshadow=lamp.shadow,
            specular=(0, 0, 0),
            attenuation=(1, 0, 0),
            cutoff=80,
            exponent=0.5,
            **kind,
        )

    def add_actor(self, name: str, actor: Actor) -> None:
        """Add a body with a free root; its other links rotate on hinges."""
        bodies = []
        for index, link in enumerate(actor.links):
            parent = self.spec.worldbody if link.parent < 0 else bodies[link.parent]
            body = parent.add_body(name=f'{name}/{index}', pos=link.offset, mocap=link.parent < 0)
            if link.axis is not None:
                body.add_joint(type=self.mujoco.mjtJoint.mjJNT_HINGE, axis=link.axis)
            self.add_parts(body, f'{name}/{index}', link.parts)
            bodies.append(body)

    def add_parts(self, body: object, name: str, parts: list[Part]) -> None:
        """Add painted meshes to a body."""
        by_paint = defaultdict(list)
        for part in parts:
            by_paint[part.paint].append(part.mesh)
        for index, (paint, meshes) in enumerate(by_paint.items()):
            mesh = merge(meshes)
            self.spec.add_mesh(
                name=f'{name}/{index}',
                uservert=mesh.vertices.ravel(),
                usernormal=mesh.normals.ravel(),
                usertexcoord=mesh.uv.ravel(),
                userface=mesh.faces.ravel(),
                inertia=self.mujoco.mjtMeshInertia.mjMESH_INERTIA_SHELL,
            )
            body.add_geom(
                type=self.mujoco.mjtGeom.mjGEOM_MESH,
                meshname=f'{name}/{index}',
                material=self._material(paint),
                contype=0,
                conaffinity=0,
            )

    def _material(self, paint: Paint) -> str:
        if paint not in self.materials:
            name = self.materials[paint] = f'paint{len(self.materials)}'
            material = self.spec.add_material(
                name=name, rgba=(*paint.tint, 1), emission=paint.emission, specular=0, shininess=0
            )
            material.textures[self.mujoco.mjtTextureRole.mjTEXROLE_RGB] = paint.texture
        return self.materials[paint]


def import_mujoco() -> ModuleType:
    """Import MuJoCo with a renderer that needs no display.

    Raises:
        SceneError: MuJoCo, or the OpenGL library that it loads at once, is not installed.
    """
    # MuJoCo reads this when it is imported, and would otherwise ask for a window system.
    os.environ.setdefault('MUJOCO_GL', 'egl')
    try:
        import mujoco
    except ModuleNotFoundError as error:
        raise SceneError(f'scenes need MuJoCo: pip install "mujoco>=3.3.3" ({error})') from error
    except Exception as error:  # PyOpenGL reports a missing library as an AttributeError
        raise no_opengl(error) from error
    return mujoco


def no_opengl(error: Exception) -> SceneError:
    """Error that tells how to install a usable OpenGL."""
    return SceneError(
        'no OpenGL that works without a display: install libegl1 and libgl1-mesa-dri and set '
        f'MUJOCO_GL=egl, or libosmesa6 and MUJOCO_GL=osmesa ({error})'
    )
