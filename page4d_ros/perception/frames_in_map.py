"""Frames of a window in the map that corners make."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from page4d_ros.geometry.poses import inverse
from page4d_ros.perception.stitching import Placement
from page4d_ros.perception.types import FrameKey

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from page4d_ros.perception.mounts import Mounts
    from page4d_ros.perception.rig import Rig
    from page4d_ros.perception.types import FrameSet, WindowEstimate


def main_key(frames: FrameSet, main: int) -> FrameKey:
    """Identity of the main camera's frame, which may be missing."""
    mine = (key for key in frames.keys if key.view == main)
    return next(mine, FrameKey(frames.stamp_ns, main))


def main_in_gauge(
    window: WindowEstimate, main: int, beside: Callable[[int], NDArray | None]
) -> dict[FrameKey, NDArray]:
    """T_gauge_main (4, 4) of a rig's main camera in each set, beside another where it is missing.

    Args:
        window: output of the network.
        main: view of that camera.
        beside: T_view_main (4, 4) of another view, in units of the gauge; None if not known.
    """
    out, poses = {}, iter(window.T_gauge_camera)
    for frames in window.sets:
        each = {view: next(poses) for view in frames.views}
        if main in each:
            out[main_key(frames, main)] = each[main]
            continue
        known = ((pose, beside(view)) for view, pose in each.items())
        pose, T = next((both for both in known if both[1] is not None), (None, None))
        if T is not None:
            out[main_key(frames, main)] = pose @ T
    return out


def frames_in_map(
    window: WindowEstimate,
    T_world_main: dict[FrameKey, NDArray],
    unit: float,
    mounts: Mounts,
    rig: Rig | None,
) -> dict[int, NDArray]:
    """T_world_camera (4, 4) of frames, by index counted from the end.

    Cameras without a known mount, or with a frame of another moment, sit where the network sees
    them beside the others.

    Args:
        window: output of the network.
        T_world_main: (4, 4) of the main camera, by `main_key` of the sets.
        unit: units of the map per unit of the window's gauge.
        mounts: of the cameras.
        rig: says which frames are of one moment.
    """
    out, index = {}, -len(window.frames)
    for frames in window.sets:
        T = T_world_main.get(main_key(frames, mounts.main))
        each = range(index, index + len(frames.frames))
        index += len(each)
        tied = mounts.tied
        if rig is not None and len(each) > 1:
            tied &= rig.together(frames, mounts.main)
        mine = {i: v for i, v in zip(each, frames.views, strict=True) if v in tied}
        if T is None or not mine:
            continue
        for i, view in mine.items():
            out[i] = T if view == mounts.main else T @ mounts.T_main_view(view)
        first = next(iter(mine))
        for i in set(each) - mine.keys():
            step = inverse(window.T_gauge_camera[first]) @ window.T_gauge_camera[i]
            step[:3, 3] *= unit
            out[i] = out[first] @ step
    return out


def with_poses(
    window: WindowEstimate, T_world_camera: dict[int, NDArray], unit: float
) -> WindowEstimate:
    """Window with the poses of known frames, in the same gauge; the newest reference stays.

    Args:
        window: output of the network.
        T_world_camera: (4, 4) of frames in a map, by index counted from the end.
        unit: units of the map per unit of the window's gauge.
    """
    T, reference = window.T_gauge_camera.copy(), window.reference
    T_reference_world = inverse(T_world_camera[reference])
    for index, T_world in T_world_camera.items():
        if index != reference:
            step = T_reference_world @ T_world
            step[:3, 3] /= unit
            T[index] = T[reference] @ step
    return replace(window, T_gauge_camera=T)


def by_map(
    window: WindowEstimate, T_world_reference: NDArray, unit: float, placement: Placement | None
) -> Placement:
    """Placement of a window, with poses by corners, in the map."""
    steps = inverse(window.T_gauge_camera[window.reference]) @ window.T_gauge_camera
    steps[:, :3, 3] *= unit
    steps[window.reference] = np.eye(4)  # known even if the window's own poses are not finite
    restarted = placement is not None and placement.restarted
    return Placement(T_world_reference @ steps, unit, 0.0, 0.0, restarted)
