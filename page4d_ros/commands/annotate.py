"""Annotation of many recordings: with one process, or on Ray."""

from __future__ import annotations

import contextlib
import sys
import time
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated
from uuid import uuid4

import typer
from typer import Argument, Option

from page4d_ros.commands.offline import INTERRUPTED, interruptible
from page4d_ros.commands.options import Assignments, Checkpoint, Params, Rate
from page4d_ros.config import Config, file_values
from page4d_ros.errors import ConfigError, FleetError, printable
from page4d_ros.settings import parse_assignment

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from page4d_ros.fleet.run import Found, Pool, Progress
    from page4d_ros.fleet.settings import Job
    from page4d_ros.fleet.store import Store

NEEDS = ('fsspec', 'jinja2', 'pyarrow')
QUIET = 60.0  # seconds without news, after which a run counts as ended


def annotate(
    sources: Annotated[
        list[str] | None,
        Argument(
            metavar='SOURCES...',
            help='Recordings, folders of them, globs, or lists (.txt, .csv, .parquet); paths or '
            'addresses such as s3://bucket/folder.',
        ),
    ] = None,
    *,
    output: Annotated[
        str, Option('--output', '-o', help='Folder or address that receives the results.')
    ] = '',
    status: Annotated[
        str, Option(metavar='DEST', help='Show how far the runs into DEST are, and end.')
    ] = '',
    checkpoint: Checkpoint = '',
    params: Params = None,
    set_: Assignments = None,
    image_topic: Annotated[str, Option(help='Which images; "" takes the only ones.')] = '',
    rate: Rate = None,
    topic: Annotated[
        list[str] | None, Option(help='Write only these outputs, such as odom; repeat it.')
    ] = None,
    labels: Annotated[
        bool, Option('--labels', help='Also shards for `page4d train distill`.')
    ] = False,
    ray: Annotated[
        str, Option(metavar='auto|local|ADDRESS', help='Run on Ray; "" takes one process.')
    ] = '',
    workers: Annotated[
        int | None,
        Option(min=1, help='Actors of Ray; as many as there is room for where not given.'),
    ] = None,
    cpus_per_worker: Annotated[float, Option(min=0, help='Cores of each.')] = 1.0,
    gpus_per_worker: Annotated[
        float, Option(min=0, help='GPUs of each; 0.5 lets two share one.')
    ] = 0.0,
    tries: Annotated[int, Option(min=1, help='Until a recording is given up.')] = 3,
    retry: Annotated[
        bool, Option('--retry', help='Try again what was given up in earlier runs.')
    ] = False,
    verify: Annotated[
        bool,
        Option('--verify', help='Tell recordings apart by their bytes, not by size and time.'),
    ] = False,
    part_minutes: Annotated[
        int, Option(min=0, help='Split longer recordings into such parts; 0 splits none.')
    ] = 30,
    overlap: Annotated[
        float, Option(min=1, help='Seconds that a part shares with the one before.')
    ] = 20.0,
) -> None:
    """Annotate many recordings: each as by `page4d replay`, none twice, failures aside."""
    need_fleet(ray)
    from page4d_ros.fleet.store import Store

    if status:
        _show_status(Store(status))
        return
    if not sources or not output:
        raise ConfigError('give SOURCES and --output DEST, or --status DEST')
    if not ray and workers not in {None, 1}:
        raise ConfigError(f'--workers {workers} needs Ray: add --ray local, or --ray ADDRESS')
    if part_minutes and overlap >= 60 * part_minutes:
        raise ConfigError('--overlap must be shorter than --part-minutes')
    opening = {'image_topic': image_topic, 'rate': rate}
    job = _job(
        _config(params, set_ or [], checkpoint),
        output,
        topics=tuple(topic or ()),
        opening={name: value for name, value in opening.items() if value},
        labels=labels,
        part_seconds=60.0 * part_minutes,
        overlap=overlap,
    )
    from page4d_ros.fleet.run import find_tasks

    store = Store(output)
    found = find_tasks(sources, job, store, verify=verify, retry=retry)
    _say(
        f'{found.recordings} recordings: {found.before} done before, {len(found.given_up)} given '
        f'up before, {len(found.tasks)} to do'
    )
    if not found.recordings:
        raise FleetError(f'{" ".join(sources)}: no recordings there')

    def pool() -> Pool:
        if not ray:
            from page4d_ros.fleet.local import LocalPool

            return LocalPool(job)
        from page4d_ros.fleet.on_ray import RayPool

        return RayPool(job, ray, workers=workers or 0, cpus=cpus_per_worker, gpus=gpus_per_worker)

    _run(job, store, found, pool, tries)


