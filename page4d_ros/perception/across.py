"""Corners of one camera of a rig that others see at the same time."""

from __future__ import annotations

from itertools import permutations
from typing import TYPE_CHECKING, NamedTuple

import cv2
import numpy as np

from page4d_ros.geometry.poses import inverse
from page4d_ros.perception.mounts import TURN
from page4d_ros.perception.rig_observations import ACROSS
from page4d_ros.perception.sparse_pose import FEWEST
from page4d_ros.perception.tracks import BORDER, FLOW, RETURN, ROUND_TRIP

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from page4d_ros.perception.corners import Corners
    from page4d_ros.perception.local_map import LocalMap
    from page4d_ros.perception.mounts import Mounts
    from page4d_ros.perception.seen import Seen

TOLERANCE = 3.0  # standard deviations between a match and its epipolar line
UNKNOWN = 0.5  # relative deviation of a metre, above which matches set it
FACTORS = 1.0, 0.5, 2.0  # of the length of a metre, tried then
DEPTH = 0.15  # relative deviation of an inverse depth by a match, below which a point begins there
LOOSE = 0.7  # relative deviation of the inverse depth of a point that begins at its match
DOUBT = 0.09  # relative deviation of a metre that matches have set
START = FLOW | {'flags': cv2.OPTFLOW_USE_INITIAL_FLOW}


class Across(NamedTuple):
    """Corners (N) of one time as other cameras see them.

    Attributes:
        inverse_depth: (N,) in their own cameras, in the unit of the map.
        deviation: (N,) its standard deviation, loose where a match tells the inverse depth, since
            the match itself is used, too.
        rays: (V, N, 2) normalised image coordinates in each camera; NaN where not matched. None
            where nobody looked.
    """

    inverse_depth: NDArray[np.float64]
    deviation: NDArray[np.float64]
    rays: NDArray[np.float64] | None


def look_across(
    tracks: Corners,
    map_: LocalMap,
    seen: Seen,
    T: NDArray,
    inverse_depth: NDArray,
    deviation: NDArray,
) -> Across:
    """Match corners between the cameras of a rig.

    A match is tracked from its expected place and back, and agrees with others about an essential
    matrix, whatever is known of the mounts: a wrong mount must not hide itself.

    Args:
        tracks: corners of the newest images.
        map_: its mounts get the length of a metre if that was hardly known.
        seen: these images.
        T: (4, 4) T_camera_world of the main camera.
        inverse_depth: (N,) of corners without a point, in their cameras.
        deviation: (N,) its standard deviation.
    """
    there = [view for view in tracks.seeing if view in map_.mounts.known]
    if len(there) < 2:
        return Across(inverse_depth, deviation, None)
    mounts = map_.mounts
    columns, has = map_.find(tracks.ids)
    w, known = inverse_depth.copy(), map_.inverse_depths(columns[has], T)
    w[has] = np.where(np.isfinite(known) & (known > 0), known, w[has])
    rays = np.full((len(mounts.T_view_main), len(w), 2), np.nan)
    factors = FACTORS if mounts.doubt > UNKNOWN else FACTORS[:1]
    for a, b in permutations(there, 2):
        of = np.flatnonzero(seen.view == a)
        found = [_matched(tracks, mounts, seen, of, b, factor * w[of]) for factor in factors]
        index, at = max(found, key=lambda each: len(each[0]))
        rays[b, of[index]] = at
    ratio, known = _depths(mounts, seen, w, rays)
    if mounts.doubt > UNKNOWN and np.isfinite(ratio):
        mounts.scale(ratio)
        mounts.doubt = DOUBT
        known = known / ratio
    told = np.isfinite(known)
    w = np.where(told, known, inverse_depth)
    return Across(w, np.where(told, LOOSE * w, deviation), rays)


