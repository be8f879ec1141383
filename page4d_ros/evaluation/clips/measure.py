"""One sequence through one road, against whatever truth it has."""

from __future__ import annotations

import tempfile
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from page4d_ros.evaluation.clips.blocks import Shares
from page4d_ros.evaluation.clips.protocol import PAGE4D, SINGLE, VGGT4D
from page4d_ros.evaluation.depth_rules import OURS, PUBLISHED, at_source
from page4d_ros.evaluation.dynamics.scores import Sequence, pooled
from page4d_ros.evaluation.masks import RECALLED, at_network
from page4d_ros.evaluation.pictures import Picture, jpeg, overlay, paint
from page4d_ros.evaluation.pixels import MAX_DEPTH, DepthError, depth_metrics
from page4d_ros.evaluation.point_maps import Reconstruction, estimated, point_maps
from page4d_ros.evaluation.recording import Track
from page4d_ros.evaluation.trajectory import trajectory_metrics
from page4d_ros.evaluation.unknown import Unknown

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from collections.abc import Sequence as Indices

    from numpy.typing import NDArray

    from page4d_ros.evaluation.datasets import Clip, ClipFrame
    from page4d_ros.evaluation.point_maps import Comparison
    from page4d_ros.evaluation.trajectory import Aligned
    from page4d_ros.perception.types import Estimate

NS = 1_000_000_000
PICTURES = 4
ALONE = Unknown('each picture stands alone')
DEPTHS = 'abs_rel', 'delta_1_25'  # in the tables


class Result(NamedTuple):
    """What a road gave.

    Attributes:
        tree: `pose`, `depth`, `points` and `mask`; `Unknown` says why one is not there. `blocks`
            has what stretches of the sequence add to their figures.
        path: trajectory laid over the truth.
        columns: pictures of some frames, a column each.
    """

    tree: dict[str, Any]
    path: Aligned | None
    columns: list[list[Picture]]


