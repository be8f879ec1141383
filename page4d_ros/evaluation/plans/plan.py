"""Interface of an evaluation: a plan names sources, methods and metrics; `run` has the loop."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable, Sequence
    from contextlib import ExitStack

    from page4d_ros.evaluation.report.page import Page
    from page4d_ros.evaluation.report.tables import Table
    from page4d_ros.evaluation.result import Method, Metric, Observer, Result, Source

    Progress = Callable[[str], None]
    Watching = tuple[Sequence[Metric], Sequence[Observer]]  # metrics see each output first


class Plan(ABC):
    """An evaluation.

    Attributes:
        title: of the tables.
    """

    title: str

    @abstractmethod
    def sources(self, progress: Progress) -> Generator[Source]:
        """Data in order; waits while all methods are run on one, and is closed in the end."""

    @abstractmethod
    def methods(self, source: Source) -> Iterable[Method]:
        """Methods for a source, in the order of the tables."""

    @abstractmethod
    def watching(
        self, source: Source, method: Method, stack: ExitStack, *, first: bool
    ) -> Watching:
        """New metrics and observers for a method on a source.

        Args:
            source: the data.
            method: the method.
            stack: closes what they have opened, after the last result.
            first: no method before has been measured on this source.
        """

    @abstractmethod
    def tree(self, result: Result) -> dict[str, Any]:
        """Content of ``metrics.json``, with `Unknown` for what is unknown."""

    def judge(self, _metrics: dict[str, Any]) -> dict[str, Any]:
        """Verdict and remarks that follow from settled metrics, and join them."""
        return {}

    @abstractmethod
    def tables(self, metrics: dict[str, Any]) -> list[Table]:
        """Tables of settled metrics, for terminal, ``tables.md`` and page."""

    def details(self, _metrics: dict[str, Any]) -> list[Table]:
        """Further tables, for ``tables.md`` and page only."""
        return []

    def notes(self, metrics: dict[str, Any]) -> list[str]:
        """Lines above the tables of ``tables.md``."""
        return [f'`{metrics["command"]}`', '']

    @abstractmethod
    def page(self, result: Result, metrics: dict[str, Any]) -> Page:
        """Content of ``report.html``."""

    def parts(self, _result: Result) -> dict[str, tuple[Plan, Result]]:
        """Parts that have a report of their own, each in the folder of its name."""
        return {}

    def pictures(self, _result: Result) -> dict[str, str]:
        """SVG by name of further files, for use outside of the page."""
        return {}
