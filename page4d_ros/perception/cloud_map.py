"""Static points of all frames so far: one averaged point per cube of space, a bounded number."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from page4d_ros.perception.clouds import POINT, colours, packed

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from page4d_ros.config import MapConfig

REACH = 1 << 20  # cubes from the origin along an axis, so that a cube's number fits 63 bits
KEPT = 0.9  # of ``map.max_points``, where that is exceeded: the cubes that were seen last
MEANS = ('x', 'y', 'z', 'confidence', 'probability')


class CloudMap:
    """Means of the points in each cube of the trajectory's world.

    The world is that of the trajectory, not ``odom``: a mount that becomes known late moves all
    points alike. A cube is 60 bytes.

    Args:
        config: edge of the cubes, and how many are kept; may be replaced at any time.

    Attributes:
        forgotten: cubes that were given up for newer ones.
    """

    def __init__(self, config: MapConfig) -> None:
        self.config = config
        self.clear()

    def clear(self) -> None:
        """Forget all points."""
        self.forgotten = 0
        self._edge = self.config.voxel
        self._additions = 0
        self._cubes = np.zeros(0, np.int64)  # numbers, increasing
        # of each cube: x, y, z within it, confidence, probability, red, green, blue
        self._means = np.zeros((0, len(MEANS) + 3), np.float32)
        self._counts = np.zeros(0, np.int64)
        self._seen = np.zeros(0, np.int64)  # number of the last addition

    def __len__(self) -> int:
        """Count the cubes."""
        return len(self._cubes)

    def add(self, points: NDArray, T_world_camera: NDArray) -> None:
        """Add points (n,) of `POINT` in a camera's optical frame, whose pose is (4, 4).

        With another ``map.voxel`` than before all earlier points are forgotten.
        """
        if self._edge != self.config.voxel:
            self.clear()
        self._additions += 1
        xyz = np.stack([points[axis] for axis in 'xyz'])
        xyz = T_world_camera[:3, :3] @ xyz + T_world_camera[:3, 3:]
        place = np.floor(xyz / self._edge)
        near = (np.abs(place) < REACH).all(0)
        xyz, place, points = xyz[:, near], place[:, near], points[near]
        x, y, z = (place + REACH).astype(np.int64)
        numbers = (x * 2 * REACH + y) * 2 * REACH + z
        cubes, member, counts = np.unique(numbers, return_inverse=True, return_counts=True)
        rows = [*(xyz - self._edge * place), *(points[name] for name in MEANS[3:])]
        rows += list(colours(points).T)
        means = np.stack([np.bincount(member, row, len(cubes)) / counts for row in rows], -1)
        self._merge(cubes, means.astype(np.float32), counts)
        if len(self) > self.config.max_points:
            self._forget_oldest()

    def _merge(self, cubes: NDArray, means: NDArray, counts: NDArray) -> None:
        at = np.searchsorted(self._cubes, cubes)
        known = np.zeros(len(cubes), bool)
        inside = at < len(self)
        known[inside] = self._cubes[at[inside]] == cubes[inside]
        there, here = at[known], np.flatnonzero(known)
        self._counts[there] += counts[here]
        share = (counts[here] / self._counts[there])[:, None].astype(np.float32)
        self._means[there] += share * (means[here] - self._means[there])
        self._seen[there] = self._additions
        new, where = ~known, at[~known]
        self._cubes = np.insert(self._cubes, where, cubes[new])
        self._means = np.insert(self._means, where, means[new], axis=0)
        self._counts = np.insert(self._counts, where, counts[new])
        self._seen = np.insert(self._seen, where, self._additions)

    def _forget_oldest(self) -> None:
        kept = max(1, int(KEPT * self.config.max_points))
        self.forgotten += len(self) - kept
        index = np.sort(np.argpartition(self._seen, len(self) - kept)[len(self) - kept :])
        self._cubes, self._means = self._cubes[index], self._means[index]
        self._counts, self._seen = self._counts[index], self._seen[index]

    def points(self, T_odom_world: NDArray) -> NDArray:
        """Points (n,) of `POINT` in odom, for the pose (4, 4) of the world in it."""
        place = np.stack(
            [self._cubes // (2 * REACH) ** 2, self._cubes // (2 * REACH), self._cubes]
        ) % (2 * REACH)
        xyz = self._edge * (place - REACH) + self._means.T[:3]
        out = np.empty(len(self), POINT)
        xyz = T_odom_world[:3, :3] @ xyz + T_odom_world[:3, 3:]
        rows = [*xyz, *self._means.T[3 : len(MEANS)]]
        for name, values in zip(MEANS, rows, strict=True):
            out[name] = values
        out['rgb'] = packed(self._means[:, len(MEANS) :])
        return out
