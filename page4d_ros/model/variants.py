"""Ways of running a network of the family, by the names that ``model.variant`` knows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import torch

from page4d_ros.model.network import run_sequence

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor

    from page4d_ros.model.network import Network, NetworkOutput


class SequenceOutput(NamedTuple):
    """Estimates for a whole sequence of S frames.

    Attributes:
        output: for all frames, in a batch of one.
        masks: (S, H, W) bool, true where something moves; None where the variant leaves that to
            whoever reads the scores.
    """

    output: NetworkOutput
    masks: NDArray[np.bool_] | None = None


@dataclass(frozen=True)
class Variant:
    """Way of running a network.

    Attributes:
        name: as ``model.variant``.
        mines_motion: True if the score of motion is mined from attention in every step, and the
            first layers do not attend to what moved in earlier frames (VGGT4D).
        sequence: runs images (S, 3, H, W), bytes or in [0, 1], at once.
    """

    name: str
    mines_motion: bool
    sequence: Callable[[Network, Tensor], SequenceOutput]


def _as_trained(network: Network, images: Tensor) -> SequenceOutput:
    return SequenceOutput(run_sequence(network, images)[0])


def _mined(network: Network, images: Tensor) -> SequenceOutput:
    """Depth and intrinsics of VGGT4D's first pass, poses of its second, and its masks."""
    from page4d_ros.model.vggt4d import mine  # its libraries are of no use to a robot

    found = mine(network, images)
    first = found.output.pose_enc[0]
    pose_enc = torch.cat([found.pose_enc[:, :7], first[:, 7:]], dim=-1)[None]
    output = found.output._replace(pose_enc=pose_enc, mask_score=None, gram=None)
    return SequenceOutput(output, found.masks)


AS_TRAINED = Variant('page4d', mines_motion=False, sequence=_as_trained)
MINED = Variant('vggt4d', mines_motion=True, sequence=_mined)
VARIANTS = {variant.name: variant for variant in (AS_TRAINED, MINED)}
