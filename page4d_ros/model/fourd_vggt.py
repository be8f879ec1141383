"""4D-VGGT: PAGE-4D's network without its mask, and a branch along time beside it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import nn

from page4d_ros.model.page4d import Page4D
from page4d_ros.model.temporal import DenseFusion, TemporalBranch

if TYPE_CHECKING:
    from torch import Tensor

    from page4d_ros.model.aggregator import Features
    from page4d_ros.model.config import FourDVGGTConfig
    from page4d_ros.model.network import StepPlan


class FourDVGGT(Page4D):
    """The whole network, a `Network`.

    Frames of all views and times attend to each other in the `Aggregator`, and the camera head
    reads its output alone. The `TemporalBranch` starts from the same tokens and relates the frames
    of one view; the dense heads read both, fused. Window tokens are those of both branches after
    the first frame block, (B, S, P, 2 C), the aggregator's first.

    Patches that are hidden (VGGT4D) are hidden in the aggregator, which alone makes the poses.
    """

    architecture = '4d-vggt-geometry-v1'
    branches = 2

    def __init__(self, config: FourDVGGTConfig) -> None:
        super().__init__(config)
        self.temporal = TemporalBranch(config)
        self.fusion = DenseFusion(config)

    def enter(
        self,
        encoded: Tensor,
        grid: tuple[int, int],
        *,
        first: bool,
        hidden: Tensor | None = None,
    ) -> Tensor:
        """Window tokens (B, S, P, 2 C) of encoded frames; see `Network.enter`."""
        spatial = super().enter(encoded, grid, first=first, hidden=hidden)
        x = self.aggregator.with_specials(encoded, first=first)
        return torch.cat([spatial, self.temporal.within(0, x, self.aggregator.rope(x, grid))], -1)

    def features(
        self, tokens: Tensor, plan: StepPlan, hidden: Tensor | None, mask_alpha: float
    ) -> Features:
        """Inputs of the heads; see `step`."""
        spatial, temporal = tokens.chunk(2, dim=-1)
        found = super().features(spatial, plan, hidden, mask_alpha)
        taps = self.temporal(temporal, self.aggregator.rope(temporal, plan.grid), plan)
        return found._replace(taps=self.fusion(found.taps, taps))

    @property
    def trunk(self) -> tuple[nn.Module, ...]:
        """Modules before the heads, which half precision concerns."""
        return self.aggregator, self.temporal, self.fusion

    def stages(self) -> list[tuple[str, nn.Module]]:
        """Modules by stage, in order."""
        modules = [('frame blocks', block) for block in self.temporal.frame_blocks]
        modules += [('temporal blocks', block) for block in self.temporal.temporal_blocks]
        return [*super().stages(), *modules, ('fusion', self.fusion)]
