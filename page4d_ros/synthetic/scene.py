"""A room and a drive compiled for MuJoCo, which only places bodies here: nothing is simulated."""

from __future__ import annotations

import os
from collections import defaultdict
from typing import TYPE_CHECKING

import numpy as np

from page4d_ros.errors import SceneError
from page4d_ros.synthetic.drive import DRIVE_SECONDS, Drive
from page4d_ros.synthetic.room import Room
from page4d_ros.synthetic.shapes import merge

if TYPE_CHECKING:
    from types import ModuleType

    import mujoco
    from numpy.typing import NDArray

    from page4d_ros.synthetic.movers import Actor
    from page4d_ros.synthetic.paint import Paint, Part

NEAR, FAR = 0.05, 15.0


class Scene:
    """World of one drive in one room: z up, origin on the floor, metres and seconds.

    Args:
        room: the static world.
        drive: the camera's path and all loose bodies.
        shadow_size: edge of the shadow map in texels.

    Attributes:
        model: the compiled model; data: its state, set by `at`.
        moving: (ngeom,) bool, whether the geom belongs to a body in motion.

    Raises:
        SceneError: MuJoCo or OpenGL is missing.
    """

    def __init__(self, room: Room, drive: Drive, shadow_size: int = 1024) -> None:
        self._mujoco = import_mujoco()
        self.drive = drive
        self._actors = [*drive.movers, *drive.still]
        builder = _Builder(self._mujoco, room, shadow_size)
        for index, actor in enumerate(self._actors):
            builder.add_actor(f'actor{index}', actor)
        self.model: mujoco.MjModel = builder.spec.compile()
        self.data: mujoco.MjData = self._mujoco.MjData(self.model)
        self.moving = self._moving_geoms(len(drive.movers))

    @classmethod
    def draw(cls, room_seed: int, drive_seed: int) -> Scene:
        """Draw a room from one seed and a drive through it from another.

        Raises:
            SceneError: MuJoCo or OpenGL is missing, or the room is too full for a drive.
        """
        room = Room.draw(room_seed)
        return cls(room, Drive.draw(room, drive_seed))

    def at(self, t: float) -> NDArray[np.float64]:
        """Place every body as it is at time t.

        Args:
            t: seconds since the start of the drive, 0 .. DRIVE_SECONDS.

        Returns:
            T_world_camera (4, 4), pose of the camera's optical frame (x right, y down, z forward).
        """
        if not 0 <= t <= DRIVE_SECONDS:
            raise SceneError(f'a drive lasts from 0 to {DRIVE_SECONDS:g} s; there is no {t:g} s')
        postures = [actor.posture(t) for actor in self._actors]
        self.data.mocap_pos[:] = [posture.position for posture in postures]
        self.data.mocap_quat[:] = [np.roll(posture.rotation.as_quat(), 1) for posture in postures]
        self.data.qpos[:] = np.concatenate([posture.angles for posture in postures])
        self._mujoco.mj_kinematics(self.model, self.data)
        self._mujoco.mj_camlight(self.model, self.data)
        return self.drive.camera.at(t)

    def _moving_geoms(self, movers: int) -> NDArray[np.bool_]:
        """The first actors are the movers, and their roots come in the same order."""
        root = self.model.body_rootid[self.model.geom_bodyid]
        mocap = self.model.body_mocapid[root]
        return (mocap >= 0) & (mocap < movers)


class _Builder:
    """Fills an MjSpec; meshes of one paint become one geom."""

    def __init__(self, mujoco: ModuleType, room: Room, shadow_size: int) -> None:
        self.mujoco = mujoco
        self.spec = mujoco.MjSpec()
        self.materials: dict[Paint, str] = {}
        self._set_options(shadow_size)
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
        self._add_lights(room.size)
        self.add_parts(self.spec.worldbody, 'room', room.parts)

    def _set_options(self, shadow_size: int) -> None:
        visual = self.spec.visual
        self.spec.stat.extent = 1  # near and far are multiples of it
        visual.map.znear, visual.map.zfar = NEAR, FAR
        visual.quality.shadowsize = shadow_size
        visual.quality.offsamples = 0
        # The headlight moves with the camera, which would break photometric constancy.
        visual.headlight.active = 0

    def _add_lights(self, size: tuple[float, float, float]) -> None:
        """A lamp under the ceiling that casts shadows, and what walls and floor throw back."""
        lamp = (0.15 * size[0], -0.1 * size[1], size[2] - 0.05)
        self._add_light(pos=lamp, dir=(0, 0, -1), diffuse=(1.0, 0.96, 0.9), castshadow=True)
        for direction, strength in (((0.6, 0.35, -0.5), 0.38), ((-0.45, -0.6, 0.7), 0.36)):
            self._add_light(
                type=self.mujoco.mjtLightType.mjLIGHT_DIRECTIONAL,
                dir=direction,
                diffuse=[strength] * 3,
                ambient=(0.2, 0.2, 0.21),
                castshadow=False,
            )

    def _add_light(self, **settings: object) -> None:
        fixed = {'specular': (0, 0, 0), 'attenuation': (1, 0, 0), 'cutoff': 80, 'exponent': 0.5}
        self.spec.worldbody.add_light(**{'ambient': (0, 0, 0), **fixed, **settings})

    def add_actor(self, name: str, actor: Actor) -> None:
        """Add a body whose root is placed freely and whose other links turn on hinges."""
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
    """Say what a machine without a usable OpenGL needs."""
    return SceneError(
        'no OpenGL that works without a display: install libegl1 and libgl1-mesa-dri and set '
        f'MUJOCO_GL=egl, or libosmesa6 and MUJOCO_GL=osmesa ({error})'
    )
