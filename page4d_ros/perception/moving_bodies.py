"""Moving bodies: dynamic points of a frame set in groups, tracked from set to set."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from page4d_ros.perception.types import MovingBody
from page4d_ros.units import NS_PER_S

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from page4d_ros.perception.types import Estimate, ViewEstimate

MOST_PIXELS = 20_000  # used for grouping; larger images are thinned
DEPTH_STEP = 0.08  # largest relative step of depth between neighbours on one body
LEAST_SHARE = 0.002  # of the image, covered by a body
NEIGHBOURS = ((0, 1), (1, 0), (1, 1), (1, -1))
LEAST_PROBABILITY = 0.3  # of motion, for a pixel of the mask to count
BOX = 5, 95  # percentiles of the points along each axis
GAP = 0.1  # between boxes that two cameras see of one body, of the distance: depth is so exact
REACH = 1.0  # largest distance of a body from its expected place, in sizes
FORGET_NS = NS_PER_S  # a body not seen for so long is forgotten
SMOOTHING = 0.5  # weight of the newest velocity


@dataclass(frozen=True, eq=False)
class _Group:
    """Connected moving pixels of a view, or those of several views that show one body.

    Attributes:
        points: (n, 3) in the trajectory's world.
        probability: (n,) of motion.
        distance: median, from the camera that sees most of it.
    """

    points: NDArray[np.float64]
    probability: NDArray[np.float64]
    distance: float

    @cached_property
    def box(self) -> NDArray[np.float64]:
        """Lower and upper bounds (2, 3) along the world's axes, without stray points."""
        return np.percentile(self.points, BOX, axis=0)

    def gap(self, other: _Group) -> float:
        """Distance between the boxes of two groups; 0 where they meet."""
        (low, high), (low_other, high_other) = self.box, other.box
        return float(
            np.linalg.norm(np.maximum(0.0, np.maximum(low - high_other, low_other - high)))
        )

    def joined(self, other: _Group) -> _Group:
        """Both as one."""
        return _Group(
            np.vstack([self.points, other.points]),
            np.concatenate([self.probability, other.probability]),
            self.distance if len(self.points) >= len(other.points) else other.distance,
        )


class MovingBodyTracker:
    """Groups the moving pixels of all views and numbers the groups.

    What one camera of a rig shows of a body joins what the others show of it, if their boxes meet
    but for the error of depth. Cameras whose place on the rig is unknown are left out.
    """

    def __init__(self) -> None:
        self._known: dict[int, MovingBody] = {}
        self._next = 1

    def forget(self) -> None:
        """Begin anew, with new numbers."""
        self._known.clear()

    def update(self, estimate: Estimate) -> list[MovingBody]:
        """Moving bodies in the newest frame set, largest first; none while the pose is lost."""
        stamp_ns = estimate.frame.stamp_ns
        known = {
            number: body
            for number, body in self._known.items()
            if 0 < stamp_ns - body.stamp_ns <= FORGET_NS
        }
        out = []
        for group in _of_all_views(estimate):
            centre, (low, high) = np.median(group.points, axis=0), group.box
            probability = float(group.probability.mean())
            found = MovingBody(0, centre, high - low, np.zeros(3), probability, stamp_ns)
            out.append(self._followed(found, known))
        self._known = known | {body.number: body for body in out}
        return out

    def _followed(self, body: MovingBody, known: dict[int, MovingBody]) -> MovingBody:
        """Body with the number of the known one that it continues, and with its velocity.

        The known body is removed from `known`.
        """
        nearest, least = None, REACH
        for number, before in known.items():
            seconds = (body.stamp_ns - before.stamp_ns) / NS_PER_S
            expected = before.centre + seconds * before.velocity
            size = max(np.linalg.norm(before.size), np.linalg.norm(body.size), 1e-9)
            away = np.linalg.norm(body.centre - expected) / size
            if away < least:
                nearest, least = number, away
        if nearest is None:
            number, velocity = self._next, body.velocity
            self._next += 1
        else:
            before = known.pop(nearest)
            number = before.number
            velocity = (body.centre - before.centre) / (
                (body.stamp_ns - before.stamp_ns) / NS_PER_S
            )
            if before.velocity.any():
                velocity = SMOOTHING * velocity + (1 - SMOOTHING) * before.velocity
        return MovingBody(
            number, body.centre, body.size, velocity, body.probability, body.stamp_ns
        )


