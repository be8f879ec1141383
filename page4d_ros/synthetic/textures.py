"""Procedural textures: tileable patterns of an indoor world, drawn from a seed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

SIZE = 256


def fractal(
    rng: np.random.Generator, slope: float = 1.0, stretch: tuple[float, float] = (1.0, 1.0)
) -> NDArray[np.float64]:
    """Tileable multi-octave noise whose amplitude falls as frequency ** -slope.

    Args:
        rng: random numbers.
        slope: 0 is white noise; 1 has the spectrum of natural images; more is smoother.
        stretch: elongation of the features along (rows, columns).

    Returns:
        Array (SIZE, SIZE) in [0, 1] with mean about 0.5.
    """
    frequency = np.fft.fftfreq(SIZE, 1 / SIZE)
    radius = np.hypot(frequency[:, None] * stretch[0], frequency[None] * stretch[1])
    radius[0, 0] = np.inf
    spectrum = np.fft.fft2(rng.standard_normal((SIZE, SIZE))) * radius**-slope
    field = np.fft.ifft2(spectrum).real
    return np.clip(0.5 + field / (5 * field.std()), 0, 1)


def _grid() -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    axis = (np.arange(SIZE) + 0.5) / SIZE
    return np.meshgrid(axis, axis, indexing='ij')


def _plaster(rng: np.random.Generator) -> NDArray[np.float64]:
    return 0.65 + 0.3 * (fractal(rng, 1.1) - 0.5) + 0.25 * (fractal(rng, 0.4) - 0.5)


def _wood(rng: np.random.Generator) -> NDArray[np.float64]:
    row, _ = _grid()
    rings = 0.5 + 0.5 * np.sin(2 * np.pi * (8 * row + 2.5 * fractal(rng, 1.8, (1, 6))))
    return 0.35 * rings + 0.65 * fractal(rng, 0.8, (1, 14))


def _bonded(
    rng: np.random.Generator, rows: int, columns: int, joint: float
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Shade of each brick or plank of a half-bond, (SIZE, SIZE), and mask of the joints."""
    row, column = _grid()
    i = (row * rows).astype(int)
    shifted = column * columns + 0.5 * (i % 2)
    j = shifted.astype(int) % columns
    u, v = shifted % 1 / columns, row * rows % 1 / rows
    return rng.uniform(0, 1, (rows, columns))[i, j], (u < joint) | (v < joint)


def _planks(rng: np.random.Generator) -> NDArray[np.float64]:
    shade, joint = _bonded(rng, 8, 2, 0.006)
    return np.where(joint, 0.05, 0.3 + 0.3 * shade + 0.6 * (fractal(rng, 0.8, (1, 12)) - 0.35))


def _bricks(rng: np.random.Generator) -> NDArray[np.float64]:
    shade, joint = _bonded(rng, 12, 4, 0.014)
    return np.where(joint, 0.95, 0.15 + 0.4 * shade) + 0.4 * (fractal(rng, 0.7) - 0.5)


def _tiles(rng: np.random.Generator) -> NDArray[np.float64]:
    row, column = _grid()
    checker = ((row * 4).astype(int) + (column * 4).astype(int)) % 2
    joint = (row * 4 % 1 < 0.03) | (column * 4 % 1 < 0.03)
    return np.where(joint, 0.1, 0.3 + 0.45 * checker) + 0.5 * (fractal(rng, 1.3) - 0.5)


def _stripes(rng: np.random.Generator) -> NDArray[np.float64]:
    _, column = _grid()
    order = int(rng.integers(4, 9))
    wave = np.sin(2 * np.pi * order * column) + 0.6 * np.sin(2 * np.pi * 2 * order * column)
    return 0.5 + 0.4 * np.tanh(4 * wave) + 0.3 * (fractal(rng, 0.3) - 0.5)


def _plaid(rng: np.random.Generator) -> NDArray[np.float64]:
    row, column = _grid()
    order = int(rng.integers(3, 6))
    bands = [np.tanh(4 * np.sin(2 * np.pi * order * axis)) for axis in (row, column)]
    return 0.5 + 0.2 * (bands[0] + bands[1]) + 0.35 * (fractal(rng, 0.3) - 0.5)


def _weave(rng: np.random.Generator) -> NDArray[np.float64]:
    row, column = _grid()
    thread = np.sin(2 * np.pi * 32 * row) * np.sin(2 * np.pi * 32 * column)
    return 0.5 + 0.2 * thread + 0.7 * (fractal(rng, 0.6) - 0.5)


def _carpet(rng: np.random.Generator) -> NDArray[np.float64]:
    return 0.5 + 0.7 * (fractal(rng, 0.25) - 0.5) + 0.6 * (fractal(rng, 1.4) - 0.5)


def _marble(rng: np.random.Generator) -> NDArray[np.float64]:
    veins = np.abs(np.sin(2 * np.pi * 2 * fractal(rng, 1.9)))
    return 0.2 + 0.8 * np.sqrt(veins)


def _terrazzo(rng: np.random.Generator) -> NDArray[np.float64]:
    chips = fractal(rng, 0.9)
    return 0.6 + 0.3 * (chips > 0.66) - 0.45 * (chips < 0.32) + 0.2 * (fractal(rng, 0.2) - 0.5)


def _dots(rng: np.random.Generator) -> NDArray[np.float64]:
    row, column = _grid()
    order = int(rng.integers(5, 9))
    wave = np.sin(2 * np.pi * order * row) * np.sin(2 * np.pi * order * column)
    return 0.5 + 0.4 * np.tanh(6 * (np.abs(wave) - 0.5)) + 0.3 * (fractal(rng, 0.4) - 0.5)


PATTERNS: dict[str, Callable[[np.random.Generator], NDArray[np.float64]]] = {
    'plaster': _plaster,
    'wood': _wood,
    'planks': _planks,
    'bricks': _bricks,
    'tiles': _tiles,
    'stripes': _stripes,
    'plaid': _plaid,
    'weave': _weave,
    'carpet': _carpet,
    'marble': _marble,
    'terrazzo': _terrazzo,
    'dots': _dots,
}
# Patterns of furniture, clothes, balls and crates; the others are for the building.
OBJECT_PATTERNS = ('wood', 'stripes', 'plaid', 'weave', 'carpet', 'marble', 'terrazzo', 'dots')


def texture_bank(rng: np.random.Generator) -> dict[str, NDArray[np.uint8]]:
    """Draw one texture of every pattern.

    The textures are light and nearly grey, because each object multiplies them by its tint.

    Returns:
        Images (SIZE, SIZE, 3) by pattern name; they repeat without a seam.
    """
    bank = {}
    for name, pattern in PATTERNS.items():
        low = rng.uniform(0.35, 0.5) + rng.uniform(-0.05, 0.05, 3)
        high = rng.uniform(0.9, 0.97) + rng.uniform(-0.04, 0.03, 3)
        blend = np.clip(pattern(rng), 0, 1)[..., None]
        bank[name] = np.rint(255 * (low + (high - low) * blend)).astype(np.uint8)
    return bank
