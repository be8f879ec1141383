"""A furnished room drawn from a seed: floor, walls, ceiling and furniture along the walls."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np
from scipy.spatial.transform import Rotation

from page4d_ros.synthetic import furniture, paint
from page4d_ros.synthetic.furniture import Furniture
from page4d_ros.synthetic.light import Lamp, Light
from page4d_ros.synthetic.paint import Paint, Palette, Part
from page4d_ros.synthetic.shapes import box, panel
from page4d_ros.synthetic.textures import texture_bank

if TYPE_CHECKING:
    from numpy.typing import NDArray

CORNER = 0.5
GAP = (0.1, 0.6)


@dataclass(frozen=True)
class Room:
    """Static world in metres; z up, origin on the floor in the middle of the room.

    Attributes:
        FAR: distance up to which there is something to see.
        SKY: distance from which on depth counts as unknown.
        size: inner (x, y, z) extent.
        textures: images (S, S, 3) uint8 by name, shared by everything in the room.
        palette: paints of furniture and bodies.
        parts: painted meshes of the building and the furniture, in the world frame.
        obstacles: (N, 4) footprints of the furniture as x_min, y_min, x_max, y_max.
    """

    FAR: ClassVar[float] = 15.0
    SKY: ClassVar[float] = np.inf
    size: tuple[float, float, float]
    textures: dict[str, NDArray[np.uint8]]
    palette: Palette
    parts: list[Part]
    obstacles: NDArray[np.float64]

    @classmethod
    def draw(cls, seed: int) -> Room:
        """Draw the room of a seed."""
        rng = np.random.default_rng([seed, 0])
        textures = texture_bank(rng)
        palette = Palette.draw(rng)
        size = (rng.uniform(6.2, 7.4), rng.uniform(5.6, 6.6), rng.uniform(2.5, 2.8))
        parts = _shell(rng, size)
        obstacles: list[NDArray] = []
        for wall in range(4):
            _furnish_wall(rng, palette, size, wall, parts, obstacles)
        return cls(size, textures, palette, parts, np.array(obstacles))

    def lamps(self, light: Light) -> list[Lamp]:
        """A lamp with shadows under the ceiling, and light reflected by walls and floor."""
        x, y = light.offset
        position = (0.15 * self.size[0] + x, -0.1 * self.size[1] + y, self.size[2] - 0.05)
        fills = ((0.6, 0.35, -0.5), 0.38), ((-0.45, -0.6, 0.7), 0.36)
        return [
            Lamp((0, 0, -1), np.array([1.0, 0.96, 0.9]) * light.lamp, position, shadow=True),
            *(
                Lamp(
                    direction,
                    np.array([light.fill * strength] * 3),
                    ambient=light.fill * np.array([0.2, 0.2, 0.21]),
                )
                for direction, strength in fills
            ),
        ]

    def clearance(self, xy: NDArray) -> NDArray:
        """Distance of floor points (..., 2) to the nearest wall or furniture, negative inside."""
        xy = np.asarray(xy, float)
        walls = (np.array(self.size[:2]) / 2 - np.abs(xy)).min(-1)
        low, high = self.obstacles[:, :2], self.obstacles[:, 2:]
        if not len(low):
            return walls
        gap = np.maximum(low - xy[..., None, :], xy[..., None, :] - high)
        outside = np.linalg.norm(np.maximum(gap, 0), axis=-1)
        return np.minimum(walls, np.where(gap.max(-1) < 0, gap.max(-1), outside).min(-1))


def _shell(rng: np.random.Generator, size: tuple[float, float, float]) -> list[Part]:
    """Floor with a rug, ceiling and four walls."""
    x, y, z = np.diag(size)
    low = -(x + y) / 2
    wall = Paint('plaster', paint.shade(rng, (0.03, 0.6), (0.03, 0.22), (0.8, 0.95)))
    pattern = str(rng.choice(['bricks', 'plaster', 'stripes']))
    accent = Paint(pattern, paint.shade(rng, (0, 1), (0.08, 0.35), (0.65, 0.92)))
    ground = str(rng.choice(['planks', 'tiles', 'planks']))
    floor = Paint(ground, paint.shade(rng, (0.05, 0.11), (0.2, 0.5), (0.6, 0.95)))
    rug = Paint(
        str(rng.choice(['carpet', 'plaid', 'dots'])),
        paint.shade(rng, (0, 1), (0.2, 0.6), (0.5, 0.9)),
    )
    extent = (rng.uniform(2, 2.8), rng.uniform(1.5, 2), 0.012)
    return [
        Part(panel(low, x, y, tile=1.6), floor),
        Part(panel(low + z, y, x, tile=2), paint.WHITE),
        Part(panel(low, z, x, tile=1.4), accent),
        Part(panel(low + x, z, y, tile=2), wall),
        Part(panel(low + x + y, z, -x, tile=2), wall),
        Part(panel(low + y, z, -y, tile=2), wall),
        Part(box(extent, (*rng.uniform(-0.6, 0.6, 2), 0), tile=1.2), rug),
    ]


def _window(height: float) -> list[Part]:
    """Bright window in a white frame, two panes."""
    parts = [Part(box((1.5, 0.03, height), (0, 0.015, 0.95)), paint.SKY)]
    frame = [box((0.06, 0.07, height + 0.1), (x, 0.035, 0.9)) for x in (-0.76, 0, 0.76)]
    frame += [box((1.6, 0.08, 0.06), (0, 0.04, z)) for z in (0.88, 0.93 + height)]
    return parts + [Part(bar, paint.WHITE) for bar in frame]


def _door(wood: Paint) -> Furniture:
    """Closed door in its frame."""
    parts = [
        Part(box((1.0, 0.05, 2.1), (0, 0.025, 0)), paint.WHITE),
        Part(box((0.84, 0.06, 2.0), (0, 0.03, 0)), wood),
        Part(box((0.12, 0.12, 0.02), (0.33, 0.06, 1.0)), paint.METAL),
    ]
    return Furniture((1.0, 0.5, 2.1), parts)


def _picture(rng: np.random.Generator, palette: Palette) -> list[Part]:
    """Framed abstract painting, hung at eye level."""
    width, height, z = rng.uniform(0.5, 1.0), rng.uniform(0.4, 0.6), 1.45
    parts = [
        Part(box((width, 0.03, height), (0, 0.015, z)), palette.wood(rng)),
        Part(box((width - 0.08, 0.036, height - 0.08), (0, 0.018, z + 0.04)), palette.fabric(rng)),
    ]
    for i in range(2):
        patch = (rng.uniform(0.2, 0.45) * width, 0.04 + 0.004 * i, rng.uniform(0.2, 0.5) * height)
        at = (rng.uniform(-0.2, 0.2) * width, 0.02, z + rng.uniform(0.15, 0.4) * height)
        parts.append(Part(box(patch, at), palette.fabric(rng)))
    return parts


def _furnish_wall(
    rng: np.random.Generator,
    palette: Palette,
    size: tuple[float, float, float],
    wall: int,
    parts: list[Part],
    obstacles: list[NDArray],
) -> None:
    """Place furniture along one wall until it is full, and pictures above low pieces."""
    length, distance = (size[0], size[1]) if wall % 2 == 0 else (size[1], size[0])
    rotation = Rotation.from_euler('z', 90 * wall, degrees=True).as_matrix()

    def place(pieces: list[Part], x: float) -> None:
        offset = rotation @ (x, -distance / 2, 0)
        parts.extend(Part(part.mesh.moved(offset, rotation), part.paint) for part in pieces)

    place([Part(box((length, 0.02, 0.09), (0, 0.01, 0)), paint.WHITE)], 0)
    pieces = [build(rng, palette) for build in rng.permutation(furniture.PIECES)]
    if wall == 1:
        place(_window(1.15), 0)
        pieces = [piece for piece in pieces if piece.size[2] < 1.3]
    if wall == 2:
        pieces.insert(int(rng.integers(2)), _door(palette.wood(rng)))
    x = -length / 2 + CORNER
    for piece in pieces:
        width, depth, height = piece.size
        centre = x + width / 2
        front = depth - distance / 2
        corners = np.array([[x, -distance / 2, 0], [x + width, front, 0]])
        ends = (corners @ rotation.T)[:, :2]
        footprint = np.concatenate([ends.min(0), ends.max(0)])
        if x + width > length / 2 - CORNER or overlaps(footprint, obstacles):
            continue
        place(piece.parts, centre)
        obstacles.append(footprint)
        if height < 1.2 and wall != 1:
            place(_picture(rng, palette), centre)
        x += width + rng.uniform(*GAP)


def overlaps(footprint: NDArray, obstacles: list[NDArray]) -> bool:
    """True if a footprint (4,) meets one of the obstacles."""
    return any(
        (footprint[:2] < other[2:]).all() and (other[:2] < footprint[2:]).all()
        for other in obstacles
    )
