"""Places without end: rooms, corridors, halls, yards and streets, each drawn from its seed.

Windows are opaque and there are no mirrors: nothing reflects or lets light through.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, NamedTuple

import numpy as np
from scipy.spatial.transform import Rotation

from page4d_ros.synthetic import building, paint, things
from page4d_ros.synthetic.light import Lamp, Light
from page4d_ros.synthetic.materials import MATERIALS, material_bank
from page4d_ros.synthetic.paint import Paint, Palette, Part
from page4d_ros.synthetic.room import Room, overlaps

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

# Seeds from here on are places, in the ranges of the splits; those below are living rooms.
FIRST_PLACE = 100_000
LIVING_ROOMS = 0.15  # share of the places that are living rooms, as those below are


class Kind(NamedTuple):
    """A kind of place.

    Attributes:
        share: fraction of all places.
        low: least (x, y, z) extent in metres.
        high: largest extent.
        outdoor: True if it lies under the sky.
        things: builders of what stands there.
        crowding: least and largest number of things per square metre.
    """

    share: float
    low: tuple[float, float, float]
    high: tuple[float, float, float]
    outdoor: bool
    things: tuple[Callable, ...]
    crowding: tuple[float, float]


KINDS = {
    'room': Kind(0.45, (2.8, 2.6, 2.2), (8, 6.5, 3.4), False, things.INDOOR, (0.2, 1.0)),
    'corridor': Kind(0.1, (7, 1.7, 2.2), (20, 3.4, 3.2), False, things.INDOOR, (0.05, 0.4)),
    'hall': Kind(0.15, (9, 7, 3.2), (24, 16, 8), False, things.INDOOR, (0.04, 0.25)),
    'yard': Kind(0.15, (9, 8, 1.2), (26, 22, 7), True, things.OUTDOOR, (0.03, 0.15)),
    'street': Kind(0.15, (26, 7, 3), (60, 15, 13), True, things.OUTDOOR, (0.02, 0.08)),
}
MOST_THINGS = 45
WARM = np.array([1.0, 0.0, -1.0])
FULL = 0.4  # largest covered fraction of the floor


@dataclass(frozen=True)
class Place(Room):
    """Static world of any kind; its materials are its own.

    Attributes:
        kind: one of KINDS.
        lights: its lamps, or sun and sky.
    """

    FAR: ClassVar[float] = 200.0
    SKY: ClassVar[float] = 80.0
    kind: str
    lights: tuple[Lamp, ...]

    @classmethod
    def draw(cls, seed: int) -> Place:
        """Draw the place of a seed."""
        rng = np.random.default_rng([seed, 2])
        names = list(KINDS)
        name = names[rng.choice(len(names), p=[kind.share for kind in KINDS.values()])]
        kind = KINDS[name]
        size = tuple(float(s) for s in np.exp(rng.uniform(np.log(kind.low), np.log(kind.high))))
        palette = draw_palette(rng)
        if kind.outdoor:
            parts, obstacles = building.outdoors(rng, palette, size, street=name == 'street')
        else:
            parts, obstacles = building.indoors(rng, palette, size)
        _scatter(rng, palette, kind, size, parts, obstacles)
        lights = _daylight(rng) if kind.outdoor else _lamplight(rng, size)
        footprints = np.array(obstacles).reshape(-1, 4)
        bank = material_bank(rng)
        return cls(size, bank, palette, parts, footprints, name, tuple(lights))

    @property
    def outdoor(self) -> bool:
        """True under the sky."""
        return KINDS[self.kind].outdoor

    def lamps(self, light: Light) -> list[Lamp]:
        """The place's lights; the first is moved and coloured as the drive's light."""
        first, *others = self.lights
        if first.position is not None:
            x, y, z = first.position
            first = first._replace(position=(x + light.offset[0], y + light.offset[1], z))
        first = first._replace(diffuse=first.diffuse * np.array(light.lamp))
        dimmed = [
            lamp._replace(
                diffuse=lamp.diffuse * light.fill, ambient=np.array(lamp.ambient) * light.fill
            )
            for lamp in others
        ]
        return [first, *dimmed]


def draw_room(seed: int) -> Room:
    """Draw what a seed stands for: a living room, or from FIRST_PLACE on mostly a place."""
    living = seed < FIRST_PLACE or np.random.default_rng([seed, 3]).random() < LIVING_ROOMS
    return Room.draw(seed) if living else Place.draw(seed)


def draw_palette(rng: np.random.Generator) -> Palette:
    """Draw the paints of a place: plain and patterned, from pale to loud."""
    loud = rng.uniform(0.1, 0.9)
    names = [*MATERIALS[:12], *things.PICTURES]

    def any_paint() -> Paint:
        name = str(rng.choice(names))
        white = name in things.PICTURES
        tint = (1, 1, 1) if white else paint.shade(rng, (0, 1), (0, loud), (0.15, 1.0))
        return Paint(name, tint)

    woods = [
        Paint(str(rng.choice(names[:12])), paint.shade(rng, (0.02, 0.13), (0, 0.7), (0.2, 1.0)))
        for _ in range(4)
    ]
    return Palette(tuple(woods), tuple(any_paint() for _ in range(14)))


def _scatter(
    rng: np.random.Generator,
    palette: Palette,
    kind: Kind,
    size: tuple[float, float, float],
    parts: list[Part],
    obstacles: list[NDArray],
) -> None:
    """Put things on the floor, half of them along a wall, until it is crowded enough."""
    half, floor = np.array(size[:2]) / 2, size[0] * size[1]
    wanted = min(MOST_THINGS, rng.uniform(*kind.crowding) * floor)
    covered = 0.0
    for _ in range(int(wanted)):
        builder = kind.things[rng.integers(len(kind.things))]
        thing = builder(rng, palette)
        side = int(rng.integers(4))
        turn = 90 * side if rng.random() < 0.7 else rng.uniform(0, 360)
        turn = Rotation.from_euler('z', turn, degrees=True).as_matrix()
        corners = np.array([(i, j, 0) for i in (-1, 1) for j in (-1, 1)]) * thing.size / 2
        reach = (corners @ turn.T).max(0)[:2]
        free = half - reach - 0.02
        if (free < 0).any() or (not kind.outdoor and thing.size[2] > size[2] - 0.1):
            continue
        xy = rng.uniform(-free, free)
        if rng.random() < 0.5:  # with its back to a wall
            axis, sign = side % 2, (1, 1, -1, -1)[side]
            xy[axis] = -sign * free[axis]
        footprint = np.concatenate([xy - reach, xy + reach])
        if overlaps(footprint, obstacles):
            continue
        covered += 4 * float(np.prod(reach))
        if covered > FULL * floor:
            break
        obstacles.append(footprint)
        parts.extend(Part(p.mesh.moved((*xy, 0), turn), p.paint) for p in thing.parts)


def _fill(rng: np.random.Generator, strength: float) -> list[Lamp]:
    """Light that comes back from what surrounds: two directions, and from everywhere."""
    share = rng.uniform(0.3, 0.6)
    lights = []
    for downward in (-rng.uniform(0.3, 1), rng.uniform(0.3, 1)):
        direction = (*rng.normal(0, 0.6, 2), downward)
        colour = strength * share * (1 + rng.normal(0, 0.06, 3))
        lights.append(Lamp(direction, colour, ambient=strength * (1 - share) * colour / share / 2))
    return lights


def _lamplight(rng: np.random.Generator, size: tuple[float, float, float]) -> list[Lamp]:
    """One to three lamps under the ceiling, the first with shadows."""
    lights = []
    for index in range(int(rng.integers(1, 4))):
        x, y = rng.uniform(-0.4, 0.4, 2) * size[:2]
        colour = rng.uniform(0.4, 1.1) / (1 + index) * (1 + rng.uniform(-0.15, 0.15) * WARM)
        place = (x, y, size[2] * rng.uniform(0.75, 0.98))
        lights.append(Lamp((0, 0, -1), colour, place, shadow=index == 0))
    return lights + _fill(rng, rng.uniform(0.4, 0.9))


def _daylight(rng: np.random.Generator) -> list[Lamp]:
    """Sun with sharp shadows, or a clouded sky."""
    sunny = rng.random() < 0.65
    azimuth, height = rng.uniform(0, 2 * np.pi), rng.uniform(0.35, 2.0)
    direction = (np.cos(azimuth), np.sin(azimuth), -height)
    sun = (rng.uniform(0.5, 1.0) if sunny else 0.1) * (1 + rng.uniform(-0.05, 0.12) * WARM)
    return [Lamp(direction, sun, shadow=sunny), *_fill(rng, rng.uniform(0.6, 1.2))]
