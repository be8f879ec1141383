"""Registry of the network families, one entry each: a weight file chooses its own."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from page4d_ros.errors import CheckpointError
from page4d_ros.model import page4d_weights
from page4d_ros.model.weight_file import HOW_TO_GET_WEIGHTS

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import nn

    from page4d_ros.model.weight_file import WeightFile


@dataclass(frozen=True)
class Family:
    """Networks whose weights have one layout.

    Attributes:
        name: in messages.
        recognises: True for weight files of the family, by their metadata or keys.
        build: makes the `Network` a file belongs to, its weights not yet set. The second argument
            asks for the mask in attention: True, False, or None for the file's own setting.
            Raises ConfigError.
    """

    name: str
    recognises: Callable[[WeightFile], bool]
    build: Callable[[WeightFile, bool | None], nn.Module]


FAMILIES = (Family('PAGE-4D', page4d_weights.recognises, page4d_weights.build),)


def family_of(file: WeightFile) -> Family:
    """Family of a weight file.

    Raises:
        CheckpointError: it is of none.
    """
    for family in FAMILIES:
        if family.recognises(file):
            return family
    names = ' or '.join(family.name for family in FAMILIES)
    given = file.metadata.get('architecture')
    said = f' (they say architecture {given!r})' if given else ''
    raise CheckpointError(
        f'{file.path}: these are not {names} weights{said}; {HOW_TO_GET_WEIGHTS}'
    )
