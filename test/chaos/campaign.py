"""Throws faults one at a time, in seeded random order, while frames flow."""

import argparse
import json
import random
import signal
import statistics
import sys
import tempfile
import time
from collections import Counter
from dataclasses import asdict, dataclass, field
from pathlib import Path

from chaos import (  # noqa: F401 - they enter their faults into KINDS
    control_faults,
    geometry_faults,
    image_faults,
    injected_faults,
    process_faults,
    stamp_faults,
    stream_faults,
)
from chaos.fault import KINDS
from chaos.world import PARAMETERS, World, environment

RECOVERY = 20.0  # seconds without an output after a fault; more is a failure
BASELINE = 3.0  # seconds over which the undisturbed rate is taken
GROWN = 300.0  # MiB above the memory after its start; more is a failure
SETTLE = 0.2  # seconds in which late outputs of a fault still count as its own


@dataclass
class Try:
    """Result of one fault.

    Attributes:
        kind: name of the fault.
        survived: False if the node ended, did not recover, or did something wrong.
        seconds: of the fault itself.
        recovery: seconds from the fault's end to the first pose of a later image; None if none.
        lost: True if the process ended.
        problems: what was wrong.
        rss_mib: memory of the node afterwards.
    """

    kind: str
    survived: bool = True
    seconds: float = 0.0
    recovery: float | None = None
    lost: bool = False
    problems: list[str] = field(default_factory=list)
    rss_mib: float = 0.0


def throw(world, kind, rng):
    """Throw one fault and look what comes of it."""
    watch, found = world.watch, Try(kind.name)
    watch.clear()
    watch.jumps = watch.jumps or kind.jumps
    before = watch.status.dropped if watch.status else 0
    starts, begin = world.node.starts, time.monotonic()
    try:
        wrong = kind.throw(world, rng)
    except AssertionError as error:
        wrong = str(error)
    end = time.monotonic()
    found.seconds = end - begin
    found.problems += [wrong] if wrong else []
    try:
        world.graph.until(lambda: watch.pose_of > end or not world.node.alive, RECOVERY)
        found.recovery = time.monotonic() - end
    except AssertionError:
        found.problems.append(f'no pose within {RECOVERY:.0f} s')
    found.lost = not world.node.alive
    if found.lost:
        found.problems.append(f'the node ended with {world.node.wait()}: {world.node.tail()}')
        found.recovery = None
    time.sleep(SETTLE)
    restarted = world.node.starts != starts
    if kind.counted and not restarted and watch.status.dropped == before:
        found.problems.append('no image is counted as dropped')
    if kind.says and not watch.said(kind.says, ever=kind.once):
        found.problems.append(f'nothing says {kind.says!r}')
    found.problems += [f'{text} ({count} x)' for text, count in watch.problems.items()]
    found.rss_mib = world.node.rss_mib() if not found.lost else 0.0
    if found.rss_mib > world.rss_mib + GROWN:
        found.problems.append(f'memory grew from {world.rss_mib:.0f} to {found.rss_mib:.0f} MiB')
    watch.jumps = kind.jumps  # its last outputs may come during the next fault
    found.survived = not found.problems
    return found


def order(kinds, rng):
    """Endless random order in which every kind comes once per round."""
    while True:
        yield from rng.sample(kinds, len(kinds))


def run(kinds, seed, *, faults=None, seconds=None, say=print):
    """Run a campaign.

    Args:
        kinds: faults to choose from.
        seed: of order and choices.
        faults: how many to throw; None for no limit.
        seconds: after which no more is thrown; None for no limit.
        say: called with a line per fault.

    Returns:
        The tries, and what else is worth to be kept.
    """
    rng, tries = random.Random(seed), []
    worlds = [World(Path(tempfile.mkdtemp(prefix='chaos_')))]  # with each camera that was needed
    try:
        (world,) = worlds
        world.start()
        count, begin = world.watch.counts['odom'], time.monotonic()
        time.sleep(BASELINE)
        rate = (world.watch.counts['odom'] - count) / (time.monotonic() - begin)
        rss, begin = world.rss_mib, time.monotonic()
        for kind in order(kinds, rng):
            if len(tries) == faults or (seconds and time.monotonic() - begin > seconds):
                break
            done = throw(worlds[-1], kind, rng)
            tries.append(done)
            recovery = '-' if done.recovery is None else f'{done.recovery:.1f} s'
            verdict = 'ok' if done.survived else '; '.join(done.problems)
            say(f'{len(tries):5d} {kind.name:36s} {recovery:>7s}  {verdict}', flush=True)
            if done.recovery is None and not _started_again(worlds, done, say):
                break
        facts = {
            'seed': seed,
            'logs': [str(each.folder) for each in worlds],
            'seconds': time.monotonic() - begin,
            'poses per second': rate,
            'window': PARAMETERS['window.size'] / rate if rate else None,
            'rss_mib at the start': rss,
            'rss_mib at the end': worlds[-1].node.rss_mib(),
            'starts of the node': sum(each.node.starts for each in worlds),
            'starts of the camera': len(worlds),
            'messages checked': dict(sum((each.watch.counts for each in worlds), Counter())),
        }
    finally:
        worlds[-1].close()
    return tries, facts


