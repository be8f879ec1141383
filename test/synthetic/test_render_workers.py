"""Processes that render: they end when they should, and leave the caller as it was."""

import multiprocessing
import os
import signal
import time

import pytest

from page4d_ros.errors import SceneError
from page4d_ros.synthetic.workers import in_parallel


def test_results_come_in_order_and_llvmpipe_takes_one_core_in_the_workers_only(monkeypatch):
    monkeypatch.delenv('LP_NUM_THREADS', raising=False)
    names = ['LP_NUM_THREADS', 'NO_SUCH_VARIABLE'] * 3
    assert list(in_parallel(os.getenv, names, 2)) == ['0', None] * 3
    assert 'LP_NUM_THREADS' not in os.environ
    assert not multiprocessing.active_children()


def test_no_task_needs_no_process(monkeypatch):
    monkeypatch.setattr('page4d_ros.synthetic.workers.ProcessPoolExecutor', None)
    assert list(in_parallel(str, [], 2)) == []


def test_a_process_that_dies_is_an_error():
    with pytest.raises(SceneError, match='died, perhaps for want of memory'):
        list(in_parallel(os._exit, [1], 1))


def test_errors_of_the_work_pass():
    with pytest.raises(ValueError, match='invalid literal'):
        list(in_parallel(int, ['1', 'x'], 1))


def test_closing_ends_work_in_its_midst():
    results = in_parallel(time.sleep, [0, 60, 60], 2)
    next(results)
    start = time.monotonic()
    results.close()
    assert time.monotonic() - start < 10
    assert not multiprocessing.active_children()


def test_ctrl_c_is_for_the_caller_and_not_for_the_workers():
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [])
    assert list(in_parallel(hears_ctrl_c, [None], 1)) == [False]
    assert signal.pthread_sigmask(signal.SIG_BLOCK, []) == before


def hears_ctrl_c(_):
    try:
        os.kill(os.getpid(), signal.SIGINT)
    except KeyboardInterrupt:
        return True
    return False
