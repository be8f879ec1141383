"""Whatever is thrown in the worker's thread, or while that is reported, the thread goes on."""

import threading

import pytest

from page4d_ros.ros.worker import Worker


class Runner:
    """Fails at every step until it has done enough of them."""

    def __init__(self, error):
        self.stopping, self.done = threading.Event(), threading.Event()
        self.error, self.steps = error, 0

    def step(self, _timeout):
        self.steps += 1
        if self.steps > 2:
            self.done.set()
            self.stopping.wait(10)
            return
        raise self.error

    def recover(self):
        raise self.error

    def stop(self):
        self.stopping.set()


@pytest.mark.parametrize('error', [ValueError('ours'), MemoryError(), SystemExit(3)], ids=repr)
@pytest.mark.parametrize('listener', ['hears', 'fails'])
def test_the_worker_goes_on(error, listener):
    heard, runner = [], Runner(error)

    def failed(found, trace):
        heard.append((found, trace))
        if listener == 'fails':
            raise RuntimeError('the log fails, too')

    worker = Worker(runner, failed)
    worker.start()
    assert runner.done.wait(20)
    assert worker.stop(10)
    assert [found for found, _ in heard] == [error] * 4  # of two steps and two recoveries
    assert type(error).__name__ in heard[0][1]
