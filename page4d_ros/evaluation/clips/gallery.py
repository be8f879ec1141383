"""What a page shows of a sequence: frames, the worst of them, a scene, errors and times."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from page4d_ros.evaluation.masks import at_network
from page4d_ros.evaluation.pictures import Picture, jpeg, overlay, paint
from page4d_ros.evaluation.pixels import at_source
from page4d_ros.evaluation.scene import T_UPRIGHT_OPTICAL, Scene, SceneBuilder
from page4d_ros.evaluation.tables import number
from page4d_ros.evaluation.worst import DEPTH_ERROR, MASK_ERROR, POSITION_ERROR, worst

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from numpy.typing import NDArray

    from page4d_ros.evaluation.datasets import Clip, ClipFrame
    from page4d_ros.evaluation.trajectory import Aligned
    from page4d_ros.perception.types import Estimate

PICTURES = 4
TOTAL = 'total'
Columns = list[tuple[str, list[Picture]]]
Errors = list[tuple[int, float]]


class Shown(NamedTuple):
    """What is drawn.

    Attributes:
        columns: captions and pictures of frames from the first to the last.
        worst: the same of the frames with the largest errors, by the name of the error.
        errors: (stamp, error) of every frame, by the name of the error.
        scene: clouds and paths; None where every pose is lost.
    """

    columns: Columns
    worst: dict[str, Columns]
    errors: dict[str, Errors]
    scene: Scene | None


class Gallery:
    """Takes in frames one after the other; their depths and masks wait on disk.

    Args:
        clip: where the pictures are read again.
        folder: empty, with room for a depth and a mask of every frame.
    """

    def __init__(self, clip: Clip, folder: Path) -> None:
        self.clip, self.folder = clip, folder
        self._builder = SceneBuilder()
        self._path: list[NDArray] = []
        self._indices: dict[int, int] = {}  # by stamp
        self._seconds: dict[str, list[float]] = defaultdict(list)
        self._mask_errors: Errors = []

    def add(self, index: int, estimate: Estimate, frame: ClipFrame) -> None:
        """Take in a frame of the clip and what was made of it."""
        self._builder.add(estimate)
        if not estimate.odometry.lost:
            T = T_UPRIGHT_OPTICAL @ estimate.odometry.T_world_camera
            self._path.append(T[:3, 3])
        for stage, seconds in estimate.seconds.items():
            self._seconds[stage].append(seconds)
        self._seconds[TOTAL].append(sum(estimate.seconds.values()))
        if frame.mask is not None:
            wrong = at_network(frame.mask, estimate.transform) != (estimate.mask > 0)
            self._mask_errors.append((frame.stamp_ns, float(wrong.mean())))
        self._indices[frame.stamp_ns] = index
        depth = estimate.depth.cpu().numpy()
        np.savez(self._file(index), depth=depth, moving=np.packbits(estimate.mask > 0, axis=1))

    def depths(self) -> Iterator[tuple[int, NDArray, NDArray]]:
        """(stamp, estimated, true) depth of the frames that have a true one."""
        for stamp_ns, index in self._indices.items():
            truth = self.clip.load(index).depth
            if truth is not None:
                yield stamp_ns, self._maps(index)[0], truth

    def timing(self) -> dict[str, dict[str, float]]:
        """Median and 95th percentile of each stage and of all together, in milliseconds."""
        out = {}
        for stage, seconds in self._seconds.items():
            median, p95 = 1e3 * np.percentile(seconds, (50, 95))
            out[f'{stage}_ms'] = {'median': float(median), 'p95': float(p95)}
        return out

    def shown(self, depth_errors: Errors, aligned: Aligned | None) -> Shown:
        """Draw everything; the folder has to be there still."""
        errors = {DEPTH_ERROR: depth_errors, MASK_ERROR: self._mask_errors}
        if aligned is not None:
            errors[POSITION_ERROR] = list(zip(aligned.stamps.tolist(), aligned.error, strict=True))
        errors = {name: known for name, known in errors.items() if known}
        indices = list(self._indices.values())
        picks = sorted({indices[round(p)] for p in np.linspace(0, len(indices) - 1, PICTURES)})
        columns = [(f'frame {index}', self._pictures(index)) for index in picks]
        failures: dict[str, Columns] = {
            name: [
                (f'{number(error)} in frame {index}', self._pictures(index))
                for index, error in ((self._indices[s], e) for s, e in worst(known))
            ]
            for name, known in errors.items()
        }
        scene = None
        if self._path:
            truth = aligned.to_estimate(aligned.truth) if aligned else None
            upright = None if truth is None else truth @ T_UPRIGHT_OPTICAL[:3, :3].T
            scene = self._builder.scene(np.array(self._path), upright)
        return Shown(columns, failures, errors, scene)

    def _file(self, index: int) -> Path:
        return self.folder / f'{index}.npz'

    def _maps(self, index: int) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        """Depth and mask (h, w) of a frame."""
        with np.load(self._file(index)) as file:
            depth = file['depth']
            return depth, np.unpackbits(file['moving'], axis=1, count=depth.shape[1]) > 0

    def _pictures(self, index: int) -> list[Picture]:
        frame = self.clip.load(index)
        depth, moving = self._maps(index)
        shape = frame.rgb.shape[:2]
        images = {'input': frame.rgb}
        known = depth[np.isfinite(depth)]
        if known.size:
            near, far = np.percentile(known, (2, 98))
            ours = at_source(depth, shape, np.nan)
            images['depth'] = paint(ours, float(near), float(max(far, near + 1e-6)))
        fitted = at_source(moving.astype(np.uint8), shape, 0)
        images['what moves'] = overlay(frame.rgb, fitted, frame.mask)
        return [Picture(label, label, jpeg(image)) for label, image in images.items()]
