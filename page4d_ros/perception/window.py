"""The output of a network in the terms of the perception."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from page4d_ros.geometry.camera import ImageTransform, PinholeCamera
from page4d_ros.geometry.poses import inverse, transform
from page4d_ros.model.mask_head import dynamic_probability
from page4d_ros.model.pose_encoding import decode_pose
from page4d_ros.perception.types import WindowEstimate

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray
    from torch import Tensor

    from page4d_ros.model.network import NetworkOutput
    from page4d_ros.perception.types import FrameSet


def window_of(
    sets: tuple[FrameSet, ...],
    fit: ImageTransform,
    images: Sequence[Tensor],
    output: NetworkOutput,
) -> WindowEstimate:
    """Estimate of a window from the network's output; its gauge is the first camera's frame.

    Args:
        sets: frames of the window by time, newest last.
        fit: source image to network image.
        images: inputs of the network, one per frame, (3, h, w) each.
        output: of a batch of one, with the dynamic maps of the newest set if of any.
    """
    T_camera_gauge, K = decode_pose(output.pose_enc[0].double(), (fit.height, fit.width))
    T_camera_gauge, K = T_camera_gauge.cpu().numpy(), K.cpu().numpy()
    score, points, gram = output.mask_score, output.world_points, output.gram
    return WindowEstimate(
        sets=sets,
        transforms=(fit,) * len(images),
        images=tuple(images),
        T_gauge_camera=inverse(transform(T_camera_gauge[:, :, :3], T_camera_gauge[:, :, 3])),
        cameras=tuple(PinholeCamera.from_matrix(k, fit.width, fit.height) for k in K),
        depth=on_host(output.depth[0]),
        confidence=on_host(1.0 - 1.0 / output.depth_conf[0]),
        dynamic=None if score is None else on_host(dynamic_probability(_wide(score[0]))),
        gram=None if gram is None else on_host(gram[-len(sets[-1].frames) :]),
        points=None if points is None else on_host(points[0]),
    )


def cells_of(sets: Sequence[FrameSet]) -> tuple[tuple[int, int], ...]:
    """Cells of a window's frames in the grid of its views and times; see `StepPlan`."""
    views = sorted({view for each in sets for view in each.views})
    if len(views) == 1:
        return ()
    return tuple(
        (views.index(view), time) for time, each in enumerate(sets) for view in each.views
    )


def on_host(x: Tensor) -> NDArray:
    """Array on the host, of 32 bits at least."""
    return _wide(x).cpu().numpy()


def _wide(x: Tensor) -> Tensor:
    return x.to(torch.promote_types(x.dtype, torch.float32))
