"""Strict mode: a run of pytest on a few tests that skip, with the repository's own conftest."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from allowed_skips import allowed

HERE = Path(__file__).parent
SKIPS = """
import pytest

@pytest.mark.skip(reason='rerun-sdk is not installed: pip install it')
def test_listed(): ...

@pytest.mark.skipif(True, reason='a mark of the day')
def test_mark(): ...

def test_call():
    pytest.skip('no mood')

@pytest.fixture
def lazy():
    pytest.skip('a fixture gave up')

def test_fixture(lazy): ...

@pytest.mark.xfail(reason='known')
def test_expected_failure():
    assert False

def test_passes(): ...
"""
MODULE = "import pytest\npytest.importorskip('no_such_module', reason='{}')\ndef test(): ...\n"


def run(folder, source, *, strict):
    for name in ('conftest.py', 'allowed_skips.py'):
        shutil.copy(HERE / name, folder)
    (folder / 'test_some.py').write_text(source)
    environment = {k: v for k, v in os.environ.items() if k != 'PAGE4D_REQUIRE_ALL'}
    done = subprocess.run(
        [sys.executable, '-m', 'pytest', '-q', '-p', 'no:cacheprovider', '-c', os.devnull, folder],
        env=environment | ({'PAGE4D_REQUIRE_ALL': '1'} if strict else {}),
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    counts = re.findall(r'(\d+) (\w+)', done.stdout.splitlines()[-1])
    return done, {word.rstrip('s'): int(number) for number, word in counts}


def test_unlisted_skips_fail(tmp_path):
    done, counts = run(tmp_path, SKIPS, strict=True)
    assert done.returncode == 1
    assert (counts['passed'], counts['skipped'], counts['xfailed']) == (1, 1, 1)
    assert counts.get('failed', 0) + counts.get('error', 0) == 3
    for reason in ('a mark of the day', 'no mood', 'a fixture gave up', 'allowed_skips.py'):
        assert reason in done.stdout


def test_without_strict_mode_they_skip(tmp_path):
    done, counts = run(tmp_path, SKIPS, strict=False)
    assert done.returncode == 0
    assert counts['skipped'] == 4


@pytest.mark.parametrize(
    ('reason', 'code'), [('the moon is full', 2), ('launch_ros is not installed: no wheel', 5)]
)
def test_a_module_that_skips(tmp_path, reason, code):
    done, _ = run(tmp_path, MODULE.format(reason), strict=True)
    assert done.returncode == code
    assert reason in done.stdout or code == 5


def test_only_reasons_of_the_list_are_allowed():
    assert allowed('cv_bridge is not installed: there is nothing to compare with')
    assert not allowed('rclpy is not installed')
    assert not allowed('mujoco is not installed, and cv_bridge is not installed')
