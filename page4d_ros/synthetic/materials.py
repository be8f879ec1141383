"""Materials of places: tileable images with natural statistics, drawn anew for every place.

Surfaces are fractal noise under a pattern of bricks, tiles, planks or cloth. Pictures are dead
leaves, overlapping shapes of all sizes, whose edges and power spectrum are those of photographs
(Lee, Mumford and Huang 2001).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import cv2
import numpy as np
from scipy import fft

from page4d_ros.synthetic.textures import PATTERNS

if TYPE_CHECKING:
    from numpy.typing import NDArray

SIZE = 256
SMALL = 128  # for clothes, furniture and other things that are never seen large
PICTURES = ('picture0', 'picture1', 'picture2')
SURFACES = ('wall0', 'wall1', 'ground', 'ground2', 'ceiling', 'facade0', 'facade1', 'facade2')
MATERIALS = (*PATTERNS, *SURFACES, *PICTURES, 'foliage', 'sky')


def noise(
    rng: np.random.Generator,
    slope: float,
    stretch: tuple[float, float] = (1.0, 1.0),
    size: int = SMALL,
) -> NDArray[np.float32]:
    """Tileable noise (size, size), mean 0 and deviation 1, amplitude frequency ** -slope."""
    rows, columns = fft.fftfreq(size, 1 / size), fft.rfftfreq(size, 1 / size)
    radius = np.hypot(rows[:, None] * stretch[0], columns * stretch[1]).astype(np.float32)
    radius[0, 0] = np.inf
    spectrum = fft.rfft2(rng.standard_normal((size, size), np.float32)) * radius**-slope
    field = fft.irfft2(spectrum, (size, size))
    return field / field.std()


def _grid(size: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    axis = (np.arange(size, dtype=np.float32) + 0.5) / size
    return np.meshgrid(axis, axis, indexing='ij')


def _cells(rng: np.random.Generator, size: int) -> NDArray[np.float32]:
    """Bricks, tiles, slabs or planks with joints, each with a shade of its own."""
    row, column = _grid(size)
    rows = int(rng.integers(2, 14))
    columns = max(1, round(rows * rng.choice([0.12, 0.33, 0.5, 1.0, 1.0])))
    shift = rng.choice([0.0, 0.5])
    i = (row * rows).astype(int)
    u = column * columns + shift * (i % 2)
    shade = rng.normal(0, rng.uniform(0.1, 1.2), (rows, columns))[i, u.astype(int) % columns]
    if shift == 0 and rows % 2 == columns % 2 == 0 and rng.random() < 0.4:
        shade = shade + rng.uniform(0.5, 2) * ((i + u.astype(int)) % 2)
    width = rng.uniform(0.004, 0.02)
    joint = (u % 1 / columns < width) | (row * rows % 1 / rows < width)
    return np.where(joint, rng.choice([-1, 1]) * rng.uniform(0.3, 2.5), shade)


def _waves(rng: np.random.Generator, size: int) -> NDArray[np.float32]:
    """Stripes, checks, dots or a weave."""
    row, column = (np.sin(2 * np.pi * int(rng.integers(2, 14)) * axis) for axis in _grid(size))
    mixed = [row, column, row + column, row * column, np.maximum(row, column)]
    return rng.uniform(0.5, 1.5) * np.tanh(rng.uniform(0.5, 8) * mixed[rng.integers(len(mixed))])


def _grain(rng: np.random.Generator, size: int) -> NDArray[np.float32]:
    """Grain of wood, brushed metal or veins of stone."""
    row, _ = _grid(size)
    bend = rng.uniform(0.1, 0.6) * noise(rng, 1.8, (1, float(rng.uniform(1, 8))), size)
    return np.sin(2 * np.pi * (int(rng.integers(1, 10)) * row + bend))


def surface(rng: np.random.Generator, size: int = SIZE) -> NDArray[np.uint8]:
    """Draw a nearly grey surface, (size, size, 3); plain, noisy, patterned, and often worn."""
    stretch = (1.0, float(rng.choice([1.0, 1.0, rng.uniform(2, 14)])))
    field = rng.uniform(0.1, 1.0) * noise(rng, rng.uniform(0.2, 1.6), stretch, size)
    pattern = [None, None, _cells, _cells, _waves, _grain][rng.integers(6)]
    if pattern is not None:
        field = field * rng.uniform(0.1, 0.8) + pattern(rng, size)
    if rng.random() < 0.5:  # stains and wear
        field = field + rng.uniform(0.1, 0.7) * noise(rng, 1.5, size=size)
    contrast = rng.uniform(0.02, 0.28)
    light = rng.uniform(0.5, 0.9)
    tone = rng.normal(0, 0.04, 3) * field[..., None]  # the colour changes with the shade
    return _bytes(light + contrast * field[..., None] + contrast * tone)


def picture(rng: np.random.Generator, size: int = SIZE, shapes: int = 160) -> NDArray[np.uint8]:
    """Draw dead leaves: coloured discs, bars and lettering that overlap, (size, size, 3)."""
    base, spread = rng.uniform(0.1, 0.9, 3), rng.uniform(0.08, 0.4)
    image = np.full((size, size, 3), 255 * base)
    # radii fall as r ** -3, which makes the picture scale invariant
    least, most = 0.02 * size, 0.4 * size
    radii = least / np.sqrt(1 - rng.uniform(0, 1 - (least / most) ** 2, shapes))
    lettered = rng.random() < 0.5
    for radius in np.sort(radii)[::-1] if lettered else radii:
        colour = 255 * np.clip(base + rng.normal(0, spread, 3), 0, 1)
        centre = rng.integers(0, size, 2)
        aspect, angle = rng.uniform(0.2, 1), rng.choice([0.0, rng.uniform(0, 180)])
        extent = (radius, aspect * radius)
        if rng.random() < 0.5:
            axes = tuple(int(np.ceil(e)) for e in extent)
            cv2.ellipse(image, centre.tolist(), axes, angle, 0, 360, colour.tolist(), -1)
        else:
            corners = cv2.boxPoints((centre.tolist(), (2 * extent[0], 2 * extent[1]), angle))
            cv2.fillConvexPoly(image, np.rint(corners).astype(np.int32), colour.tolist())
    if lettered:
        ink, letters = 255 * rng.uniform(0, 1, 3), np.zeros((size, size), np.uint8)
        for y in range(int(rng.integers(20, 120)), size - 10, int(rng.integers(12, 40))):
            word = ''.join(chr(c) for c in rng.integers(65, 91, 24))
            place = (int(rng.integers(5, 80)), y)
            cv2.putText(letters, word, place, int(rng.integers(0, 4)), rng.uniform(0.3, 1.2), 1)
        image[letters == 1] = ink
    return _bytes(image / 255 + 0.03 * noise(rng, 0.8, size=size)[..., None])


def facade(rng: np.random.Generator) -> NDArray[np.uint8]:
    """Draw a storey grid of opaque windows in a wall, (SIZE, SIZE, 3); one tile is 2 x 2."""
    image = surface(rng).astype(np.float64) / 255
    half, frame = SIZE // 2, int(rng.integers(2, 7))
    width, height = int(rng.uniform(0.3, 0.75) * half), int(rng.uniform(0.35, 0.75) * half)
    trim, cross = rng.uniform(0.3, 1, 3), rng.random() < 0.6
    for i in range(2):
        for j in range(2):
            y, x = (half * k + (half - e) // 2 for k, e in ((i, height), (j, width)))
            image[y - frame : y + height + frame, x - frame : x + width + frame] = trim
            ramp = np.linspace(0, rng.uniform(0, 0.3), height)[:, None, None]
            glass = rng.uniform(0.05, 0.5) + rng.normal(0, 0.04, 3) + ramp
            image[y : y + height, x : x + width] = glass
            if cross:
                image[y : y + height, x + width // 2 : x + width // 2 + frame] = trim
    return _bytes(image + 0.02 * noise(rng, 1.0, size=SIZE)[..., None])


def foliage(rng: np.random.Generator) -> NDArray[np.uint8]:
    """Draw leaves of many greens and browns, (SIZE, SIZE, 3)."""
    field = 0.5 * noise(rng, 0.6, size=SIZE) + 0.5 * noise(rng, 1.2, size=SIZE)
    colour = np.array([rng.uniform(0.2, 0.6), rng.uniform(0.4, 0.65), rng.uniform(0.1, 0.3)])
    return _bytes(colour + rng.uniform(0.1, 0.22) * field[..., None])


def sky(rng: np.random.Generator) -> NDArray[np.uint8]:
    """Draw clouds before blue or grey, (SIZE, SIZE, 3)."""
    blue = np.array([rng.uniform(0.35, 0.8), rng.uniform(0.55, 0.85), rng.uniform(0.75, 1.0)])
    clouds = np.clip(0.5 + rng.uniform(0.2, 1.0) * noise(rng, 1.8, size=SIZE), 0, 1)
    return _bytes(blue + (rng.uniform(0.7, 1.0) - blue) * clouds[..., None])


def material_bank(rng: np.random.Generator) -> dict[str, NDArray[np.uint8]]:
    """Draw the materials of a place.

    Returns:
        Images (S, S, 3) by the names of MATERIALS; those of PATTERNS and SURFACES are light and
        nearly grey, because each object multiplies them by its tint, and all but pictures repeat
        without a seam.
    """
    bank = {name: surface(rng, SMALL) for name in PATTERNS}
    bank |= {name: surface(rng) for name in SURFACES if not name.startswith('facade')}
    bank |= {name: facade(rng) for name in SURFACES if name.startswith('facade')}
    bank |= {name: picture(rng) for name in PICTURES}
    return bank | {'foliage': foliage(rng), 'sky': sky(rng)}


def _bytes(image: NDArray) -> NDArray[np.uint8]:
    return np.rint(255 * np.clip(image, 0, 1)).astype(np.uint8)
