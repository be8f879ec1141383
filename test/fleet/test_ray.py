"""The front end on Ray: the same results, and what happens to actors and nodes that are lost."""

import os
import signal
import sys
import time
from functools import partial
from pathlib import Path

import pytest
import torch
from fleet_cases import annotate, config, job, messages, write_broken, write_good

from page4d_ros.errors import FleetError
from page4d_ros.fleet.local import LocalPool
from page4d_ros.fleet.run import Run, find_tasks, quarantined
from page4d_ros.fleet.settings import CRASH, MEMORY
from page4d_ros.fleet.store import MANIFESTS, Store
from page4d_ros.perception.memory import free_bytes

try:
    import ray
    from ray.cluster_utils import Cluster
    from ray.exceptions import ActorDiedError, OutOfMemoryError

    from page4d_ros.fleet.on_ray import RayPool, RayWorker, _failure
except ImportError:
    pytest.skip('ray is not installed: `make test-fleet` installs it', allow_module_level=True)

MARK = f'PAGE4D_TEST_OF={os.getpid()}'.encode()  # in the environment of its processes


@pytest.fixture(autouse=True)
def _quiet(monkeypatch):
    """No usage reports, and a cluster that ends with the test."""
    monkeypatch.setenv('RAY_USAGE_STATS_ENABLED', '0')
    monkeypatch.setenv(*MARK.decode().split('='))
    yield
    ray.shutdown()


def worker_processes():
    """Process ids of this test's workers of Ray: those whose work has begun."""
    mine = set()
    for folder in Path('/proc').iterdir():
        if folder.name.isdecimal():
            try:
                words = (folder / 'cmdline').read_bytes()
                session = (folder / 'environ').read_bytes()
            except OSError:
                continue
            if words.startswith(b'ray::RayWorker') and MARK in session:
                mine.add(int(folder.name))
    return mine


def begun(folder, pool, tries=3, **options):
    store = Store(str(folder / 'out'))
    each = job(folder / 'out', run=f'test{time.time_ns()}', **options)
    found = find_tasks([str(folder / 'in')], each, store)
    said = []
    return Run(each, store, pool(each), found, tries=tries, said=said.append), store, said


def whole(store, folder):
    """True if every result has all files that its manifest names."""
    for key in store.keys(MANIFESTS):
        manifest = store.read(MANIFESTS, key)
        output = folder / 'out' / manifest['output']
        sizes = {name: (output / name).stat().st_size for name in manifest['files']}
        assert sizes == manifest['files']
    return True


def test_results_are_those_of_one_process_and_a_killed_worker_costs_one_try(tmp_path):
    write_good(tmp_path / 'in', 4, frames=3)
    broken = write_broken(tmp_path / 'in')
    local, local_store, _ = begun(tmp_path, LocalPool, tries=1)
    local.all()
    results = {}
    for key in local_store.keys(MANIFESTS):
        output = tmp_path / 'out' / local_store.read(MANIFESTS, key)['output']
        results[key] = (output / 'trajectory.tum').read_bytes(), messages(output)
    (tmp_path / 'out').rename(tmp_path / 'before')

    killed = []

    class Killing(RayPool):
        def submit(self, task):
            super().submit(task)
            if 'images' in task.recording.address and not killed:
                killed.extend(worker_processes())
                for process in killed:
                    os.kill(process, signal.SIGKILL)

    run, store, said = begun(tmp_path, lambda each: Killing(each, 'local', workers=1), tries=2)
    assert run.all()
    assert len(killed) == 1
    assert run.progress.failures[CRASH] == 1, said
    assert run.progress.done == 4
    assert {each.recording for each in quarantined(store, run.given_up)} == set(map(str, broken))
    assert store.keys(MANIFESTS) == results.keys()
    for key, (trajectory, said_there) in results.items():
        output = tmp_path / 'out' / store.read(MANIFESTS, key)['output']
        assert (output / 'trajectory.tum').read_bytes() == trajectory
        assert messages(output) == said_there
    assert whole(store, tmp_path)


