"""People, balls and crates, moving or still."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, NamedTuple, Protocol

import numpy as np
from scipy.spatial.transform import Rotation

from page4d_ros.synthetic.figure import Figure, Link, carrying, gait
from page4d_ros.synthetic.paint import Part
from page4d_ros.synthetic.paths import Ground, Wobble
from page4d_ros.synthetic.shapes import box, sphere

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from page4d_ros.synthetic.paint import Palette


# Crates slide at the height of a rug's pile, above the floor in metres.
RUG = 0.012


class Track(Protocol):
    """Path of a body on the floor: Loop, Shuttle, Turning, Pausing or Still."""

    def at(self, t: float | NDArray) -> Ground:
        """Position, heading and distance at times t in seconds."""


@dataclass(frozen=True)
class Still:
    """Track of a body that does not move: (x, y) metres and heading in radians."""

    xy: tuple[float, float]
    heading: float

    def at(self, t: float | NDArray) -> Ground:
        """Constant position and heading, at times t in seconds."""
        zero = np.zeros_like(t, float)
        return Ground(zero[..., None] + self.xy, zero + self.heading, zero)


class Posture(NamedTuple):
    """Pose and joint angles of a body.

    Attributes:
        position: (3,) of the root in the world, metres.
        rotation: of the root in the world.
        angles: (J,) of the hinges in radians.
    """

    position: NDArray[np.float64]
    rotation: Rotation
    angles: NDArray[np.float64]


class Actor(Protocol):
    """A body with a track.

    Attributes:
        track: path on the floor.
        links: its rigid pieces, the root first.
    """

    track: Track
    links: list[Link]

    def posture(self, t: float) -> Posture:
        """Posture at time t in seconds."""


@dataclass(frozen=True)
class Person:
    """A person who walks along the track, or keeps the posture `stance` on a Still track.

    `loaded` people hold something before them.
    """

    SPACE: ClassVar[float] = 0.4
    track: Track
    figure: Figure
    links: list[Link]
    stance: NDArray[np.float64] | None = None
    loaded: bool = False

    def posture(self, t: float) -> Posture:
        """Posture at time t in seconds; the phase of the gait follows the distance walked."""
        ground = self.track.at(t)
        angles = self.stance
        if angles is None:
            angles = gait(2 * np.pi * ground.travelled / (0.74 * self.figure.height))
        if self.loaded:
            angles = carrying(angles)
        z = self.figure.root_height(angles)
        return Posture(np.array([*ground.xy, z]), Rotation.from_euler('z', ground.heading), angles)


@dataclass(frozen=True)
class Ball:
    """A ball that rolls without slipping; it rolls along a straight track only."""

    SPACE: ClassVar[float] = 0.22
    track: Track
    links: list[Link]
    radius: float

    @classmethod
    def draw(cls, rng: np.random.Generator, palette: Palette, track: Track) -> Ball:
        """Draw size and paint."""
        radius = rng.uniform(0.12, cls.SPACE)
        ball = Part(sphere(radius, tile=2 * np.pi * radius / 2), palette.fabric(rng))
        return cls(track, [Link(-1, (0, 0, 0), None, [ball])], radius)

    def posture(self, t: float) -> Posture:
        """Posture at time t in seconds."""
        ground = self.track.at(t)
        roll = Rotation.from_euler('y', ground.travelled / self.radius)
        turn = Rotation.from_euler('z', ground.heading)
        return Posture(np.array([*ground.xy, self.radius]), turn * roll, np.empty(0))


@dataclass(frozen=True)
class Crate:
    """A box that slides over the floor."""

    SPACE: ClassVar[float] = 0.36
    track: Track
    links: list[Link]

    @classmethod
    def draw(cls, rng: np.random.Generator, palette: Palette, track: Track) -> Crate:
        """Draw size and paint."""
        size = rng.uniform((0.3, 0.3, 0.25), (0.5, 0.5, 0.5))
        parts = [Part(box(size, tile=0.7), palette.fabric(rng))]
        return cls(track, [Link(-1, (0, 0, 0), None, parts)])

    def posture(self, t: float) -> Posture:
        """Posture at time t in seconds."""
        ground = self.track.at(t)
        turn = Rotation.from_euler('z', ground.heading)
        return Posture(np.array([*ground.xy, RUG]), turn, np.empty(0))


@dataclass(frozen=True)
class Body:
    """Any rigid body that slides, rolls or flies without tilting.

    Attributes:
        level: height of its origin above the floor in metres.
        hover: variation of that height, one channel; None keeps it.
    """

    track: Track
    links: list[Link]
    level: float = RUG
    hover: Wobble | None = None

    @classmethod
    def of(
        cls, track: Track, parts: list[Part], level: float = RUG, hover: Wobble | None = None
    ) -> Body:
        """Make a body of painted meshes around the origin."""
        return cls(track, [Link(-1, (0, 0, 0), None, parts)], level, hover)

    def posture(self, t: float) -> Posture:
        """Posture at time t in seconds."""
        ground = self.track.at(t)
        z = self.level + (0.0 if self.hover is None else float(self.hover.at(t)[0]))
        turn = Rotation.from_euler('z', ground.heading)
        return Posture(np.array([*ground.xy, z]), turn, np.empty(0))
