"""Lamps of a place, and how their light differs from drive to drive."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray


class Lamp(NamedTuple):
    """One source of light.

    Attributes:
        direction: (x, y, z) in which it shines.
        diffuse: (red, green, blue) of surfaces that face it.
        position: (x, y, z) metres; None shines from everywhere, like the sun.
        ambient: (red, green, blue) of all surfaces.
        shadow: True if things cast shadows.
    """

    direction: tuple[float, float, float]
    diffuse: NDArray[np.float64]
    position: tuple[float, float, float] | None = None
    ambient: NDArray[np.float64] | tuple[float, float, float] = (0, 0, 0)
    shadow: bool = False


class Light(NamedTuple):
    """Light of a drive, relative to the room's usual light.

    Attributes:
        lamp: (red, green, blue) factor of the lamp.
        fill: factor of the light reflected by walls and floor.
        offset: (x, y) of the lamp from its usual position, in metres.
    """

    lamp: tuple[float, float, float]
    fill: float
    offset: tuple[float, float]

    @classmethod
    def draw(cls, rng: np.random.Generator) -> Light:
        """Draw brightness and colour temperature."""
        warmth = rng.uniform(-0.1, 0.1)
        lamp = rng.uniform(0.75, 1.1) * np.array([1 + warmth, 1, 1 - warmth])
        return cls(tuple(lamp), rng.uniform(0.75, 1.2), tuple(rng.uniform(-0.5, 0.5, 2)))
