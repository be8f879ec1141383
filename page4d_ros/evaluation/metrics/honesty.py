"""Errors of poses beside the variances that are published with them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from page4d_ros.evaluation.result import Measured, Unknown
from page4d_ros.geometry.poses import inverse, rotation_angle
from page4d_ros.geometry.sim3 import Sim3

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from page4d_ros.config import OdometryConfig
    from page4d_ros.evaluation.result import Output

LIMIT = 3.0  # standard deviations
LEAST_PATH = 0.02  # in depths of the scene, to know the unit by motion
KINDS = 'position', 'orientation'


class Honesty:
    """Errors and variances along a stream, as ``honesty``.

    The estimate is laid over the truth once, at one pose, with the unit of length of the frames
    before it. From there on its errors are those of a robot that integrates it. The unit is that
    of a least-squares similarity, or of the estimated depth for a camera that stands still.

    Args:
        floor: settings whose variances the estimates leave out, see `without_floor`.
        begin: index of the frame at which both agree; 0 takes the unit of the whole stream.
    """

    def __init__(self, floor: OdometryConfig, begin: int = 0) -> None:
        self.begin = begin
        self.floor = np.array([floor.position_covariance, floor.orientation_covariance])
        self._true: list[NDArray] = []
        self._said: list[NDArray] = []
        self._variances: list[tuple[float, float]] = []
        self._lost: list[bool] = []
        self._depths: list[float] = []  # true median, metres; NaN if unknown
        self._units: list[float] = []  # metres per unit of the estimate, by depth; likewise

    def add(self, output: Output) -> None:
        """Take in the next frame."""
        frame, estimate = output.frame, output.estimate
        if estimate is None or not frame.has_pose:
            return
        odometry, true = estimate.odometry, np.full((1, 1), np.nan)
        if frame.depth is not None:
            true = estimate.transform.nearest(frame.depth)
        ratio = true / estimate.views[0].maps.depth
        self._true.append(frame.T_world_camera)
        self._said.append(odometry.T_world_camera)
        self._variances.append((odometry.position_variance, odometry.orientation_variance))
        self._lost.append(odometry.lost)
        self._depths.append(_median(true))
        self._units.append(1.0 if odometry.metric else _median(ratio))

    def result(self) -> Measured:
        """Shares, errors and deviations of all known poses after the first frame.

        Returns:
            For position and orientation: ``within``, the share whose error is below three
            standard deviations as they are published, ``within_bare``, without the floor of the
            settings, the largest ``error`` (m, deg) and the median standard ``deviation``. Of the
            depth of the scene: ``jump``, the largest error of the motion from one known frame to
            the next, and ``drift``, the largest error of position. ``lost``: share of frames.
        """
        begin, lost = self.begin, np.array(self._lost, bool)
        known = np.flatnonzero(~lost)
        known = known[known >= begin]
        if len(known) < 2 or not np.isfinite(unit := self._unit()):
            return Measured({'honesty': Unknown('too few poses are known, or no unit of length')})
        true, said = np.array(self._true), np.array(self._said)
        said[:, :3, 3] *= unit
        off = _difference(inverse(true[known[0]]) @ true, inverse(said[known[0]]) @ said)[known]
        bare = np.array(self._variances)[known] * (unit**2, 1.0)
        full = bare + self.floor * (unit**2, 1.0)
        tree: dict[str, Any] = {'lost': float(lost[begin:].mean()), 'unit': unit}
        for k, (kind, to_shown) in enumerate(zip(KINDS, (1.0, np.degrees(1.0)), strict=True)):
            tree[kind] = {
                'within': float((off[1:, k] <= LIMIT * np.sqrt(full[1:, k])).mean()),
                'within_bare': float((off[1:, k] <= LIMIT * np.sqrt(bare[1:, k])).mean()),
                'error': to_shown * float(off[:, k].max()),
                'deviation': to_shown * float(np.median(np.sqrt(full[:, k]))),
                'deviation_bare': to_shown * float(np.median(np.sqrt(bare[:, k]))),
            }
        pairs = known[:-1][np.diff(known) == 1]
        steps = [inverse(T[pairs]) @ T[pairs + 1] for T in (true, said)]
        jump = _difference(*steps)[:, 0].max(initial=0.0)
        depth = float(np.nanmedian(self._depths)) if np.isfinite(self._depths).any() else np.nan
        absent = Unknown('the data set has no depth')
        for name, metres in (('jump', jump), ('drift', off[:, 0].max())):
            tree[name] = float(metres) / depth if np.isfinite(depth) else absent
        return Measured({'honesty': tree})

    def _unit(self) -> float:
        """Metres per unit of the estimate."""
        before = slice(self.begin + 1 if self.begin else None)
        use = ~np.array(self._lost[before], bool)
        units, depths = np.array(self._units[before])[use], np.array(self._depths[before])[use]
        true, said = (np.array(T[before])[use, :3, 3] for T in (self._true, self._said))
        path = np.linalg.norm(np.diff(true, axis=0), axis=1).sum()
        far = path > LEAST_PATH * (np.nanmedian(depths) if np.isfinite(depths).any() else 0.0)
        if far and len(true) >= 3 and np.ptp(said, axis=0).any():
            return Sim3.fit(true, said).scale
        return _median(units)


def _difference(T_true: NDArray, T_said: NDArray) -> NDArray[np.float64]:
    """Distance and angle (N, 2) between poses (N, 4, 4)."""
    gap = np.linalg.norm(T_said[:, :3, 3] - T_true[:, :3, 3], axis=1)
    turn = rotation_angle(np.swapaxes(T_true[:, :3, :3], 1, 2) @ T_said[:, :3, :3])
    return np.column_stack([gap, turn])


def _median(values: NDArray) -> float:
    known = values[np.isfinite(values)]
    return float(np.median(known)) if len(known) else np.nan
