"""Bundle adjustment over a window: the network's poses refined by tracked corners."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

import cv2
import numpy as np

from page4d_ros.geometry.poses import inverse, transform
from page4d_ros.perception.corners import Corners
from page4d_ros.perception.medians import median
from page4d_ros.perception.types import MOVING

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from page4d_ros.geometry.camera import ImageTransform, PinholeCamera
    from page4d_ros.perception.dynamics import Judged
    from page4d_ros.perception.types import FrameKey, WindowEstimate

FEWEST = 25  # corners needed to refine a pose
PIXEL = 0.2  # usual error of a tracked corner, in pixels
DEPTH = 0.05  # usual relative error of depth, outliers apart
TURN = 0.012  # usual error of the network's rotation, in rad
SHIFT = 0.02  # usual error of its translation, in depths of the scene
LIMITS = (20.0, 10.0, 5.0, 2.5, 2.5, 2.5)  # scale of the robust loss in PIXEL, by iteration
CONVERGED = 0.05  # of TURN or SHIFT; smaller steps end the iteration
FITS = 4.0  # largest error of a corner that fits, in PIXEL
NEAREST = 1e-3  # least depth of a point, relative to its first depth
STRETCH = 5.0  # largest factor by which a depth may change


class Refinement:
    """Refines the poses of each window, relative to its newest frame, by tracked corners.

    A network that sees coarse patches knows its cameras roughly; corners measure rotation and
    direction to a fraction of a pixel, but neither the unit of length nor which of them move. So
    the network's output is the start of an adjustment and its prior: its poses by their usual
    error, and its depths robustly, which gives the unit. Corners on moving objects are left out,
    by the mask head at first, and by the mask from then on.

    Attributes:
        corners: by view.
    """

    def __init__(self) -> None:
        self.corners: dict[int, Corners] = {}

    def forget(self) -> None:
        """Begin anew."""
        self.corners.clear()

    def follow(self, key: FrameKey, image: NDArray[np.uint8]) -> None:
        """Track the corners into a new frame's image (H, W, 3), RGB, before `update`."""
        self.corners.setdefault(key.view, Corners()).follow(key, image)

    def update(self, window: WindowEstimate) -> WindowEstimate:
        """Window with better poses; see `refined`."""
        keys = {frame.key for frame in window.frames}
        for corners in self.corners.values():
            corners.keep(keys)
        return refined(window, self.corners[window.frames[-1].view])

    def hide(self, view: int, motion: Judged, fit: ImageTransform) -> None:
        """Drop corners on moving objects.

        Args:
            view: camera whose corners they are.
            motion: moving pixels of its newest frame.
            fit: from the camera's image to the network's.
        """
        corners = self.corners[view]
        at, inside = corners.pixels(fit)
        corners.drop(inside & motion.near(at))


def refined(window: WindowEstimate, corners: Corners) -> WindowEstimate:
    """Window with better poses, in the same gauge and unit; the newest pose stays.

    A frame that shares too few corners with the newest, or whose corners do not fit, keeps the
    network's pose; so does the whole window of a rig of several cameras.

    Args:
        window: output of the network, with the camera's own intrinsics where they are known.
        corners: tracked up to its newest frame.
    """
    known = {key: row for row, key in enumerate(corners.keys)}
    earlier = [i for i, frame in enumerate(window.frames[:-1]) if frame.key in known]
    one = len({frame.view for frame in window.frames}) == 1
    if not (one and earlier and np.isfinite(window.T_gauge_camera).all()):
        return window
    depth, use = _at_rest(window, corners)
    if use.sum() < FEWEST:
        return window
    rows = [known[window.frames[i].key] for i in earlier]
    camera = window.transforms[-1].camera_to_source(window.cameras[-1])
    found = adjust(
        inverse(window.T_gauge_camera[earlier]) @ window.T_gauge_camera[-1],
        1 / depth[use],
        corners.seen[-1, use],
        corners.seen[rows][:, use],
        corners.fit.camera_to_network(camera),
    )
    T = window.T_gauge_camera.copy()
    better = np.array(earlier)[found.fits]
    T[better] = T[-1] @ inverse(found.T_earlier_newest[found.fits])
    return replace(window, T_gauge_camera=T)


def _at_rest(window: WindowEstimate, corners: Corners) -> tuple[NDArray, NDArray[np.bool_]]:
    """Depth (N,) at the newest frame's corners; True (N,) where it is known and static."""
    at, inside = corners.pixels(window.transforms[-1])
    depth = window.depth[-1][at[:, 1], at[:, 0]].astype(np.float64)
    use = inside & np.isfinite(depth) & (depth > 0)
    if window.dynamic is not None:
        patch = window.transforms[-1].height // window.dynamic.shape[1]
        column, row = at.T // patch
        use &= window.dynamic[-1][row, column] <= MOVING
    return depth, use


class Adjusted(NamedTuple):
    """Result of an adjustment.

    Attributes:
        T_earlier_newest: (M, 4, 4) from the newest camera to earlier ones.
        fits: (M,) bool, True if most corners that a camera saw agree with its pose.
    """

    T_earlier_newest: NDArray[np.float64]
    fits: NDArray[np.bool_]


