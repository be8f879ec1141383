"""Failures stay small, two runs do no harm, and long recordings are split."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from bags_helpers import camera_messages, write_bag
from fleet_cases import WORDS, config, job, write_good, write_images

from page4d_ros.errors import DeviceMemoryError
from page4d_ros.fleet import worker as workers
from page4d_ros.fleet.index import write_index
from page4d_ros.fleet.local import LocalPool
from page4d_ros.fleet.report import write_report
from page4d_ros.fleet.run import Run, find_tasks, quarantined
from page4d_ros.fleet.settings import CRASH, ERROR, MEMORY, Failure, Outcome
from page4d_ros.fleet.store import MANIFESTS, PARTS, QUARANTINE, RUNS, Store
from page4d_ros.fleet.worker import Worker


class HerePool:
    """A pool without processes: `work` of each task when it is waited for."""

    size = 1

    def __init__(self, work):
        self.work, self.tasks = work, []
        self.closed = False

    @property
    def free(self):
        return 1 - len(self.tasks)

    @property
    def busy(self):
        return len(self.tasks)

    def submit(self, task):
        self.tasks.append(task)

    def wait(self, seconds):
        return [self.work(self.tasks.pop())] if self.tasks else []

    def close(self):
        self.closed = True


def begun(folder, pool, *, tries=3, run='test', **options):
    """A run over the recordings of a folder."""
    each, store = job(folder / 'out', run, **options), Store(str(folder / 'out'))
    found = find_tasks([str(folder / 'in')], each, store)
    said = []
    pool = pool(each) if isinstance(pool, type) else HerePool(pool or Worker(each).do)
    return Run(each, store, pool, found, tries=tries, said=said.append), store, said


class Killing(LocalPool):
    """Kills its process while it does the recording called `victim`."""

    victim, number, times = '', signal.SIGSEGV, 1

    def submit(self, task):
        super().submit(task)
        if self.victim in task.recording.address and self.times:
            type(self).times -= 1
            os.kill(self._process.pid, self.number)


@pytest.mark.parametrize(
    ('number', 'times', 'kind'),
    [(signal.SIGSEGV, 1, CRASH), (signal.SIGKILL, 2, MEMORY)],
)
def test_a_crash_of_the_interpreter_costs_one_try(tmp_path, monkeypatch, number, times, kind):
    write_good(tmp_path / 'in', 3, frames=2)
    monkeypatch.setattr(Killing, 'victim', 'images')
    monkeypatch.setattr(Killing, 'number', number)
    monkeypatch.setattr(Killing, 'times', times)
    run, store, said = begun(tmp_path, Killing, tries=2)
    assert run.all()
    assert run.progress.failures == {kind: times}
    assert len(store.keys(MANIFESTS)) == (3 if times == 1 else 2)
    given_up = quarantined(store, run.given_up)
    assert [(each.recording, each.kind) for each in given_up] == [
        (str(tmp_path / 'in' / 'images'), kind)
    ] * (times - 1)
    assert 'worker' in said[0]
    assert list((tmp_path / 'out' / '.partial').glob('*')) == []


def test_too_little_memory_halves_the_window(tmp_path, monkeypatch):
    write_good(tmp_path / 'in', 2, frames=2)
    real = workers.annotate

    def annotate(recording, output, each, *, config, **options):
        if config.window.size > 2:
            raise DeviceMemoryError('there is too little memory')
        return real(recording, output, each, config=config, **options)

    monkeypatch.setattr(workers, 'annotate', annotate)
    wide = config(**{'window.size': 4})
    run, store, said = begun(tmp_path, None, config=wide)
    assert run.all()
    assert run.progress.reduced == 2
    assert run.progress.failures == {MEMORY: 2}
    facts = [store.read(MANIFESTS, key) for key in store.keys(MANIFESTS)]
    assert [each['reduced'] for each in facts] == ['window.size 4 -> 2'] * 2
    assert any('2 tries left, with window.size 4 -> 2' in text for text in said)


def test_any_exception_is_a_failure_with_its_trace(tmp_path, monkeypatch):
    write_good(tmp_path / 'in', 2, frames=2)

    def broken(*_words, **_options):
        raise ZeroDivisionError('in a library')

    monkeypatch.setattr(workers, 'annotate', broken)
    run, store, _ = begun(tmp_path, None, tries=1)
    assert run.all()
    assert run.progress.failures == {ERROR: 2}
    facts = json.loads(next((tmp_path / 'out' / 'quarantine').iterdir()).read_text())
    assert facts['reason'] == 'ZeroDivisionError: in a library'
    assert 'Traceback' in facts['log']
    options = [str(tmp_path / 'in')], job(tmp_path / 'out'), store
    assert len(find_tasks(*options).given_up) == 2
    monkeypatch.undo()
    again = find_tasks(*options, retry=True)
    assert (len(again.tasks), again.given_up) == (2, [])
    assert Run(
        job(tmp_path / 'out'), store, HerePool(Worker(job(tmp_path / 'out')).do), again
    ).all()
    assert store.keys(QUARANTINE) == set()


def test_two_runs_at_once_do_no_harm(tmp_path):
    write_good(tmp_path / 'in', 6, frames=2)
    first, store, _ = begun(tmp_path, None, run='first')
    second, _, _ = begun(tmp_path, None, run='second')
    threads = [threading.Thread(target=run.all) for run in (first, second)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    done = [run.progress for run in (first, second)]
    assert [p.done + p.elsewhere for p in done] == [6, 6]
    assert [p.failures for p in done] == [{}, {}]
    assert len(store.keys(MANIFESTS)) == 6
    assert len(list((tmp_path / 'out' / 'recordings').iterdir())) == 6
    assert len(store.keys(RUNS)) == 2
    for key in store.keys(MANIFESTS):
        manifest = store.read(MANIFESTS, key)
        assert (tmp_path / 'out' / manifest['output'] / 'trajectory.tum').is_file()


def test_a_folder_without_manifest_is_taken_over(tmp_path):
    """A run was ended between the rename and the manifest."""
    write_images(tmp_path / 'in' / 'a', 2)
    run, store, _ = begun(tmp_path, None)
    assert run.all()
    (key,) = store.keys(MANIFESTS)
    before = store.read(MANIFESTS, key)
    store.remove(MANIFESTS, key)
    again, _, _ = begun(tmp_path, None)
    assert again.all()
    assert store.read(MANIFESTS, key) == before


def test_a_stopped_run_goes_on_later(tmp_path):
    write_good(tmp_path / 'in', 4, frames=2)
    run, store, _ = begun(tmp_path, None)
    assert not run.all(lambda: run.progress.done >= 2)
    assert run._pool.closed
    assert len(store.keys(MANIFESTS)) == 2
    rest, _, _ = begun(tmp_path, None)
    assert rest.all()
    assert (rest.progress.before, rest.progress.done) == (2, 2)


def test_a_killed_run_goes_on(tmp_path):
    """SIGKILL while a worker is busy: the worker ends, too, and nothing is half."""
    write_good(tmp_path / 'in', 12, frames=4)
    words = [str(tmp_path / 'in'), '--output', str(tmp_path / 'out'), *WORDS]
    command = [sys.executable, '-m', 'page4d_ros.cli', 'annotate', *words]
    run = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    store = Store(str(tmp_path / 'out'))
    while len(store.keys(MANIFESTS)) < 2 and run.poll() is None:
        time.sleep(0.02)
    busy = store.read(MANIFESTS, min(store.keys(MANIFESTS)))['worker']
    run.kill()
    run.wait()
    process = Path('/proc') / busy.rpartition(' ')[2]
    for _ in range(500):
        if not process.exists():
            break
        time.sleep(0.02)
    assert not process.exists()
    done = len(store.keys(MANIFESTS))
    assert 2 <= done < 12
    rest, store, _ = begun(tmp_path, None)
    assert rest.progress.before == done
    assert rest.all()
    assert len(store.keys(MANIFESTS)) == 12
    assert len(list((tmp_path / 'out' / 'recordings').iterdir())) == 12


def test_a_run_that_is_stopped_in_its_last_task_is_not_whole(tmp_path):
    write_images(tmp_path / 'in' / 'a', 2)
    run, store, _ = begun(tmp_path, None)
    run._pool.wait = lambda _seconds: []
    assert not run.all(lambda: run._pool.busy > 0)
    assert store.keys(MANIFESTS) == set()


def test_what_was_given_up_and_works_now_is_no_failure_of_the_report(tmp_path):
    write_images(tmp_path / 'in' / 'a', 2)
    run, store, _ = begun(tmp_path, lambda task: Outcome(task, Failure(CRASH, 'it died', '')))
    assert run.all()
    write_index(store)
    write_report(store)
    assert 'it died' in (tmp_path / 'out' / 'report.html').read_text()
    os.utime(tmp_path / 'in' / 'a' / '000000.jpg', (1, 1))
    again, _, _ = begun(tmp_path, None)
    assert again.all()
    write_index(store)
    write_report(store)
    assert 'it died' not in (tmp_path / 'out' / 'report.html').read_text()


@pytest.fixture(scope='module')
def split(tmp_path_factory):
    """A recording of 24 frames in 2.4 s, whole, and in three parts; figures of both."""
    folder = tmp_path_factory.mktemp('split')
    write_bag(folder / 'in' / 'drive', 'mcap', camera_messages(24))
    results = {}
    for name, options in {
        'whole': {'part_seconds': 0.0},
        'parts': {'part_seconds': 0.8, 'overlap': 0.6},
    }.items():
        (folder / name).mkdir()
        (folder / name / 'in').symlink_to(folder / 'in')
        run, store, said = begun(folder / name, None, **options)
        assert run.all(), said
        (key,) = store.keys(MANIFESTS)
        manifest = store.read(MANIFESTS, key)
        results[name] = folder / name / 'out' / manifest['output'], manifest, store
    return results


def test_parts_are_put_together(split):
    whole, parts = split['whole'], split['parts']
    assert parts[1]['parts'] == 3
    assert parts[1]['figures']['estimates'] == whole[1]['figures']['estimates'] == 24
    assert parts[1]['figures']['seconds'] == pytest.approx(whole[1]['figures']['seconds'])
    assert parts[2].keys(PARTS) == set()
    assert not list((parts[0].parents[1] / 'parts').glob('*'))
    stamps = [
        [line.split()[0] for line in (r[0] / 'trajectory.tum').read_text().splitlines()]
        for r in (whole, parts)
    ]
    assert stamps[0] == stamps[1]
    joins = json.loads((parts[0] / 'parts.json').read_text())
    assert [join['folder'] for join in joins] == [f'part-{i:03d}' for i in range(3)]
    for join in joins:
        assert list((parts[0] / join['folder']).glob('*.mcap'))
        assert join['shared_poses'] >= 3
    assert (parts[0] / 'thumbnails' / 'minute-0000.jpg').is_file()


def test_parts_that_are_there_are_not_made_again(tmp_path):
    write_bag(tmp_path / 'in' / 'drive', 'mcap', camera_messages(24))
    options = {'part_seconds': 0.8, 'overlap': 0.6}
    made = []

    def work(each):
        real = Worker(each)

        def do(task):
            if task.part is not None:
                made.append(task.part)
            return real.do(task)

        return do

    each = job(tmp_path / 'out', **options)
    run, store, _ = begun(tmp_path, work(each), **options)
    assert not run.all(lambda: len(made) == 2)
    assert len(store.keys(PARTS)) == 2
    again, _, _ = begun(tmp_path, work(each), **options)
    assert again.all()
    assert sorted(made) == [0, 1, 2]
    assert again.progress.done == 1


def test_a_broken_part_gives_the_recording_up(tmp_path):
    write_bag(tmp_path / 'in' / 'drive', 'mcap', camera_messages(24))
    options = {'part_seconds': 0.8, 'overlap': 0.6}
    real = Worker(job(tmp_path / 'out', **options))

    def work(task):
        if task.part == 1:
            return Outcome(task, Failure(CRASH, 'died', 'log'))
        return real.do(task)

    run, store, said = begun(tmp_path, work, tries=2, **options)
    assert run.all()
    assert store.keys(MANIFESTS) == set()
    assert quarantined(store, run.given_up) == [(str(tmp_path / 'in' / 'drive'), CRASH, 'died')]
    assert 'part 1' in said[0]


def test_labels_of_all_recordings_train_together(tmp_path):
    from page4d_ros.commands.show import SAMPLE
    from page4d_ros.training.window_sampling import find_shards

    (tmp_path / 'in').mkdir()
    for name in ('a', 'b'):
        (tmp_path / 'in' / name).symlink_to(SAMPLE)
    run, store, said = begun(tmp_path, None, labels=True)
    assert run.all(), said
    manifests = [store.read(MANIFESTS, key) for key in store.keys(MANIFESTS)]
    assert len(manifests) == 2
    assert all(manifest['labelled'] > 40 for manifest in manifests)
    shards = find_shards(tmp_path / 'out' / 'recordings' / '*' / 'labels')
    held = find_shards(tmp_path / 'out' / 'recordings' / '*' / 'labels' / 'held_out')
    assert len({shard.path.name for shard in shards + held}) == len(shards + held)
    assert sum(shard.frames for shard in shards + held) == sum(m['labelled'] for m in manifests)
    assert {np.isfinite(shard.rate_hz) for shard in shards} == {True}
