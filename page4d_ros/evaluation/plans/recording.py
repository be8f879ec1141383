"""A recording of the node beside the source that it was made from."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

from page4d_ros.bags.reader import is_bag, open_bag
from page4d_ros.datasets.bag_index import BagIndex
from page4d_ros.errors import BagError
from page4d_ros.evaluation.metrics.recording import Case, RecordingErrors
from page4d_ros.evaluation.plans.plan import Plan
from page4d_ros.evaluation.report.recording_page import RecordingPictures, accuracy_tables, page
from page4d_ros.evaluation.report.verdict import comparisons, judge, remarks
from page4d_ros.evaluation.result import Source, Unknown
from page4d_ros.perception.build import digest

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator

    from page4d_ros.evaluation.plans.plan import Progress, Watching
    from page4d_ros.evaluation.report.page import Page
    from page4d_ros.evaluation.report.tables import Table
    from page4d_ros.evaluation.result import Method, Result


class Record:
    """Outputs that the node has published, as a method."""

    label = 'node'

    def run(self, source: Source) -> Iterator[Case]:
        """The recording as a whole."""
        yield source.data


class RecordingPlan(Plan):
    """Compare what the node published with the ground truth of its source.

    Args:
        recording: rosbag2 with the node's outputs.
        source: what the node was given, with or without ground truth; a video or a folder of
            images has none.
        checkpoint: weight file that made the recording, where that is known: its SHA-256 goes
            into the report.
        camera: of a rig; "" is the only one.

    Attributes:
        damage: sentences about messages that could not be read, once it is measured.

    Raises:
        BagError: the source is not there.
    """

    title = 'Report of a recording'

    def __init__(
        self, recording: Path | str, source: Path | str, checkpoint: str = '', camera: str = ''
    ) -> None:
        self.recording, self.source = Path(recording), Path(source).expanduser()
        if not self.source.exists():
            raise BagError(f'{self.source}: no such file or folder')
        self.sha256 = digest(checkpoint) if checkpoint else Unknown('a recording does not hold it')
        self._camera = camera
        self.damage: list[str] = []

    def sources(self, _progress: Progress) -> Generator[Source]:
        """The recording, open until it is measured."""
        with ExitStack() as stack:
            given = [self.recording, *([self.source] if is_bag(self.source) else [])]
            bags = [BagIndex(stack.enter_context(open_bag(path))) for path in given]
            name = f'{self.recording.resolve().name} {self._camera}'.strip()
            yield Source(name, Case.of(*bags, camera=self._camera))
            self.damage = [text for bag in bags for text in _damage(bag)]

    def methods(self, _source: Source) -> list[Method]:
        """The node."""
        return [Record()]

    def watching(
        self, _source: Source, _method: Method, _stack: ExitStack, *, first: bool
    ) -> Watching:
        """Everything that can be computed, and pictures."""
        return [RecordingErrors()], [RecordingPictures()] * first

    def tree(self, result: Result) -> dict[str, Any]:
        """Facts of the run, errors, times and topics."""
        tree = result[0].cases[Record.label].tree
        names = {'recording': result[0].source.name, 'source': self.source.resolve().name}
        return names | tree | {'run': tree['run'] | {'sha256': self.sha256}}

    def judge(
        self, metrics: dict[str, Any], better: dict[str, bool] | None = None
    ) -> dict[str, Any]:
        """Verdict and remarks.

        Args:
            metrics: settled.
            better: whether each thing is better than its baselines; None looks at `metrics`.
        """
        if better is None:
            better = comparisons(metrics)
        return {
            'verdict': judge(metrics, better)._asdict(),
            'remarks': remarks(metrics) + self.damage,
        }

    def tables(self, metrics: dict[str, Any]) -> list[Table]:
        """Pose, depth and mask beside their baselines."""
        return accuracy_tables(metrics)

    def page(self, result: Result, metrics: dict[str, Any]) -> Page:
        """The answer first, then what it rests on."""
        (drawn,) = result[0].cases[Record.label].shown
        return page(drawn, metrics)


def _damage(log: BagIndex) -> list[str]:
    """Sentences about messages of a recording that could not be read."""
    return [f'{warning}.' for warning in log.bag.warnings] + [
        f'{log.bag.path.name}: {len(times)} messages of {topic} are malformed and left out.'
        for topic, times in sorted(log.malformed.items())
    ]
