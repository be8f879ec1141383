"""One drive through a room, drawn from a seed: the camera's path and the bodies about it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from page4d_ros.errors import SceneError
from page4d_ros.synthetic.figure import Figure, stance
from page4d_ros.synthetic.movers import Actor, Ball, Crate, Person, Still, Track
from page4d_ros.synthetic.trajectory import CameraPath, Loop, Shuttle, Wobble, direction

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from page4d_ros.synthetic.room import Room

DRIVE_SECONDS = 20.0
CAMERA_SPACE = 0.45  # metres kept free around the camera
MARGIN = 0.05  # between the spaces of any two
ATTEMPTS = 100
PLANS = 200

T = TypeVar('T')


@dataclass(frozen=True)
class Drive:
    """Camera and bodies over DRIVE_SECONDS, free of collisions all that time.

    Attributes:
        camera: path of the camera.
        movers: bodies in motion.
        still: bodies of the same kinds that stay where they are.
    """

    camera: CameraPath
    movers: list[Actor]
    still: list[Actor]

    @classmethod
    def draw(cls, room: Room, seed: int) -> Drive:
        """Draw the drive with this seed.

        Raises:
            SceneError: the room is too full for a drive.
        """
        rng = np.random.default_rng([seed, 1])
        for _ in range(PLANS):
            drive = _Planner(room, rng).plan()
            if drive is not None:
                return drive
        raise SceneError('the room is too full for a drive; take another room seed')


class _NoRoomError(Exception):
    """Nothing of the kind fits any more."""


class _Planner:
    """Rejection sampling of paths, at sampled times, against the room and what is planned."""

    def __init__(self, room: Room, rng: np.random.Generator) -> None:
        self.room, self.rng = room, rng
        self.times = np.arange(0, DRIVE_SECONDS, 0.15)
        self.taken: list[tuple[NDArray, float]] = []  # (T, 2) positions and the space there

    def plan(self) -> Drive | None:
        """Camera first, then whatever moves, then whatever stands; None if they do not fit."""
        rng = self.rng
        try:
            camera = self._fit(self._camera_path, CAMERA_SPACE, lambda path: path.position)
            self.focus = np.array(camera.focus[:2])
            self.away = -direction(camera.angle)
            movers = [self._person(self._loop) for _ in range(rng.integers(1, 3))]
            movers += [self._body(Ball, self._shuttle) for _ in range(rng.integers(1, 3))]
            movers += [self._body(Crate, self._shuttle) for _ in range(rng.integers(1, 3))]
            still = [self._person(self._spot) for _ in range(rng.integers(1, 3))]
            still += [self._body(kind, self._spot) for kind in (Ball, Crate)]
        except _NoRoomError:
            return None
        return Drive(camera, movers, still)

    def _fit(self, draw: Callable[[], T], space: float, locate: Callable[[T], Callable]) -> T:
        """Draw paths until one keeps its distance from everything, and remember it."""
        for _ in range(ATTEMPTS):
            path = draw()
            xy = locate(path)(self.times)[:, :2]
            if self.room.clearance(xy).min() > space + MARGIN and all(
                np.linalg.norm(xy - other, axis=1).min() > space + taken + MARGIN
                for other, taken in self.taken
            ):
                self.taken.append((xy, space))
                return path
        raise _NoRoomError

    def _track(self, draw: Callable[[], Track], space: float) -> Track:
        return self._fit(draw, space, lambda track: lambda t: track.at(t).xy)

    def _person(self, draw: Callable[[], Track]) -> Person:
        track = self._track(draw, Person.SPACE)
        figure = Figure(self.rng.uniform(1.6, 1.85))
        still = stance(self.rng) if isinstance(track, Still) else None
        return Person(track, figure, figure.links(self.rng, self.room.palette), still)

    def _body(self, kind: type[Ball | Crate], draw: Callable[[], Track]) -> Actor:
        return kind.draw(self.rng, self.room.palette, self._track(draw, kind.SPACE))

    def _camera_path(self) -> CameraPath:
        rng, half = self.rng, np.array(self.room.size[:2]) / 2
        return CameraPath(
            focus=(*rng.uniform(-0.35, 0.35, 2) * half, rng.uniform(0.8, 1.05)),
            angle=rng.uniform(-np.pi, np.pi),
            sweep=rng.uniform(0.35, 0.7),
            radius=rng.uniform(2.0, 2.6),
            period=rng.uniform(9, 14),
            phase=rng.uniform(-np.pi, np.pi),
            sway=Wobble.draw(rng, (0.1, 0.04, 0.2, 0.2, 0.08), (0.05, 0.2)),
            shake=Wobble.draw(rng, (0.006, 0.006, 0.01, 0.008, 0.008, 0.008), (0.4, 1.6)),
        )

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
        """A point about the focus, rather `beyond` it than between it and the camera."""
        return tuple(self.focus + beyond * self.away + self.rng.normal(0, spread, 2))