def _of_all_views(estimate: Estimate) -> list[_Group]:
    """Groups of a set, largest first; those of different views that are near each other are one.

    Of one view only one group joins a body, the nearest: a view tells bodies apart.
    """
    bodies: list[_Group] = []
    for view in estimate.views:
        if view.T_world_camera is None:
            continue
        groups = _groups(view, view.T_world_camera)
        pairs = _pairs(bodies, groups)
        for b, g in pairs.items():
            bodies[b] = bodies[b].joined(groups[g])
        bodies += [group for g, group in enumerate(groups) if g not in pairs.values()]
    return sorted(bodies, key=lambda body: -len(body.points))


def _pairs(bodies: Sequence[_Group], groups: Sequence[_Group]) -> dict[int, int]:
    """Numbers of the bodies that a view shows, with those of its groups; the nearest first."""
    gaps = {
        (b, g): body.gap(group) / max(body.distance, group.distance)
        for b, body in enumerate(bodies)
        for g, group in enumerate(groups)
    }
    out: dict[int, int] = {}
    for b, g in sorted(gaps, key=gaps.__getitem__):
        if gaps[b, g] < GAP and b not in out and g not in out.values():
            out[b] = g
    return out


def _groups(view: ViewEstimate, T_world_camera: NDArray) -> list[_Group]:
    """Groups of a view, largest first."""
    step = max(1, int(np.ceil(np.sqrt(view.mask.size / MOST_PIXELS))))
    thin = (slice(None, None, step),) * 2
    depth = view.depth[thin]
    probability = view.probability[thin]
    # the mask has a margin, which belongs to the background
    moving = (view.mask[thin] > 0) & (probability > LEAST_PROBABILITY) & np.isfinite(depth)
    if not moving.any():
        return []
    index = np.cumsum(moving.ravel()).reshape(moving.shape) - 1
    labels = _connected(depth, moving, index)
    camera, T = view.camera, T_world_camera
    v, u = np.nonzero(moving)
    z = depth[moving]
    x, y = (u * step - camera.cx) / camera.fx * z, (v * step - camera.cy) / camera.fy * z
    points = np.stack([x, y, z], 1) @ T[:3, :3].T + T[:3, 3]
    probability = probability[moving]
    counts = np.bincount(labels)
    large = [n for n in np.argsort(-counts) if counts[n] >= LEAST_SHARE * moving.size]
    return [
        _Group(points[labels == n], probability[labels == n], float(np.median(z[labels == n])))
        for n in large
    ]


def _connected(depth: NDArray, moving: NDArray, index: NDArray) -> NDArray[np.int32]:
    """Label (n,) of each moving pixel; neighbours of nearly the same depth share one."""
    pairs = []
    height, width = moving.shape
    for down, right in NEIGHBOURS:
        a = (slice(0, height - down), slice(max(0, -right), width - max(0, right)))
        b = (slice(down, height), slice(max(0, right), width + min(0, right)))
        near = (
            moving[a]
            & moving[b]
            & (np.abs(depth[a] - depth[b]) < DEPTH_STEP * np.minimum(depth[a], depth[b]))
        )
        pairs.append(np.stack([index[a][near], index[b][near]]))
    i, j = np.hstack(pairs)
    count = int(moving.sum())
    return connected_components(coo_matrix((np.ones(len(i), bool), (i, j)), (count, count)))[1]


def in_axes(body: MovingBody, T_odom_world: NDArray) -> tuple[NDArray, NDArray, NDArray]:
    """Centre, size of the box along the axes, and velocity (3,) of a body in odom."""
    R = T_odom_world[:3, :3]
    return R @ body.centre + T_odom_world[:3, 3], np.abs(R) @ body.size, R @ body.velocity
