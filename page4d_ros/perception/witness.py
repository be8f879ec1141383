"""Motion and depth of the newest frame as the network says them."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from page4d_ros.geometry.poses import inverse, rotation_angle
from page4d_ros.perception.types import MOVING

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from page4d_ros.geometry.camera import ImageTransform
    from page4d_ros.perception.types import FrameKey, WindowEstimate


class Witness(NamedTuple):
    """The network's part of the evidence, in the window's gauge.

    Attributes:
        T_newest_earlier: (4, 4) from each earlier camera of the window to the newest, by key.
        inverse_depth: (h, w) of the newest frame; NaN where not known.
        moving: (h / patch, w / patch) bool, True where the mask head sees motion; None without
            a mask head.
        fit: from the camera's image to the network's.
        unit: units of the network's own trajectory per unit of the gauge.
        doubted: True if the window disagrees with the windows before.
    """

    T_newest_earlier: dict[FrameKey, NDArray[np.float64]]
    inverse_depth: NDArray[np.float32]
    moving: NDArray[np.bool_] | None
    fit: ImageTransform
    unit: float
    doubted: bool = False

    @classmethod
    def of(
        cls, window: WindowEstimate, index: int, unit: float, *, doubted: bool = False
    ) -> Witness:
        """Evidence of a window with finite poses about one camera.

        Args:
            window: output of the network.
            index: that camera's frame in the newest set, counted from the end.
            unit: units of the network's own trajectory per unit of its gauge.
            doubted: True if it disagrees with the windows before.
        """
        depth, view = window.depth[index], window.frames[index].view
        known = np.isfinite(depth) & (depth > 0)
        w = np.divide(1, depth, out=np.full_like(depth, np.nan), where=known)
        T = inverse(window.T_gauge_camera[index]) @ window.T_gauge_camera[:index]
        earlier = zip(window.frames[:index], T, strict=True)
        steps = {frame.key: step for frame, step in earlier if frame.view == view}
        moving = None if window.dynamic is None else window.dynamic[index] > MOVING
        return cls(steps, w, moving, window.transforms[index], unit, doubted)

    @classmethod
    def blind(cls, window: WindowEstimate, unit: float, *, doubted: bool) -> Witness:
        """Evidence about a camera that has no frame in the newest set: nothing of what it sees."""
        nothing = np.full(window.depth.shape[1:], np.nan, np.float32)
        return cls({}, nothing, None, window.transforms[window.reference], unit, doubted)

    def moved(self, T_gauge_camera: dict[FrameKey, NDArray], newest: FrameKey) -> Witness:
        """The same with the motion of a camera whose poses (4, 4) are known in some sets.

        Args:
            T_gauge_camera: the poses.
            newest: one of them.
        """
        T = inverse(T_gauge_camera[newest])
        steps = {key: T @ pose for key, pose in T_gauge_camera.items() if key != newest}
        return self._replace(T_newest_earlier=steps)

    def inverse_depths(self, source: NDArray) -> NDArray[np.float64]:
        """Inverse depths (N,) at pixels (N, 2) of the camera's image; NaN where not known."""
        at, inside = self.fit.network_pixels(source)
        out = self.inverse_depth[at[:, 1], at[:, 0]].astype(np.float64)
        out[~inside] = np.nan
        return out

    def errors(
        self, T_camera_world: NDArray, known: dict[FrameKey, NDArray], unit: float
    ) -> tuple[float, float]:
        """Root mean square errors of the motions from earlier frames.

        Args:
            T_camera_world: (4, 4) pose of the newest frame in a map.
            known: likewise of earlier ones, by key.
            unit: units of the map per unit of the gauge.

        Returns:
            Of rotation in rad, of translation in units of the map; NaN if no frame is known.
        """
        earlier = [key for key in self.T_newest_earlier if key in known]
        if not earlier:
            return np.nan, np.nan
        T_ours = T_camera_world @ inverse(np.array([known[key] for key in earlier]))
        T_said = np.array([self.T_newest_earlier[key] for key in earlier])
        off = rotation_angle(T_said[:, :3, :3] @ T_ours[:, :3, :3].swapaxes(1, 2))
        gap = unit * T_said[:, :3, 3] - T_ours[:, :3, 3]
        return float(np.sqrt((off**2).mean())), float(np.sqrt((gap**2).sum(1).mean()))

    def moves(self, source: NDArray) -> NDArray[np.bool_]:
        """True (N,) at pixels (N, 2) of the camera's image where the mask head sees motion."""
        if self.moving is None:
            return np.zeros(len(source), bool)
        at, inside = self.fit.network_pixels(source)
        column, row = at.T // (self.fit.height // self.moving.shape[0])
        return inside & self.moving[row, column]
