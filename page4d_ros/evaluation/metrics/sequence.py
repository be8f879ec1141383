"""One sequence through one mode, against whatever truth it has."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from page4d_ros.datasets.bag_index import Track
from page4d_ros.evaluation.metrics.blocks import Shares
from page4d_ros.evaluation.metrics.depth import MAX_DEPTH, DepthError, depth_metrics
from page4d_ros.evaluation.metrics.depth_alignment import OURS, PUBLISHED
from page4d_ros.evaluation.metrics.masks import RECALLED, at_network
from page4d_ros.evaluation.metrics.motion import Sequence, pooled
from page4d_ros.evaluation.metrics.point_maps import Reconstruction, estimated, point_maps
from page4d_ros.evaluation.metrics.trajectory import trajectory_metrics
from page4d_ros.evaluation.plans.protocol import PAGE4D, SINGLE, VGGT4D
from page4d_ros.evaluation.report.gallery import Gallery
from page4d_ros.evaluation.report.worst import DEPTH_ERROR, MASK_ERROR, POSITION_ERROR
from page4d_ros.evaluation.result import Unknown

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from collections.abc import Sequence as Indices

    from numpy.typing import NDArray

    from page4d_ros.datasets.sequence import FileSequence
    from page4d_ros.evaluation.metrics.point_maps import Comparison
    from page4d_ros.evaluation.metrics.trajectory import Aligned
    from page4d_ros.evaluation.report.gallery import Shown
    from page4d_ros.perception.types import Estimate
    from page4d_ros.truth import GroundTruthFrame

ALONE = Unknown('each picture stands alone')
DEPTHS = 'abs_rel', 'delta_1_25'  # in the tables


class Result(NamedTuple):
    """Metrics of one sequence in one mode.

    Attributes:
        tree: `metric`, `pose`, `depth`, `points`, `mask` and `timing`; `Unknown` says why one is
            not there. `blocks` has what stretches of the sequence add to their figures.
        path: trajectory laid over the truth.
        shown: what a page shows of it, if it was asked for.
    """

    tree: dict[str, Any]
    path: Aligned | None
    shown: Shown | None


class Measuring:
    """Takes in the estimates of a sequence, frame by frame.

    Args:
        clip: the sequence.
        indices: which of its frames.
        folder: empty; depths wait there for their scale, and pictures to be drawn.
        kind: way of running: what single pictures cannot answer is not asked.
        dataset: name of the data set.
        quirks: whose code is imitated.
        drawn: whether a page will show it.
    """

    def __init__(
        self,
        clip: FileSequence,
        indices: Indices[int],
        folder: Path,
        *,
        kind: str,
        dataset: str,
        quirks: str,
        drawn: bool,
    ) -> None:
        self.clip, self.indices, self.kind, self.quirks = clip, indices, kind, quirks
        self.drawn = drawn
        self.farthest = MAX_DEPTH if dataset == 'sintel' and quirks == PAGE4D else np.inf
        self.gallery = Gallery(clip, folder, placed=drawn and kind != SINGLE)
        self.shares = Shares(len(indices))
        self.poses: dict[str, list[tuple[int, NDArray]]] = {'estimate': [], 'truth': []}
        self.masks = Sequence(as_published=quirks == VGGT4D)
        self.mask_errors: list[tuple[int, float]] = []
        self.cloud = Reconstruction(len(indices))
        self.order: dict[int, int] = {}  # by stamp
        self.with_depth: list[int] = []
        self.metric = False

    def add(self, estimate: Estimate, frame: GroundTruthFrame) -> None:
        """Take in the next frame."""
        at = self.order[frame.stamp_ns] = len(self.order)
        self.metric = estimate.odometry.metric
        if not estimate.odometry.lost:
            self.poses['estimate'].append((frame.stamp_ns, estimate.odometry.T_world_camera))
        if frame.has_pose:
            self.poses['truth'].append((frame.stamp_ns, frame.T_world_camera))
        if frame.depth is not None:
            self.with_depth.append(at)
        depth = estimate.maps.depth
        if self.quirks == PAGE4D:  # along the axis of the first camera
            depth = estimated(estimate)[..., 2].astype(np.float32)
        self.gallery.add(self.indices[at], estimate, frame.stamp_ns, depth)
        if self.kind == SINGLE:
            return
        if self._has_points(frame):
            self.cloud.add(at, *point_maps(estimate, frame, self.clip.max_depth))
        if frame.mask is not None:
            truth = at_network(frame.mask, estimate.transform)
            self._mask(at, estimate, truth)
            wrong = float((truth != (estimate.mask > 0)).mean())
            self.mask_errors.append((frame.stamp_ns, wrong))

    def _has_points(self, frame: GroundTruthFrame) -> bool:
        return frame.has_pose and frame.depth is not None and frame.camera is not None

    def _mask(self, at: int, estimate: Estimate, truth: NDArray[np.bool_]) -> None:
        before, count = self.masks.table.copy(), len(self.masks.regions)
        self.masks.add(estimate.probability, estimate.mask > 0, truth)
        (_, false), (missed, hit) = self.masks.table - before
        self.shares.add('mask.precision', at, hit, hit + false)
        self.shares.add('mask.recall', at, hit, hit + missed)
        for letter, values in (('J', self.masks.regions), ('F', self.masks.boundaries)):
            for value in values[count:]:
                self.shares.add(f'mask.{letter}M', at, value, 1)
                self.shares.add(f'mask.{letter}R', at, value > RECALLED, 1)

    def result(self) -> Result:
        """Figures, the trajectory over the truth, and pictures; while the folder is there."""
        depth, depth_errors = self._depth()
        tree: dict[str, Any] = {'metric': self.metric, 'pose': ALONE, 'depth': depth}
        tree |= {'points': ALONE, 'mask': ALONE}
        errors = {DEPTH_ERROR: depth_errors, MASK_ERROR: self.mask_errors}
        path = None
        if self.kind != SINGLE:
            tree['pose'], path = self._pose()
            tree['points'] = self._points()
            absent = Unknown('the data set has no masks')
            tree['mask'] = pooled([self.masks]) if self.masks.table.any() else absent
        if path is not None:
            errors[POSITION_ERROR] = list(zip(path.stamps.tolist(), path.error, strict=True))
        tree |= {'timing': self.gallery.timing(), 'blocks': self.shares.blocks()}
        errors = {name: known for name, known in errors.items() if known}
        return Result(tree, path, self.gallery.shown(errors, path) if self.drawn else None)

    def _depth(self) -> tuple[dict[str, Any] | Unknown, list[tuple[int, float]]]:
        if not self.with_depth:
            return Unknown('the data set has no depth'), []
        rules = PUBLISHED._replace(farthest=self.farthest) if self.quirks == PAGE4D else OURS
        found = depth_metrics(
            self.gallery.depths,
            metric=self.metric or self.quirks == PAGE4D,  # whose code has no unit to doubt
            max_depth=self.clip.max_depth,
            rules=rules,
        )
        for fit, rows in found.rows.items():
            if isinstance(found.tree[fit], Unknown):
                continue
            table = dict(zip(DepthError.COLUMNS, np.transpose(rows), strict=True))
            for name in DEPTHS:
                share = f'depth.{fit}.{name}'
                self.shares.add(share, self.with_depth, table[name], table['pixels'])
        return found.tree, found.over_time

    def _pose(self) -> tuple[dict[str, Any] | Unknown, Aligned | None]:
        tree, path = pose(self.poses, metric=self.metric)
        if path is not None:
            at = [self.order[stamp] for stamp in path.stamps.tolist()]
            self.shares.add('pose.ate_m', at, path.error**2, 1)
            for name, error in path.steps.items():
                self.shares.add(f'pose.{name}', at[1:], error**2, 1)
        return tree, path

    def _points(self) -> dict[str, Any] | Unknown:
        if self.quirks == PAGE4D:
            return Unknown('no code for point maps was published')
        if not self.cloud.frames:
            return Unknown('needs intrinsics, poses and depth of the data set')
        found = self.cloud.compare()
        if isinstance(found, Unknown):
            return found
        _share_points(self.shares, found)
        return found.tree


def _share_points(shares: Shares, found: Comparison) -> None:
    """Means of both ways, and of both together, where each counts half."""
    halves = {'overall_m': 'metres', 'normal_consistency': 'agreement'}
    ways = (
        ('accuracy_m', found.accuracy, found.ours.frames),
        ('completeness_m', found.completeness, found.true.frames),
    )
    for name, way, frames in ways:
        shares.add(f'points.mean.{name}', frames, way.metres, 1)
        for both, attribute in halves.items():
            values = getattr(way, attribute)
            known = np.isfinite(values)
            weight = 0.5 / max(1, known.sum())
            shares.add(f'points.mean.{both}', frames[known], values[known] * weight, weight)


def measure(
    estimates: Iterator[tuple[Estimate, GroundTruthFrame]],
    clip: FileSequence,
    indices: Indices[int],
    *,
    kind: str,
    dataset: str = '',
    quirks: str = '',
    drawn: bool = True,
    progress: Callable[[], None],
) -> Result:
    """Compare pose, depth, points and mask; see `Measuring`."""
    with tempfile.TemporaryDirectory() as folder:
        measuring = Measuring(
            clip,
            indices,
            Path(folder),
            kind=kind,
            dataset=dataset,
            quirks=quirks,
            drawn=drawn,
        )
        for estimate, frame in estimates:
            measuring.add(estimate, frame)
            progress()
        return measuring.result()


def pose(
    poses: dict[str, list[tuple[int, NDArray]]], *, metric: bool
) -> tuple[dict[str, Any] | Unknown, Aligned | None]:
    """Figures of (stamp, T_world_camera) of `estimate` and `truth`, and the path."""
    if not poses['truth']:
        return Unknown('the data set has no poses'), None
    tracks = [
        Track(
            'world',
            'camera',
            np.array([stamp for stamp, _ in known], np.int64),
            np.array([pose for _, pose in known]).reshape(-1, 4, 4),
        )
        for known in (poses['estimate'], poses['truth'])
    ]
    return trajectory_metrics(*tracks, metric=metric)
