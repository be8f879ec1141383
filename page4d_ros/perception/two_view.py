"""Start of a map from two views, where there is enough parallax between them."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, NamedTuple

import cv2
import numpy as np

from page4d_ros.geometry.poses import inverse, transform
from page4d_ros.perception.locating import locate
from page4d_ros.perception.observations import BEHIND
from page4d_ros.perception.sparse_pose import FEWEST

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from page4d_ros.perception.local_map import LocalMap

SHARED = 40  # tracks that two views must share
LEAST_SHARE = 0.25  # of the tracks, that an essential matrix must explain
TOLERANCE = 3.0  # standard deviations between an inlier and its epipolar line
FARTHEST = 1e4  # baselines to a point in front of both cameras
LIMITS = (20.0, 20.0, 10.0, 10.0, 5.0, 5.0, 2.5, 2.5)  # robust loss: depths are not known yet
FITS = 4.0  # scale of the loss by which starts are compared
BETTER = 0.8  # of the cost, below which a new start is taken


class Start(NamedTuple):
    """A map with a newest camera that is no keyframe of it.

    Attributes:
        map: keyframes and points.
        T_camera_world: (4, 4) of the newest camera.
        cost: robust sum of the errors in it, of the tracks that both views share.
        fits: share of these tracks that fit.
        rows: keyframes of the map before that are in this one, in their order.
    """

    map: LocalMap
    T_camera_world: NDArray[np.float64]
    cost: float
    fits: float
    rows: list[int]


def pair(map_: LocalMap, ids: NDArray, rays: NDArray, parallax: float) -> int | None:
    """Oldest keyframe whose main camera has parallax with the newest image; None for none.

    Args:
        map_: keyframes.
        ids: (M,) identities of the newest image's tracks.
        rays: (M, 2) their normalised image coordinates.
        parallax: median motion in these that no rotation explains.
    """
    at, has = map_.find(ids)
    has[has] = map_.view[at[has]] == map_.mounts.main
    for row, seen in enumerate(map_.seen[:, at[has]]):
        both = np.isfinite(seen[:, 0])
        if both.sum() < SHARED:
            continue
        a, b = seen[both], rays[has][both]
        turned = np.column_stack([a, np.ones(len(a))]) @ rotation_between(a, b).T
        off = np.linalg.norm(turned[:, :2] / turned[:, 2:] - b, axis=1)
        if np.median(off) > parallax:
            return row
    return None


def compete(
    map_: LocalMap, T: NDArray, row: int, ids: NDArray, rays: NDArray, sigma: float
) -> Start:
    """The map as it is, or one begun by the essential matrix of two views if that fits better.

    The new one has points of the main camera only.

    Args:
        map_: keyframes and points; adjusted if it stays.
        T: (4, 4) T_camera_world of the newest camera in it.
        row: keyframe with parallax.
        ids: (M,) identities of the newest image's tracks.
        rays: (M, 2) their normalised image coordinates.
        sigma: standard deviation of image coordinates.
    """
    at, has = map_.find(ids)
    shared = np.isfinite(map_.seen[row, :, 0]) & (map_.view == map_.mounts.main)
    both = ids[has][shared[at[has]]]
    other, others = _only(map_, row, shared)
    ours = _settled(map_, list(range(len(map_.seen))), T, both, ids, rays, sigma)
    inverse_depth = map_.points.inverse_depth(map_.T_camera_world[row])[shared]
    T_newest_first = _begin(other, inverse_depth, ids, rays, sigma)
    if T_newest_first is None:
        return ours
    T = T_newest_first @ other.T_camera_world[0]
    theirs = _settled(other, [row], T, both, ids, rays, sigma)
    if theirs.cost >= BETTER * ours.cost:
        return ours
    rows = _join(other, row, others, theirs.T_camera_world, sigma)
    other.late = [map_.late[k] for k in rows]
    return _settled(other, rows, theirs.T_camera_world, both, ids, rays, sigma)


def _only(
    map_: LocalMap, row: int, shared: NDArray
) -> tuple[LocalMap, dict[int, tuple[NDArray, NDArray]]]:
    """A copy with one keyframe and its points; `seen` and `across` of all others, by row.

    Args:
        map_: stays as it is.
        row: of the keyframe.
        shared: (N,) bool, True for the points that it saw.
    """
    other = copy.deepcopy(map_)
    each = zip(map_.seen[:, shared], map_.across[:, :, shared], strict=True)
    rest = {k: seen for k, seen in enumerate(each) if k != row}
    other.T_camera_world, other.seen = other.T_camera_world[[row]], other.seen[[row]]
    other.covariance, other.across = other.covariance[[row]], other.across[[row]]
    other.steps, other.late = [None], [other.late[row]]
    other.keep(shared)
    return other, rest


def _join(
    map_: LocalMap, row: int, others: dict[int, tuple[NDArray, NDArray]], T: NDArray, sigma: float
) -> list[int]:
    """Add views that see enough of the points to a map of one keyframe.

    Args:
        map_: is changed.
        row: number of its keyframe.
        others: `seen` and `across` of the views, by number.
        T: (4, 4) T_camera_world that a view is near to.
        sigma: standard deviation of image coordinates.

    Returns:
        Numbers of the keyframes of the map.
    """
    views = {row: (map_.T_camera_world[0], map_.seen[0], map_.across[0])}
    for k, (seen, across) in others.items():
        known = np.isfinite(seen[:, 0])
        found = locate(T, map_.points[known], seen[known], sigma, LIMITS)
        if (found.error < FITS).sum() >= FEWEST:
            views[k] = found.T_camera_world, seen, across
    rows = sorted(views)
    columns = zip(*map(views.get, rows), strict=True)
    map_.T_camera_world, map_.seen, map_.across = map(np.array, columns)
    map_.steps = [None] * len(rows)
    map_.covariance = np.repeat(map_.covariance, len(rows), axis=0)
    return rows


def _settled(
    map_: LocalMap,
    rows: list[int],
    T: NDArray,
    both: NDArray,
    ids: NDArray,
    rays: NDArray,
    sigma: float,
) -> Start:
    found, columns = map_.adjust(sigma, LIMITS, (T, map_.row(ids, rays)), strict=True)
    error = found.error[-1, np.isin(map_.ids[columns], both)]
    error = np.where(np.isfinite(error), np.minimum(error, BEHIND), BEHIND)
    cost = float(np.log1p((error / FITS) ** 2).sum())
    fits = float((error < FITS).mean()) if len(error) else 0.0
    return Start(map_, found.T_camera_world[-1], cost, fits, rows)


def _begin(
    map_: LocalMap, inverse_depth: NDArray, ids: NDArray, rays: NDArray, sigma: float
) -> NDArray[np.float64] | None:
    """Place the points of a map of one keyframe by the essential matrix to the newest camera.

    The unit of length stays, by the median of the points' depths.

    Args:
        map_: is changed.
        inverse_depth: (N,) of the points in the keyframe's camera, by the map before.
        ids: (M,) identities of the newest image's tracks.
        rays: (M, 2) their normalised image coordinates.
        sigma: standard deviation of image coordinates.

    Returns:
        (4, 4) from the keyframe's camera to the newest; None without one.
    """
    at, has = map_.find(ids)
    seen = map_.seen[0]
    both = np.isfinite(seen[at[has], 0])
    columns, b = at[has][both], rays[has][both]
    a = seen[columns]
    cv2.setRNGSeed(0)
    E, inliers = cv2.findEssentialMat(a, b, np.eye(3), cv2.USAC_DEFAULT, 0.999, TOLERANCE * sigma)
    if E is None or E.shape != (3, 3):
        return None
    count, R, t, front, X = cv2.recoverPose(
        E, a, b, np.eye(3), distanceThresh=FARTHEST, mask=inliers
    )
    if count < LEAST_SHARE * len(a):
        return None
    front = front.ravel() > 0
    w = X[3, front] / X[2, front]
    middle = np.median(map_.points.prior)
    length = np.median(w / inverse_depth[columns[front]])
    T = inverse(map_.T_camera_world[0])
    map_.points.R_world_ref[:], map_.points.t_world_ref[:] = T[:3, :3], T[:3, 3]
    map_.points.xyw[:, :2], map_.points.xyw[:, 2] = seen, middle
    map_.points.xyw[columns[front], 2] = w / length
    map_.points.prior[:] = map_.points.xyw[:, 2]
    map_.points.deviation[:] = middle
    return transform(R, length * t[:, 0])


def rotation_between(a: NDArray, b: NDArray) -> NDArray[np.float64]:
    """Rotation (3, 3) from rays a (N, 2) to rays b, robust against outliers (Kabsch)."""
    a, b = (np.column_stack([x, np.ones(len(x))]) for x in (a, b))
    a, b = (x / np.linalg.norm(x, axis=1, keepdims=True) for x in (a, b))
    weight = np.ones(len(a))
    for _ in range(5):
        U, _, Vt = np.linalg.svd((b * weight[:, None]).T @ a)
        R = U @ np.diag([1, 1, np.linalg.det(U @ Vt)]) @ Vt
        off = np.linalg.norm(b - a @ R.T, axis=1)
        weight = 1 / (1 + (off / (2 * np.median(off) + 1e-9)) ** 2)
    return R
