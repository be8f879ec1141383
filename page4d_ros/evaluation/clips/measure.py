"""One sequence through one road, against whatever truth it has."""

from __future__ import annotations

import tempfile
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import cv2
import numpy as np

from page4d_ros.evaluation.dynamics.scores import Sequence, pooled
from page4d_ros.evaluation.masks import at_network
from page4d_ros.evaluation.pictures import Picture, jpeg, overlay, paint
from page4d_ros.evaluation.pixels import at_source, depth_metrics
from page4d_ros.evaluation.recording import Track
from page4d_ros.evaluation.scenes.classical import chain
from page4d_ros.evaluation.trajectory import trajectory_metrics
from page4d_ros.evaluation.unknown import Unknown
from page4d_ros.perception.clip import estimate_clip
from page4d_ros.perception.pipeline import Perception

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray

    from page4d_ros.evaluation.datasets import Clip, ClipFrame
    from page4d_ros.evaluation.scenes.methods import Network
    from page4d_ros.evaluation.trajectory import Aligned
    from page4d_ros.perception.types import Estimate

STREAM, WHOLE = 'streaming', 'whole clip'
PICTURES = 4


class Result(NamedTuple):
    """What a road gave.

    Attributes:
        tree: `pose`, `depth` and `mask`; `Unknown` says why one is not there.
        path: trajectory laid over the truth.
        columns: pictures of some frames, a column each.
    """

    tree: dict[str, Any]
    path: Aligned | None
    columns: list[list[Picture]]


def road(
    clip: Clip,
    indices: range,
    network: Network,
    *,
    whole: bool,
) -> Iterator[tuple[Estimate, ClipFrame]]:
    """Estimates beside the truth, frame by frame."""
    network.engine.clear()
    perception = Perception(network.config, network.engine, network.calibration)
    if whole:  # the pictures of a clip have to be in memory anyway
        known = list(clip.frames(indices))
        pictures = [(frame.frame, frame.rgb) for frame in known]
        yield from zip(estimate_clip(pictures, perception), known, strict=True)
        return
    for frame in clip.frames(indices):
        yield perception.process(frame.frame), frame


def measure(
    estimates: Iterator[tuple[Estimate, ClipFrame]],
    clip: Clip,
    indices: range,
    *,
    progress: Callable[[], None],
) -> Result:
    """Compare pose, depth and mask; depths wait on disk for the scale of the sequence."""
    poses: dict[str, list[tuple[int, NDArray]]] = {'estimate': [], 'truth': []}
    masks, columns, spooled = Sequence(), [], []
    picks = {indices[round(p)] for p in np.linspace(0, len(indices) - 1, PICTURES)}
    metric = False
    with tempfile.TemporaryDirectory() as folder:
        for index, (estimate, frame) in zip(indices, estimates, strict=True):
            metric = estimate.odometry.metric
            if not estimate.odometry.lost:
                poses['estimate'].append((frame.stamp_ns, estimate.odometry.T_world_camera))
            if _posed(frame):
                poses['truth'].append((frame.stamp_ns, frame.T_world_camera))
            if frame.depth is not None:
                path = Path(folder) / f'{index}.npz'
                np.savez(path, ours=estimate.depth.cpu().numpy(), true=frame.depth)
                spooled.append((frame.stamp_ns, path))
            if frame.mask is not None:
                truth = at_network(frame.mask, estimate.transform)
                masks.add(estimate.probability, estimate.mask > 0, truth)
            if index in picks:
                columns.append(_pictures(estimate, frame, index))
            progress()
        depth: Any = Unknown('the data set has no depth')
        if spooled:
            pairs = partial(_pairs, spooled)
            depth, _ = depth_metrics(pairs, metric=metric, max_depth=clip.max_depth)
    pose, path = _pose(poses, metric=metric)
    mask: Any = pooled([masks]) if masks.table.any() else Unknown('the data set has no masks')
    return Result({'pose': pose, 'depth': depth, 'mask': mask}, path, columns)


def _posed(frame: ClipFrame) -> bool:
    return frame.T_world_camera is not None and bool(np.isfinite(frame.T_world_camera).all())


def _pairs(spooled: list[tuple[int, Path]]) -> Iterator[tuple[int, NDArray, NDArray]]:
    for stamp_ns, path in spooled:
        with np.load(path) as file:
            yield stamp_ns, file['ours'], file['true']


def _pose(
    poses: dict[str, list[tuple[int, NDArray]]], *, metric: bool
) -> tuple[dict[str, Any] | Unknown, Aligned | None]:
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


def classical(clip: Clip, indices: range, progress: Callable[[], None]) -> dict[str, Any] | None:
    """KLT and the essential matrix, told the lengths; None without camera or pose of the first."""
    first = next(clip.frames(indices[:1]))
    if first.camera is None or not _posed(first):
        return None
    stamps, truth = [], []

    def frames() -> Iterator[tuple[NDArray, NDArray]]:
        for frame in clip.frames(indices):
            if not _posed(frame):
                continue
            stamps.append(frame.stamp_ns)
            truth.append(frame.T_world_camera)
            yield cv2.cvtColor(frame.rgb, cv2.COLOR_RGB2GRAY), frame.T_world_camera
            progress()

    found = list(chain(frames(), first.camera.K))
    known = {
        'estimate': list(zip(stamps, found, strict=True)),
        'truth': list(zip(stamps, truth, strict=True)),
    }
    return {'pose': _pose(known, metric=False)[0]}
