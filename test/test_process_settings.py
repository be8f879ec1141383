"""Threads and cores of a process."""

import os
import subprocess
import sys

import cv2
import pytest
import torch

from page4d_ros import process

HERTZ = os.sysconf('SC_CLK_TCK')


@pytest.fixture
def machine(tmp_path, monkeypatch):
    """Four cores; returns a function that lets time pass: seconds of wall, idle and own time."""
    stat = tmp_path / 'stat'
    monkeypatch.setattr(process, 'CORES', stat)
    monkeypatch.setattr(process, 'CONTAINER', tmp_path / 'cpu.max')
    monkeypatch.setattr(os, 'sched_getaffinity', lambda _: {0, 1, 2, 3}, raising=False)
    clocks = {'wall': 100.0, 'own': 5.0}
    monkeypatch.setattr(process.time, 'monotonic', lambda: clocks['wall'])
    monkeypatch.setattr(process.time, 'process_time', lambda: clocks['own'])

    def at(wall, idle, own):
        clocks.update(wall=100.0 + wall, own=5.0 + own)
        stat.write_text(
            f'cpu  7 7 7 {round(idle * HERTZ)} 0 0 0 0 0 0\ncpu0 1 1 1 1 0 0 0 0 0 0\n'
        )

    at(0, 50, 0)
    monkeypatch.setattr(process, 'BEGUN', process._Use.now())
    return lambda wall, idle, own: at(wall, 50 + idle, own)


@pytest.mark.parametrize(
    ('idle', 'own', 'free'),
    [
        (3 * 2.0, 2.0, 4),  # nobody else
        (1 * 2.0, 2.0, 2),  # two busy others
        (0.6 * 2.0, 1.0 * 2.0, 1),  # others use the rest of the second now and then
        (0.0, 0.8 * 2.0, 1),
        (0.0, 0.1 * 2.0, 1),  # one is the least
    ],
)
def test_free_cores(machine, idle, own, free):
    machine(2.0, idle, own)
    assert process.free_cores() == free


def test_a_container_limits_cores(machine, tmp_path):
    machine(2.0, 8.0, 0.0)
    (tmp_path / 'cpu.max').write_text('max 100000\n')
    assert process.free_cores() == 4
    (tmp_path / 'cpu.max').write_text('250000 100000\n')
    assert process.free_cores() == 2


def test_threads_by_setting_environment_and_free_cores(machine, monkeypatch):
    before = torch.get_num_threads(), cv2.getNumThreads()
    machine(2.0, 6.0, 0.0)
    try:
        assert process.use_threads(2) == torch.get_num_threads() == cv2.getNumThreads() == 2
        monkeypatch.setenv('OMP_NUM_THREADS', '1')
        assert process.use_threads(0) == torch.get_num_threads() == 1
        monkeypatch.delenv('OMP_NUM_THREADS')
        assert process.use_threads(0) == torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(before[0])
        cv2.setNumThreads(before[1])


@pytest.mark.parametrize('entry', ['cli', 'ros.main'])
def test_entry_points_set_the_process_up_before_numpy_and_torch(entry):
    code = f'import sys, page4d_ros.{entry}; print({{"numpy", "torch"}} & set(sys.modules))'
    out = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == 'set()'


@pytest.mark.parametrize(
    ('name', 'given', 'set_to'),
    [
        ('OMP_WAIT_POLICY', None, 'passive'),
        ('OMP_WAIT_POLICY', 'active', 'active'),
        ('OPENBLAS_NUM_THREADS', None, '1'),
        ('OPENBLAS_NUM_THREADS', '2', '2'),
    ],
)
def test_no_thread_spins_unless_the_user_says_so(monkeypatch, name, given, set_to):
    monkeypatch.delenv(name, raising=False)
    if given:
        monkeypatch.setenv(name, given)
    process.share_cores()
    assert os.environ[name] == set_to


def test_numpy_and_scipy_compute_with_one_thread():
    code = (
        'from page4d_ros.process import prepare\n'
        'prepare()\n'
        'import numpy as np, scipy.linalg, pathlib\n'
        'a = np.eye(600)\n'
        'a @ a, scipy.linalg.cho_factor(a)\n'
        'print(len(list(pathlib.Path("/proc/self/task").iterdir())))\n'
    )
    ours = {k: v for k, v in os.environ.items() if k not in {process.BLAS, process.THREADS}}
    out = subprocess.run(
        [sys.executable, '-c', code], capture_output=True, text=True, check=True, env=ours
    )
    assert out.stdout.strip() == '1'
