"""Shared by all tests: the helper modules of this folder by their names, and strict mode.

With `PAGE4D_REQUIRE_ALL` set, as in `make test`, a skip fails unless allowed_skips.py lists it.
One thread computes, here and in processes that tests start, unless OMP_NUM_THREADS says otherwise:
on networks as small as those of tests several threads spend their time waiting for each other.
Each process of pytest-xdist has a ROS graph of its own, in a domain that nobody else uses.
"""

import os
import sys
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
    os.environ['ROS_DOMAIN_ID'] = str(217 + int(WORKER.removeprefix('gw')))

STRICT = bool(os.environ.get('PAGE4D_REQUIRE_ALL'))


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
