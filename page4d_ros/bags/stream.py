"""Interface of sources of frames."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Protocol

from page4d_ros.errors import BagError, FrameError
from page4d_ros.perception.types import Frame, FrameSet
from page4d_ros.units import NS_PER_S

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from numpy.typing import NDArray


class DepthSample(NamedTuple):
    """A sensor's depth image (H, W) in metres, for scale.mode depth."""

    stamp_ns: int
    depth: NDArray


class PositionSample(NamedTuple):
    """A position (3,) in metres of a reference odometry, for scale.mode odometry."""

    stamp_ns: int
    position: tuple[float, float, float]


# A FrameError stands for an image that is there and cannot be read.
Item = Frame | FrameSet | FrameError | DepthSample | PositionSample


LONGEST = 2.0**31  # seconds


class Span(NamedTuple):
    """Part of a source, in seconds from its first message.

    Attributes:
        start: where it begins.
        duration: how long it is; None goes to the end.
    """

    start: float = 0.0
    duration: float | None = None

    def bounds(self, first_ns: int) -> tuple[int, int]:
        """First stamp inside and first stamp behind, in nanoseconds.

        Raises:
            BagError: a bound is not finite, or beyond all times that ROS knows.
        """
        if not all(abs(seconds or 0.0) < LONGEST for seconds in (self.start, self.duration)):
            raise BagError(f'start and duration must be finite, and less than {LONGEST:g} seconds')
        begin = first_ns + round(self.start * NS_PER_S)
        return begin, 2**62 if self.duration is None else begin + round(self.duration * NS_PER_S)


WHOLE = Span()


class Source(Protocol):
    """Frames, in order, from whatever holds them.

    Attributes:
        name: path of the source.
        total: number of frames to expect; None where unknown.
        extent: first stamp and first stamp behind the whole source, in nanoseconds, whatever part
            of it is taken; None where the length is unknown.
        T_base_camera: (4, 4) where the source knows it, otherwise None.
        mounts: the same by view of a rig's cameras, as far as known.
    """

    name: str
    total: int | None
    extent: tuple[int, int] | None
    T_base_camera: NDArray | None
    mounts: Mapping[int, NDArray]

    def items(self) -> Iterator[Item]:
        """Frames in order, and what the scale needs shortly before them."""

    def take_warnings(self) -> list[str]:
        """Return the new warnings."""

    def close(self) -> None:
        """Close the files."""
