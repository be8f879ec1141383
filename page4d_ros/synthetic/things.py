"""Things that stand about in places and may move: painted meshes around the origin."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from scipy.spatial.transform import Rotation

from page4d_ros.synthetic import furniture, paint
from page4d_ros.synthetic.furniture import legs
from page4d_ros.synthetic.paint import Paint, Palette, Part
from page4d_ros.synthetic.shapes import box, cylinder, lathe, sphere

if TYPE_CHECKING:
    from collections.abc import Callable


class Thing(NamedTuple):
    """A thing, x forward and z up.

    Attributes:
        size: (x, y, z) extent of its bounding box in metres, centred on the origin in x and y.
        parts: its painted meshes.
    """

    size: tuple[float, float, float]
    parts: list[Part]

    @property
    def radius(self) -> float:
        """Radius of the circle around its footprint, metres."""
        return float(np.hypot(*self.size[:2])) / 2

    @classmethod
    def enclosing(cls, parts: list[Part]) -> Thing:
        """Centre parts in x and y, and measure them."""
        vertices = np.concatenate([part.mesh.vertices for part in parts])
        low, high = vertices.min(0), vertices.max(0)
        shift = (*(-(low + high) / 2)[:2], 0)
        size = (high[0] - low[0], high[1] - low[1], high[2])
        return cls(size, [Part(part.mesh.moved(shift), part.paint) for part in parts])


def _colour(rng: np.random.Generator) -> Paint:
    return Paint('plaster', paint.shade(rng, (0, 1), (0.0, 0.9), (0.1, 1.0)))


def _upright(rng: np.random.Generator, height: float, width: float, skin: Paint) -> Part:
    """A solid of revolution of random profile."""
    z = np.linspace(0, height, 5)
    radii = width / 2 * rng.uniform(0.35, 1, 5)
    profile = [(1e-4, 0), (radii[0], 0), *zip(radii, z, strict=True), (radii[-1], height)]
    return Part(lathe([*profile, (1e-4, height)], int(rng.integers(4, 20)), tile=0.6), skin)


def assembly(rng: np.random.Generator, palette: Palette) -> Thing:
    """Stack solids at random: cabinets, machines, parcels, lamps and what has no name."""
    parts, z = [], 0.0
    width = rng.uniform(0.2, 0.9)
    for _ in range(rng.integers(1, 5)):
        height, skin = rng.uniform(0.1, 0.7), palette.fabric(rng)
        kind = rng.integers(4)
        shift = (*rng.uniform(-0.1, 0.1, 2), z)
        if kind < 2:
            solid = box((width, width * rng.uniform(0.4, 1.3), height), (0, 0, 0), tile=0.7)
            turn = Rotation.from_euler('z', rng.uniform(-0.4, 0.4)).as_matrix()
            parts.append(Part(solid.moved(shift, turn), skin))
        elif kind == 2:
            solid = _upright(rng, height, width, skin)
            parts.append(Part(solid.mesh.moved(shift), skin))
        else:
            ball = sphere(height / 2, tile=0.6).scaled((width / height, width / height, 1))
            parts.append(Part(ball.moved((*shift[:2], z + height / 2)), skin))
        z += height
        width *= rng.uniform(0.5, 1.15)
    return Thing.enclosing(parts)


def boxes(rng: np.random.Generator, palette: Palette) -> Thing:
    """Boxes of a few sizes, one upon another."""
    parts, z, size = [], 0.0, rng.uniform((0.3, 0.3, 0.2), (1.1, 0.9, 0.7))
    skin = palette.fabric(rng)
    for _ in range(rng.integers(1, 4)):
        turn = Rotation.from_euler('z', rng.uniform(-0.3, 0.3)).as_matrix()
        parts.append(Part(box(size, tile=0.8).moved((0, 0, z), turn), skin))
        z += size[2]
        size = size * rng.uniform(0.6, 1.0)
        skin = palette.fabric(rng) if rng.random() < 0.5 else skin
    return Thing.enclosing(parts)


def table(rng: np.random.Generator, palette: Palette) -> Thing:
    """Table with something on it, and chairs around it."""
    width, depth, height = rng.uniform(0.6, 2.0), rng.uniform(0.5, 1.0), rng.uniform(0.4, 1.0)
    wood = palette.wood(rng)
    parts = [Part(box((width, depth, 0.04), (0, 0, height), tile=1.5), wood)]
    parts += legs(width, depth, height, 0, wood)
    for _ in range(rng.integers(0, 4)):
        size = rng.uniform((0.05, 0.05, 0.05), (0.3, 0.3, 0.35))
        at = (*rng.uniform(-0.35, 0.35, 2) * (width, depth), height + 0.04)
        parts.append(Part(box(size, at, tile=0.4), palette.fabric(rng)))
    for side in (-1, 1)[: rng.integers(3)]:
        back = chair(rng, palette)
        turn = Rotation.from_euler('z', -np.pi / 2 * side).as_matrix()
        at = (rng.uniform(-0.3, 0.3) * width, side * (depth / 2 + 0.25), 0)
        parts += [Part(part.mesh.moved(at, turn), part.paint) for part in back.parts]
    return Thing.enclosing(parts)


def chair(rng: np.random.Generator, palette: Palette) -> Thing:
    """Chair, armchair or stool."""
    width, seat = rng.uniform(0.38, 0.6), rng.uniform(0.38, 0.75)
    cover, leg = palette.fabric(rng), palette.wood(rng)
    thick = rng.uniform(0.03, 0.16)
    parts = [Part(box((width, width, thick), (0, 0, seat - thick)), cover)]
    parts += legs(width, width, seat - thick, 0, leg)
    if rng.random() < 0.8:
        back = box((0.05, width, rng.uniform(0.25, 0.6)), (-width / 2 + 0.025, 0, seat))
        parts.append(Part(back, cover))
    return Thing.enclosing(parts)


def barrel(rng: np.random.Generator, palette: Palette) -> Thing:
    """Barrel, bin, pot, column stump or cone."""
    radius, height = rng.uniform(0.12, 0.4), rng.uniform(0.3, 1.2)
    body = cylinder(radius, height, top=radius * rng.uniform(0.1, 1.3), tile=0.7)
    skin = palette.fabric(rng) if rng.random() < 0.6 else _colour(rng)
    ring = cylinder(1.06 * radius, 0.04).moved((0, 0, rng.uniform(0, 0.1)))
    return Thing.enclosing([Part(body, skin), Part(ring, _colour(rng))])


def post(rng: np.random.Generator, palette: Palette) -> Thing:
    """Lamp post, sign or column."""
    height, radius = rng.uniform(1.0, 4.5), rng.uniform(0.03, 0.2)
    parts = [Part(cylinder(radius, height, tile=0.7), palette.wood(rng))]
    if rng.random() < 0.7:
        size = rng.uniform((0.04, 0.2, 0.1), (0.5, 0.8, 0.8))
        board = box(size, (radius, 0, height - size[2]), tile=float(size[1]))
        parts.append(Part(board, Paint(str(rng.choice(PICTURES)), (1, 1, 1))))
    return Thing.enclosing(parts)


def bench(rng: np.random.Generator, palette: Palette) -> Thing:
    """Bench, fence, low wall or row of seats."""
    length, height = rng.uniform(1.0, 3.0), rng.uniform(0.35, 1.2)
    wood = palette.wood(rng)
    parts = [Part(box((0.35, length, 0.06), (0, 0, min(height, 0.45)), tile=1.2), wood)]
    parts += [
        Part(box((0.3, 0.08, min(height, 0.45)), (0, y, 0)), palette.fabric(rng))
        for y in np.linspace(-0.45, 0.45, int(rng.integers(2, 6))) * length
    ]
    if rng.random() < 0.6:
        parts.append(Part(box((0.05, length, height), (-0.17, 0, 0.2), tile=1.2), wood))
    return Thing.enclosing(parts)


def rack(rng: np.random.Generator, palette: Palette) -> Thing:
    """Open rack with goods on its boards."""
    width, depth, height = rng.uniform(1.0, 2.8), rng.uniform(0.4, 0.9), rng.uniform(1.4, 3.2)
    frame, parts = palette.wood(rng), []
    parts += [Part(part.mesh, frame) for part in legs(width, depth, height, 0, frame)]
    for z in np.arange(0.15, height, rng.uniform(0.4, 0.8)):
        parts.append(Part(box((width, depth, 0.04), (0, 0, z), tile=1.5), frame))
        for x in np.arange(-width / 2 + 0.25, width / 2 - 0.1, rng.uniform(0.35, 0.7)):
            if rng.random() < 0.7:
                size = rng.uniform((0.15, 0.2, 0.1), (0.4, 0.9 * depth, 0.36))
                parts.append(Part(box(size, (x, 0, z + 0.04), tile=0.6), palette.fabric(rng)))
    turn = Rotation.from_euler('z', 90, degrees=True).as_matrix()
    return Thing.enclosing([Part(part.mesh.moved((0, 0, 0), turn), part.paint) for part in parts])


def tree(rng: np.random.Generator, palette: Palette) -> Thing:
    """Tree or bush: a trunk and a crown of several lumps."""
    height = rng.uniform(0.6, 6.0)
    crown = height * rng.uniform(0.15, 0.35)
    trunk = cylinder(0.04 * height + 0.02, 0.75 * height, top=0.02 * height, tile=0.8)
    parts = [Part(trunk, palette.wood(rng))]
    green = Paint('foliage', paint.shade(rng, (0.1, 0.4), (0.0, 0.5), (0.5, 1.0)))
    for _ in range(rng.integers(3, 8)):
        at = rng.normal((0, 0, 0.75 * height), 0.45 * crown)
        lump = sphere(1, tile=0.7).scaled(crown * rng.uniform(0.5, 0.9, 3))
        parts.append(Part(lump.moved(np.maximum(at, (-9, -9, 0.9 * crown))), green))
    return Thing.enclosing(parts)


def vehicle(rng: np.random.Generator, palette: Palette) -> Thing:
    """Car, van, cart or small robot: a body on four wheels."""
    length = float(rng.choice([rng.uniform(0.3, 0.9), rng.uniform(3.2, 5.2)]))
    width, radius = length * rng.uniform(0.38, 0.6), length * rng.uniform(0.06, 0.09)
    low, high = length * rng.uniform(0.12, 0.2), length * rng.uniform(0.1, 0.25)
    skin = _colour(rng) if rng.random() < 0.6 else palette.fabric(rng)
    parts = [Part(box((length, width, low), (0, 0, 0.8 * radius), tile=2), skin)]
    cabin = box((length * rng.uniform(0.4, 0.95), 0.9 * width, high), tile=2)
    at = (-length * rng.uniform(0, 0.06), 0, 0.8 * radius + low)
    parts.append(Part(cabin.moved(at), skin))
    pane = box((0.4 * length, 0.92 * width, 0.6 * high), (*at[:2], at[2] + 0.2 * high))
    parts.append(Part(pane, paint.DARK))
    turn = Rotation.from_euler('x', 90, degrees=True).as_matrix()
    wheel = cylinder(radius, 0.12 * width)
    for i in (-1, 1):
        for y in (-0.4, 0.52):
            rim = wheel.moved((0.32 * i * length, y * width, radius), turn)
            parts.append(Part(rim, paint.DARK))
    return Thing.enclosing(parts)


def animal(rng: np.random.Generator, palette: Palette) -> Thing:
    """Animal or robot on four stiff legs."""
    length = rng.uniform(0.4, 1.1)
    skin, limb = palette.fabric(rng), palette.fabric(rng)
    trunk = sphere(1, tile=1).scaled((length / 2, 0.17 * length, 0.2 * length))
    head = sphere(0.15 * length, tile=1).moved((0.55 * length, 0, 0.85 * length))
    parts = [Part(trunk.moved((0, 0, 0.62 * length)), skin), Part(head, limb)]
    return Thing.enclosing(parts + legs(0.7 * length, 0.35 * length, 0.6 * length, 0, limb))


def flyer(rng: np.random.Generator, palette: Palette) -> Thing:
    """Drone, balloon, kite or bird: small, flat or round."""
    size = rng.uniform((0.1, 0.1, 0.05), (0.7, 0.7, 0.4))
    parts = [Part(sphere(1, tile=1).scaled(size / 2).moved((0, 0, size[2] / 2)), _colour(rng))]
    for angle in rng.uniform(0, 360) + np.arange(0, 360, rng.choice([90, 120, 180])):
        turn = Rotation.from_euler('z', angle, degrees=True).as_matrix()
        arm = box((0.5 * size[0] + 0.15, 0.08, 0.02), (0.25 * size[0] + 0.1, 0, size[2] / 2))
        parts.append(Part(arm.moved((0, 0, 0), turn), palette.fabric(rng)))
    return Thing.enclosing(parts)


def board(rng: np.random.Generator, palette: Palette) -> Thing:
    """Large board or curtain, upright: a wall that can move, and can fill a view."""
    width, height = rng.uniform(0.6, 2.4), rng.uniform(0.8, 2.2)
    face = Paint(str(rng.choice(PICTURES)), (1, 1, 1))
    skin = face if rng.random() < 0.5 else palette.fabric(rng)
    parts = [Part(box((0.06, width, height), (0, 0, 0.1), tile=max(width, height)), skin)]
    foot = box((0.5, 0.06, 0.1))
    parts += [Part(foot.moved((0, y * width, 0)), paint.METAL) for y in (-0.4, 0.4)]
    return Thing.enclosing(parts)


def piece(rng: np.random.Generator, palette: Palette) -> Thing:
    """Piece of furniture of a living room."""
    build: Callable = rng.choice(np.array(furniture.PIECES, object))
    turn = Rotation.from_euler('z', -90, degrees=True).as_matrix()
    parts = build(rng, palette).parts
    return Thing.enclosing([Part(part.mesh.moved((0, 0, 0), turn), part.paint) for part in parts])


PICTURES = ('picture0', 'picture1', 'picture2')
INDOOR = (assembly, assembly, boxes, table, chair, barrel, bench, rack, tree, board, piece, piece)
OUTDOOR = (assembly, boxes, barrel, post, post, bench, tree, tree, tree, vehicle, vehicle, board)
MOBILE = (assembly, boxes, chair, table, barrel, vehicle, vehicle, animal, animal, board, piece)
