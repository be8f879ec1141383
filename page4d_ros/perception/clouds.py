"""Coloured points of the newest frame, split by what moves."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

    from page4d_ros.config import PointsConfig
    from page4d_ros.perception.types import Estimate

POINT = np.dtype(
    [
        ('x', np.float32),
        ('y', np.float32),
        ('z', np.float32),
        ('rgb', np.float32),  # the bits of 0x00RRGGBB, as PCL and RViz read them
        ('confidence', np.float32),
        ('probability', np.float32),  # that it moves
    ]
)


def cloud(estimate: Estimate, config: PointsConfig, *, dynamic: bool) -> NDArray:
    """Points of the static or of the dynamic part, in the camera's optical frame.

    Invalid depths are left out. More than ``points.max_points`` are thinned evenly over the image.

    Returns:
        Structured array (n,) of dtype `POINT`: metres, packed colour, confidence in [0, 1),
        and the probability that the point moves.
    """
    depth = estimate.depth[:: config.stride, :: config.stride]
    mask = torch.from_numpy(estimate.mask).to(depth.device)[:: config.stride, :: config.stride]
    chosen = (depth > 0) & ((mask > 0) if dynamic else (mask == 0))
    index = torch.nonzero(chosen.flatten())[:, 0]
    if len(index) > config.max_points:
        index = index[torch.linspace(0, len(index) - 1, config.max_points).long().to(index.device)]
    row = torch.div(index, depth.shape[1], rounding_mode='floor')
    points = _lift(estimate, row * config.stride, (index - row * depth.shape[1]) * config.stride)
    return points.cpu().numpy().view(POINT)[:, 0]


def _lift(estimate: Estimate, row: Tensor, column: Tensor) -> Tensor:
    """(n, 6) float32 rows in the order of `POINT`, on the device."""
    camera = estimate.camera
    index = row * camera.width + column
    if estimate.points is None:
        z = estimate.depth.flatten()[index]
        x = (column - camera.cx) / camera.fx * z
        y = (row - camera.cy) / camera.fy * z
    else:
        x, y, z = estimate.points.flatten(0, 1)[index].T
    red, green, blue = eight_bits(estimate.image.flatten(1)[:, index])
    packed = ((red << 16) | (green << 8) | blue).view(torch.float32)
    facts = (each.flatten()[index] for each in (estimate.confidence, estimate.probability))
    return torch.stack([x, y, z, packed, *facts], dim=1).float()


def eight_bits(image: Tensor) -> Tensor:
    """Colours in [0, 1] as int32 from 0 to 255; float to uint8 at once is slow on a CPU."""
    return (image * 255).round_().to(torch.int32)