def test_want_of_memory_is_told_from_a_crash():
    cause = 'Task was killed due to the node running low on memory.'
    assert _failure(OutOfMemoryError(cause)).kind == MEMORY
    assert _failure(ActorDiedError()).kind == CRASH


class Hungry(RayWorker):
    """Takes memory without end in the first try of a task."""

    def do(self, task):
        kept = []
        while not task.halvings:
            kept.append(bytearray(os.urandom(1)) * 2**27)  # written to, and so in memory
            time.sleep(0.05)
        return super().do(task)


@pytest.mark.long
def test_a_worker_that_takes_all_memory_tries_again_with_half_the_window(tmp_path, monkeypatch):
    write_good(tmp_path / 'in', 2, frames=3)
    total = os.sysconf('SC_PHYS_PAGES') * os.sysconf('SC_PAGE_SIZE')
    share = 1 - (free_bytes(torch.device('cpu')) - 2 * 2**30) / total  # what is used, and two GiB
    monkeypatch.setenv('RAY_memory_usage_threshold', f'{share:.3f}')
    monkeypatch.setenv('RAY_memory_monitor_refresh_ms', '100')
    ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])

    class HungryPool(RayPool):
        worker = Hungry

    wide = config(**{'window.size': 4})
    pool = partial(HungryPool, address='local', workers=1)
    run, store, said = begun(tmp_path, pool, config=wide)
    assert run.all(), said
    assert run.progress.failures == {MEMORY: 2}
    assert run.progress.reduced == 2
    assert len(store.keys(MANIFESTS)) == 2
    assert whole(store, tmp_path)


def test_no_cluster_is_a_clear_line(tmp_path):
    write_good(tmp_path / 'in', 2, frames=2)
    done = annotate([tmp_path / 'in'], tmp_path / 'out', '--ray', '127.0.0.1:1')
    assert done.exit_code == 1
    assert '`ray start --head` starts a cluster' in done.stderr


def test_a_cluster_without_room_is_a_clear_line(tmp_path):
    with pytest.raises(FleetError, match='no room for a worker of 1 CPUs and 8 GPUs'):
        RayPool(job(tmp_path / 'out'), 'local', gpus=8.0)


@pytest.fixture
def cluster():
    """Three nodes on loopback."""
    made = Cluster(initialize_head=True, head_node_args={'num_cpus': 1})
    nodes = [made.add_node(num_cpus=1, resources={'there': 1}) for _ in range(2)]
    made.wait_for_nodes()
    yield made, nodes
    ray.shutdown()
    made.shutdown()


@pytest.mark.long
def test_a_killed_worker_a_lost_node_and_a_new_driver(tmp_path, cluster):
    """Nothing is lost, nothing is made twice, and no file is half."""
    made, nodes = cluster
    write_good(tmp_path / 'in', 24, frames=12)
    events = []

    def harm():
        done = run.progress.done
        if done >= 3 and 'worker' not in events:
            os.kill(sorted(worker_processes())[0], signal.SIGKILL)
            events.append('worker')
        if done >= 6 and 'node' not in events:
            made.remove_node(nodes[1], allow_graceful=False)
            events.append('node')
        return done >= 12  # the driver goes, too

    run, store, said = begun(tmp_path, lambda each: RayPool(each, made.address, workers=3))
    assert not run.all(harm)
    assert events == ['worker', 'node']
    assert set(run.progress.failures) == {CRASH}
    assert run.progress.quarantined == 0, said
    done = len(store.keys(MANIFESTS))
    assert 12 <= done < 24
    before = {key: store.read(MANIFESTS, key)['finished'] for key in store.keys(MANIFESTS)}

    rest, store, said = begun(tmp_path, lambda each: RayPool(each, made.address, workers=2))
    assert rest.progress.before == done
    assert rest.all(), said
    assert rest.progress.quarantined == 0
    assert len(store.keys(MANIFESTS)) == 24
    assert len(list((tmp_path / 'out' / 'recordings').iterdir())) == 24
    for key, finished in before.items():
        assert store.read(MANIFESTS, key)['finished'] == finished
    assert whole(store, tmp_path)
    assert list((tmp_path / 'out' / '.partial').iterdir()) == []
