"""The whole evaluation: render, let everybody answer, count, write."""

from __future__ import annotations

import time
from collections import Counter
from contextlib import closing
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from page4d_ros.datasets.rendered import SIZE, render_sequences, spare_cores
from page4d_ros.datasets.rendered_plan import (
    Group,
    Options,
    SequencePlan,
    block_plans,
    prior_plans,
)
from page4d_ros.errors import SceneError
from page4d_ros.evaluation.methods.checkpoints import SETTINGS, load
from page4d_ros.evaluation.methods.differencing import Differencing
from page4d_ros.evaluation.methods.klt import Klt
from page4d_ros.evaluation.methods.network import Network
from page4d_ros.evaluation.methods.simple import AllMoving, MeanDepth, Still, network_grid
from page4d_ros.evaluation.metrics.figures import METRICS
from page4d_ros.evaluation.metrics.prediction import Score, Truth
from page4d_ros.evaluation.metrics.running import command_line, versions
from page4d_ros.evaluation.metrics.streams import StreamScore
from page4d_ros.evaluation.plans.scenes_result import Results
from page4d_ros.evaluation.plans.scenes_tables import document
from page4d_ros.evaluation.report.page import TABLES_FILE, write_metrics
from page4d_ros.evaluation.result import settle

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from page4d_ros.datasets.rendered import RenderedSequence
    from page4d_ros.evaluation.methods.network import Method

FORMAT = 1
TRACKERS = (Network, Still, Klt)
MASKERS = (Network, Differencing)
REMARKS = (
    'Means over disjoint blocks of drives; in brackets the 95 % interval of a bootstrap over '
    'drives. No drive is of the training or of its validation.',
    'KLT is told the intrinsics and the length of every baseline, which no monocular method can '
    'know; refined poses rest on the intrinsics, unrefined ones on neither.',
    "Mean depth maps and the thresholds of frame differencing come from the training's drives.",
)


def evaluate_scenes(
    checkpoints: Sequence[str],
    output: Path | str,
    options: Options,
    *,
    progress: Callable[[int, int], None] = lambda _done, _total: None,
    command: str | None = None,
) -> dict[str, Any]:
    """Measure networks on held-out drives, all on the same ones, beside simple answers.

    Args:
        checkpoints: weight files, ``page4d-small`` or ``untrained``.
        output: folder to make; receives ``metrics.json`` and ``tables.md``.
        options: how much.
        progress: called with the frames that are done, and with all there are.
        command: how this was made; None takes the command line.

    Returns:
        The content of ``metrics.json``: `figures` by kind of drives, metric and method; the same
        of single `rooms`; `differences` of the other networks to the first; values of all
        `drives`. What is not known is None, and ``reasons`` says why, by dotted path.

    Raises:
        CheckpointError: weights cannot be used.
        SceneError: nothing can be rendered here.
        OSError: the output cannot be written.
    """
    start = time.perf_counter()
    loaded = load(checkpoints)
    output = Path(output).expanduser()
    output.mkdir(parents=True, exist_ok=True)
    with spare_cores(options.processes):
        networks = [way for network, _ in loaded for way in (network, network.alone())]
        results, remarks = measure(networks, options, progress)
    tree, reasons = settle(results.tree())
    metrics = {
        'format': FORMAT,
        'command': command or command_line(),
        'options': asdict(options),
        'settings': SETTINGS,
        'meanings': {name: metric.meaning for name, metric in METRICS.items()},
        'checkpoints': [facts for _, facts in loaded],
        'methods': results.methods,
        'remarks': [*REMARKS, *remarks],
        **tree,
        'reasons': reasons,
        'seconds': time.perf_counter() - start,
        'versions': versions() | {'mujoco': version('mujoco')},
    }
    write_metrics(output, metrics)
    (output / TABLES_FILE).write_text(document(metrics), encoding='utf-8')
    return metrics


def measure(
    networks: Sequence[Network],
    options: Options,
    progress: Callable[[int, int], None] = lambda _done, _total: None,
) -> tuple[Results, list[str]]:
    """Render the drives, and score the networks and the simple answers on them.

    Returns:
        All scores, and remarks about what could not be rendered.

    Raises:
        SceneError: nothing can be rendered here.
    """
    reels = [prior_plans(options), *(block_plans(options, b) for b in range(options.seeds))]
    total = sum(shot.frames for reel in reels for shot in reel)
    done, full = 0, Counter()

    def filmed(shots: list[SequencePlan]) -> Iterator[RenderedSequence]:
        nonlocal done
        with closing(render_sequences(shots, options.processes)) as reel:
            for shot, footage in zip(shots, reel, strict=True):
                if footage is None:
                    full[shot.group.value, shot.room] += 1
                else:
                    yield footage
                done += shot.frames
                progress(done, total)

    prior = list(filmed(reels[0]))
    if not prior:
        raise SceneError(f'rooms {list(options.rooms)} are too full for any drive')
    methods = [*networks, *baselines(networks[0], prior)]
    results = Results([method.label for method in methods], len(networks))
    for reel in reels[1:]:
        for footage in filmed(reel):
            results.add(footage, score(methods, footage))
    remarks = [
        f'Room {room} was too full for {count} drive(s) of the kind {group!r}.'
        for (group, room), count in full.items()
    ]
    return results, remarks


def baselines(network: Network, prior: Sequence[RenderedSequence]) -> list[Method]:
    """Simple answers on the pixels of a network.

    Args:
        network: whose resolution they have.
        prior: drives of the training, all that they may learn from.
    """
    grid = network_grid(network.engine, SIZE)
    return [
        Still(grid),
        MeanDepth(grid, prior, by_room=False),
        MeanDepth(grid, prior, by_room=True),
        Klt(grid.fit, grid),
        Klt.at_camera(SIZE, grid),
        AllMoving(grid),
        Differencing(grid, prior, compensate=False),
        Differencing(grid, prior, compensate=True),
    ]


def score(methods: Sequence[Method], footage: RenderedSequence) -> dict[str, Score | StreamScore]:
    """Scores on one drive of all methods that answer drives of its kind."""
    if footage.group is Group.STREAM:
        trackers = (method for method in methods if isinstance(method, TRACKERS))
        return {m.label: StreamScore.of(m.track(footage), footage) for m in trackers}
    truths: dict[Any, Truth] = {}
    out = {}
    for method in methods:
        if footage.group is Group.STATIC and not isinstance(method, MASKERS):
            continue
        answer = method.predict(footage)
        if answer.grid not in truths:
            truths[answer.grid] = Truth.of(footage, answer.grid)
        out[method.label] = Score.of(answer, truths[answer.grid], footage.rig)
    return out