def need_fleet(ray: str) -> None:
    """Refuse politely where a library is missing.

    Raises:
        FleetError: says what to install.
    """
    needed = (*NEEDS, 'ray') if ray else NEEDS
    if missing := ' '.join(name for name in needed if find_spec(name) is None):
        raise FleetError(
            f"page4d annotate needs {missing}: pip install 'page4d_ros[fleet]' or {missing}"
        )


def _config(params: Path | None, set_: list[str], checkpoint: str) -> Config:
    from page4d_ros.bags.replay import OFFLINE

    values = dict(OFFLINE)
    if params:
        values |= {k: v for k, v in file_values(params).items() if k not in OFFLINE}
    values |= dict(map(parse_assignment, set_))
    values |= {'model.checkpoint': checkpoint} if checkpoint else {}
    return Config().with_values(values)


def _job(config: Config, output: str, **options: object) -> Job:
    from page4d_ros.fleet.settings import Job
    from page4d_ros.perception.build import digest

    if config.cameras:
        raise ConfigError('page4d annotate is of one camera; replay rigs by `page4d replay`')
    run = f'{time.strftime("%Y%m%d-%H%M%S")}-{uuid4().hex[:4]}'
    return Job(config, digest(config.model.checkpoint), output, run, **options)


def _run(job: Job, store: Store, found: Found, pool: Callable[[], Pool], tries: int) -> None:
    """Do what is open, and write index and report.

    Raises:
        typer.Exit: with 1 if recordings were given up, 130 on Ctrl-C.
    """
    from page4d_ros.fleet.index import write_index
    from page4d_ros.fleet.report import REPORT, write_report
    from page4d_ros.fleet.run import Run, quarantined

    given_up, whole = found.given_up, True
    if found.tasks:
        with interruptible() as stopped, _shown() as seen:
            run = Run(job, store, pool(), found, tries=tries, seen=seen, said=_say)
            whole = run.all(stopped)
        _say(_line(run.progress))
    if whole:
        write_index(store)
        write_report(store)
        _say((store.place / REPORT).address)
    _print_given_up(quarantined(store, given_up))
    if not whole:
        raise typer.Exit(INTERRUPTED)
    if given_up:
        raise typer.Exit(1)


@contextlib.contextmanager
def _shown() -> Iterator[Callable[[Progress], None]]:
    """Line of progress on a terminal."""
    from rich.console import Console
    from rich.progress import Progress as Bar

    console = Console(stderr=True)
    with Bar(console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task('annotate', total=1.0)

        def seen(progress: Progress) -> None:
            bar.update(task, completed=progress.share, description=_line(progress))

        yield seen


def _line(progress: Progress) -> str:
    """Recordings, hours, speed, time left and failures in one line."""
    done = progress.before + progress.done + progress.elsewhere
    expected = progress.hours / progress.share if progress.share else 0.0
    text = [
        f'{done}/{progress.recordings} recordings',
        f'{progress.hours:.2f} of about {expected:.2f} h',
        f'{3600 * progress.hours / progress.elapsed:.2f} h per hour',
    ]
    if not progress.ended and progress.seconds_left is not None:
        text.append(f'{progress.seconds_left / 60:.0f} min left')
    text += [f'{count} x {kind}' for kind, count in sorted(progress.failures.items())]
    text += [f'{progress.quarantined} given up'] if progress.quarantined else []
    return ', '.join(text)


def _show_status(store: Store) -> None:
    """Print what is there, and each run that is on."""
    from page4d_ros.fleet.run import Progress, quarantined
    from page4d_ros.fleet.store import MANIFESTS, QUARANTINE, RUNS

    done, given_up = store.keys(MANIFESTS), store.keys(QUARANTINE)
    print(f'{store.place.address}: {len(done)} results, {len(given_up)} given up')
    for facts in store.read_all(RUNS):
        progress = Progress(**facts)
        age = time.time() - progress.beat
        state = (
            'ended' if progress.ended else f'{progress.busy} of {progress.workers} workers busy'
        )
        if not progress.ended and age > QUIET:
            state = f'silent for {age:.0f} s'
        print(f'{progress.run}: {_line(progress)}; {state}')
    _print_given_up(quarantined(store, given_up))


def _print_given_up(rows: list) -> None:
    from rich.console import Console
    from rich.table import Table

    if not rows:
        return
    table = Table('recording', 'kind', 'reason', title='given up')
    for row in rows:
        table.add_row(*map(printable, row))
    Console(width=None if sys.stdout.isatty() else 200, markup=False).print(table)


def _say(text: str) -> None:
    print(f'page4d: {printable(text)}', file=sys.stderr)
