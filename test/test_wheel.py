"""The wheel for desks without ROS holds all that it needs, and works away from the checkout."""

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

import page4d_ros

ROOT = Path(__file__).parents[1]
SOURCE = ('page4d_ros', 'config', 'launch', 'msg', 'srv', 'resource')
FILES = ('setup.py', 'setup.cfg', 'pyproject.toml', 'package.xml', 'LICENSE')


@pytest.fixture(scope='module')
def wheel(tmp_path_factory):
    """Wheel of a copy, as building writes into its folder."""
    folder = tmp_path_factory.mktemp('wheel')
    for name in SOURCE:
        ignored = shutil.ignore_patterns('__pycache__', '*.egg-info')
        shutil.copytree(ROOT / name, folder / 'source' / name, ignore=ignored)
    for name in FILES:
        shutil.copy(ROOT / name, folder / 'source')
    run(folder, 'pip', 'wheel', './source', '--no-deps', '--no-build-isolation', '-w', 'dist')
    (path,) = (folder / 'dist').glob('*.whl')
    return path


def run(folder, *words, **environment):
    done = subprocess.run(
        [sys.executable, '-m', *words], cwd=folder, env=os.environ | environment,
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_it_is_for_every_python_and_machine(wheel):
    assert wheel.name == f'page4d_ros-{page4d_ros.__version__}-py3-none-any.whl'


def test_it_holds_every_file_of_the_package(wheel):
    with zipfile.ZipFile(wheel) as archive:
        inside = set(archive.namelist())
    for path in (ROOT / 'page4d_ros').rglob('*'):
        if path.is_file() and '__pycache__' not in path.parts:
            assert str(path.relative_to(ROOT)) in inside
    share = f'page4d_ros-{page4d_ros.__version__}.data/data/share/page4d_ros/'
    for folder in ('config', 'launch', 'msg', 'srv'):
        for path in (ROOT / folder).rglob('*.*'):
            if path.is_file() and '__pycache__' not in path.parts:
                assert f'{share}{path.relative_to(ROOT)}' in inside


def test_it_replays_where_there_is_no_checkout(wheel, tmp_path):
    """The libraries are those of this environment; the workflow installs them, too."""
    site = tmp_path / 'site'
    run(tmp_path, 'pip', 'install', '--no-deps', '--target', str(site), str(wheel))
    where = run(tmp_path, 'page4d_ros.cli', '--version', PYTHONPATH=str(site))
    assert page4d_ros.__version__ in where
    recording = site / 'page4d_ros/data/sample_room'
    words = ('replay', str(recording), '-o', 'out', '--duration', '0.5', '--json')
    said = run(tmp_path, 'page4d_ros.cli', *words, PYTHONPATH=str(site))
    assert '"estimates": ' in said
    assert (tmp_path / 'out/trajectory.tum').read_text()
