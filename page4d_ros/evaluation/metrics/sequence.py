"""Metrics of a method along a sequence: each takes in outputs frame by frame.

A metric has `add`, which takes the next `Output`, and `result`, which gives what it has measured.
Of figures that can be resampled, `Shares` holds what each frame adds.
"""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

import numpy as np

from page4d_ros.datasets.bag_index import Track
from page4d_ros.evaluation.metrics.blocks import Shares
from page4d_ros.evaluation.metrics.depth import DEPTH_ERROR, MASK_ERROR, DepthError, depth_metrics
from page4d_ros.evaluation.metrics.depth_alignment import OURS
from page4d_ros.evaluation.metrics.masks import RECALLED, at_network
from page4d_ros.evaluation.metrics.motion import Sequence, pooled
from page4d_ros.evaluation.metrics.point_maps import Reconstruction, point_maps
from page4d_ros.evaluation.metrics.trajectory import POSITION_ERROR, trajectory_metrics
from page4d_ros.evaluation.result import Measured, Unknown

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from page4d_ros.evaluation.metrics.depth_alignment import DepthRules
    from page4d_ros.evaluation.metrics.point_maps import Comparison
    from page4d_ros.evaluation.metrics.stored_maps import StoredMaps
    from page4d_ros.evaluation.result import Blocks, Errors, Output

DEPTHS = 'abs_rel', 'delta_1_25'  # in the tables
TOTAL = 'total'


class PoseErrors:
    """Errors of the trajectory, as ``pose``."""

    def __init__(self) -> None:
        self.metric = False
        self._order: dict[int, int] = {}  # by stamp
        self._estimate: list[tuple[int, NDArray]] = []
        self._truth: list[tuple[int, NDArray]] = []

    def add(self, output: Output) -> None:
        """Take in the next frame."""
        stamp = output.frame.stamp_ns
        self._order[stamp] = len(self._order)
        if output.estimate is not None:
            self.metric = output.estimate.odometry.metric
        if output.T_world_camera is not None:
            self._estimate.append((stamp, output.T_world_camera))
        if output.frame.has_pose:
            self._truth.append((stamp, output.frame.T_world_camera))

    def result(self) -> Measured:
        """Errors, and the path over the truth."""
        if not self._truth:
            return Measured({'pose': Unknown('the data set has no poses')})
        tracks = _track(self._estimate), _track(self._truth)
        tree, path = trajectory_metrics(*tracks, metric=self.metric)
        if path is None:
            return Measured({'pose': tree})
        shares = Shares(len(self._order))
        at = [self._order[stamp] for stamp in path.stamps.tolist()]
        shares.add('pose.ate_m', at, path.error**2, 1)
        for name, error in path.steps.items():
            shares.add(f'pose.{name}', at[1:], error**2, 1)
        errors = list(zip(path.stamps.tolist(), path.error, strict=True))
        return Measured({'pose': tree}, {POSITION_ERROR: errors}, path, shares.blocks())


def _track(known: list[tuple[int, NDArray]]) -> Track:
    stamps = np.array([stamp for stamp, _ in known], np.int64)
    return Track('world', 'camera', stamps, np.array([T for _, T in known]).reshape(-1, 4, 4))


class DepthErrors:
    """Errors of depth at the pixels of the source, as ``depth``.

    Args:
        stored: takes in the same frames.
        rules: how depth is fitted and resampled.
        unit_known: take the depth for metres, whatever the estimates claim.
    """

    def __init__(
        self, stored: StoredMaps, *, rules: DepthRules = OURS, unit_known: bool = False
    ) -> None:
        self.stored, self.rules, self.unit_known, self.metric = stored, rules, unit_known, False
        self._count = 0
        self._with_depth: list[int] = []

    def add(self, output: Output) -> None:
        """Take in the next frame."""
        self.metric = output.estimate.odometry.metric
        if output.frame.depth is not None:
            self._with_depth.append(self._count)
        self._count += 1

    def result(self) -> Measured:
        """Errors; reads the stored depths twice."""
        if not self._with_depth:
            return Measured({'depth': Unknown('the data set has no depth')})
        found = depth_metrics(
            self.stored.depths,
            metric=self.metric or self.unit_known,
            max_depth=self.stored.sequence.max_depth,
            rules=self.rules,
        )
        shares = Shares(self._count)
        for fit, rows in found.rows.items():
            if isinstance(found.tree[fit], Unknown):
                continue
            table = dict(zip(DepthError.COLUMNS, np.transpose(rows), strict=True))
            for name in DEPTHS:
                share = f'depth.{fit}.{name}'
                shares.add(share, self._with_depth, table[name], table['pixels'])
        errors = {DEPTH_ERROR: found.over_time} if found.over_time else {}
        return Measured({'depth': found.tree}, errors, blocks=shares.blocks())


