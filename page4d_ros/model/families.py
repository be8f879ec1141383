"""Registry of the network families, one entry each: a weight file chooses its own."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from page4d_ros.errors import CheckpointError
from page4d_ros.model import fourd_vggt_weights, page4d_weights
from page4d_ros.model.config import FourDVGGTConfig
from page4d_ros.model.fourd_vggt import FourDVGGT
from page4d_ros.model.page4d import Page4D
from page4d_ros.model.weight_file import HOW_TO_GET_WEIGHTS

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import nn

    from page4d_ros.model.config import NetworkConfig
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
        our_name: name in our network of a weight in the file.
    """

    name: str
    recognises: Callable[[WeightFile], bool]
    build: Callable[[WeightFile, bool | None], nn.Module]
    our_name: Callable[[str], str] = str


FAMILIES = (
    Family('PAGE-4D', page4d_weights.recognises, page4d_weights.build),
    Family(
        '4D-VGGT',
        fourd_vggt_weights.recognises,
        fourd_vggt_weights.build,
        fourd_vggt_weights.our_name,
    ),
)


def network_of(config: NetworkConfig) -> Page4D:
    """Network of such sizes, with random weights."""
    return FourDVGGT(config) if isinstance(config, FourDVGGTConfig) else Page4D(config)


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
