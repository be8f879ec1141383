"""One drive through a room, drawn from a seed: the camera's path and the objects around it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from page4d_ros.errors import FullRoomError
from page4d_ros.synthetic.light import Light
from page4d_ros.synthetic.options import Rig, Traffic
from page4d_ros.synthetic.place import Place
from page4d_ros.synthetic.planner import NoSpaceError, Planner
from page4d_ros.synthetic.sensor import Sensor
from page4d_ros.synthetic.tour import Tour

if TYPE_CHECKING:
    from page4d_ros.synthetic.movers import Actor
    from page4d_ros.synthetic.paths import CameraPath, Ride, WheeledPath
    from page4d_ros.synthetic.room import Room

DRIVE_SECONDS = 20.0  # default duration
PLANS = 200  # draws of a whole drive


@dataclass(frozen=True)
class Drive:
    """Camera path and bodies over some seconds, without collisions.

    Attributes:
        camera: path of the camera.
        movers: moving bodies.
        still: bodies of the same kinds that do not move.
        light: light of the room.
        seconds: duration.
        sensor: what it does to pictures; None leaves them as they are drawn.
    """

    camera: CameraPath | WheeledPath | Ride
    movers: list[Actor]
    still: list[Actor]
    light: Light
    seconds: float = DRIVE_SECONDS
    sensor: Sensor | None = None

    @classmethod
    def draw(
        cls,
        room: Room,
        seed: int,
        *,
        rig: Rig = Rig.HANDHELD,
        traffic: Traffic = Traffic.SOME,
        seconds: float = DRIVE_SECONDS,
    ) -> Drive:
        """Draw a drive; equal arguments give equal drives.

        Args:
            room: the room.
            seed: seed of all random draws.
            rig: carrier of the camera.
            traffic: number of moving bodies.
            seconds: duration; fewer bodies fit into a longer drive.

        Raises:
            FullRoomError: no collision-free drive was found.
        """
        rng = np.random.default_rng([seed, 1])
        placed = isinstance(room, Place)
        planner = Tour if placed else Planner
        for _ in range(PLANS):
            try:
                plan = planner(room, rng, seconds).plan(rig, traffic)
            except NoSpaceError:
                continue
            light, sensor = Light.draw(rng), Sensor.draw(rng) if placed else None
            return cls(*plan, light, seconds, sensor)
        raise FullRoomError(
            f'the room is too full for {seconds:g} s with rig {rig.value} and traffic '
            f'{traffic.value}; take another seed, fewer seconds or less traffic'
        )