def _started_again(worlds, done, say):
    """Start the node again, and the camera, too, if the node alone gets no image.

    Each helpless start is a problem of the last try.

    Returns:
        False if neither helps.
    """
    try:
        worlds[-1].restart()
    except AssertionError as error:
        done.problems.append(f'no start afterwards: {error}')
        say(done.problems[-1], flush=True)
    else:
        return True
    worlds[-1].close()
    worlds.append(World(Path(tempfile.mkdtemp(prefix='chaos_'))))
    try:
        worlds[-1].start()
    except AssertionError as error:
        done.problems.append(f'nor with another camera: {error}')
        say(done.problems[-1], flush=True)
        return False
    say('the camera was started again', flush=True)
    return True


def table(tries):
    """Rows of kind, tries, survived, median and worst recovery."""
    rows = []
    for name in sorted({item.kind for item in tries}):
        mine = [item for item in tries if item.kind == name]
        times = [item.recovery for item in mine if item.recovery is not None]
        median = f'{statistics.median(times):.2f}' if times else '-'
        worst = f'{max(times):.2f}' if times else '-'
        survived = sum(item.survived for item in mine)
        rows.append((name, len(mine), survived, median, worst))
    return rows


def main():
    """Run the campaign of the command line; returns 1 if a node was lost or did wrong."""
    parser = argparse.ArgumentParser(prog='chaos', description=__doc__)
    parser.add_argument('--faults', type=int, help='throw so many (default: as time allows)')
    parser.add_argument('--seconds', type=float, help='throw for so long (default: 270)')
    parser.add_argument('--seed', type=int, default=random.SystemRandom().randrange(10**6))
    parser.add_argument('--kind', action='append', help='only this kind; may be given again')
    parser.add_argument('--list', action='store_true', help='list the kinds')
    parser.add_argument('--output', type=Path, default=Path('chaos.json'), help='JSON file')
    options = parser.parse_args()
    if options.list:
        for kind in KINDS.values():
            print(f'{kind.name:36s} {kind.text}')
        return 0
    unknown = set(options.kind or ()) - set(KINDS)
    if unknown:
        parser.error(f'no kind is called {", ".join(sorted(unknown))}; see --list')
    environment()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # and the node is ended, too
    kinds = [KINDS[name] for name in options.kind or KINDS]
    seconds = options.seconds or (None if options.faults else 270.0)
    print(f'{len(kinds)} kinds of faults, seed {options.seed}', flush=True)
    tries, facts = run(kinds, options.seed, faults=options.faults, seconds=seconds)
    options.output.write_text(
        json.dumps(facts | {'tries': [asdict(item) for item in tries]}, indent=1)
    )
    print(f'\n{"kind":36s} tries survived median s worst s')
    for name, count, survived, median, worst in table(tries):
        print(f'{name:36s} {count:5d} {survived:8d} {median:>8s} {worst:>7s}')
    times = [item.recovery for item in tries if item.recovery is not None]
    print(
        f'\n{len(tries)} faults in {facts["seconds"]:.0f} s, '
        f'{sum(item.survived for item in tries)} survived, '
        f'{sum(item.lost for item in tries)} nodes lost; median recovery '
        f'{statistics.median(times or [0]):.2f} s at {facts["poses per second"]:.1f} poses/s; '
        f'seed {options.seed}, {options.output}'
    )
    return 0 if tries and all(item.survived for item in tries) else 1
