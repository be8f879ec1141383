"""Types that all parts of the evaluation share: sources, methods, metrics and their results."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from numpy.typing import NDArray

    from page4d_ros.perception.maps import Motion
    from page4d_ros.perception.types import Estimate
    from page4d_ros.truth import GroundTruthFrame

Errors = list[tuple[int, float]]  # (stamp, error) of single frames
Blocks = dict[str, dict[str, list[float]]]  # by figure, `sum` and `weight` of stretches


class Unknown(str):
    """Stands in a tree of metrics for what cannot be computed; its text is the reason."""

    __slots__ = ()


class UnsuitableError(Exception):
    """A method cannot be run on a source; the text is the reason, which becomes an `Unknown`."""


class Source(NamedTuple):
    """Data on which methods are run.

    Attributes:
        name: of the source, in tables and progress.
        data: the sequence (or recording, or simulation) itself; None in a `Result`.
        group: sources of one group are averaged or stand in one table.
        facts: of the source, for ``metrics.json``.
    """

    name: str
    data: Any
    group: str = ''
    facts: dict[str, Any] = {}  # noqa: RUF012


class Method(Protocol):
    """One that is measured: a network in a mode, a classical or a trivial answer, a record.

    Attributes:
        label: name in tables and in ``metrics.json``.
    """

    label: str

    def run(self, source: Source) -> Iterator[Any]:
        """Outputs in order, for the metrics: `Output` of frames, `Prediction` of windows.

        Raises:
            UnsuitableError: it cannot be run on this source.
        """


class Metric(Protocol):
    """Measures the outputs of one method on one source."""

    def add(self, output: Any) -> None:
        """Take in the next output."""

    def result(self) -> Measured:
        """Give what was measured; called once, after the last output."""


class Observer(Protocol):
    """Sees the same outputs as the metrics, and collects what a page shows."""

    def add(self, output: Any) -> None:
        """Take in the next output."""

    def finish(self, measured: Measured) -> Any:
        """Give what was collected, when everything is measured."""


class Output(NamedTuple):
    """Output of a method for one frame.

    Attributes:
        frame: the image and its ground truth.
        T_world_camera: (4, 4) estimated pose, in a world and a unit of the method's own; None
            where the method is lost.
        estimate: everything that the pipeline estimates; None of methods that give poses only.
        motions: motion by source of evidence, of methods that tell them apart.
    """

    frame: GroundTruthFrame
    T_world_camera: NDArray[np.float64] | None
    estimate: Estimate | None = None
    motions: Mapping[str, Motion] | None = None


@dataclass(frozen=True, eq=False)
class Aligned:
    """An estimate laid over the truth.

    Attributes:
        stamps: (n,) int64 nanoseconds of the estimate.
        seconds: (n,) since the first matched pose.
        truth: (n, 3) true positions in metres.
        estimate: (n, 3) estimated positions after alignment.
        error: (n,) metres.
        steps: errors (n - 1,) of the motion from each pose to the next, by name of the metric.
        rotation: (3, 3), and translation (3,) and scale, with which
            truth = scale * rotation @ original + translation.
    """

    stamps: NDArray[np.int64]
    seconds: NDArray[np.float64]
    truth: NDArray[np.float64]
    estimate: NDArray[np.float64]
    error: NDArray[np.float64]
    steps: dict[str, NDArray[np.float64]]
    rotation: NDArray[np.float64]
    translation: NDArray[np.float64]
    scale: float

    def to_estimate(self, points: NDArray) -> NDArray[np.float64]:
        """Bring points (n, 3) of the true world into the frame of the estimate."""
        return (points - self.translation) @ self.rotation / self.scale


@dataclass(frozen=True, eq=False)
class Measured:
    """Result of one or more metrics.

    Attributes:
        tree: figures by name; `Unknown` where there are none.
        errors: errors of single frames, by the name of the error; absent without truth.
        path: trajectory laid over the truth.
        blocks: contribution of each stretch of the sequence to a figure; see `Shares`.
    """

    tree: dict[str, Any]
    errors: dict[str, Errors] = field(default_factory=dict)
    path: Aligned | None = None
    blocks: Blocks = field(default_factory=dict)

    def __or__(self, other: Measured) -> Measured:
        """Results of both."""
        path = self.path if other.path is None else other.path
        errors, blocks = self.errors | other.errors, self.blocks | other.blocks
        return Measured(self.tree | other.tree, errors, path, blocks)


class Case(NamedTuple):
    """Result of one method on one source.

    Attributes:
        measured: of all metrics; the reason where the method is unsuitable.
        shown: collected by the observers, in their order.
        outputs: number of outputs of the method.
    """

    measured: Measured | Unknown
    shown: tuple[Any, ...] = ()
    outputs: int = 0

    @property
    def tree(self) -> dict[str, Any] | Unknown:
        """Figures by metric."""
        return self.measured.tree if isinstance(self.measured, Measured) else self.measured


class Evaluated(NamedTuple):
    """A source, and the results of all methods on it by label."""

    source: Source
    cases: dict[str, Case]

    @property
    def measured(self) -> dict[str, Measured]:
        """Results of the methods that could be run, by label."""
        known = {label: case.measured for label, case in self.cases.items()}
        return {label: m for label, m in known.items() if isinstance(m, Measured)}

    @property
    def paths(self) -> dict[str, Aligned]:
        """Aligned trajectories by method."""
        return {label: m.path for label, m in self.measured.items() if m.path is not None}


Result = list[Evaluated]  # in the order in which the sources came


def settle(tree: Any) -> tuple[Any, dict[str, str]]:
    """Make a tree of metrics fit for JSON.

    Args:
        tree: dicts and lists of numbers, texts and `Unknown`.

    Returns:
        The tree in plain types, with None for what is unknown or not finite, and the reasons by
        dotted path.
    """
    reasons: dict[str, str] = {}

    def plain(value: Any, path: str) -> Any:
        if isinstance(value, dict):
            return {k: plain(v, f'{path}.{k}' if path else k) for k, v in value.items()}
        if isinstance(value, list | tuple):
            return [plain(v, f'{path}.{i}') for i, v in enumerate(value)]
        if isinstance(value, np.generic):
            value = value.item()
        if isinstance(value, float) and not math.isfinite(value):
            value = Unknown('the result is not a finite number')
        if isinstance(value, Unknown):
            reasons[path] = str(value)
            return None
        return value

    return plain(tree, ''), reasons
