"""Recognition of recent keyframes by descriptors of their corners."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import cv2
import numpy as np

from page4d_ros.perception.locating import FITS, REFINE, Located, locate, sampled
from page4d_ros.perception.points import Points

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from page4d_ros.perception.seen import Seen
    from page4d_ros.perception.tracks import Tracks

RECENT = 10  # keyframes that are remembered
EVERY = 3  # keyframes, of which one is remembered
FEWEST = 20  # corners that fit, for a recognition
SHARE = 0.4  # of the corners with a match that must fit
PATCH = 31  # pixels that a descriptor sees
MATCHED = 8.0  # error of a corner that is detected anew, in errors of a tracked one


class Recognised(NamedTuple):
    """Pose of an image among the points of a remembered keyframe.

    Attributes:
        T_camera_world: (4, 4).
        index: (M,) corners of the image that fit.
        inverse_depth: (M,) of these in the image's camera.
        covariance: (6, 6) of the remembered keyframe, since the trajectory began.
    """

    T_camera_world: NDArray[np.float64]
    index: NDArray[np.intp]
    inverse_depth: NDArray[np.float64]
    covariance: NDArray[np.float64]


class _View(NamedTuple):
    descriptors: NDArray[np.uint8]  # (N, 32)
    points: Points
    covariance: NDArray[np.float64]


class Recognition:
    """Remembers recent keyframes, and finds the pose of an image that shows the same place.

    Descriptors are upright ORB (Rublee et al., 2011) at one scale: a camera that comes back after
    a second or two sees the place much as before.
    """

    def __init__(self) -> None:
        self._views: list[_View] = []
        self._count = 0
        self._orb = cv2.ORB_create(nlevels=1, edgeThreshold=PATCH // 2 + 1, patchSize=PATCH)
        self._matcher = cv2.BFMatcher(cv2.NORM_HAMMING, crossCheck=True)

    def remember(self, tracks: Tracks, points: Points, covariance: NDArray) -> None:
        """Remember a keyframe, if it is one of every `EVERY`.

        Args:
            tracks: corners of its image.
            points: their places.
            covariance: (6, 6) of the pose, since the trajectory began.
        """
        self._count += 1
        if self._count % EVERY:
            return
        index, descriptors = self._describe(tracks)
        if len(index) >= FEWEST:
            self._views = [
                *self._views[1 - RECENT :],
                _View(descriptors, points[index], covariance),
            ]

    def find(self, tracks: Tracks, seen: Seen) -> Recognised | None:
        """Pose of the main camera's image among the remembered points; None for another place.

        Args:
            tracks: corners of that image; some of all that are seen.
            seen: the newest images.
        """
        mine = np.flatnonzero(seen.view == seen.main)
        index, descriptors = self._describe(tracks)
        index = mine[index]
        best, most = None, FEWEST - 1
        for view in reversed(self._views) if len(index) else ():
            matches = self._matcher.match(descriptors, view.descriptors)
            ours = index[[match.queryIdx for match in matches]]
            points = view.points[np.array([match.trainIdx for match in matches], np.intp)]
            found = _pose(points, seen.rays[ours], MATCHED * seen.sigma)
            if found is None:
                continue
            good = found.error < FITS
            if good.sum() > max(most, SHARE * len(matches)):
                T, most = found.T_camera_world, good.sum()
                w = points[good].inverse_depth(T)
                best = Recognised(T, ours[good], w, view.covariance)
        return best

    def _describe(self, tracks: Tracks) -> tuple[NDArray[np.intp], NDArray[np.uint8]]:
        """Corners that are far enough from the border, and their descriptors."""
        keypoints = [
            cv2.KeyPoint(float(u), float(v), PATCH, 0, 0, 0, k)
            for k, (u, v) in enumerate(tracks.at)
        ]
        kept, descriptors = self._orb.compute(tracks.grey, keypoints)
        if descriptors is None:
            return np.zeros(0, np.intp), np.zeros((0, 32), np.uint8)
        return np.array([each.class_id for each in kept], np.intp), descriptors


def _pose(points: Points, seen: NDArray, sigma: float) -> Located | None:
    T = sampled(points, seen, sigma)
    return None if T is None else locate(T, points, seen, sigma, REFINE)
