"""Ways of cameras and bodies through places of any kind."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from page4d_ros.synthetic import things
from page4d_ros.synthetic.movers import Ball, Body, Person, Still
from page4d_ros.synthetic.options import Rig, Traffic
from page4d_ros.synthetic.paths import Loop, Pausing, Ride, Shuttle, Turning, Wobble, direction
from page4d_ros.synthetic.planner import NoSpaceError, Plan, Planner, stride

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from page4d_ros.synthetic.movers import Actor, Track

CAMERA_SPACE = 0.25  # metres kept free around the camera
AHEAD = 1.2  # metres that are free before most cameras in the beginning
BLOCKED = 3  # draws of a way before one that begins at a wall is taken
VIEWS = 8  # moments of the camera for which bodies are placed
SPARE = 4  # bodies tried beyond the number wanted
MOVERS = {Traffic.NONE: (0, 0), Traffic.SOME: (1, 3), Traffic.MANY: (3, 6)}  # least and most
NEAR_SHARE = 0.25  # of bodies that pass close by the camera
PAUSING = 0.2  # share of movers that rest for a part of the drive
RESTS = np.zeros(6)


class Tour(Planner):
    """Planner for a Place: cameras anywhere, and bodies where the camera looks."""

    ATTEMPTS = 30

    def plan(self, rig: Rig, traffic: Traffic) -> Plan:
        """Plan the camera, then bodies that move and bodies that do not.

        Raises:
            NoSpaceError: the camera, or too many of the bodies, do not fit.
        """
        rng = self.rng
        camera = self._fit(lambda: self._ride(rig), CAMERA_SPACE, lambda path: path.position)
        self.views = [(t, camera.at(t)) for t in rng.uniform(0, min(self.seconds, 4.0), VIEWS)]
        few, most = MOVERS[traffic]
        movers = self._bodies(few, most, self._moving)
        return Plan(camera, movers, self._bodies(1, 4, self._still))

    def _bodies(self, few: int, most: int, draw_track: Callable[..., Track]) -> list[Actor]:
        """Bodies of any kind, from `few` to `most`, as there is space.

        Raises:
            NoSpaceError: fewer than `few` fit.
        """
        count, bodies = int(self.rng.integers(few, most + 1)), []
        for attempt in range(count + SPARE):
            if len(bodies) == count or (len(bodies) >= few and attempt >= count):
                return bodies
            try:
                bodies.append(self._any_body(draw_track))
            except NoSpaceError:
                continue
        if len(bodies) < few:
            raise NoSpaceError
        return bodies

    def _ride(self, rig: Rig) -> Ride:
        """A way of the camera, which seldom begins before a wall."""
        for _ in range(BLOCKED):
            ride = self._any_ride(rig)
            pose = ride.at(0.0)
            ahead = pose[:2, 3] + AHEAD * pose[:2, 2]
            if self.room.clearance(ahead) > 0:
                break
        return ride

    def _any_ride(self, rig: Rig) -> Ride:
        rng, half = self.rng, np.array(self.room.size[:2]) / 2
        ceiling = self.room.size[2] if not self.outdoor else 8.0
        speed = {
            Rig.HANDHELD: rng.uniform(0.02, 1.3),
            Rig.WHEELS: rng.uniform(0.1, 1.2) * (3 if self.outdoor else 1),
            Rig.LEGGED: rng.uniform(0.2, 1.2),
            Rig.FLIGHT: rng.uniform(0.2, 2.0),
            Rig.TRIPOD: 0.0,
        }[rig]
        reach = rng.uniform(0.2, 1.0) * min(4.0, float(half.max())) if speed else 0.0
        period = 2 * np.pi * reach / speed if speed else 10.0
        height = {
            Rig.HANDHELD: rng.uniform(0.6, 1.8),
            Rig.WHEELS: rng.uniform(0.2, 1.4),
            Rig.LEGGED: rng.uniform(0.35, 0.9),
            Rig.FLIGHT: rng.uniform(0.6, min(5.0, 0.8 * ceiling)),
            Rig.TRIPOD: rng.uniform(0.6, 2.0),
        }[rig]
        hand = Wobble.draw(rng, (0.004, 0.004, 0.006, 0.008, 0.008, 0.008), (0.4, 4.0))
        shake = {
            Rig.HANDHELD: hand._replace(amplitude=hand.amplitude * rng.uniform(0.3, 2.5)),
            Rig.WHEELS: hand._replace(amplitude=hand.amplitude * rng.uniform(0.1, 0.8)),
            Rig.LEGGED: stride(rng),
            Rig.FLIGHT: hand._replace(amplitude=hand.amplitude * (1, 1, 1, 2, 2, 4)),
            Rig.TRIPOD: hand._replace(amplitude=RESTS),
        }[rig]
        free = rig in {Rig.HANDHELD, Rig.FLIGHT}
        panning = rng.uniform(0, 1) ** 2 if rig is not Rig.TRIPOD else 0.0
        sway = (0.5, 0.2, 0.15) if free else (0.15, 0.04, 0.0)
        return Ride(
            start=tuple(rng.uniform(-half, half)),
            heading=rng.uniform(-np.pi, np.pi),
            curve=rng.normal(0, 0.35),
            reach=reach,
            period=period,
            phase=rng.uniform(-np.pi, np.pi),
            yaw=rng.uniform(-np.pi, np.pi) if free else float(rng.normal(0, 0.1)),
            tilt=float(rng.normal(0.12, 0.2 if free else 0.08)),
            gaze=Wobble.draw(rng, tuple(panning * s for s in sway), (0.05, 0.35)),
            shake=shake,
            height=min(height, ceiling - 0.5),
        )

    @property
    def outdoor(self) -> bool:
        """True if there is no ceiling."""
        return self.room.outdoor

    def _view(self) -> tuple[NDArray, float]:
        """A moment's camera position on the floor (2,), and its direction in radians."""
        self.moment, pose = self.views[self.rng.integers(VIEWS)]
        return pose[:2, 3], float(np.arctan2(pose[1, 2], pose[0, 2]))

    def _seen(self, space: float) -> tuple[float, float]:
        """A point of the floor before the camera, close by or further away."""
        rng, (xy, ahead) = self.rng, self._view()
        nearest = space + CAMERA_SPACE + 0.1
        farthest = 18.0 if self.outdoor else 7.0
        close = rng.random() < NEAR_SHARE
        distance = nearest + (rng.uniform(0, 0.5) if close else rng.uniform(0, 1) ** 2 * farthest)
        return tuple(xy + distance * direction(ahead + rng.normal(0, 0.35)))

    def _still(self, space: float, *, straight: bool = False) -> Track:  # noqa: ARG002
        return Still(self._seen(space), self.rng.uniform(-np.pi, np.pi))

    def _moving(self, space: float, *, straight: bool = False) -> Track:
        """A curve, a line there and back, or a turn on the spot; some with a rest."""
        rng, xy = self.rng, self._seen(space)
        heading, speed = rng.uniform(-np.pi, np.pi), rng.uniform(0.25, 1.6)
        if self.outdoor and rng.random() < 0.3:
            speed *= 3
        kind = rng.random()
        if kind < 0.1 and not straight:
            track = Turning(xy, heading, rng.choice([-1, 1]) * rng.uniform(0.3, 2.0))
        elif kind < 0.55 and not straight:
            radius = float(np.exp(rng.uniform(np.log(0.4), np.log(20))))
            turn = rng.choice([-1, 1])
            centre = np.array(xy) - radius * direction(heading)
            start = radius * heading - turn * speed * self.moment
            track = Loop(tuple(centre), (radius, radius), 0.0, turn * speed, start)
        else:
            reach = rng.uniform(0.3, 2.0)
            swing = rng.uniform(-0.8, 0.8)  # radians from the middle at the moment of the view
            period = 2 * np.pi * reach / speed
            centre = np.array(xy) - reach * np.sin(swing) * direction(heading)
            phase = swing - 2 * np.pi * self.moment / period
            track = Shuttle(tuple(centre), heading, reach, period, phase)
        if rng.random() < PAUSING:
            since = rng.uniform(0.1, 0.5) * self.seconds
            track = Pausing(track, since, since + rng.uniform(0.3, 1.0) * self.seconds)
        return track

    def _any_body(self, draw_track: Callable[..., Track]) -> Actor:
        """A person, a ball, or a thing on the floor or in the air."""
        rng, palette = self.rng, self.room.palette
        kind = rng.random()
        if kind < 0.4:
            return self._person(lambda: draw_track(Person.SPACE))
        if kind < 0.5:
            return self._body(Ball, lambda: draw_track(Ball.SPACE, straight=True))
        flying = kind < 0.6
        builder = things.flyer if flying else things.MOBILE[rng.integers(len(things.MOBILE))]
        thing = builder(rng, palette)
        if not self.outdoor and thing.size[2] > self.room.size[2] - 0.1:
            raise NoSpaceError
        track = self._track(lambda: draw_track(thing.radius), thing.radius)
        if not flying:
            return Body.of(track, thing.parts)
        level = rng.uniform(0.5, 0.8 * min(self.room.size[2], 4.0))
        still = isinstance(track, Still)
        hover = Wobble.draw(rng, (0.0 if still else rng.uniform(0, 0.2),), (0.1, 0.8))
        return Body.of(track, thing.parts, level, hover)
