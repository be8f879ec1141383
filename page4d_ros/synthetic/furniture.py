"""Pieces of furniture: painted meshes in a frame with x along the wall, y into the room, z up."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy.spatial.transform import Rotation

from page4d_ros.synthetic import paint
from page4d_ros.synthetic.paint import Paint, Palette, Part
from page4d_ros.synthetic.shapes import box, cylinder, lathe, sphere


class Furniture(NamedTuple):
    """A piece of furniture on the floor.

    Attributes:
        size: (width along x, depth along y, height) of its bounding box in metres; x is centred
            on zero and y starts at zero, the wall.
        parts: its painted meshes.
    """

    size: tuple[float, float, float]
    parts: list[Part]


def legs(width: float, depth: float, height: float, y: float, leg: Paint) -> list[Part]:
    """Four legs of a table, sofa or rack whose middle lies at (0, y)."""
    half, reach = width / 2 - 0.05, depth / 2 - 0.05
    return [
        Part(box((0.06, 0.06, height), (i * half, y + j * reach, 0)), leg)
        for i in (-1, 1)
        for j in (-1, 1)
    ]


def _books(
    rng: np.random.Generator, palette: Palette, width: float, depth: float, z: float, room: float
) -> list[Part]:
    """A row of books, `room` metres high at most, from the left end of a board at height z."""
    parts = []
    x, end = -width / 2, width / 2 - rng.uniform(0, 0.6) * width
    while x < end - 0.08:
        thick, height = rng.uniform(0.025, 0.07), rng.uniform(0.65, 0.95) * room
        book = box((thick - 0.004, depth * 0.75, height), (x + thick / 2, depth / 2, z), tile=0.4)
        parts.append(Part(book, palette.fabric(rng)))
        x += thick
    return parts


def vase(rng: np.random.Generator, height: float) -> list[Part]:
    """Vase standing on the origin, `height` metres tall."""
    belly, neck = rng.uniform(0.25, 0.4), rng.uniform(0.1, 0.2)
    profile = [(1e-4, 0), (0.18, 0), (0.18, 0), (belly, 0.35), (neck, 0.8), (neck + 0.05, 1)]
    glaze = Paint('terrazzo', paint.shade(rng, (0, 1), (0.2, 0.6), (0.5, 1)))
    return [Part(lathe([*profile, (1e-4, 0.9)], tile=0.5).scaled([height] * 3), glaze)]


def bookshelf(rng: np.random.Generator, palette: Palette) -> Furniture:
    """Open shelf with books."""
    width, depth, height = rng.uniform(0.9, 1.4), 0.32, rng.uniform(1.5, 2.0)
    wood = palette.wood(rng)
    parts = [
        Part(box((width, 0.02, height), (0, 0.01, 0)), wood),
        Part(box((0.03, depth, height), (-width / 2, depth / 2, 0)), wood),
        Part(box((0.03, depth, height), (width / 2, depth / 2, 0)), wood),
    ]
    boards = np.linspace(0.06, height - 0.03, int(height / 0.36) + 1)
    parts += [Part(box((width, depth, 0.03), (0, depth / 2, z)), wood) for z in boards]
    for z in boards[:-1]:
        parts += _books(rng, palette, width - 0.04, depth, z + 0.03, boards[1] - boards[0] - 0.03)
    return Furniture((width + 0.03, depth, height), parts)


def sofa(rng: np.random.Generator, palette: Palette) -> Furniture:
    """Sofa or armchair with loose cushions."""
    seats = int(rng.integers(1, 4))
    width, depth = 0.34 + 0.62 * seats, 0.88
    cover, cushion = palette.fabric(rng), palette.fabric(rng)
    parts = [
        Part(box((width, depth, 0.28), (0, depth / 2, 0.06)), cover),
        Part(box((width, 0.2, 0.48), (0, 0.1, 0.34)), cover),
        Part(box((0.16, depth, 0.26), (-width / 2 + 0.08, depth / 2, 0.34)), cover),
        Part(box((0.16, depth, 0.26), (width / 2 - 0.08, depth / 2, 0.34)), cover),
        *legs(width, depth, 0.06, depth / 2, paint.DARK),
    ]
    tilt = Rotation.from_euler('x', 18, degrees=True).as_matrix()
    for i in range(seats):
        x = 0.62 * (i - (seats - 1) / 2)
        parts.append(Part(box((0.6, depth - 0.24, 0.13), (x, depth / 2 + 0.1, 0.34)), cover))
        pillow = sphere(0.22, tile=0.5).scaled((1, 0.4, 0.9)).moved((x, 0.32, 0.64), tilt)
        parts.append(Part(pillow, cushion))
    return Furniture((width, depth, 0.82), parts)


def sideboard(rng: np.random.Generator, palette: Palette) -> Furniture:
    """Low cupboard with doors; a lamp, a vase or a television on top."""
    doors = int(rng.integers(2, 4))
    width, depth, height = 0.5 * doors, 0.44, rng.uniform(0.65, 0.85)
    wood, front = palette.wood(rng), palette.wood(rng)
    parts = [Part(box((width, depth - 0.02, height), (0, depth / 2 - 0.01, 0)), wood)]
    for i in range(doors):
        x = 0.5 * (i - (doors - 1) / 2)
        parts.append(Part(box((0.46, 0.02, height - 0.12), (x, depth - 0.01, 0.08)), front))
        parts.append(Part(box((0.02, 0.03, 0.14), (x + 0.17, depth, height / 2)), paint.METAL))
    if rng.random() < 0.4:
        parts.append(Part(box((0.9, 0.05, 0.52), (0, 0.2, height + 0.05)), paint.DARK))
        parts.append(Part(box((0.3, 0.18, 0.05), (0, 0.2, height)), paint.DARK))
    else:
        top = [
            Part(cylinder(0.02, 0.3), paint.METAL),
            Part(cylinder(0.16, 0.2, top=0.1).moved((0, 0, 0.26)), paint.GLOW),
        ]
        for x, things in ((-width / 3, vase(rng, rng.uniform(0.2, 0.35))), (width / 3, top)):
            parts += [Part(p.mesh.moved((x, depth / 2, height)), p.paint) for p in things]
    return Furniture((width, depth, height + 0.5), parts)


def desk(rng: np.random.Generator, palette: Palette) -> Furniture:
    """Desk with a screen and a chair in front of it."""
    width, depth = rng.uniform(1.1, 1.5), 0.65
    wood, seat = palette.wood(rng), palette.fabric(rng)
    parts = [
        Part(box((width, depth, 0.04), (0, depth / 2, 0.7)), wood),
        *legs(width, depth, 0.7, depth / 2, wood),
        Part(box((0.55, 0.04, 0.34), (0, 0.2, 0.84)), paint.DARK),
        Part(box((0.06, 0.1, 0.12), (0, 0.18, 0.74)), paint.METAL),
        Part(box((0.42, 0.14, 0.02), (0, 0.45, 0.74)), paint.WHITE),
        Part(box((0.42, 0.42, 0.05), (0.1, 0.85, 0.43)), seat),
        Part(box((0.42, 0.04, 0.5), (0.1, 1.06, 0.48)), seat),
    ]
    chair = legs(0.4, 0.4, 0.43, 0.85, paint.METAL)
    parts += [Part(p.mesh.moved((0.1, 0, 0)), p.paint) for p in chair]
    return Furniture((width, 1.1, 1.2), parts)


def wardrobe(rng: np.random.Generator, palette: Palette) -> Furniture:
    """Tall cupboard with two doors."""
    width, depth, height = rng.uniform(1.0, 1.3), 0.58, rng.uniform(1.9, 2.1)
    wood, front = palette.wood(rng), palette.wood(rng)
    parts = [Part(box((width, depth - 0.03, height), (0, depth / 2 - 0.015, 0)), wood)]
    for side in (-1, 1):
        door = box((width / 2 - 0.03, 0.03, height - 0.14), (side * width / 4, depth - 0.015, 0.1))
        handle = box((0.02, 0.03, 0.25), (side * 0.06, depth + 0.01, 0.9))
        parts += [Part(door, front), Part(handle, paint.METAL)]
    return Furniture((width, depth + 0.03, height), parts)


def plant(rng: np.random.Generator, palette: Palette) -> Furniture:
    """Potted plant."""
    height = rng.uniform(0.8, 1.4)
    pot = cylinder(0.13, 0.3, top=0.19, tile=0.5).moved((0, 0.35, 0))
    stem = cylinder(0.02, height - 0.5).moved((0, 0.35, 0.3))
    parts = [Part(pot, palette.fabric(rng)), Part(stem, paint.EARTH)]
    leaf = sphere(1, tile=2).scaled((0.17, 0.07, 0.012)).moved((0.16, 0, 0))
    for _ in range(26):
        turn = Rotation.from_euler('ZY', [rng.uniform(0, 360), rng.uniform(-60, 25)], degrees=True)
        z = rng.uniform(0.4, height - 0.2)
        parts.append(Part(leaf.moved((0, 0.35, z), turn.as_matrix()), paint.LEAF))
    return Furniture((0.7, 0.7, height), parts)


def floor_lamp(rng: np.random.Generator, palette: Palette) -> Furniture:
    """Standing lamp."""
    height = rng.uniform(1.4, 1.7)
    parts = [
        Part(cylinder(0.15, 0.03), paint.METAL),
        Part(cylinder(0.02, height), palette.wood(rng)),
        Part(cylinder(0.22, 0.28, top=0.14).moved((0, 0, height - 0.2)), paint.GLOW),
    ]
    return Furniture(
        (0.46, 0.46, height + 0.1), [Part(p.mesh.moved((0, 0.25, 0)), p.paint) for p in parts]
    )


PIECES = (bookshelf, sofa, sideboard, desk, wardrobe, plant, floor_lamp)
