"""Depths and masks of a sequence on disk, until their scale is known or they are drawn."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from page4d_ros.evaluation.metrics.point_maps import estimated
from page4d_ros.evaluation.result import Measured

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from page4d_ros.datasets.sequence import FileSequence
    from page4d_ros.evaluation.result import Output
    from page4d_ros.truth import GroundTruthFrame


class StoredMaps:
    """Stores the depths and masks of estimates; a metric without figures of its own.

    Args:
        sequence: where true depths and images are read again.
        indices: which of its frames are estimated, in order.
        folder: empty.
        first_axis: keep depth along the axis of the first camera, not of each frame's own.
    """

    def __init__(
        self,
        sequence: FileSequence,
        indices: Sequence[int],
        folder: Path,
        *,
        first_axis: bool = False,
    ) -> None:
        self.sequence, self.folder, self.first_axis = sequence, folder, first_axis
        self.indices: dict[int, int] = {}  # by stamp, of the frames so far
        self._following = iter(indices)

    def add(self, output: Output) -> None:
        """Store the maps of the next frame."""
        estimate, index = output.estimate, next(self._following)
        depth = estimate.maps.depth
        if self.first_axis:
            depth = estimated(estimate)[..., 2].astype(np.float32)
        self.indices[output.frame.stamp_ns] = index
        np.savez(self._file(index), depth=depth, moving=np.packbits(estimate.mask > 0, axis=1))

    def result(self) -> Measured:
        """Nothing; other metrics read the maps."""
        return Measured({})

    def maps(self, index: int) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        """Depth and mask (h, w) of a frame."""
        with np.load(self._file(index)) as file:
            depth = file['depth']
            return depth, np.unpackbits(file['moving'], axis=1, count=depth.shape[1]) > 0

    def frames(self, indices: Sequence[int]) -> Iterator[tuple[int, GroundTruthFrame]]:
        """Index and frame of the sequence, read again, of rising indices."""
        return zip(indices, self.sequence.frames(indices), strict=True)

    def depths(self) -> Iterator[tuple[int, NDArray, NDArray]]:
        """(stamp, estimated, true) depth of the frames that have a true one."""
        for index, frame in self.frames(list(self.indices.values())):
            if frame.depth is not None:
                yield frame.stamp_ns, self.maps(index)[0], frame.depth

    def _file(self, index: int) -> Path:
        return self.folder / f'{index}.npz'
