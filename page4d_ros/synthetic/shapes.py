"""Textured triangle meshes of simple solids; texture coordinates are in tiles of real size."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from numpy.typing import ArrayLike, NDArray

# The fixed-function pipeline lights vertices, so large faces are cut into cells.
CELL = 0.3


@dataclass(frozen=True)
class Mesh:
    """Triangle mesh whose faces point outwards.

    Attributes:
        vertices: (N, 3) metres.
        normals: (N, 3) unit vectors.
        uv: (N, 2) texture coordinates, one unit is one tile.
        faces: (M, 3) vertex indices.
    """

    vertices: NDArray[np.float64]
    normals: NDArray[np.float64]
    uv: NDArray[np.float64]
    faces: NDArray[np.int64]

    def moved(self, offset: ArrayLike = (0, 0, 0), rotation: NDArray | None = None) -> Mesh:
        """Rotate by a (3, 3) matrix about the origin, then shift by `offset` metres."""
        rotation = np.eye(3) if rotation is None else rotation
        return replace(
            self,
            vertices=self.vertices @ rotation.T + np.asarray(offset),
            normals=self.normals @ rotation.T,
        )

    def scaled(self, factors: ArrayLike) -> Mesh:
        """Stretch along x, y, z by positive factors, leaving the texture coordinates."""
        normals = self.normals / np.asarray(factors)
        return replace(
            self,
            vertices=self.vertices * np.asarray(factors),
            normals=normals / np.linalg.norm(normals, axis=1, keepdims=True),
        )


def merge(meshes: Iterable[Mesh]) -> Mesh:
    """Concatenate meshes of one material."""
    meshes = list(meshes)
    starts = np.cumsum([0] + [len(mesh.vertices) for mesh in meshes[:-1]])
    return Mesh(
        np.concatenate([mesh.vertices for mesh in meshes]),
        np.concatenate([mesh.normals for mesh in meshes]),
        np.concatenate([mesh.uv for mesh in meshes]),
        np.concatenate([mesh.faces + start for mesh, start in zip(meshes, starts, strict=True)]),
    )


def _grid_faces(rows: int, columns: int) -> NDArray[np.int64]:
    """Two triangles for each cell of a (rows, columns) grid of vertices."""
    corner = (np.arange(rows - 1)[:, None] * columns + np.arange(columns - 1)).ravel()
    lower = np.stack([corner, corner + 1, corner + columns + 1], -1)
    upper = np.stack([corner, corner + columns + 1, corner + columns], -1)
    return np.concatenate([lower, upper])


def panel(
    origin: ArrayLike,
    edge_u: ArrayLike,
    edge_v: ArrayLike,
    tile: float = 1.0,
    cell: float = CELL,
) -> Mesh:
    """Parallelogram that faces along edge_u x edge_v; lengths, `tile` and `cell` in metres."""
    edge_u, edge_v = np.asarray(edge_u, float), np.asarray(edge_v, float)
    length_u, length_v = np.linalg.norm(edge_u), np.linalg.norm(edge_v)
    u = np.linspace(0, 1, 1 + int(np.ceil(length_u / cell)))
    v = np.linspace(0, 1, 1 + int(np.ceil(length_v / cell)))
    grid_v, grid_u = (grid.reshape(-1, 1) for grid in np.meshgrid(v, u, indexing='ij'))
    normal = np.cross(edge_u, edge_v) / (length_u * length_v)
    return Mesh(
        np.asarray(origin, float) + grid_u * edge_u + grid_v * edge_v,
        np.tile(normal, (grid_u.size, 1)),
        np.concatenate([grid_u * length_u, grid_v * length_v], 1) / tile,
        _grid_faces(len(v), len(u)),
    )


def box(
    size: Sequence[float], base: ArrayLike = (0, 0, 0), tile: float = 1.0, cell: float = CELL
) -> Mesh:
    """Box of (x, y, z) `size` whose bottom face is centred on `base`, in metres."""
    x, y, z = np.diag(size)
    low = np.asarray(base, float) - (x + y) / 2
    high = low + x + y + z
    faces = [(low, y, x), (low, x, z), (low, z, y), (high, -x, -y), (high, -z, -x), (high, -y, -z)]
    return merge(panel(*face, tile=tile, cell=cell) for face in faces)


def lathe(profile: ArrayLike, segments: int = 20, tile: float = 1.0) -> Mesh:
    """Solid of revolution about z.

    Args:
        profile: (K, 2) points (radius, z) in metres from the bottom to the top; a point given
            twice makes a crease.
        segments: sides of the polygon around the axis.
        tile: size of one texture tile in metres, rounded to whole tiles around the axis.
    """
    radius, z = np.asarray(profile, float).T
    step = np.stack([np.diff(radius), np.diff(z)], -1)
    outward = np.stack([step[:, 1], -step[:, 0]], -1)
    slope = np.zeros((len(z), 2))
    slope[:-1] += outward
    slope[1:] += outward
    slope /= np.linalg.norm(slope, axis=1, keepdims=True)
    turn = np.linspace(0, 1, segments + 1)
    ring = np.stack([np.cos(2 * np.pi * turn), np.sin(2 * np.pi * turn)], -1)

    def revolve(r: NDArray, height: NDArray) -> NDArray:
        xy = r[:, None, None] * ring
        return np.dstack([xy, np.broadcast_to(height[:, None], xy.shape[:2])]).reshape(-1, 3)

    tiles = max(1, round(2 * np.pi * radius.max() / tile))
    along = np.concatenate([[0], np.cumsum(np.linalg.norm(step, axis=1))]) / tile
    grid_v, grid_u = np.meshgrid(along, tiles * turn, indexing='ij')
    return Mesh(
        revolve(radius, z),
        revolve(slope[:, 0], slope[:, 1]),
        np.stack([grid_u, grid_v], -1).reshape(-1, 2),
        _grid_faces(len(z), len(turn)),
    )


def sphere(radius: float, tile: float = 1.0) -> Mesh:
    """Ball about the origin, in metres."""
    angle = np.linspace(-np.pi / 2, np.pi / 2, 15)
    return lathe(radius * np.stack([np.cos(angle), np.sin(angle)], -1), tile=tile)


def cylinder(radius: float, height: float, top: float | None = None, tile: float = 1.0) -> Mesh:
    """Upright cylinder on the origin, or a cone whose upper radius is `top`; metres."""
    top = radius if top is None else top
    edge = [(radius, 0), (radius, 0), (top, height), (top, height)]
    return lathe([(1e-4, 0), *edge, (1e-4, height)], tile=tile)


def limb(length: float, upper: float, lower: float, tile: float = 1.0) -> Mesh:
    """Rounded, tapered limb hanging from the origin down to -length; radii in metres."""
    angle = np.linspace(0, np.pi / 2, 5)
    end = np.stack([lower * np.sin(angle), -length - lower * np.cos(angle)], -1)
    start = np.stack([upper * np.cos(angle), upper * np.sin(angle)], -1)
    return lathe(np.concatenate([end, start]), segments=14, tile=tile)
