"""Content of a page about a sequence: frames, the worst of them, a scene, errors and times."""

from __future__ import annotations

from itertools import chain
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from page4d_ros.evaluation.metrics.depth_alignment import at_source
from page4d_ros.evaluation.report.pictures import Columns, Picture, jpeg, overlay, paint, worst
from page4d_ros.evaluation.report.scene import T_UPRIGHT_OPTICAL, Scene, SceneBuilder
from page4d_ros.evaluation.report.tables import number

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from page4d_ros.evaluation.metrics.stored_maps import StoredMaps
    from page4d_ros.evaluation.result import Measured, Output
    from page4d_ros.truth import GroundTruthFrame

PICTURES = 4


class Shown(NamedTuple):
    """Material for the drawings of a sequence.

    Attributes:
        columns: captions and pictures of frames from the first to the last.
        worst: the same of the frames with the largest errors, by the name of the error.
        scene: clouds and paths; None where no pose is known.
    """

    columns: Columns
    worst: dict[str, Columns]
    scene: Scene | None


class Gallery:
    """Takes in outputs frame by frame, and draws some of them in the end.

    Args:
        stored: takes in the same frames.
        placed: True if the poses of the frames are of one world.
    """

    def __init__(self, stored: StoredMaps, *, placed: bool) -> None:
        self.stored, self.placed = stored, placed
        self._builder = SceneBuilder()
        self._path: list[NDArray] = []

    def add(self, output: Output) -> None:
        """Take in the next frame."""
        if self.placed and output.T_world_camera is not None:
            self._builder.add(output.estimate)
            self._path.append((T_UPRIGHT_OPTICAL @ output.T_world_camera)[:3, 3])

    def finish(self, measured: Measured) -> Shown:
        """Draw everything; the stored maps have to be there still."""
        by_stamp = self.stored.indices
        indices = list(by_stamp.values())
        picks = sorted({indices[round(p)] for p in np.linspace(0, len(indices) - 1, PICTURES)})
        chosen = {'': [(f'frame {index}', index) for index in picks]}
        for name, known in measured.errors.items():
            found = [(error, by_stamp[stamp]) for stamp, error in worst(known)]
            chosen[name] = [(f'{number(error)} in frame {index}', index) for error, index in found]
        pictures = self._pictures({index for _, index in chain(*chosen.values())})
        strips = {
            name: [(caption, pictures[index]) for caption, index in found]
            for name, found in chosen.items()
        }
        scene, aligned = None, measured.path
        if self._path:
            truth = aligned.to_estimate(aligned.truth) if aligned else None
            upright = None if truth is None else truth @ T_UPRIGHT_OPTICAL[:3, :3].T
            scene = self._builder.scene(np.array(self._path), upright)
        return Shown(strips.pop(''), strips, scene)

    def _pictures(self, indices: set[int]) -> dict[int, list[Picture]]:
        """Frames as they came, their depth and what was called moving, by index."""
        return {i: self._drawn(i, frame) for i, frame in self.stored.frames(sorted(indices))}

    def _drawn(self, index: int, frame: GroundTruthFrame) -> list[Picture]:
        depth, moving = self.stored.maps(index)
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
