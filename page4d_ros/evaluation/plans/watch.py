"""Somebody who looks on while a sequence is measured, such as a recording for a viewer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager

    from page4d_ros.evaluation.metrics.sequence import Result
    from page4d_ros.evaluation.metrics.trajectory import Aligned
    from page4d_ros.perception.types import Estimate
    from page4d_ros.truth import GroundTruthFrame


class Watcher(Protocol):
    """Looks on."""

    def passed(
        self, frames: Iterator[tuple[Estimate, GroundTruthFrame]]
    ) -> Iterator[tuple[Estimate, GroundTruthFrame]]:
        """Pass frames on, one at a time."""

    def align(self, found: Aligned) -> None:
        """Learn in the end how the trajectory lies over the truth."""


def watched(
    estimates: Iterator[tuple[Estimate, GroundTruthFrame]],
    measuring: Callable[[Iterator[tuple[Estimate, GroundTruthFrame]]], Result],
    watch: Callable[[], AbstractContextManager[Watcher]] | None,
) -> Result:
    """Result of `measuring` on the estimates, which a watcher may see as they pass."""
    if watch is None:
        return measuring(estimates)
    with watch() as watcher:
        found = measuring(watcher.passed(estimates))
        if found.path is not None:
            watcher.align(found.path)
    return found
