"""One trajectory from windows that each live in a gauge of their own."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import torch

from page4d_ros.geometry.poses import inverse, transform, twist
from page4d_ros.geometry.sim3 import Alignment, align
from page4d_ros.perception.types import OdometryEstimate

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

    from page4d_ros.config import OdometryConfig
    from page4d_ros.perception.scale import MetricScale
    from page4d_ros.perception.types import FrameKey, WindowEstimate

PIXEL_STRIDE = 4
LOST = OdometryEstimate(np.eye(4), np.zeros(6), 9999.0, 9999.0, 1.0, metric=False, lost=True)


class Odometry:
    """Chains windows over the frames they share.

    The scale between two windows is the median ratio of static pixels' depths in the frames whose
    depth both know; rotation and translation are the robust mean over their shared cameras. The
    chain keeps the unit of its first window; `MetricScale` turns it into metres step by step, so
    that a scale that improves later never moves the past.
    """

    def __init__(self, config: OdometryConfig, scale: MetricScale) -> None:
        self.config = config
        self.scale = scale
        self.reset()

    def reset(self) -> None:
        """Begin again at identity."""
        self.forget_window()
        self._T_chain_camera: NDArray | None = None
        self._last: tuple[int, OdometryEstimate] | None = None
        self._chain_scale = 1.0

    def forget_window(self) -> None:
        """Begin a new window at the last pose."""
        self._placed: dict[FrameKey, NDArray] = {}  # T_chain_camera
        self._log_depths: dict[FrameKey, Tensor] = {}  # NaN where dynamic or doubtful

    @property
    def anchor(self) -> FrameKey | None:
        """The frame whose depth in the next window tells the next window's scale."""
        return next(reversed(self._placed), None)

    def update(self, window: WindowEstimate) -> OdometryEstimate:
        """Pose of the newest frame; `lost` where the network's answer is not finite."""
        T_gauge_camera = window.T_gauge_camera
        log_depth = _static_log_depth(window)
        if not np.isfinite(T_gauge_camera).all() or log_depth[-1].isnan().all():
            # what the last good window shares with the next one still ties them
            scale = self._chain_scale * self.scale.factor
            return replace(LOST, scale=scale, metric=self.scale.metric)
        alignment, restarted = self._tie(window, T_gauge_camera, log_depth)
        S = alignment.S_a_b
        T_chain_camera = S.apply_to_pose(T_gauge_camera)
        keys = [frame.key for frame in window.frames]
        self._placed = dict(zip(keys, T_chain_camera, strict=True))
        log_depth = log_depth + math.log(S.scale)
        self._log_depths = dict(zip(keys[-len(log_depth) :], log_depth, strict=True))
        self._chain_scale = S.scale
        if restarted:
            self.scale.forget()
        self.scale.update(window, T_chain_camera, S.scale)
        estimate = self._advance(
            window.frames[-1].stamp_ns, T_chain_camera[-1], alignment, restarted=restarted
        )
        self._T_chain_camera = T_chain_camera[-1]
        self._last = window.frames[-1].stamp_ns, estimate
        return estimate

    def _tie(
        self, window: WindowEstimate, T_gauge_camera: NDArray, log_depth: Tensor
    ) -> tuple[Alignment, bool]:
        """Gauge of this window to the chain, and whether nothing but the last pose ties them."""
        keys = [frame.key for frame in window.frames]
        shared = [i for i, key in enumerate(keys) if key in self._placed]
        if not shared:
            T_chain_first = np.eye(4) if self._T_chain_camera is None else self._T_chain_camera
            anchor = T_chain_first[None], T_gauge_camera[:1]
            return align(*anchor, self._chain_scale), True
        newest = zip(keys[-len(log_depth) :], log_depth, strict=True)
        differences = [self._log_depths[k] - d for k, d in newest if k in self._log_depths]
        scale = _median_ratio(torch.stack(differences)) if differences else None
        T_chain_shared = np.stack([self._placed[keys[i]] for i in shared])
        return align(T_chain_shared, T_gauge_camera[shared], scale or self._chain_scale), False

    def _advance(
        self, stamp_ns: int, T_chain_camera: NDArray, alignment: Alignment, *, restarted: bool
    ) -> OdometryEstimate:
        """Integrate the chain's motion in metres and differentiate it."""
        factor = self.scale.factor
        velocity = np.zeros(6)
        if self._last is None:
            T_world_camera = np.eye(4)
        else:
            last_ns, last = self._last
            step = inverse(self._T_chain_camera) @ T_chain_camera
            T_world_camera = last.T_world_camera @ transform(step[:3, :3], factor * step[:3, 3])
            seconds = (stamp_ns - last_ns) * 1e-9
            if seconds > 0 and not restarted:
                velocity = twist(last.T_world_camera, T_world_camera, seconds)
        drift, turn = alignment.translation_residual * factor, alignment.rotation_residual
        return OdometryEstimate(
            T_world_camera=T_world_camera,
            twist=velocity,
            position_variance=self.config.position_covariance + drift**2,
            orientation_variance=self.config.orientation_covariance + turn**2,
            scale=self._chain_scale * factor,
            metric=self.scale.metric,
            restarted=restarted,
        )


def _static_log_depth(window: WindowEstimate) -> Tensor:
    """(M, h', w') logarithm of a grid of depths; NaN where dynamic, doubtful or not positive."""
    grid = (slice(None), slice(None, None, PIXEL_STRIDE), slice(None, None, PIXEL_STRIDE))
    depth, confidence = window.depth[grid], window.confidence[grid]
    middle = confidence.flatten(1).nanmedian(dim=1).values[:, None, None]
    use = torch.isfinite(depth) & (depth > 0) & (confidence >= middle)
    if window.dynamic is not None:
        score = window.dynamic[-len(depth) :, None]
        score = torch.nn.functional.interpolate(score, depth.shape[1:])[:, 0]
        middle = score.flatten(1).nanmedian(dim=1).values[:, None, None]
        use &= score <= middle
    return torch.where(use, depth, torch.nan).log()


def _median_ratio(log_ratio: Tensor) -> float | None:
    """Median of the ratios of the pixels that both know; None where there are none."""
    ratio = float(log_ratio.flatten().nanmedian().exp())
    return ratio if math.isfinite(ratio) else None
