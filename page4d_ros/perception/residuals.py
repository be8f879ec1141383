"""What depth and pose say of motion: pixels of the newest frame, looked up in earlier ones.

A point that stands still was where it is now. If an earlier frame saw through that place, the
point has come there; if it saw another colour there, something has changed. What was hidden
behind something nearer says nothing, so that parallax of a world at rest scores nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from torch.nn import functional

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

    from page4d_ros.perception.types import WindowEstimate

DEPTH_FLOOR = 0.01  # of the logarithm of depth: residuals below say nothing even of a good network
COLOUR_FLOOR = 0.02
MAD = 1.4826  # standard deviations of a normal distribution per median absolute deviation
COLUMNS = 48  # of pixels that medians are taken over
OUTSIDE = -9.0


class Seen(NamedTuple):
    """The newest frame's pixels as earlier ones saw their places; all (n, h, w).

    Attributes:
        depth: how far in front of the surface that was seen there, in deviations of that frame;
            negative where it was behind it.
        colour: difference of colour, in deviations; 0 where the place was hidden.
        visible: whether the place was in view and not hidden.
        at: its pixel (n, h, w, 2) for `grid_sample`, corners aligned.
    """

    depth: Tensor
    colour: Tensor
    visible: Tensor
    at: Tensor


def look_back(window: WindowEstimate, frames: Sequence[int], depths: Tensor) -> Seen:
    """Look the newest frame's pixels up in earlier frames.

    Args:
        window: poses, images, intrinsics, and depth of the newest frame.
        frames: indices of n earlier frames of the window.
        depths: (n, h, w) theirs, in the window's unit.
    """
    depth = window.depth[-1]
    height, width = depth.shape
    rays = _rays(window, depth)
    T = np.linalg.solve(window.T_gauge_camera[list(frames)], window.T_gauge_camera[-1][None])
    K = np.stack([window.cameras[i].K for i in frames])
    KR = torch.from_numpy(K @ T[:, :3, :3]).to(depth)
    Kt = torch.from_numpy(K @ T[:, :3, 3:]).to(depth)
    seen = (KR @ (rays * depth).flatten(1) + Kt).unflatten(2, (height, width))
    z = seen[:, 2]
    scale = depth.new_tensor([2 / max(width - 1, 1), 2 / max(height - 1, 1)])
    at = (seen[:, :2] / z[:, None]).movedim(1, -1) * scale - 1
    inside = (z > 0) & (at.abs() <= 1).all(-1)
    at = torch.where(inside[..., None], at, OUTSIDE)
    images = torch.stack([window.images[i] for i in frames]).to(depth)
    around = torch.cat([_least(depths)[:, None], _least(images), -_least(-images)], 1)
    found = functional.grid_sample(around, at, mode='nearest', align_corners=True)
    surface, least, most = found[:, 0], found[:, 1:4], found[:, 4:]
    known = inside & (surface > 0) & torch.isfinite(surface) & torch.isfinite(z)
    through = torch.where(known, (surface / z).log(), torch.nan)
    through = _standard(through, DEPTH_FLOOR) * _trust(window.confidence[-1])
    visible = known & (through > -1)
    now = window.images[-1].to(depth)
    colour = ((least - now).relu() + (now - most).relu()).mean(1)  # out of the range around it
    colour = _standard(torch.where(visible, colour, torch.nan), COLOUR_FLOOR)
    return Seen(
        torch.where(known, through, 0),
        torch.where(visible, colour, 0),
        visible,
        at,
    )


def _rays(window: WindowEstimate, like: Tensor) -> Tensor:
    """(3, h, w) through the newest frame's pixels, z = 1."""
    camera = window.cameras[-1]
    height, width = like.shape
    x = (torch.arange(width, device=like.device) - camera.cx) / camera.fx
    y = (torch.arange(height, device=like.device) - camera.cy) / camera.fy
    ones = torch.ones_like(like)
    return torch.stack([x.to(like) * ones, y.to(like)[:, None] * ones, ones])


def _standard(values: Tensor, floor: float) -> Tensor:
    """Values (n, h, w) less their median, in robust deviations; NaN is unknown."""
    step = max(1, values.shape[-1] // COLUMNS)
    few = values[:, ::step, ::step].flatten(1)
    middle = few.nanmedian(1, keepdim=True).values.nan_to_num()
    deviation = MAD * (few - middle).abs().nanmedian(1, keepdim=True).values.nan_to_num()
    return (values - middle[..., None]) / deviation.clamp_min(floor)[..., None]


def _trust(confidence: Tensor) -> Tensor:
    """The published c >= 1 over its median: expected error falls with it (VGGT, 3.4)."""
    c = 1 / (1 - confidence).clamp_min(1e-6)
    return (c / c.nanmedian()).clamp(0.1, 3)


def _least(maps: Tensor) -> Tensor:
    """Minimum (..., h, w) of the 3 x 3 pixels around each; pooling is slow on a CPU."""
    wide = functional.pad(maps, (1, 1, 1, 1), mode='replicate')
    wide = torch.minimum(torch.minimum(wide[..., :-2], wide[..., 1:-1]), wide[..., 2:])
    rows = torch.minimum(wide[..., :-2, :], wide[..., 1:-1, :])
    return torch.minimum(rows, wide[..., 2:, :])
