"""Paths of camera and bodies through a room, drawn until nothing collides."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, ClassVar, NamedTuple, TypeVar

import numpy as np

from page4d_ros.synthetic.figure import Figure, stance
from page4d_ros.synthetic.movers import Actor, Ball, Crate, Person, Still, Track
from page4d_ros.synthetic.options import Rig, Traffic
from page4d_ros.synthetic.paths import (
    CameraPath,
    Loop,
    Shuttle,
    WheeledPath,
    Wobble,
    direction,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from page4d_ros.synthetic.paths import Ride
    from page4d_ros.synthetic.room import Room

CAMERA_SPACE = 0.45  # metres kept free around the camera
MARGIN = 0.05  # metres between the spaces of any two bodies
LOADED = 0.25  # share of people that carry something

T = TypeVar('T')


# Number of moving bodies of each kind: minimum, and maximum + 1.
MOVERS = {Traffic.NONE: (0, 1), Traffic.SOME: (1, 3), Traffic.MANY: (2, 4)}


def stride(rng: np.random.Generator) -> Wobble:
    """Shake of a walking robot: bob, sway and jolts at the rate of its steps."""
    rate = rng.uniform(1.4, 2.6)
    return Wobble.draw(rng, (0.008, 0.008, 0.015, 0.012, 0.02, 0.012), (rate, 1.2 * rate))


class NoSpaceError(Exception):
    """No collision-free path was found for a body."""


class Plan(NamedTuple):
    """Paths of a camera, and bodies that move and that do not."""

    camera: CameraPath | WheeledPath | Ride
    movers: list[Actor]
    still: list[Actor]


class Planner:
    """Rejection sampling of paths against the room and the paths already planned.

    Attributes:
        ATTEMPTS: draws of one path.
    """

    ATTEMPTS: ClassVar[int] = 100

    def __init__(self, room: Room, rng: np.random.Generator, seconds: float) -> None:
        self.room, self.rng, self.seconds = room, rng, seconds
        self.times = np.arange(0, seconds, 0.15)
        self.reach = 0.35 * np.array(room.size[:2]) / 2  # half extent of the region of activity
        self.taken: list[tuple[NDArray, float]] = []  # (T, 2) positions and the radius kept free

    def plan(self, rig: Rig, traffic: Traffic) -> Plan:
        """Plan the camera, then moving bodies, then still ones.

        Raises:
            NoSpaceError: they do not fit.
        """
        rng = self.rng
        path = {
            Rig.HANDHELD: self._handheld,
            Rig.WHEELS: self._wheels,
            Rig.LEGGED: self._legged,
            Rig.FLIGHT: self._flight,
            Rig.TRIPOD: self._tripod,
        }[rig]
        camera = self._fit(path, CAMERA_SPACE, lambda path: path.position)
        self.focus = np.clip(camera.focus[:2], -self.reach, self.reach)
        self.away = -direction(camera.angle)
        few, most = MOVERS[traffic]
        movers = [self._person(self._loop) for _ in range(rng.integers(few, most))]
        movers += [self._body(Ball, self._shuttle) for _ in range(rng.integers(few, most))]
        movers += [self._body(Crate, self._shuttle) for _ in range(rng.integers(few, most))]
        still = [self._person(self._spot) for _ in range(rng.integers(1, 3))]
        still += [self._body(kind, self._spot) for kind in (Ball, Crate)]
        return Plan(camera, movers, still)

    def _fit(self, draw: Callable[[], T], space: float, locate: Callable[[T], Callable]) -> T:
        """Draw paths until one collides with nothing, and reserve it."""
        for _ in range(self.ATTEMPTS):
            path = draw()
            xy = locate(path)(self.times)[:, :2]
            if self.room.clearance(xy).min() > space + MARGIN and all(
                np.linalg.norm(xy - other, axis=1).min() > space + taken + MARGIN
                for other, taken in self.taken
            ):
                self.taken.append((xy, space))
                return path
        raise NoSpaceError

    def _track(self, draw: Callable[[], Track], space: float) -> Track:
        return self._fit(draw, space, lambda track: lambda t: track.at(t).xy)

    def _person(self, draw: Callable[[], Track]) -> Person:
        track = self._track(draw, Person.SPACE)
        figure = Figure(self.rng.uniform(1.6, 1.85))
        still = stance(self.rng) if isinstance(track, Still) else None
        links = figure.links(self.rng, self.room.palette)
        loaded = self.rng.random() < LOADED
        if loaded:
            links = figure.carry(links, self.rng, self.room.palette)
        return Person(track, figure, links, still, loaded)

    def _body(self, kind: type[Ball | Crate], draw: Callable[[], Track]) -> Actor:
        return kind.draw(self.rng, self.room.palette, self._track(draw, kind.SPACE))

    def _focus(self) -> tuple[float, float, float]:
        return (*self.rng.uniform(-1, 1, 2) * self.reach, self.rng.uniform(0.8, 1.05))

    def _handheld(self) -> CameraPath:
        rng = self.rng
        return CameraPath(
            focus=self._focus(),
            angle=rng.uniform(-np.pi, np.pi),
            sweep=rng.uniform(0.35, 0.7),
            radius=rng.uniform(2.0, 2.6),
            period=rng.uniform(9, 14),
            phase=rng.uniform(-np.pi, np.pi),
            sway=Wobble.draw(rng, (0.1, 0.04, 0.2, 0.2, 0.08), (0.05, 0.2)),
            shake=Wobble.draw(rng, (0.006, 0.006, 0.01, 0.008, 0.008, 0.008), (0.4, 1.6)),
        )

    def _flight(self) -> CameraPath:
        rng = self.rng
        return CameraPath(
            focus=self._focus(),
            angle=rng.uniform(-np.pi, np.pi),
            sweep=rng.uniform(0.5, 1.0),
            radius=rng.uniform(1.6, 2.5),
            period=rng.uniform(8, 12),
            phase=rng.uniform(-np.pi, np.pi),
            sway=Wobble.draw(rng, (0.15, 0.15, 0.2, 0.2, 0.1), (0.08, 0.3)),
            shake=Wobble.draw(rng, (0.004, 0.004, 0.004, 0.01, 0.01, 0.03), (0.2, 0.8)),
            height=rng.uniform(1.0, 1.8),
        )

    def _tripod(self) -> CameraPath:
        path, rest = self._handheld(), Wobble(np.zeros(6), np.zeros((6, 1)), np.zeros((6, 1)))
        sway = Wobble(*(channel[:5] for channel in rest))
        return replace(path, sweep=0.0, sway=sway, shake=rest)

    def _wheels(self) -> WheeledPath:
        rng, half = self.rng, np.array(self.room.size[:2]) / 2
        track = Loop(
            centre=tuple(rng.uniform(-0.25, 0.25, 2) * half),
            axes=(rng.uniform(0.9, 1.7), rng.uniform(0.8, 1.3)),
            turn=rng.uniform(0, np.pi),
            speed=rng.uniform(0.25, 0.5) * rng.choice([-1, 1]),
            start=rng.uniform(0, 8),
        )
        return WheeledPath(
            track,
            gaze=Wobble.draw(rng, (0.1, 0.03), (0.05, 0.25)),
            tilt=rng.uniform(0.0, 0.2),
            shake=Wobble.draw(rng, (0.001, 0.001, 0.002, 0.002, 0.002, 0.002), (1.0, 4.0)),
        )

    def _legged(self) -> WheeledPath:
        return replace(self._wheels(), shake=stride(self.rng))

    def _loop(self) -> Loop:
        rng = self.rng
        return Loop(
            centre=self._place(0.5, 0.6),
            axes=(rng.uniform(0.5, 1.2), rng.uniform(0.3, 0.6)),
            turn=rng.uniform(0, np.pi),
            speed=rng.uniform(0.7, 1.2) * rng.choice([-1, 1]),
            start=rng.uniform(0, 8),
        )

    def _shuttle(self) -> Shuttle:
        rng = self.rng
        return Shuttle(
            centre=self._place(0.2, 0.8),
            heading=rng.uniform(-np.pi, np.pi),
            reach=rng.uniform(0.3, 0.8),
            period=rng.uniform(3, 6),
            phase=rng.uniform(-np.pi, np.pi),
        )

    def _spot(self) -> Still:
        return Still(self._place(0.6, 1.2), self.rng.uniform(-np.pi, np.pi))

    def _place(self, beyond: float, spread: float) -> tuple[float, float]:
        """Draw a point around the one that lies `beyond` metres behind the focus."""
        return tuple(self.focus + beyond * self.away + self.rng.normal(0, spread, 2))
