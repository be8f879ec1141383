"""Frames that papers evaluate; docs/evaluation.md gives the source of each protocol."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from page4d_ros.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from page4d_ros.datasets.sequence import FileSequence
    from page4d_ros.truth import GroundTruthFrame

PAGE4D, VGGT4D = 'page4d', 'vggt4d'
CUSTOM = 'custom'
STREAM, WHOLE, SINGLE = 'streaming', 'whole', 'single'
OTHER_MASK = '-other-mask'
MODES = STREAM, WHOLE, SINGLE, STREAM + OTHER_MASK, WHOLE + OTHER_MASK
USUAL = STREAM, WHOLE, STREAM + OTHER_MASK


@dataclass(frozen=True)
class Protocol:
    """Frames of a sequence, and what is done with them.

    Attributes:
        name: of `PROTOCOLS`, or `CUSTOM`.
        first: index of the first.
        stride: take every n-th.
        frames: at most so many; 0 is all.
        spread: take so many, evenly from the first to the last; 0 takes `stride` and `frames`.
        modes: ways of running that it is about, of `MODES`.
        dataset: the only one it is for; '' is for all.
        sequences: the only ones that count; () is all.
        as_published: measure with the quirks of the paper's code.

    Raises:
        ConfigError: a number makes no sense.
    """

    name: str = CUSTOM
    first: int = 0
    stride: int = 1
    frames: int = 0
    spread: int = 0
    modes: tuple[str, ...] = USUAL
    dataset: str = ''
    sequences: tuple[str, ...] = ()
    as_published: bool = False

    def __post_init__(self) -> None:
        """Refuse what selects nothing."""
        if min(self.first, self.frames, self.spread) < 0 or self.stride < 1:
            raise ConfigError('first, frames and spread are from 0 on, stride from 1 on')
        if self.as_published and not self.name.startswith((PAGE4D, VGGT4D)):
            papers = ', '.join(name for name in PROTOCOLS if name != 'all')
            raise ConfigError(f"--as-published needs a paper's --protocol, as it is: {papers}")
        if wrong := [mode for mode in self.modes if mode not in MODES]:
            raise ConfigError(f'no mode {wrong[0]!r}; there are {", ".join(MODES)}')

    @property
    def quirks(self) -> str:
        """Whose code is imitated: `PAGE4D`, `VGGT4D`, or '' for nobody's."""
        return self.name.partition('-')[0] if self.as_published else ''

    def indices(self, count: int) -> Sequence[int]:
        """Indices of a sequence with so many frames."""
        found = range(self.first, count, self.stride)
        if self.spread and len(found) > self.spread:
            at = np.linspace(0, len(found) - 1, self.spread)
            return [found[i] for i in np.rint(at).astype(int)]
        return found[: self.frames] if self.frames else found

    def counts(self, sequence: FileSequence) -> bool:
        """True if a sequence is one of the protocol's; folders may have a prefix."""
        endings = tuple(f'_{name}' for name in self.sequences)
        return (
            not self.sequences
            or sequence.name in self.sequences
            or sequence.name.endswith(endings)
        )


@dataclass(frozen=True)
class Selection:
    """Frames of a sequence that are evaluated; a `Sequence` of the data sets.

    Attributes:
        sequence: the whole.
        indices: which frames; None takes all.
        undamaged: leave damaged frames out instead of refusing them.
    """

    sequence: FileSequence
    indices: Sequence[int] | None = None
    undamaged: bool = False

    @cached_property
    def first(self) -> GroundTruthFrame | None:
        """The first frame."""
        return next(self.frames(), None)

    def frames(self) -> Iterator[GroundTruthFrame]:
        """Frames in order."""
        skip = (lambda _error: None) if self.undamaged else None
        return self.sequence.frames(self.indices, skip=skip)


_SINTEL = (
    'alley_2 ambush_4 ambush_5 ambush_6 cave_2 cave_4 market_2 market_5 market_6 shaman_3 '
    'sleeping_1 sleeping_2 temple_2 temple_3'
)
_BONN = 'balloon2 crowd2 crowd3 person_tracking2 synchronous'
_DAVIS_16 = (
    'blackswan bmx-trees breakdance camel car-roundabout car-shadow cows dance-twirl dog '
    'drift-chicane drift-straight goat horsejump-high kite-surf libby motocross-jump '
    'paragliding-launch parkour scooter-black soapbox'
)
_DAVIS_17 = (
    'bike-packing blackswan bmx-trees breakdance camel car-roundabout car-shadow cows dance-twirl '
    'dog dogs-jump drift-chicane drift-straight goat gold-fish horsejump-high india judo '
    'kite-surf lab-coat libby loading mbike-trick motocross-jump paragliding-launch parkour pigs '
    'scooter-black shooting soapbox'
)


def _named(name: str, dataset: str = '', sequences: str = '', **values: object) -> Protocol:
    return Protocol(name, dataset=dataset, sequences=tuple(sequences.split()), **values)


PROTOCOLS = {
    protocol.name: protocol
    for protocol in (
        _named('all'),
        _named('page4d-pose-sintel', 'sintel', _SINTEL),
        _named('page4d-pose-tum', 'tum', stride=3, frames=90),
        _named('page4d-pose-dycheck', 'dycheck', stride=10),
        _named('page4d-pose-spread', spread=10),
        _named('page4d-depth', frames=120),
        _named('page4d-depth-sintel', 'sintel', _SINTEL.replace('market_5 ', ''), frames=120),
        _named('page4d-depth-bonn', 'bonn', _BONN, first=30, frames=110),
        _named('page4d-mono', modes=(SINGLE,)),
        _named('vggt4d-pose-sintel', 'sintel'),
        _named('vggt4d-pose-tum', 'tum', stride=30),
        _named('vggt4d-pose-dycheck', 'dycheck', stride=4),
        _named('vggt4d-pose-pointodyssey', 'pointodyssey', frames=500),
        _named('vggt4d-mask-davis16', 'davis', _DAVIS_16),
        _named('vggt4d-mask-davis17', 'davis', _DAVIS_17),
        _named('vggt4d-mask-davis', 'davis'),
    )
}
