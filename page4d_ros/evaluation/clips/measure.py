"""One sequence through one road, against whatever truth it has."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import cv2
import numpy as np

from page4d_ros.evaluation.clips.gallery import Gallery
from page4d_ros.evaluation.dynamics.scores import Sequence, pooled
from page4d_ros.evaluation.masks import at_network
from page4d_ros.evaluation.pixels import depth_metrics
from page4d_ros.evaluation.recording import Track
from page4d_ros.evaluation.scenes.classical import chain
from page4d_ros.evaluation.trajectory import trajectory_metrics
from page4d_ros.evaluation.unknown import Unknown
from page4d_ros.perception.clip import estimate_clip
from page4d_ros.perception.pipeline import Perception

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray

    from page4d_ros.evaluation.clips.gallery import Shown
    from page4d_ros.evaluation.datasets import Clip, ClipFrame
    from page4d_ros.evaluation.scenes.methods import Network
    from page4d_ros.evaluation.trajectory import Aligned
    from page4d_ros.perception.types import Estimate

STREAM, WHOLE = 'streaming', 'whole clip'


class Result(NamedTuple):
    """What a road gave.

    Attributes:
        tree: `metric`, `pose`, `depth`, `mask` and `timing`; `Unknown` says why one is not there.
        path: trajectory laid over the truth.
        shown: what a page shows of it.
    """

    tree: dict[str, Any]
    path: Aligned | None
    shown: Shown


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
    masks, metric, has_depth = Sequence(), False, False
    with tempfile.TemporaryDirectory() as folder:
        gallery = Gallery(clip, Path(folder))
        for index, (estimate, frame) in zip(indices, estimates, strict=True):
            metric = estimate.odometry.metric
            if not estimate.odometry.lost:
                poses['estimate'].append((frame.stamp_ns, estimate.odometry.T_world_camera))
            if _posed(frame):
                poses['truth'].append((frame.stamp_ns, frame.T_world_camera))
            has_depth |= frame.depth is not None
            if frame.mask is not None:
                truth = at_network(frame.mask, estimate.transform)
                masks.add(estimate.probability.cpu().numpy(), estimate.mask > 0, truth)
            gallery.add(index, estimate, frame)
            progress()
        depth, depth_errors = Unknown('the data set has no depth'), []
        if has_depth:
            limits = {'metric': metric, 'max_depth': clip.max_depth}
            depth, depth_errors = depth_metrics(gallery.depths, **limits)
        pose, path = _pose(poses, metric=metric)
        shown = gallery.shown(depth_errors, path)
    mask: Any = pooled([masks]) if masks.table.any() else Unknown('the data set has no masks')
    tree = {'metric': metric, 'pose': pose, 'depth': depth, 'mask': mask}
    tree['timing'] = gallery.timing()
    return Result(tree, path, shown)


def _posed(frame: ClipFrame) -> bool:
    return frame.T_world_camera is not None and bool(np.isfinite(frame.T_world_camera).all())


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
