"""Process that fuzzes one target under limits of memory, and leaves notes of what it does.

Its notes are a file that the parent reads even if the process ends at once: counters, and the
input that is being taken.
"""

import contextlib
import faulthandler
import json
import mmap
import os
import random
import resource
import struct
import sys
import time
import warnings
from pathlib import Path

NOTES = struct.Struct('<QQQQI')  # inputs, refused, skipped, findings, bytes of the input
ROOM = 1 << 20
MEMORY = 1 << 31  # bytes that inputs may make the process take, beside what it has


class Notes:
    """Counters and the present input, in a file."""

    def __init__(self, path):
        path.write_bytes(bytes(NOTES.size + ROOM))
        with path.open('r+b') as file:
            self._map = mmap.mmap(file.fileno(), 0)

    def write(self, judge, data):
        NOTES.pack_into(
            self._map, 0, judge.inputs, judge.refused, judge.skipped, len(judge.findings),
            min(len(data), ROOM),
        )  # fmt: skip
        self._map[NOTES.size : NOTES.size + min(len(data), ROOM)] = data[:ROOM]


def read_notes(path):
    """Counters of a child, and its last input."""
    data = path.read_bytes()
    *counters, size = NOTES.unpack_from(data)
    return counters, data[NOTES.size : NOTES.size + size]


def limit_memory():
    """Let allocations beyond `MEMORY` fail."""
    now = int(Path('/proc/self/statm').read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (now + MEMORY, now + MEMORY))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def save_finding(folder):
    """Function that writes a finding's input and description."""

    def save(key, text, data):
        name = f'{len(list(folder.glob("*.json")))}_{os.getpid()}'
        (folder / f'{name}.input').write_bytes(data)
        facts = {'place': key, 'text': text, 'size': len(data)}
        (folder / f'{name}.json').write_text(json.dumps(facts, indent=1))

    return save


def main(name, engine, seconds, runs, seed, folder):
    """Fuzz until the time or the number of inputs is over."""
    faulthandler.enable()
    warnings.simplefilter('ignore')
    if engine == 'atheris':
        import atheris

        with atheris.instrument_imports(include=['page4d_ros', 'rosbags', 'ruamel']):
            from fuzz.registry import TARGETS
    else:
        from fuzz.registry import TARGETS
    from fuzz.target import Judge

    target, folder = TARGETS[name], Path(folder)
    work = folder / 'work'
    seeds, take = target.prepare(work)
    judge = Judge(take, save_finding(folder / 'findings'))
    notes = Notes(folder / 'notes')

    def one(data):
        notes.write(judge, data)
        judge.one(data)

    for data in seeds:
        one(data)
    limit_memory()
    if engine == 'atheris':
        _guided(atheris, one, seeds, target.words, seconds, runs, seed, folder)
    else:
        _random(one, seeds, target.words, seconds, runs, seed)
    notes.write(judge, b'')


def _random(one, seeds, words, seconds, runs, seed):
    from fuzz.mutate import mutated

    rng, end = random.Random(seed), time.monotonic() + seconds
    done = 0
    while time.monotonic() < end and (not runs or done < runs):
        one(mutated(rng.choice(seeds), seeds, words, rng))
        done += 1


def _guided(atheris, one, seeds, words, seconds, runs, seed, folder):
    corpus = folder / 'corpus'
    corpus.mkdir(exist_ok=True)
    for index, data in enumerate(seeds):
        (corpus / f'seed{index}').write_bytes(data)
    entries = (''.join(f'\\x{byte:02x}' for byte in word) for word in words)
    (folder / 'words').write_text(''.join(f'"{entry}"\n' for entry in entries))
    most = max(4096, 2 * max(map(len, seeds)))
    options = [
        f'-max_total_time={max(1, round(seconds))}',
        f'-seed={seed % 2**31 or 1}',
        f'-max_len={most}',
        '-timeout=600',  # the parent watches
        '-rss_limit_mb=0',
        '-verbosity=0',
        '-detect_leaks=0',
        f'-dict={folder / "words"}',
        f'-artifact_prefix={folder}/',
    ]
    options += [f'-atheris_runs={runs}'] if runs else []
    atheris.Setup([sys.argv[0], *options, str(corpus)], one)
    with contextlib.suppress(SystemExit):
        atheris.Fuzz()


if __name__ == '__main__':
    _, name, engine, seconds, runs, seed, folder = sys.argv
    main(name, engine, float(seconds), int(runs), int(seed), folder)
