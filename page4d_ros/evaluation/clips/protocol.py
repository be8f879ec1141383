"""Which frames papers evaluate; see docs/evaluation.md for where each comes from."""

from __future__ import annotations

from dataclasses import dataclass

from page4d_ros.errors import ConfigError


@dataclass(frozen=True)
class Protocol:
    """Frames of a sequence.

    Attributes:
        first: index of the first.
        stride: take every n-th.
        frames: at most so many; 0 is all.

    Raises:
        ConfigError: a number makes no sense.
    """

    first: int = 0
    stride: int = 1
    frames: int = 0

    def __post_init__(self) -> None:
        """Refuse what selects nothing."""
        if self.first < 0 or self.stride < 1 or self.frames < 0:
            raise ConfigError(f'{self}: first and frames from 0 on, stride from 1 on')

    def indices(self, count: int) -> range:
        """Indices of a sequence with so many frames."""
        found = range(self.first, count, self.stride)
        return found[: self.frames] if self.frames else found


PROTOCOLS = {
    'all': Protocol(),
    'page4d-pose-sintel': Protocol(),
    'page4d-pose-tum': Protocol(stride=3, frames=90),
    'page4d-pose-dycheck': Protocol(stride=10),
    'page4d-depth': Protocol(frames=120),
    'page4d-depth-bonn': Protocol(first=30, frames=110),
    'vggt4d-pose-tum': Protocol(stride=30),
    'vggt4d-pose-dycheck': Protocol(stride=4),
    'davis': Protocol(),
}
