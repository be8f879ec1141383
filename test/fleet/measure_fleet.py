"""Figures of docs/fleet.md: ``python test/fleet/measure_fleet.py overhead|memory|list``."""

# ruff: noqa: E402 - the folders of helpers come first

import resource
import shutil
import sys
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE.parent), str(HERE), str(HERE.parent / 'bags')]

from fleet_cases import config, job

from page4d_ros.bags.replay import replay
from page4d_ros.commands.show import SAMPLE
from page4d_ros.fleet.index import write_index
from page4d_ros.fleet.recordings import Recording
from page4d_ros.fleet.run import Found, Run, find_tasks
from page4d_ros.fleet.settings import Outcome, Task
from page4d_ros.fleet.store import Store
from page4d_ros.perception import build

FIGURES = {
    'seconds': 60.0, 'estimates': 600, 'path': 1.0, 'metric': False, 'moving': 0.1, 'bodies': 1,
    'network_trust': 0.5, 'scale_state': 'none', 'lost_seconds': 0.0, 'worst': [1, 2, 3, 4, 5],
    'badness': 0.6,
}  # fmt: skip
FACTS = {
    'size': 1, 'work_seconds': 1.0, 'version': '0', 'weights': 'w', 'parts': 0, 'tries': 1,
    'reduced': '', 'figures': FIGURES, 'minutes': [{'minute': 0, **FIGURES}], 'frames': 600,
    'labelled': 0, 'warnings': [],
}  # fmt: skip


def resident():
    """MiB of this process."""
    pages = int(Path('/proc/self/statm').read_text().split()[1])
    return pages * resource.getpagesize() / 2**20


def overhead(folder, count=10, turns=3):
    """Seconds for copies of the sample: `replay` alone, and one and two actors of Ray."""
    from page4d_ros.fleet.on_ray import RayPool

    settings = config(**{'window.size': 4})
    paths = [folder / 'in' / f'{i:02d}' for i in range(count)]
    for path in paths:
        shutil.copytree(SAMPLE, path)
    for turn in range(turns):
        perception = build.build_perception(settings, wait=True)
        start = time.perf_counter()
        for path in paths:
            alone = build.renewed(perception)
            replay(path, folder / f'plain{turn}' / path.name, settings, perception=alone)
        print(f'replay: {time.perf_counter() - start:.1f} s', flush=True)
        for workers in (1, 2):
            each = job(folder / f'ray{turn}{workers}', f'{turn}{workers}', config=settings)
            store = Store(each.destination)
            pool = RayPool(each, 'local', workers=workers)
            while pool.free < workers:
                pool.wait(1.0)
            found = find_tasks([str(folder / 'in')], each, store)
            start = time.perf_counter()
            assert Run(each, store, pool, found).all()
            print(f'{workers} actors: {time.perf_counter() - start:.1f} s', flush=True)


class Made:
    """Pool whose results are a file each, made here."""

    size = free = 1
    busy, task = 0, None

    def __init__(self, store):
        self.store = store

    def submit(self, task):
        self.task, self.free, self.busy = task, 0, 1

    def wait(self, _seconds):
        task, self.free, self.busy = self.task, 1, 0
        facts = {'recording': task.recording.address, 'finished': time.time(), **FACTS}
        with self.store.scratch('made') as scratch:
            output = scratch / task.folder
            output.mkdir()
            (output / 'trajectory.tum').write_text('')
            self.store.publish(output, task.manifest, facts)
        return [Outcome(task, video_seconds=60.0)]

    def close(self):
        pass


def memory(folder, count=10_000):
    """Memory of the driver over many recordings, and the time of their index."""
    each, store = job(folder / 'out'), Store(str(folder / 'out'))
    recordings = [Recording(f'/drives/{i:06d}.mcap', 1000, '') for i in range(count)]
    found = Found([Task(recording, each.key(recording)) for recording in recordings], count)
    begin, marks = resident(), {}

    def seen(progress):
        if progress.done and progress.done % (count // 10) == 0:
            marks[progress.done] = round(resident() - begin, 1)

    assert Run(each, store, Made(store), found, seen=seen).all()
    print(f'MiB more after so many recordings: {marks}')
    start = time.perf_counter()
    print(f'index of {write_index(store)}: {time.perf_counter() - start:.1f} s')


def listing(folder, count=100_000):
    """Time and memory to list many files, and to make tasks of them."""
    for i in range(count // 100):
        (folder / 'in' / f'{i:04d}').mkdir(parents=True)
        for j in range(100):
            (folder / 'in' / f'{i:04d}' / f'{j:02d}.mcap').write_bytes(b'x')
    each, store, begin = job(folder / 'out'), Store(str(folder / 'out')), resident()
    start = time.perf_counter()
    tasks = find_tasks([str(folder / 'in')], each, store).tasks
    print(f'{len(tasks)} in {time.perf_counter() - start:.1f} s, {resident() - begin:.0f} MiB')


if __name__ == '__main__':
    with tempfile.TemporaryDirectory() as place:
        {'overhead': overhead, 'memory': memory, 'list': listing}[sys.argv[1]](Path(place))
