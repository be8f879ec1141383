"""`page4d render` and `page4d shards` as a user calls them."""

import inspect
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from typer.testing import CliRunner

from page4d_ros.bags.reader import open_bag
from page4d_ros.cli import app
from page4d_ros.commands import make
from page4d_ros.synthetic.drive import DRIVE_SECONDS
from page4d_ros.synthetic.options import ShardFormat
from page4d_ros.synthetic.render import render_clip

TINY = ('--width', '32', '--height', '24', '--frames', '3')
TRAIN = ('--split', 'train', '--rooms', '1,2')


def page4d(*words):
    return CliRunner().invoke(app, [str(word) for word in words])


def shards(folder, *words):
    return page4d('shards', '-o', folder, *words, *TINY)


def positions(path):
    with open_bag(path) as bag:
        found = [message for topic, _, message in bag.messages(bag.topics()) if 'odom' in topic]
    points = [message.pose.pose.position for message in found]
    return np.array([(p.x, p.y, p.z) for p in points])


def test_the_defaults_of_the_command_are_those_of_the_library():
    command = inspect.signature(make.render).parameters
    library = inspect.signature(render_clip).parameters
    for name, parameter in library.items():
        assert command[name.removesuffix('_hz')].default == parameter.default
    assert command['seconds'].default == DRIVE_SECONDS
    command = inspect.signature(make.shards).parameters
    names = {'fov_x_deg': 'fov', 'rate_hz': 'rate'}
    for name, value in ShardFormat()._asdict().items():
        assert command[names.get(name, name)].default == value


def test_render_with_a_rig_and_traffic(renderer, tmp_path):
    size = ('--width', '64', '--height', '48', '--frames', '3')
    for rig in ('tripod', 'wheels'):
        done = page4d(
            *('render', '-o', tmp_path / rig, '--rig', rig, '--traffic', 'none'),
            *('--seconds', 4, '--rate', 2, *size),
        )
        assert done.exit_code == 0, done.output
        assert done.stdout.endswith('3 frames of 64x48 pixels\n')
    still, moving = (positions(tmp_path / rig) for rig in ('tripod', 'wheels'))
    assert len(still) == len(moving) == 3
    assert np.ptp(still, axis=0).max() == 0
    assert np.ptp(moving, axis=0).max() > 0.1


def test_render_says_the_longest(tmp_path):
    done = page4d('render', '-o', tmp_path / 'clip', '--frames', 302)
    assert (done.exit_code, 'at most 301 fit' in done.stderr) == (1, True)
    assert not (tmp_path / 'clip').exists()


def test_shards(renderer, tmp_path, monkeypatch):
    monkeypatch.setattr(make, 'EVERY_S', 0.0)
    done = shards(tmp_path, *TRAIN, '--drives', 1)
    assert done.exit_code == 0, done.output
    size = sum(path.stat().st_size for path in tmp_path.iterdir()) / 1e6
    assert done.stdout == (
        f'{tmp_path}: 2 shards, 6 frames, {size:.1f} MB; 0 drives did not fit into their rooms\n'
    )
    assert done.stderr == 'page4d: 1 of 2 shards\npage4d: 2 of 2 shards\n'
    monkeypatch.setattr('page4d_ros.synthetic.workers.ProcessPoolExecutor', None)
    assert shards(tmp_path, *TRAIN, '--drives', 1).stdout == done.stdout
    other = shards(tmp_path, *TRAIN, '--drives', 1, '--rate', 5)
    assert other.exit_code == 1
    assert 'room0001_drive100000.safetensors: has 3 frames of 32x24 pixels' in other.stderr


def test_shards_of_places_and_a_range_of_rooms(renderer, tmp_path):
    done = shards(tmp_path, '--split', 'validation', '--rooms', '1-2', '--places', 1, '--fov', 0)
    assert done.exit_code == 0, done.output
    names = sorted(path.name[:8] for path in tmp_path.iterdir())
    assert names == ['room0001', 'room0002', 'room2000']


@pytest.mark.parametrize(
    ('words', 'error'),
    [
        (('--split', 'dev', '--rooms', '1', '--drives', 1), "no split 'dev'"),
        (('--split', 'train', '--rooms', '', '--drives', 1), 'no rooms'),
        (('--split', 'train', '--rooms', '1,b', '--drives', 1), '--rooms 1,b: expected numbers'),
        ((*TRAIN, '--drives', 100_001), 'from 1 to 100000'),
    ],
)
def test_what_cannot_be_asked_for_is_one_line(tmp_path, words, error):
    done = shards(tmp_path / 'none', *words)
    assert done.exit_code == 1
    assert error in done.stderr
    assert done.stderr.count('\n') == 1
    assert not (tmp_path / 'none').exists()


def test_ctrl_c_leaves_whole_shards_only(renderer, tmp_path):
    command = [sys.executable, '-m', 'page4d_ros.cli', 'shards', '-o', tmp_path, *TRAIN, *TINY]
    process = subprocess.Popen(
        [*map(str, command), '--drives', '100', '--processes', '2'],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    deadline = time.monotonic() + 60
    while not list(tmp_path.glob('*.safetensors')) and time.monotonic() < deadline:
        time.sleep(0.02)
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does: to the workers too
    assert process.communicate(timeout=30) == ('', '')
    assert process.returncode == 130
    assert {path.suffix for path in tmp_path.iterdir()} == {'.safetensors'}
