"""Floors, walls and ceilings of places, buildings around open ones, and what hangs on walls."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy.spatial.transform import Rotation

from page4d_ros.synthetic import paint
from page4d_ros.synthetic.paint import Paint, Part
from page4d_ros.synthetic.shapes import box, cylinder, panel
from page4d_ros.synthetic.things import PICTURES

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from page4d_ros.synthetic.paint import Palette

    Size = tuple[float, float, float]
    Built = tuple[list[Part], list[NDArray]]

GROUND = 150.0  # half extent of the ground outdoors, and of the sky, in metres
FACADES = ('facade0', 'facade1', 'facade2')
COARSE = 3.0  # metres between vertices of what the sun lights


def _tint(rng: np.random.Generator, name: str, *, pale: bool = True) -> Paint:
    saturation, value = ((0.0, 0.3), (0.6, 1.0)) if pale else ((0.0, 0.7), (0.2, 1.0))
    return Paint(name, paint.shade(rng, (0, 1), saturation, value))


def indoors(rng: np.random.Generator, palette: Palette, size: Size) -> Built:
    """Floor, ceiling and furnished walls of a closed place, and sometimes partitions."""
    x, y, z = np.diag(size)
    low = -(x + y) / 2
    cell = max(0.3, max(size) / 30)
    tiles = rng.uniform(0.8, 3.5, 4)
    parts = [
        Part(panel(low, x, y, tiles[0], cell), _tint(rng, 'ground', pale=False)),
        Part(panel(low + z, y, x, tiles[1], cell), _tint(rng, 'ceiling')),
    ]
    paints = [_tint(rng, 'wall0', pale=rng.random() < 0.7), _tint(rng, 'wall1', pale=False)]
    two = rng.random() < 0.5
    corners = (low, z, x), (low + x, z, y), (low + x + y, z, -x), (low + y, z, -y)
    for side, (corner, up, along) in enumerate(corners):
        skin = two and side == 0
        parts.append(Part(panel(corner, up, along, tiles[2 + skin], cell), paints[skin]))
        parts += dressed(rng, palette, size, side)
    if rng.random() < 0.4:
        rug = (*rng.uniform(0.2, 0.6, 2) * size[:2], 0.012)
        parts.append(Part(box(rug, tile=1.2), palette.fabric(rng)))
    for _ in range(int(rng.integers(0, 4))):  # lamps and beams
        at = (*rng.uniform(-0.4, 0.4, 2) * size[:2], size[2] - 0.06)
        parts.append(Part(box(rng.uniform((0.1, 0.1, 0.05), (1.2, 0.4, 0.06)), at), paint.GLOW))
    obstacles: list[NDArray] = []
    for _ in range(int(rng.integers(0, 3)) if size[0] * size[1] > 14 else 0):
        across = rng.random() < 0.7
        length = rng.uniform(0.2, 0.55) * size[int(across)]
        thick, along = 0.12, rng.uniform(-0.3, 0.3) * size[int(not across)]
        end = rng.choice([-1, 1]) * (size[int(across)] - length) / 2
        extent, at = ((thick, length), (along, end)) if across else ((length, thick), (end, along))
        parts.append(Part(box((*extent, size[2]), (*at, 0), tiles[2], cell), paints[1]))
        half = np.array(extent) / 2
        obstacles.append(np.concatenate([np.array(at) - half, np.array(at) + half]))
    return parts, obstacles


def dressed(rng: np.random.Generator, palette: Palette, size: Size, side: int) -> list[Part]:
    """Doors, windows, pictures, pipes and shelves along one of the four walls."""
    length, distance = (size[0], size[1]) if side % 2 == 0 else (size[1], size[0])
    turn = Rotation.from_euler('z', 90 * side, degrees=True).as_matrix()
    parts = []
    if rng.random() < 0.6:
        parts.append(Part(box((length, 0.02, 0.09), (0, 0.01, 0)), paint.WHITE))
    if rng.random() < 0.25:
        height = rng.uniform(0.8, 1.4)
        parts.append(Part(box((length, 0.02, height), (0, 0.005, 0)), palette.wood(rng)))
    x, sparse = -length / 2 + rng.uniform(0.1, 1), rng.uniform(0.3, 3)
    while x < length / 2 - 0.3:
        room = length / 2 - x - 0.1
        width, fixture = _fixture(rng, palette, room, size[2])
        parts += [Part(p.mesh.moved((x + width / 2, 0, 0)), p.paint) for p in fixture]
        x += width + rng.uniform(0.05, sparse)
    offset = turn @ (0, -distance / 2, 0)
    return [Part(part.mesh.moved(offset, turn), part.paint) for part in parts]


def _fixture(
    rng: np.random.Generator, palette: Palette, room: float, top: float
) -> tuple[float, list[Part]]:
    """Something flat on a wall: its width, and parts centred on x = 0 with y into the room."""
    kind = rng.integers(6)
    width = min(room, rng.uniform(0.3, 1.6))
    if kind == 0 and room > 0.8:
        frame = box((0.95, 0.05, 2.05), (0, 0.025, 0))
        leaf = box((0.82, 0.06, 1.98), (0, 0.03, 0), tile=2)
        return 0.95, [Part(frame, palette.wood(rng)), Part(leaf, palette.wood(rng))]
    if kind == 1:
        z, height = rng.uniform(0.7, 1.1), min(top - 1.3, rng.uniform(0.5, 1.5))
        frame = box((width, 0.06, height), (0, 0.03, z))
        pane = box((width - 0.1, 0.07, height - 0.1), (0, 0.035, z + 0.05), tile=2)
        sky = Paint('sky', (1, 1, 1), emission=rng.uniform(0.2, 0.9))
        return width, [Part(frame, paint.WHITE), Part(pane, sky)]
    if kind == 2:
        radius = rng.uniform(0.03, 0.09)
        pipe = cylinder(radius, top).moved((0, 2 * radius, 0))
        return 2 * radius, [Part(pipe, palette.wood(rng))]
    if kind == 3:
        depth, z, height = rng.uniform(0.15, 0.4), rng.uniform(0, 1.5), rng.uniform(0.1, 0.9)
        cabinet = box((width, depth, height), (0, depth / 2, z), tile=0.8)
        return width, [Part(cabinet, palette.fabric(rng))]
    z, height = rng.uniform(0.9, 1.5), rng.uniform(0.25, 1.1)
    frame = box((width, 0.03, height), (0, 0.015, z))
    name = str(rng.choice(PICTURES))
    image = box((width - 0.04, 0.034, height - 0.04), (0, 0.017, z + 0.02), max(width, height))
    return width, [Part(frame, palette.wood(rng)), Part(image, Paint(name, (1, 1, 1)))]


def outdoors(rng: np.random.Generator, palette: Palette, size: Size, *, street: bool) -> Built:
    """Ground, sky, what encloses the place, and a skyline behind it."""
    x, y, z = np.diag((2 * GROUND,) * 3)
    low = -(x + y + z) / 2
    sky = Paint('sky', (1, 1, 1), emission=1.0)
    shell = (low, z, x), (low + x, z, y), (low + x + y, z, -x), (low + y, z, -y), (low + z, y, x)
    parts = [Part(panel(*face, GROUND, GROUND), sky) for face in shell]
    wide = panel((-GROUND, -GROUND, 0), x, y, rng.uniform(2, 6), 2 * COARSE)
    parts.append(Part(wide, _tint(rng, 'ground', pale=False)))
    way = (size[0] * (2 if street else 0.5), size[1] * rng.uniform(0.3, 0.7), 0.03)
    parts.append(Part(box(way, (0, 0, -0.01), rng.uniform(1, 4), COARSE), _tint(rng, 'ground2')))
    for side in range(4):
        length, distance = (size[0], size[1]) if side % 2 == 0 else (size[1], size[0])
        turn = Rotation.from_euler('z', 90 * side, degrees=True).as_matrix()
        if street and side % 2:
            row = houses(rng, palette, length, size[2]) if rng.random() < 0.3 else []
        elif street or rng.random() < 0.35:
            row = houses(rng, palette, length, max(3.0, size[2]))
        else:
            row = fence(rng, palette, length)
        offset = turn @ (0, -distance / 2, 0)
        parts += [Part(part.mesh.moved(offset, turn), part.paint) for part in row]
    for _ in range(int(rng.integers(0, 12))):
        angle = rng.uniform(0, 2 * np.pi)
        at = (max(size[:2]) / 2 + rng.uniform(10, 70)) * np.array([np.cos(angle), np.sin(angle)])
        extent = rng.uniform((4, 4, 4), (16, 16, 22))
        solid = box(extent, (*at, 0), rng.uniform(4, 8), COARSE)
        parts.append(Part(solid, _tint(rng, str(rng.choice(FACADES)))))
    return parts, []


def houses(rng: np.random.Generator, palette: Palette, length: float, height: float) -> list[Part]:
    """A row of buildings behind y = 0, some further back, with doors and sills."""
    parts, x = [], -length / 2 - rng.uniform(0, 4)
    while x < length / 2:
        width, depth = rng.uniform(4, 14), rng.uniform(4, 8)
        tall, back = height * rng.uniform(0.5, 1.3), float(rng.choice([0, rng.uniform(0, 1.5)]))
        skin = _tint(rng, str(rng.choice([*FACADES, 'wall0'])), pale=rng.random() < 0.6)
        middle = (x + width / 2, -depth / 2 - back - 0.02, 0)
        parts.append(Part(box((width, depth, tall), middle, rng.uniform(3, 8), 1.5), skin))
        for _ in range(int(rng.integers(0, 5))):
            extent = rng.uniform((0.5, 0.05, 0.08), (2.5, 0.8, 2.2))
            spot = x + rng.uniform(0.2, 0.8) * width
            z = float(rng.choice([0, rng.uniform(0, 0.8)])) * (tall - extent[2])
            out = box(extent, (spot, extent[1] / 2 - back - 0.03, z), tile=1.5)
            parts.append(Part(out, palette.wood(rng)))
        x += width + float(rng.choice([0, 0, rng.uniform(0, 4)]))
    return parts


def fence(rng: np.random.Generator, palette: Palette, length: float) -> list[Part]:
    """A wall, hedge or paling along y = 0."""
    height = rng.uniform(0.5, 2.8)
    kind = rng.integers(3)
    if kind == 2:
        pales = [
            Part(box((0.12, 0.04, height), (x, 0, 0)), palette.woods[0])
            for x in np.arange(-length / 2, length / 2, max(0.25, length / 60))
        ]
        rail = box((length, 0.05, 0.1), (0, 0, 0.7 * height), 1, COARSE)
        return [*pales, Part(rail, palette.woods[1])]
    thick = rng.uniform(0.15, 0.8)
    skin = Paint('foliage', (0.9, 0.9, 0.9)) if kind else _tint(rng, 'wall1')
    return [Part(box((length, thick, height), (0, -thick / 2, 0), 1.5, COARSE), skin)]
