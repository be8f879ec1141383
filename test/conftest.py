"""Shared by all tests: the helper modules of this folder by their names, and strict mode.

With `PAGE4D_REQUIRE_ALL` set, as in `make test`, a skip fails unless allowed_skips.py lists it.
One thread computes, here and in processes that tests start, unless OMP_NUM_THREADS says otherwise:
on networks as small as those of tests several threads spend their time waiting for each other.
Each process of pytest-xdist has ROS domains that nobody else uses, a test after the other. Where
one dies, the report of its test says in which line of which thread.
"""

import faulthandler
import os
import signal
import sys
from itertools import cycle
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
os.environ.setdefault('OMP_NUM_THREADS', '1')  # read when torch is imported
os.environ.setdefault('PAGE4D_BACKEND', 'torch')  # building graphs for each test would take long

from allowed_skips import allowed

from page4d_ros.process import share_cores

share_cores()
WORKER = os.environ.get('PYTEST_XDIST_WORKER', '')
if WORKER:
    DOMAINS = cycle(range(217 + int(WORKER.removeprefix('gw')), 233, 4))
    os.environ['ROS_DOMAIN_ID'] = str(next(DOMAINS))

STRICT = bool(os.environ.get('PAGE4D_REQUIRE_ALL'))

STACKS = pytest.StashKey()


def stacks(config, worker):
    """File with the stacks of all threads of a process of pytest-xdist at its death."""
    folder = config.rootpath / '.pytest_cache' / 'stacks'
    folder.mkdir(parents=True, exist_ok=True)
    return folder / worker


@pytest.hookimpl(trylast=True)
def pytest_configure(config):
    if WORKER:  # after pytest's own faulthandler, whose output is lost among that of the others
        config.stash[STACKS] = stacks(config, WORKER).open('w')
        faulthandler.enable(config.stash[STACKS])


@pytest.hookimpl(optionalhook=True)
def pytest_handlecrashitem(crashitem, report, sched):
    worker = report.node.gateway.id
    died = stacks(sched.config, worker).read_text().partition('\nExtension modules')[0]
    report.longrepr = f'{report.longrepr}\n{died}'


@pytest.fixture(autouse=True)
def another_domain():
    """Where nodes of the test before are not seen, should DDS let them go late."""
    if WORKER:
        os.environ['ROS_DOMAIN_ID'] = str(next(DOMAINS))


@pytest.fixture(autouse=True)
def same_signals():
    """Restore handlers, which processes that later tests start would inherit if ignored."""
    sent = signal.SIGINT, signal.SIGTERM
    before = [signal.getsignal(each) for each in sent]
    yield
    for each, handler in zip(sent, before, strict=True):
        if handler is not None:  # installed from C
            signal.signal(each, handler)


def refuse_unknown_skip(report):
    """Turn a skip for a reason that is not listed into a failure."""
    if STRICT and report.skipped and not hasattr(report, 'wasxfail'):
        reason = report.longrepr[-1].removeprefix('Skipped: ')
        if not allowed(reason):
            report.outcome = 'failed'
            report.longrepr = (
                f'skipped: {reason}\nStrict mode (PAGE4D_REQUIRE_ALL) accepts the skips of '
                'test/allowed_skips.py only: install what is missing.'
            )
    return report


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_makereport(item, call):
    return refuse_unknown_skip((yield))


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_make_collect_report(collector):
    return refuse_unknown_skip((yield))
