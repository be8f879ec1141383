"""A coloured cloud that grows without end in memory that does not."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

MOST = 30_000  # points
FINEST = 1 / 400  # of the first points' spread: the first edge of a voxel
COARSER = np.sqrt(2.0)  # halves how many voxels a surface fills
REACH = 1 << 20  # voxels in each direction; what is farther away is left out


class VoxelCloud:
    """Mean place and colour of all points within each voxel.

    There are never more than `most` voxels: when there would be, their edge grows, which works
    for rooms and streets alike, and in any unit.

    Args:
        most: points to keep.
    """

    def __init__(self, most: int = MOST) -> None:
        self.most = most
        self.edge = 0.0
        self._sums = np.zeros((0, 7))  # x, y, z, red, green, blue and 1, summed by voxel

    def add(self, points: NDArray) -> None:
        """Take in points (n, 6): x, y, z, red, green, blue; only finite ones count."""
        points = points[np.isfinite(points).all(1)].astype(np.float64)
        if not len(points):
            return
        if not self.edge:
            low, high = np.percentile(points[:, :3], (5, 95), axis=0)
            self.edge = max(float((high - low).max()) * FINEST, 1e-9)
        self._merge(np.hstack([points, np.ones((len(points), 1))]))
        while len(self._sums) > self.most:
            self.edge *= COARSER
            self._merge(np.zeros((0, 7)))

    @property
    def points(self) -> NDArray[np.float64]:
        """Points (m, 6), m <= most."""
        return self._sums[:, :6] / self._sums[:, 6:]

    def _merge(self, new: NDArray) -> None:
        rows = np.vstack([self._sums, new])
        cells = np.floor(rows[:, :3] / rows[:, 6:] / self.edge)
        near = (np.abs(cells) < REACH).all(1)
        rows, cells = rows[near], cells[near].astype(np.int64) + REACH
        keys = (cells[:, 0] << 42) | (cells[:, 1] << 21) | cells[:, 2]
        kept, index = np.unique(keys, return_inverse=True)
        columns = [np.bincount(index, column, len(kept)) for column in rows.T]
        self._sums = np.stack(columns, 1)