class Measuring:
    """Takes in the estimates of a sequence, frame by frame; depths wait on disk for their scale.

    Args:
        clip: the sequence.
        frames: how many of it there will be.
        folder: for the depths.
        kind: way of running: what single pictures cannot answer is not asked.
        dataset: name of the data set.
        quirks: whose code is imitated.
    """

    def __init__(
        self, clip: Clip, frames: int, folder: Path, *, kind: str, dataset: str, quirks: str
    ) -> None:
        self.clip, self.folder, self.kind, self.quirks = clip, folder, kind, quirks
        self.farthest = MAX_DEPTH if dataset == 'sintel' and quirks == PAGE4D else np.inf
        self.shares = Shares(frames)
        self.poses: dict[str, list[tuple[int, NDArray]]] = {'estimate': [], 'truth': []}
        self.masks = Sequence(as_published=quirks == VGGT4D)
        self.cloud = Reconstruction(frames)
        self.stamps: list[int] = []
        self.depths: list[tuple[int, int, Path]] = []  # frame, stamp, file
        self.metric = False

    def add(self, estimate: Estimate, frame: ClipFrame) -> None:
        """Take in the next frame."""
        index = len(self.stamps)
        self.stamps.append(frame.stamp_ns)
        self.metric = estimate.odometry.metric
        if not estimate.odometry.lost:
            self.poses['estimate'].append((frame.stamp_ns, estimate.odometry.T_world_camera))
        if posed(frame):
            self.poses['truth'].append((frame.stamp_ns, frame.T_world_camera))
        if frame.depth is not None:
            path = self.folder / f'{index}.npz'
            ours = estimate.depth.cpu().numpy()
            if self.quirks == PAGE4D:  # along the axis of the first camera
                ours = estimated(estimate)[..., 2].astype(np.float32)
            np.savez(path, ours=ours, true=frame.depth)
            self.depths.append((index, frame.stamp_ns, path))
        if self.kind == SINGLE:
            return
        if self._has_points(frame):
            self.cloud.add(index, *point_maps(estimate, frame, self.clip.max_depth))
        if frame.mask is not None:
            self._mask(index, estimate, frame.mask)

    def _has_points(self, frame: ClipFrame) -> bool:
        return posed(frame) and frame.depth is not None and frame.camera is not None

    def _mask(self, index: int, estimate: Estimate, mask: NDArray[np.bool_]) -> None:
        before, count = self.masks.table.copy(), len(self.masks.regions)
        truth = at_network(mask, estimate.transform)
        self.masks.add(estimate.probability.cpu().numpy(), estimate.mask > 0, truth)
        (_, false), (missed, hit) = self.masks.table - before
        self.shares.add('mask.precision', index, hit, hit + false)
        self.shares.add('mask.recall', index, hit, hit + missed)
        for letter, values in (('J', self.masks.regions), ('F', self.masks.boundaries)):
            for value in values[count:]:
                self.shares.add(f'mask.{letter}M', index, value, 1)
                self.shares.add(f'mask.{letter}R', index, value > RECALLED, 1)

    def result(self) -> tuple[dict[str, Any], Aligned | None]:
        """Figures, and the trajectory over the truth; while the folder is there."""
        tree: dict[str, Any] = {'pose': ALONE, 'depth': self._depth()}
        tree |= {'points': ALONE, 'mask': ALONE}
        path = None
        if self.kind != SINGLE:
            tree['pose'], path = self._pose()
            tree['points'] = self._points()
            absent = Unknown('the data set has no masks')
            tree['mask'] = pooled([self.masks]) if self.masks.table.any() else absent
        return tree | {'blocks': self.shares.blocks()}, path

    def _depth(self) -> dict[str, Any] | Unknown:
        if not self.depths:
            return Unknown('the data set has no depth')
        rules = PUBLISHED._replace(farthest=self.farthest) if self.quirks == PAGE4D else OURS
        found = depth_metrics(
            partial(_pairs, self.depths),
            metric=self.metric or self.quirks == PAGE4D,  # whose code has no unit to doubt
            max_depth=self.clip.max_depth,
            rules=rules,
        )
        at = [index for index, _, _ in self.depths]
        for fit, rows in found.rows.items():
            if isinstance(found.tree[fit], Unknown):
                continue
            table = dict(zip(DepthError.COLUMNS, np.transpose(rows), strict=True))
            for name in DEPTHS:
                self.shares.add(f'depth.{fit}.{name}', at, table[name], table['pixels'])
        return found.tree

    def _pose(self) -> tuple[dict[str, Any] | Unknown, Aligned | None]:
        tree, path = pose(self.poses, metric=self.metric)
        if path is None:
            return tree, None
        common = np.intersect1d(*([stamp for stamp, _ in known] for known in self.poses.values()))
        seconds = (np.array(self.stamps) - common[0]) / NS
        at = np.abs(path.seconds[:, None] - seconds).argmin(1)
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
    estimates: Iterator[tuple[Estimate, ClipFrame]],
    clip: Clip,
    indices: Indices[int],
    *,
    kind: str,
    dataset: str = '',
    quirks: str = '',
    progress: Callable[[], None],
) -> Result:
    """Compare pose, depth, points and mask; see `Measuring`."""
    columns = []
    picks = {indices[round(p)] for p in np.linspace(0, len(indices) - 1, PICTURES)}
    with tempfile.TemporaryDirectory() as folder:
        measuring = Measuring(
            clip, len(indices), Path(folder), kind=kind, dataset=dataset, quirks=quirks
        )
        for index, (estimate, frame) in zip(indices, estimates, strict=True):
            measuring.add(estimate, frame)
            if index in picks:
                columns.append(_pictures(estimate, frame, index))
            progress()
        tree, path = measuring.result()
    return Result(tree, path, columns)


def posed(frame: ClipFrame) -> bool:
    """Whether the pose of a frame is known."""
    return frame.T_world_camera is not None and bool(np.isfinite(frame.T_world_camera).all())


def _pairs(depths: list[tuple[int, int, Path]]) -> Iterator[tuple[int, NDArray, NDArray]]:
    for _, stamp_ns, path in depths:
        with np.load(path) as file:
            yield stamp_ns, file['ours'], file['true']


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


def _pictures(estimate: Estimate, frame: ClipFrame, index: int) -> list[Picture]:
    shape = frame.rgb.shape[:2]
    depth = estimate.depth.cpu().numpy()
    images = {'input': frame.rgb}
    known = depth[np.isfinite(depth)]
    if known.size:
        near, far = np.percentile(known, (2, 98))
        ours = at_source(depth, shape, np.nan)
        images['depth'] = paint(ours, float(near), float(max(far, near + 1e-6)))
    moving = at_source(estimate.mask, shape, 0)
    images['what moves'] = overlay(frame.rgb, moving, frame.mask)
    return [
        Picture(label, f'{label} of frame {index}', jpeg(image)) for label, image in images.items()
    ]
