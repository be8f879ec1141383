"""Log of a run: a file of JSON lines, and TensorBoard where it is installed."""

from __future__ import annotations

import json
import math
import time
from pathlib import Path
from typing import Any

from page4d_ros.errors import TrainingError

EVERY = 20  # steps
METRICS = 'metrics.jsonl'


class Log:
    """Appends losses and metrics to the files in a run's folder.

    Args:
        output: the folder.
        after: step at which the run resumes. Lines of later steps, from a run that was killed
            before it saved its state, are removed; None keeps all.

    Attributes:
        before: metrics of the weights that the run began with; empty where they were not taken.
        last: metrics of the last validation; empty before the first.
        boarded: True if TensorBoard files are written too.

    Raises:
        TrainingError: the file cannot be written.
    """

    def __init__(self, output: Path, after: int | None = None) -> None:
        path = output / METRICS
        try:
            output.mkdir(parents=True, exist_ok=True)
            self.before, self.last = _kept(path, after)
            self._file = path.open('a', encoding='utf-8')
        except OSError as error:
            raise TrainingError(f'{path}: cannot be written ({error.strerror})') from error
        self._board = _board(output / 'tensorboard', after)
        self.boarded = self._board is not None
        self._sums: dict[str, float] = {}
        self._count = self._step = 0
        self._since = time.perf_counter()

    def losses(self, step: int, losses: dict[str, float]) -> None:
        """Add a step's losses; their means are written every EVERY steps."""
        for name, value in losses.items():
            self._sums[name] = self._sums.get(name, 0.0) + value
        self._count += 1
        self._step = step
        if step % EVERY == 0:
            self._write_means()

    def metrics(self, step: int, metrics: dict[str, float]) -> None:
        """Write the metrics of a validation."""
        self.last = metrics
        self.before = self.before if step else metrics
        self._write(step, 'validation', metrics)

    def close(self) -> None:
        """Write the remaining losses and close the files."""
        self._write_means()
        self._file.close()
        if self._board is not None:
            self._board.close()

    def _write_means(self) -> None:
        if not self._count:
            return
        now = time.perf_counter()
        means = {name: total / self._count for name, total in self._sums.items()}
        means['seconds'] = (now - self._since) / self._count
        self._write(self._step, 'loss', means)
        self._sums, self._count, self._since = {}, 0, now

    def _write(self, step: int, kind: str, values: dict[str, float]) -> None:
        # JSON has no NaN
        known = {k: round(v, 6) if math.isfinite(v) else None for k, v in values.items()}
        self._file.write(json.dumps({'step': step, 'kind': kind} | known) + '\n')
        self._file.flush()
        for name, value in values.items() if self._board is not None else ():
            self._board.add_scalar(f'{kind}/{name}', value, step)


def _kept(path: Path, after: int | None) -> tuple[dict[str, float], dict[str, float]]:
    """Remove later and incomplete lines; metrics of step 0 and of the last validation."""
    if after is None or not path.exists():
        return {}, {}
    kept, before, last = [], {}, {}
    for line in path.read_text(encoding='utf-8').splitlines():
        try:
            values = json.loads(line)
            step, kind = values.pop('step'), values.pop('kind')
        except (ValueError, KeyError, AttributeError):
            continue
        if step <= after:
            kept.append(line + '\n')
            if kind == 'validation':
                last = {k: math.nan if v is None else v for k, v in values.items()}
                before = before if step else last
    part = path.with_name(path.name + '.part')
    part.write_text(''.join(kept), encoding='utf-8')
    part.replace(path)
    return before, last


def _board(folder: Path, after: int | None) -> Any | None:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        return None
    return SummaryWriter(folder, purge_step=after + 1 if after else None)
