"""Point maps: how far a reconstruction is from the truth, and how much of the truth it reaches.

Accuracy, completeness and their mean as in DUSt3R's and MonST3R's tables, which PAGE-4D and VGGT4D
follow without releasing their code: distances to the nearest neighbour after one similarity
(Umeyama, 1991) over the pixels that both know. No iterative closest point refines it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from scipy.spatial import cKDTree

from page4d_ros.evaluation.unknown import Unknown
from page4d_ros.geometry.sim3 import Sim3

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from page4d_ros.perception.types import Estimate
    from page4d_ros.truth import GroundTruthFrame

MOST = 50_000  # points of a sequence; with four times as many, distances fall by 3 %


class Distances(NamedTuple):
    """From each point of a cloud to the nearest of another.

    Attributes:
        metres: (n,).
        agreement: (n,) |cosine| between the two normals; NaN where one is unknown.
    """

    metres: NDArray[np.float64]
    agreement: NDArray[np.float64]


class Cloud(NamedTuple):
    """Points (n, 3), their unit normals (n, 3), NaN where unknown, and the frames (n,)."""

    points: NDArray[np.float64]
    normals: NDArray[np.float64]
    frames: NDArray[np.int64]

    def to(self, other: Cloud) -> Distances:
        """Distances to the nearest points of another cloud."""
        metres, nearest = cKDTree(other.points).query(self.points, workers=-1)
        cosine = np.abs((self.normals * other.normals[nearest]).sum(1))
        return Distances(metres, cosine)


class Comparison(NamedTuple):
    """A reconstruction beside the truth.

    Attributes:
        tree: for ``metrics.json``.
        ours: the estimate's points, laid over the truth.
        accuracy: from them to the truth; `completeness` the other way round.
    """

    tree: dict[str, Any]
    ours: Cloud
    true: Cloud
    accuracy: Distances
    completeness: Distances


class Reconstruction:
    """Points of the frames of one sequence, some of each.

    Args:
        frames: how many there will be.

    Attributes:
        frames: how many there were.
    """

    def __init__(self, frames: int) -> None:
        self._each = max(1, MOST // frames)
        self.frames = 0
        self._ours: list[Cloud] = []
        self._true: list[Cloud] = []

    def add(self, index: int, ours: NDArray, true: NDArray) -> None:
        """Take in the maps of a frame, (h, w, 3) each in its own world, NaN where unknown."""
        self.frames += 1
        known = np.flatnonzero(np.isfinite(true).all(-1))
        picked = known[:: max(1, -(-len(known) // self._each))]
        frames = np.full(len(picked), index)
        for clouds, points in ((self._ours, ours), (self._true, true)):
            flat = (x.reshape(-1, 3)[picked] for x in (points, normals(points)))
            clouds.append(Cloud(*flat, frames))

    def compare(self) -> Comparison | Unknown:
        """Lay the estimate over the truth, and measure both ways."""
        ours, true = (_joined(clouds) for clouds in (self._ours, self._true))
        seen = np.isfinite(ours.points).all(1)
        try:
            S = Sim3.fit(true.points[seen], ours.points[seen])
        except ValueError as error:
            return Unknown(f'cannot be aligned: {error}')
        kept = Cloud(*(x[seen] for x in ours))
        laid = Cloud(S.apply(kept.points), kept.normals @ S.R.T, kept.frames)
        accuracy, completeness = laid.to(true), true.to(laid)
        tree = {
            'points': len(laid.points),
            'coverage': float(seen.mean()),
            'scale': S.scale,
            **_figures(accuracy, completeness),
        }
        return Comparison(tree, laid, true, accuracy, completeness)


def _joined(clouds: list[Cloud]) -> Cloud:
    if not clouds:
        return Cloud(np.zeros((0, 3)), np.zeros((0, 3)), np.zeros(0, np.int64))
    return Cloud(*(np.concatenate(parts) for parts in zip(*clouds, strict=True)))


def _figures(accuracy: Distances, completeness: Distances) -> dict[str, dict[str, float]]:
    """Means and medians; `overall` and `normal_consistency` are means of both directions."""
    out: dict[str, dict[str, float]] = {}
    ways = accuracy, completeness
    for name, of in (('mean', np.mean), ('median', np.median)):
        there, back = (float(of(way.metres)) for way in ways)
        agree = [way.agreement[np.isfinite(way.agreement)] for way in ways]
        out[name] = {
            'accuracy_m': there,
            'completeness_m': back,
            'overall_m': (there + back) / 2,
            'normal_consistency': float(np.mean([of(x) if x.size else np.nan for x in agree])),
        }
    return out


def normals(points: NDArray) -> NDArray[np.float64]:
    """Unit normals (h, w, 3) of a map of points (h, w, 3), from the neighbours on both sides."""
    down, right = np.gradient(points, axis=(0, 1))
    found = np.cross(right, down)
    length = np.linalg.norm(found, axis=-1, keepdims=True)
    return found / np.where(length > 0, length, np.nan)


def point_maps(
    estimate: Estimate, frame: GroundTruthFrame, max_depth: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Points (h, w, 3) at the network's pixels, estimated and true, each in its own world.

    Args:
        estimate: of the frame; all NaN where it is lost.
        frame: with intrinsics, pose and depth.
        max_depth: metres, beyond which the truth does not count.
    """
    fit = estimate.transform
    v, u = np.mgrid[: fit.height, : fit.width]
    column, row = np.moveaxis(np.rint(fit.to_source(np.stack([u, v], -1))).astype(int), -1, 0)
    height, width = frame.depth.shape
    depth = frame.depth[np.clip(row, 0, height - 1), np.clip(column, 0, width - 1)]
    depth = np.where((depth > 0) & (depth < max_depth), depth, np.nan).astype(np.float64)
    true = _moved(fit.camera_to_network(frame.camera).unproject(depth), frame.T_world_camera)
    if estimate.odometry.lost:
        return np.full_like(true, np.nan), true
    return estimated(estimate), true


def estimated(estimate: Estimate) -> NDArray[np.float64]:
    """Points (h, w, 3) of an estimate in the trajectory's world, NaN where depth is invalid."""
    points = np.where(estimate.maps.known, estimate.maps.xyz, np.nan)
    return _moved(np.moveaxis(points.astype(np.float64), 0, -1), estimate.odometry.T_world_camera)


def _moved(points: NDArray, T: NDArray) -> NDArray[np.float64]:
    return points @ T[:3, :3].T + T[:3, 3]