def adjust(
    T_earlier_newest: NDArray,
    inverse_depth: NDArray,
    corners: NDArray,
    seen: NDArray,
    camera: PinholeCamera,
) -> Adjusted:
    """Most likely poses of M earlier cameras and depths of N corners of the newest one.

    Gauss-Newton on the reprojection errors, with weights of Cauchy's distribution that grow strict
    from step to step, and the initial values as priors: normal for poses, Cauchy for depths. The
    depths are eliminated (Schur complement; Triggs et al., Bundle Adjustment, 2000, section 6.1).

    Args:
        T_earlier_newest: (M, 4, 4) initial value.
        inverse_depth: (N,) initial value, > 0.
        corners: (N, 2) pixels in the newest image.
        seen: (M, N, 2) pixels in the earlier images; NaN where not seen.
        camera: intrinsics of all images.
    """
    focal, centre = np.array([[camera.fx, camera.fy], [camera.cx, camera.cy]])
    rays = np.vstack([((corners - centre) / focal).T, np.ones(len(corners))])
    known = np.isfinite(seen).all(2)
    unit = (focal / PIXEL)[:, None]
    targets = np.where(known[:, None], ((seen - centre) / focal).swapaxes(1, 2), 0)
    R = R_first = T_earlier_newest[:, :3, :3]
    t = t_first = T_earlier_newest[:, :3, 3]
    w = inverse_depth
    turn_prior, shift_prior = TURN**-2, (SHIFT / median(inverse_depth)) ** -2
    count = len(seen)
    diagonal = np.tile([turn_prior] * 3 + [shift_prior] * 3, count)
    blocks = np.arange(count)
    for limit in LIMITS:
        uv, J, J_w = _project(R, t, w, rays)
        error = unit * (targets - uv)
        squared = (error**2).sum(1)
        root = np.sqrt(known / (1 + squared / limit**2))[:, None]
        scale = unit * root
        error, J, J_w = root * error, scale[:, None] * J, scale * J_w
        C = (J[:, :, 0] * J_w[:, None, 0] + J[:, :, 1] * J_w[:, None, 1]).reshape(6 * count, -1)
        J = J.reshape(count, 6, -1)
        b = (J @ error.reshape(count, -1, 1))[..., 0]
        b[:, :3] += turn_prior * _turns(R_first, R)
        b[:, 3:] += shift_prior * (t_first - t)
        trust = 1 / ((DEPTH * inverse_depth) ** 2 + (w - inverse_depth) ** 2)
        D = (J_w**2).sum((0, 1)) + trust
        d = (J_w * error).sum((0, 1)) + trust * (inverse_depth - w)
        S = -(C / D) @ C.T
        S.reshape(count, 6, count, 6)[blocks, :, blocks] += J @ J.swapaxes(1, 2)
        S.ravel()[:: 6 * count + 1] += diagonal
        step = np.linalg.solve(S, b.ravel() - C @ (d / D))
        w = w + (d - step @ C) / D
        w = w.clip(inverse_depth / STRETCH, inverse_depth * STRETCH)
        step = step.reshape(count, 6)
        turn = np.array([cv2.Rodrigues(each)[0] for each in step[:, :3]])
        R, t = turn @ R, (turn @ t[..., None])[..., 0] + step[:, 3:]
        if limit == LIMITS[-1] and (np.abs(step.ravel()) * np.sqrt(diagonal)).max() < CONVERGED:
            break
    fits = (known & (squared < FITS**2)).sum(1) >= np.maximum(FEWEST, known.sum(1) / 2)
    return Adjusted(transform(R, t), fits)


def _turns(R_a: NDArray, R_b: NDArray) -> NDArray[np.float64]:
    """(M, 3) axis times the sine of the angle from rotations b (M, 3, 3) to a."""
    twice = R_a @ R_b.swapaxes(1, 2)
    twice = twice - twice.swapaxes(1, 2)
    return twice[:, [2, 0, 1], [1, 2, 0]] / 2


def _project(
    R: NDArray, t: NDArray, w: NDArray, rays: NDArray
) -> tuple[NDArray, NDArray, NDArray]:
    """Normalised image coordinates of points with inverse depths w on rays of another camera.

    Args:
        R: (M, 3, 3) from that camera to this one.
        t: (M, 3) likewise.
        w: (N,) inverse depths.
        rays: (3, N) with z = 1.

    Returns:
        Coordinates (M, 2, N); their derivatives by a turn and a shift of this camera, (M, 6, 2,
        N), and by w, (M, 2, N).
    """
    t = t[..., None]
    points = R @ rays + t * w
    near = 1 / np.maximum(points[:, 2], NEAREST)
    uv = points[:, :2] * near[:, None]
    x, y = uv[:, 0], uv[:, 1]
    J = np.zeros((len(R), 6, *uv.shape[1:]))
    J[:, 3, 0] = J[:, 4, 1] = w * near
    J[:, 5] = -uv * J[:, 3, :1]
    J[:, 0, 0], J[:, 1, 0], J[:, 2, 0] = -x * y, 1 + x * x, -y
    J[:, 0, 1], J[:, 1, 1], J[:, 2, 1] = -1 - y * y, x * y, x
    return uv, J, (t[:, :2] - uv * t[:, 2:]) * near[:, None]
