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
    ]
)


def cloud(estimate: Estimate, config: PointsConfig, *, dynamic: bool) -> NDArray:
    """Points of the static or of the dynamic part, in the camera's optical frame.

    Invalid depths are left out. More than ``points.max_points`` are thinned evenly over the image.

    Returns:
        Structured array (n,) of dtype `POINT`: metres, packed colour, confidence in [0, 1).
    """
    depth = estimate.depth[:: config.stride, :: config.stride]
    mask = torch.from_numpy(estimate.mask).to(depth.device)[:: config.stride, :: config.stride]
    chosen = torch.isfinite(depth) & ((mask > 0) == dynamic)
    row, column = torch.nonzero(chosen, as_tuple=True)
    if len(row) > config.max_points:
        keep = torch.linspace(0, len(row) - 1, config.max_points, device=depth.device).long()
        row, column = row[keep], column[keep]
    row, column = row * config.stride, column * config.stride
    points = _lift(estimate, row, column)
    return points.cpu().numpy().view(POINT)[:, 0]


def _lift(estimate: Estimate, row: Tensor, column: Tensor) -> Tensor:
    """(n, 5) float32 rows x y z rgb confidence, on the device."""
    camera = estimate.camera
    if estimate.points is None:
        z = estimate.depth[row, column]
        x = (column - camera.cx) / camera.fx * z
        y = (row - camera.cy) / camera.fy * z
    else:
        x, y, z = estimate.points[row, column].T
    red, green, blue = (estimate.image[:, row, column] * 255).round().to(torch.int32)
    packed = ((red << 16) | (green << 8) | blue).view(torch.float32)
    return torch.stack([x, y, z, packed, estimate.confidence[row, column]], dim=1).float()
