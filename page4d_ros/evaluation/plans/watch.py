"""Somebody who looks on while a sequence is measured, such as a recording for a viewer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from page4d_ros.evaluation.result import Aligned
    from page4d_ros.perception.types import Estimate
    from page4d_ros.truth import GroundTruthFrame


class Watcher(Protocol):
    """Looks on."""

    def add(self, estimate: Estimate, frame: GroundTruthFrame) -> None:
        """Take in a frame."""

    def align(self, found: Aligned) -> None:
        """Learn in the end how the trajectory lies over the truth."""
