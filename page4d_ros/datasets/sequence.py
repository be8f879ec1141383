"""Sequences of frames with ground truth: the interface that every data set offers."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from collections.abc import Sequence as Indices
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Protocol

from page4d_ros.errors import BagError

if TYPE_CHECKING:
    from page4d_ros.geometry.camera import PinholeCamera
    from page4d_ros.truth import GroundTruthFrame

MAX_DEPTH_M = 70.0  # of most published protocols


class Sequence(Protocol):
    """Frames with ground truth, in order of time.

    Attributes:
        name: name of the sequence within its data set.
        count: number of frames.
        camera: intrinsics of the first frame; None where unknown.
        max_depth: depths beyond are not evaluated, by the data set's protocol.
        remarks: doubts about the data, one sentence each.
    """

    name: str
    count: int
    max_depth: float
    remarks: tuple[str, ...]

    @property
    def camera(self) -> PinholeCamera | None:
        """Intrinsics of the first frame."""

    def frames(self, indices: Indices[int] | None = None) -> Iterator[GroundTruthFrame]:
        """Frames in order; all, or those with these indices."""


@dataclass(frozen=True, eq=False)
class FileSequence:
    """Sequence whose frames are read from disk when they are asked for; see `Sequence`.

    Attributes:
        name: name of the sequence.
        count: number of frames.
        read: reads the frames with the given rising indices. A BagError in place of a frame stands
            for one that is damaged; BagErrors that it raises end the reading.
        max_depth: see `Sequence`.
        change: applied to every frame that is read; None leaves frames as they are.
        remarks: see `Sequence`.
        left_out: number of images that are not in the sequence because they lack ground truth, by
            reason.
        topic: image topic of a recording; '' otherwise.
    """

    name: str
    count: int
    read: Callable[[Indices[int]], Iterable[GroundTruthFrame | BagError]]
    max_depth: float = MAX_DEPTH_M
    change: Callable[[GroundTruthFrame], GroundTruthFrame] | None = None
    remarks: tuple[str, ...] = ()
    left_out: dict[str, int] = field(default_factory=dict)
    topic: str = ''

    @cached_property
    def camera(self) -> PinholeCamera | None:
        """Intrinsics of the first undamaged frame, which is read for them."""
        first = next(self.frames(skip=lambda _error: None), None)
        return None if first is None else first.camera

    def frames(
        self,
        indices: Indices[int] | None = None,
        *,
        skip: Callable[[BagError], None] | None = None,
    ) -> Iterator[GroundTruthFrame]:
        """Read frames in order, one in memory at a time.

        Args:
            indices: which frames, rising; None reads all.
            skip: called with the error of a damaged frame, which is then left out; None raises it.

        Raises:
            BagError: a file cannot be read or does not fit its image; names the file or the frame.
        """
        wanted = range(self.count) if indices is None else indices
        for index, frame in zip(wanted, self.read(wanted), strict=True):
            if isinstance(frame, BagError):
                if skip is None:
                    raise frame
                skip(frame)
                continue
            self._check(index, frame)
            yield self.change(frame) if self.change else frame

    def _check(self, index: int, frame: GroundTruthFrame) -> None:
        shape = frame.rgb.shape[:2]
        for name in ('depth', 'mask'):
            truth = getattr(frame, name)
            if truth is not None and truth.shape != shape:
                raise BagError(
                    f'{self.name}, frame {index}: the {name} has '
                    f'{truth.shape[1]}x{truth.shape[0]} pixels and the image '
                    f'{shape[1]}x{shape[0]}'
                )
