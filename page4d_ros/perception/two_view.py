"""Start of a map from two views, where there is enough parallax between them."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, NamedTuple

import cv2
import numpy as np

from page4d_ros.geometry.poses import transform
from page4d_ros.perception.bundle import BEHIND

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from page4d_ros.perception.local_map import LocalMap

SHARED = 40  # tracks that two views must share
BASELINE = 0.1  # first length of it, in depths of the scene
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
    """

    map: LocalMap
    T_camera_world: NDArray[np.float64]
    cost: float


def pair(map_: LocalMap, ids: NDArray, rays: NDArray, parallax: float) -> int | None:
    """Oldest keyframe that has parallax with the newest image; None if there is none.

    Args:
        map_: keyframes.
        ids: (M,) identities of the newest image's tracks.
        rays: (M, 2) their normalised image coordinates.
        parallax: median motion in these that no rotation explains.
    """
    at, has = map_.find(ids)
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

    Args:
        map_: keyframes and points; adjusted if it stays.
        T: (4, 4) T_camera_world of the newest camera in it.
        row: keyframe with parallax.
        ids: (M,) identities of the newest image's tracks.
        rays: (M, 2) their normalised image coordinates.
        sigma: standard deviation of image coordinates.
    """
    other = copy.deepcopy(map_)
    at, has = map_.find(ids)
    both = ids[has][np.isfinite(map_.seen[row, at[has], 0])]
    ours = _settled(map_, T, both, ids, rays, sigma)
    other.T_camera_world, other.seen = other.T_camera_world[[row]], other.seen[[row]]
    other.steps = [None]
    other.keep(np.isfinite(other.seen[0, :, 0]))
    T_newest_first = _essential(other, ids, rays, sigma)
    if T_newest_first is None:
        return ours
    middle = np.median(other.points.prior)
    other.points.xyw[:, 2] = other.points.prior[:] = middle
    other.points.deviation[:] = middle
    T = T_newest_first @ other.T_camera_world[0]
    theirs = _settled(other, T, both, ids, rays, sigma)
    return theirs if theirs.cost < BETTER * ours.cost else ours


def _settled(
    map_: LocalMap, T: NDArray, both: NDArray, ids: NDArray, rays: NDArray, sigma: float
) -> Start:
    found, columns = map_.adjust(sigma, LIMITS, (T, map_.row(ids, rays)))
    error = found.error[-1, np.isin(map_.ids[columns], both)]
    error = np.where(np.isfinite(error), np.minimum(error, BEHIND), BEHIND)
    cost = float(np.log1p((error / FITS) ** 2).sum())
    return Start(map_, found.T_camera_world[-1], cost)


def _essential(
    map_: LocalMap, ids: NDArray, rays: NDArray, sigma: float
) -> NDArray[np.float64] | None:
    """(4, 4) from the first keyframe's camera to the newest, in units of the map."""
    at, has = map_.find(ids)
    seen = map_.seen[0, at[has]]
    both = np.isfinite(seen[:, 0])
    a, b = seen[both], rays[has][both]
    cv2.setRNGSeed(0)
    E, inliers = cv2.findEssentialMat(a, b, np.eye(3), cv2.USAC_DEFAULT, 0.999, TOLERANCE * sigma)
    if E is None or E.shape != (3, 3):
        return None
    count, R, t, _, _ = cv2.recoverPose(E, a, b, np.eye(3), distanceThresh=FARTHEST, mask=inliers)
    if count < len(a) / 2:
        return None
    return transform(R, BASELINE / np.median(map_.points.prior) * t[:, 0])


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
