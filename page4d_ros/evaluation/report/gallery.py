"""Content of a page about a sequence: frames, the worst of them, a scene, errors and times."""

from __future__ import annotations

from collections import defaultdict
from itertools import chain
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from page4d_ros.evaluation.metrics.depth_alignment import at_source
from page4d_ros.evaluation.report.pictures import Picture, jpeg, overlay, paint
from page4d_ros.evaluation.report.scene import T_UPRIGHT_OPTICAL, Scene, SceneBuilder
from page4d_ros.evaluation.report.tables import number
from page4d_ros.evaluation.report.worst import worst
from page4d_ros.evaluation.result import Unknown

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from numpy.typing import NDArray

    from page4d_ros.datasets.sequence import FileSequence
    from page4d_ros.evaluation.metrics.trajectory import Aligned
    from page4d_ros.perception.types import Estimate
    from page4d_ros.truth import GroundTruthFrame

PICTURES = 4
TOTAL = 'total'
Columns = list[tuple[str, list[Picture]]]
Errors = list[tuple[int, float]]


class Shown(NamedTuple):
    """Material for the drawings of a sequence.

    Attributes:
        columns: captions and pictures of frames from the first to the last.
        worst: the same of the frames with the largest errors, by the name of the error.
        errors: (stamp, error) of every frame, by the name of the error.
        scene: clouds and paths; None where no pose is known.
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
        placed: whether the poses of the frames are of one world.
    """

    def __init__(self, clip: FileSequence, folder: Path, *, placed: bool = True) -> None:
        self.clip, self.folder, self.placed = clip, folder, placed
        self._builder = SceneBuilder()
        self._path: list[NDArray] = []
        self._indices: dict[int, int] = {}  # by stamp
        self._seconds: dict[str, list[float]] = defaultdict(list)

    def add(self, index: int, estimate: Estimate, stamp_ns: int, depth: NDArray) -> None:
        """Take in a frame of the clip, what was made of it, and its depth as it is measured."""
        if self.placed and not estimate.odometry.lost:
            self._builder.add(estimate)
            T = T_UPRIGHT_OPTICAL @ estimate.odometry.T_world_camera
            self._path.append(T[:3, 3])
        for stage, seconds in estimate.seconds.items():
            self._seconds[stage].append(seconds)
        self._seconds[TOTAL].append(sum(estimate.seconds.values()))
        self._indices[stamp_ns] = index
        np.savez(self._file(index), depth=depth, moving=np.packbits(estimate.mask > 0, axis=1))

    def depths(self) -> Iterator[tuple[int, NDArray, NDArray]]:
        """(stamp, estimated, true) depth of the frames that have a true one."""
        indices = list(self._indices.values())
        for index, frame in zip(indices, self.clip.frames(indices), strict=True):
            if frame.depth is not None:
                yield frame.stamp_ns, self._maps(index)[0], frame.depth

    def timing(self) -> dict[str, dict[str, float]] | Unknown:
        """Median and 95th percentile of each stage and of all together, in milliseconds."""
        if not any(self._seconds[TOTAL]):
            return Unknown('only streaming is timed')
        out = {}
        for stage, seconds in self._seconds.items():
            median, p95 = 1e3 * np.percentile(seconds, (50, 95))
            out[f'{stage}_ms'] = {'median': float(median), 'p95': float(p95)}
        return out

    def shown(self, errors: dict[str, Errors], aligned: Aligned | None) -> Shown:
        """Draw everything; the folder has to be there still.

        Args:
            errors: (stamp, error) of frames, by the name of the error.
            aligned: the trajectory, where there is a true one.
        """
        indices = list(self._indices.values())
        picks = sorted({indices[round(p)] for p in np.linspace(0, len(indices) - 1, PICTURES)})
        chosen = {'': [(f'frame {index}', index) for index in picks]}
        for name, known in errors.items():
            found = [(error, self._indices[stamp]) for stamp, error in worst(known)]
            chosen[name] = [(f'{number(error)} in frame {index}', index) for error, index in found]
        pictures = self._pictures({index for _, index in chain(*chosen.values())})
        strips = {
            name: [(caption, pictures[index]) for caption, index in found]
            for name, found in chosen.items()
        }
        scene = None
        if self._path:
            truth = aligned.to_estimate(aligned.truth) if aligned else None
            upright = None if truth is None else truth @ T_UPRIGHT_OPTICAL[:3, :3].T
            scene = self._builder.scene(np.array(self._path), upright)
        return Shown(strips.pop(''), strips, errors, scene)

    def _file(self, index: int) -> Path:
        return self.folder / f'{index}.npz'

    def _maps(self, index: int) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        """Depth and mask (h, w) of a frame."""
        with np.load(self._file(index)) as file:
            depth = file['depth']
            return depth, np.unpackbits(file['moving'], axis=1, count=depth.shape[1]) > 0

    def _pictures(self, indices: set[int]) -> dict[int, list[Picture]]:
        """Frames as they came, their depth and what was called moving, by index."""
        wanted = sorted(indices)
        frames = zip(wanted, self.clip.frames(wanted), strict=True)
        return {index: self._drawn(index, frame) for index, frame in frames}

    def _drawn(self, index: int, frame: GroundTruthFrame) -> list[Picture]:
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
