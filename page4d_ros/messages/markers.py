"""visualization_msgs/MarkerArray of moving bodies: a box, an arrow of its speed, and a label."""

from __future__ import annotations

import colorsys
from typing import TYPE_CHECKING, Any

import numpy as np

from page4d_ros.geometry.poses import transform
from page4d_ros.messages import encode
from page4d_ros.perception.moving_bodies import in_axes

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

    from page4d_ros.messages.factory import MessageFactory
    from page4d_ros.perception.types import MovingBody

ARROW, CUBE, TEXT = 0, 1, 9  # types of visualization_msgs/Marker
ADD, DELETE_ALL = 0, 3  # and actions
SECONDS = 1.0  # of motion that an arrow shows
SHAFT, HEAD, LETTER = 0.03, 0.08, 0.12  # metres, or units of the trajectory
SHADE = 0.35  # of boxes, where 1 is opaque
GOLDEN = 0.618034  # share of the circle of hues from a number to the next, so that they differ


def body_markers(
    make: MessageFactory,
    head: Any,
    bodies: Iterable[MovingBody],
    T_odom_world: NDArray,
    *,
    metric: bool,
) -> Any:
    """Markers in odom that replace all earlier ones.

    Args:
        make: message factory.
        head: stamp and the frame odom.
        bodies: of the newest frame.
        T_odom_world: (4, 4) of the trajectory's world.
        metric: True if lengths are metres.
    """
    marker = _Markers(make, head)
    out = [marker('', 0, ARROW, np.zeros(3), np.ones(3), action=DELETE_ALL)]
    unit = 'm/s' if metric else 'units/s'
    for body in bodies:
        centre, size, velocity = in_axes(body, T_odom_world)
        look = colorsys.hsv_to_rgb(body.number * GOLDEN % 1.0, 0.8, 1.0)
        speed = float(np.linalg.norm(velocity))
        above = centre + np.array([0.0, 0.0, size[2] / 2 + LETTER])
        box = np.maximum(size, SHAFT)  # a flat one would be invisible
        out += [
            marker('boxes', body.number, CUBE, centre, box, look, SHADE),
            marker(
                'labels', body.number, TEXT, above, np.full(3, LETTER), look,
                text=f'{body.number}: {speed:.2f} {unit}',
            ),
        ]  # fmt: skip
        if speed > 0:
            tip = centre + SECONDS * velocity
            thickness = np.array([SHAFT, HEAD, 0.0])
            out.append(
                marker('speeds', body.number, ARROW, None, thickness, look, ends=(centre, tip))
            )
    return make('visualization_msgs/msg/MarkerArray', markers=out)


class _Markers:
    def __init__(self, make: MessageFactory, head: Any) -> None:
        self._make, self._head = make, head

    def __call__(
        self,
        group: str,
        number: int,
        kind: int,
        at: NDArray | None,
        size: NDArray,
        look: tuple[float, float, float] = (1.0, 1.0, 1.0),
        shade: float = 1.0,
        *,
        ends: tuple[NDArray, ...] = (),
        text: str = '',
        action: int = ADD,
    ) -> Any:
        """One marker; an arrow has its two ends in odom instead of a place."""
        make = self._make
        red, green, blue = look
        place = transform(np.eye(3), np.zeros(3) if at is None else at)
        colour = make('std_msgs/msg/ColorRGBA', r=red, g=green, b=blue, a=shade)
        no_time = make('builtin_interfaces/msg/Duration', sec=0, nanosec=0)
        no_texture = make(
            'sensor_msgs/msg/CompressedImage',
            header=encode.header(make, 0, ''),
            format='',
            data=make.sequence(np.zeros(0, np.uint8)),
        )
        return make(
            'visualization_msgs/msg/Marker',
            header=self._head,
            ns=group,
            id=int(number),
            type=kind,
            action=action,
            pose=encode.pose(make, place),
            scale=encode.vector(make, 'Vector3', size),
            color=colour,
            lifetime=no_time,
            frame_locked=False,
            points=[encode.vector(make, 'Point', end) for end in ends],
            colors=[],
            texture_resource='',
            texture=no_texture,
            uv_coordinates=[],
            text=text,
            mesh_resource='',
            mesh_file=make('visualization_msgs/msg/MeshFile', filename='', data=no_texture.data),
            mesh_use_embedded_materials=False,
        )