def _matched(
    tracks: Corners, mounts: Mounts, seen: Seen, of: NDArray, b: int, w: NDArray
) -> tuple[NDArray[np.intp], NDArray[np.float64]]:
    """Indices (M,) of corners that a camera sees, and their rays (M, 2) in it.

    Args:
        tracks: corners of the newest images.
        mounts: of the cameras.
        seen: these images.
        of: (N,) the corners, of one camera, in `seen`.
        b: the other camera.
        w: (N,) their expected inverse depths.
    """
    nothing = np.zeros(0, np.intp), np.zeros((0, 2))
    if len(of) < FEWEST:
        return nothing
    ours, theirs = tracks.views[seen.view[of[0]]], tracks.views[b]
    camera = seen.cameras[b]
    T = mounts.newest[b] @ inverse(mounts.newest[seen.view[of[0]]])
    X = np.column_stack([seen.rays[of], np.ones(len(of))]) @ T[:3, :3].T + T[:3, 3] * w[:, None]
    at = X[:, :2] / np.maximum(X[:, 2:], 1e-3) * (camera.fx, camera.fy) + (camera.cx, camera.cy)
    at = theirs.fit.to_network(at).reshape(-1, 2)
    limit = np.array([theirs.fit.width, theirs.fit.height]) - 1 - BORDER
    index = np.flatnonzero(((at >= BORDER) & (at <= limit)).all(1) & (X[:, 2] > 0))
    if len(index) < FEWEST:
        return nothing
    begin = ours.at[index]
    start = np.ascontiguousarray(at[index], np.float32)
    end, there, _ = cv2.calcOpticalFlowPyrLK(ours.grey, theirs.grey, begin, start, **START)
    back, again, _ = cv2.calcOpticalFlowPyrLK(theirs.grey, ours.grey, end, begin.copy(), **RETURN)
    keep = (there.ravel() == 1) & (again.ravel() == 1)
    keep &= ((back - begin) ** 2).sum(1) < ROUND_TRIP**2
    keep &= ((end >= BORDER) & (end <= limit)).all(1)
    index, end = index[keep], end[keep]
    if len(index) < FEWEST:
        return nothing
    rays = (theirs.fit.to_source(end).reshape(-1, 2) - (camera.cx, camera.cy)) / (
        camera.fx,
        camera.fy,
    )
    cv2.setRNGSeed(0)
    tolerance = TOLERANCE * ACROSS * seen.sigma
    E, agree = cv2.findEssentialMat(
        seen.rays[of[index]], rays, np.eye(3), cv2.USAC_DEFAULT, 0.999, tolerance
    )
    agree = np.zeros(len(index), bool) if E is None else agree.ravel() > 0
    return (index[agree], rays[agree]) if agree.sum() >= FEWEST else nothing


def _depths(
    mounts: Mounts, seen: Seen, w: NDArray, rays: NDArray
) -> tuple[float, NDArray[np.float64]]:
    """Inverse depths by matches (V, N, 2), as far as they agree with the mounts.

    Returns:
        Median ratio to the expected ones, NaN for few, and the inverse depths (N,), NaN where not
        known.
    """
    out = np.full(len(w), np.nan)
    best = np.full(len(w), np.inf)
    sigma = ACROSS * seen.sigma
    for b, index in ((b, np.flatnonzero(np.isfinite(each[:, 0]))) for b, each in enumerate(rays)):
        T = mounts.newest[b] @ inverse(mounts.newest)[seen.view[index]]
        uv = rays[b, index]
        X = (T[:, :3, :2] @ seen.rays[index, :, None])[..., 0] + T[:, :3, 2]
        far, along = X[:, :2] - uv * X[:, 2:], T[:, :2, 3] - uv * T[:, 2:3, 3]
        length = np.maximum((along**2).sum(1), 1e-12)
        found = -(along * far).sum(1) / length
        depth = np.maximum(X[:, 2] + T[:, 2, 3] * found, 1e-3)
        off = np.abs(along[:, 0] * far[:, 1] - along[:, 1] * far[:, 0]) / np.sqrt(length) / depth
        deviation = depth * np.hypot(sigma, TURN / 3) / np.sqrt(length)
        good = (found > 0) & (off < TOLERANCE * np.hypot(sigma, TURN))
        good &= (deviation < DEPTH * found) & (deviation < best[index])
        out[index[good]], best[index[good]] = found[good], deviation[good]
    ratio = (out / w)[np.isfinite(out)]
    return float(np.median(ratio)) if len(ratio) >= FEWEST else np.nan, out