class PointErrors:
    """Distances between point maps and the truth, as ``points``.

    Args:
        frames: number of them.
        max_depth: metres, beyond which the truth does not count.
    """

    def __init__(self, frames: int, max_depth: float) -> None:
        self.max_depth, self._count = max_depth, 0
        self._cloud = Reconstruction(frames)

    def add(self, output: Output) -> None:
        """Take in the next frame."""
        frame = output.frame
        if frame.has_pose and frame.depth is not None and frame.camera is not None:
            self._cloud.add(self._count, *point_maps(output.estimate, frame, self.max_depth))
        self._count += 1

    def result(self) -> Measured:
        """Distances after one similarity."""
        if not self._cloud.frames:
            absent = Unknown('needs intrinsics, poses and depth of the data set')
            return Measured({'points': absent})
        found = self._cloud.compare()
        if isinstance(found, Unknown):
            return Measured({'points': found})
        return Measured({'points': found.tree}, blocks=_point_blocks(found, self._count))


def _point_blocks(found: Comparison, frames: int) -> Blocks:
    """Means of both ways, and of both together, where each counts half."""
    shares = Shares(frames)
    halves = {'overall_m': 'metres', 'normal_consistency': 'agreement'}
    ways = (
        ('accuracy_m', found.accuracy, found.ours.frames),
        ('completeness_m', found.completeness, found.true.frames),
    )
    for name, way, at in ways:
        shares.add(f'points.mean.{name}', at, way.metres, 1)
        for both, attribute in halves.items():
            values = getattr(way, attribute)
            known = np.isfinite(values)
            weight = 0.5 / max(1, known.sum())
            shares.add(f'points.mean.{both}', at[known], values[known] * weight, weight)
    return shares.blocks()


class MaskErrors:
    """Region, boundary and pixel errors of the motion mask at the network's pixels, as ``mask``.

    Args:
        frames: number of them.
        as_published: count frames in which nothing moves; see `Sequence`.
    """

    def __init__(self, frames: int, *, as_published: bool = False) -> None:
        self.shares, self.masks = Shares(frames), Sequence(as_published=as_published)
        self._count = 0
        self._errors: Errors = []

    def add(self, output: Output) -> None:
        """Take in the next frame."""
        estimate, frame, at = output.estimate, output.frame, self._count
        self._count += 1
        if frame.mask is None:
            return
        truth, called = at_network(frame.mask, estimate.transform), estimate.mask > 0
        before, count = self.masks.table.copy(), len(self.masks.regions)
        self.masks.add(estimate.probability, called, truth)
        (_, false), (missed, hit) = self.masks.table - before
        self.shares.add('mask.precision', at, hit, hit + false)
        self.shares.add('mask.recall', at, hit, hit + missed)
        for letter, values in (('J', self.masks.regions), ('F', self.masks.boundaries)):
            for value in values[count:]:
                self.shares.add(f'mask.{letter}M', at, value, 1)
                self.shares.add(f'mask.{letter}R', at, value > RECALLED, 1)
        self._errors.append((frame.stamp_ns, float((truth != called).mean())))

    def result(self) -> Measured:
        """Measures over the sequence."""
        if not self._errors:
            return Measured({'mask': Unknown('the data set has no masks')})
        tree, blocks = {'mask': pooled([self.masks])}, self.shares.blocks()
        return Measured(tree, {MASK_ERROR: self._errors}, blocks=blocks)


class Timing:
    """Time of each stage and of all together, as ``timing``, and ``metric``: lengths in metres."""

    def __init__(self) -> None:
        self.metric = False
        self._seconds: dict[str, list[float]] = defaultdict(list)

    def add(self, output: Output) -> None:
        """Take in the next frame."""
        seconds = output.estimate.seconds
        self.metric = output.estimate.odometry.metric
        for stage, value in seconds.items():
            self._seconds[stage].append(value)
        self._seconds[TOTAL].append(sum(seconds.values()))

    def result(self) -> Measured:
        """Median and 95th percentile in milliseconds."""
        if not any(self._seconds[TOTAL]):
            return Measured({'metric': self.metric, 'timing': Unknown('only streaming is timed')})
        timing = {}
        for stage, seconds in self._seconds.items():
            median, p95 = 1e3 * np.percentile(seconds, (50, 95))
            timing[f'{stage}_ms'] = {'median': float(median), 'p95': float(p95)}
        return Measured({'metric': self.metric, 'timing': timing})
