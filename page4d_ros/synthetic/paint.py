"""Paints (texture and tint), and palettes of paints."""

from __future__ import annotations

import colorsys
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from page4d_ros.synthetic.shapes import Mesh
from page4d_ros.synthetic.textures import OBJECT_PATTERNS


class Paint(NamedTuple):
    """Surface appearance: texture name, colour that multiplies it, and emission in [0, 1]."""

    texture: str
    tint: tuple[float, float, float]
    emission: float = 0.0


class Part(NamedTuple):
    """A mesh with its paint, in the frame of its body."""

    mesh: Mesh
    paint: Paint


def shade(
    rng: np.random.Generator,
    hue: tuple[float, float],
    saturation: tuple[float, float],
    value: tuple[float, float],
) -> tuple[float, float, float]:
    """Draw an RGB colour in [0, 1] from ranges of hue, saturation and value."""
    return colorsys.hsv_to_rgb(
        rng.uniform(*hue) % 1, rng.uniform(*saturation), rng.uniform(*value)
    )


@dataclass(frozen=True)
class Palette:
    """A few paints that the objects of a room share.

    Attributes:
        woods: paints of cupboards, tables and floors.
        fabrics: paints of upholstery, clothes, balls and crates.
    """

    woods: tuple[Paint, ...]
    fabrics: tuple[Paint, ...]

    @classmethod
    def draw(cls, rng: np.random.Generator) -> Palette:
        """Draw three woods and ten fabrics."""
        woods = [
            Paint('wood', shade(rng, (0.05, 0.11), (0.2, 0.6), (0.5, 0.98))) for _ in range(3)
        ]
        fabrics = [
            Paint(str(rng.choice(OBJECT_PATTERNS)), shade(rng, (0, 1), (0.08, 0.5), (0.5, 0.95)))
            for _ in range(10)
        ]
        return cls(tuple(woods), tuple(fabrics))

    def wood(self, rng: np.random.Generator) -> Paint:
        """Draw one of the woods."""
        return self.woods[rng.integers(len(self.woods))]

    def fabric(self, rng: np.random.Generator) -> Paint:
        """Draw one of the fabrics."""
        return self.fabrics[rng.integers(len(self.fabrics))]


METAL = Paint('plaster', (0.35, 0.36, 0.38))
DARK = Paint('plaster', (0.12, 0.12, 0.14))
WHITE = Paint('plaster', (1.0, 0.98, 0.95))
EARTH = Paint('terrazzo', (0.75, 0.45, 0.32))
LEAF = Paint('carpet', (0.32, 0.55, 0.25))
GLOW = Paint('plaster', (1.0, 0.93, 0.78), emission=0.9)
SKY = Paint('marble', (0.8, 0.92, 1.0), emission=0.75)
