"""Fuzzes all targets for a bounded time, each in a process of its own."""

import argparse
import importlib.util
import itertools
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path

from fuzz.child import read_notes
from fuzz.registry import TARGETS

FOLDERS = Path(__file__).parents[1], Path(__file__).parents[2]  # of tests and package
HANG = 60.0  # seconds for one input; more is a finding, and the process is ended
LOOK = 1.0  # seconds between looks at a child
START = 120.0  # seconds for a child's first input


@dataclass
class Total:
    """Sum over the processes of one target.

    Attributes:
        inputs: given; refused and skipped are those of them that were.
        findings: description of each.
        starts: of processes; more than one if one ended or hung.
    """

    inputs: int = 0
    refused: int = 0
    skipped: int = 0
    findings: list[dict] = field(default_factory=list)
    starts: int = 0
    seconds: float = 0.0


def engine_of(wanted):
    """Name of the engine to use."""
    there = importlib.util.find_spec('atheris') is not None
    if wanted == 'auto':
        return 'atheris' if there else 'random'
    if wanted == 'atheris' and not there:
        sys.exit('atheris is not installed; `make fuzz` installs it where it has a wheel')
    return wanted


def fuzz(name, engine, seconds, runs, seed, output):
    """Fuzz one target; a process that ends or hangs is started again with another seed."""
    total, begin = Total(), time.monotonic()
    for attempt in itertools.count():
        left = seconds - (time.monotonic() - begin)
        most = runs - total.inputs if runs else 0
        if left < LOOK or (runs and most <= 0):
            break
        folder = Path(tempfile.mkdtemp(prefix=f'fuzz_{name}_', dir=_memory()))
        try:
            done = _process(name, engine, left, most, seed + attempt, folder, total)
            _collect(folder, name, output, total)
        finally:
            shutil.rmtree(folder, ignore_errors=True)
        if done:
            break
    total.seconds = time.monotonic() - begin
    return total


def _memory():
    """Folder in memory, where there is one: inputs are files that live for a moment."""
    return '/dev/shm' if os.access('/dev/shm', os.W_OK) else None


def _process(name, engine, seconds, runs, seed, folder, total):
    """Run one child; True if it came to its end."""
    for sub in ('work', 'findings'):
        (folder / sub).mkdir()
    words = [name, engine, str(seconds), str(runs), str(seed), str(folder)]
    path = ':'.join([*map(str, FOLDERS), os.environ.get('PYTHONPATH', '')])
    total.starts += 1
    with (folder / 'log').open('wb') as log:
        child = subprocess.Popen(
            [sys.executable, '-m', 'fuzz.child', *words],
            stdout=log, stderr=log, cwd=folder / 'work', env=os.environ | {'PYTHONPATH': path},
        )  # fmt: skip
        why = _watch(child, folder / 'notes')
    tail = (folder / 'log').read_text(errors='replace')[-6000:]
    if why or child.returncode:
        why = why or f'the process ended with {child.returncode}'
        data = read_notes(folder / 'notes')[1] if (folder / 'notes').exists() else b''
        (folder / 'findings/end.input').write_bytes(data)
        facts = {'place': why, 'text': tail, 'size': len(data)}
        (folder / 'findings/end.json').write_text(json.dumps(facts))
    if not (folder / 'notes').exists():
        sys.exit(f'{name}: the process did not come to its first input:\n{tail}')
    return not why


def _watch(child, notes):
    """Wait for a child; a text if it hangs."""
    last, since = None, time.monotonic()
    try:
        while child.poll() is None:
            time.sleep(LOOK)
            count = read_notes(notes)[0][0] if notes.exists() else None
            if count != last:
                last, since = count, time.monotonic()
            if time.monotonic() - since > (HANG if count is not None else START):
                child.kill()
                child.wait()
                return f'no end of one input within {HANG:.0f} s'
    finally:
        if child.poll() is None:
            child.kill()
            child.wait()
    return ''


def _collect(folder, name, output, total):
    """Add the counters of a child, and keep its findings."""
    (inputs, refused, skipped, _), _ = read_notes(folder / 'notes')
    total.inputs += inputs
    total.refused += refused
    total.skipped += skipped
    known = {item['place'] for item in total.findings}
    for path in sorted((folder / 'findings').glob('*.json')):
        facts = json.loads(path.read_text())
        if facts['place'] in known:
            continue
        known.add(facts['place'])
        kept = output / name / f'{len(total.findings)}.input'
        kept.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path.with_suffix('.input'), kept)
        total.findings.append(facts | {'input': str(kept)})


def parsed():
    """Options of the command line."""
    parser = argparse.ArgumentParser(prog='fuzz', description=__doc__)
    parser.add_argument('--seconds', type=float, default=300.0, help='in all (default: 300)')
    parser.add_argument('--inputs', type=int, default=0, help='per target at most (default: any)')
    parser.add_argument('--target', action='append', help='only this one; may be given again')
    parser.add_argument('--list', action='store_true', help='list the targets')
    parser.add_argument('--seed', type=int, default=random.SystemRandom().randrange(10**6))
    parser.add_argument('--engine', choices=('auto', 'atheris', 'random'), default='auto')
    parser.add_argument('--output', type=Path, default=Path('fuzz'), help='folder for findings')
    parser.add_argument('--again', type=Path, help='give this one input to the --target')
    options = parser.parse_args()
    unknown = set(options.target or ()) - set(TARGETS)
    if unknown:
        parser.error(f'no target is called {", ".join(sorted(unknown))}; see --list')
    if options.again and len(options.target or ()) != 1:
        parser.error('--again needs one --target')
    return options


def again(name, path):
    """Give one input to a target, and raise what it raises."""
    with tempfile.TemporaryDirectory() as folder:
        _, take = TARGETS[name].prepare(Path(folder))
        take(path.read_bytes())


def main():
    """Fuzz as the command line says; returns 1 if there are findings."""
    options = parsed()
    if options.list:
        for item in TARGETS.values():
            print(f'{item.name:24s} {item.text}')
        return 0
    if options.again:
        again(options.target[0], options.again)
        return 0
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # and the child is ended, too
    engine, names = engine_of(options.engine), options.target or list(TARGETS)
    print(f'{len(names)} targets, engine {engine}, seed {options.seed}', flush=True)
    print(f'{"target":24s} {"inputs":>9s} {"refused":>9s} {"per s":>7s}  findings', flush=True)
    totals = {}
    for name in names:
        total = fuzz(
            name, engine, options.seconds / len(names), options.inputs, options.seed,
            options.output,
        )  # fmt: skip
        totals[name] = total
        rate = total.inputs / total.seconds if total.seconds else 0
        print(
            f'{name:24s} {total.inputs:9d} {total.refused:9d} {rate:7.0f}  {len(total.findings)}'
        )
        for item in total.findings:
            last = item['text'].strip().splitlines()[-1:]
            print(f'    {item["place"]}: {"".join(last):.200} ({item["input"]})', flush=True)
    options.output.mkdir(exist_ok=True)
    facts = {'engine': engine, 'seed': options.seed}
    facts |= {'targets': {name: asdict(total) for name, total in totals.items()}}
    (options.output / 'fuzz.json').write_text(json.dumps(facts, indent=1))
    count = sum(total.inputs for total in totals.values())
    found = sum(len(total.findings) for total in totals.values())
    print(f'\n{count} inputs, {found} findings; seed {options.seed}, {options.output}/fuzz.json')
    return 1 if found else 0
