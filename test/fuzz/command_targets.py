"""Command lines, with paths inside an empty folder."""

import contextlib
import os

from bags_helpers import camera_messages, write_bag
from typer.testing import CliRunner

from fuzz.target import Skip, target
from page4d_ros.cli import app

LINES = (
    'info bag',
    'info junk.mcap',
    'info nowhere --json',
    'replay nowhere -o out --checkpoint untrained --set window.size=4 --stride 2',
    'replay junk.mcap -o out --start 1 --duration 2 --rate 5 --image-topic /image --json',
    'replay junk.bag -o out --camera left=/left --camera right=/right --topic odom --clip',
    'replay nowhere -o out --camera 50,50,32,24 --params some.yaml --device cpu --force',
    'report nowhere --source nowhere -o out',
    'import-tum nowhere -o out --camera freiburg2',
    'shards-from junk.bag -o out --frames 4 --stride 2 --width 32 --force',
    'label nowhere -o out --weights untrained --frames 8 --set window.size=3',
    'average nowhere nothing -o out.safetensors --share 0.5 --name a --half',
    'calibrate untrained --shards nowhere -o out.json --gram --set window.size=3',
    'evaluate odometry nowhere -o out --set window.size=3',
    'evaluate data tum nowhere -o out --checkpoint untrained --sequence a --stride 2',
    'train nowhere.yaml -o out --set steps=3 --threads 1',
    'train some.yaml -o out --set data.train=nowhere --device cpu',
    'play nowhere --rate 2 --loops 2 --topic /image',
    'parameters',
    '--version',
    'replay --help',
)
COMMANDS = {line.split()[0] for line in LINES}
OPTIONS = {word for line in LINES for word in line.split() if word.startswith('-')}
AWAY = str.maketrans({'/': '_', '~': '_', '\0': ' '})  # a word names no path outside


@target(words=[word.encode() + b'\n' for word in sorted(COMMANDS | OPTIONS)], heavy=True)
def command_line(folder):
    """A `page4d` command that reads what is not there or is junk; a line is a word."""
    home = folder / 'home'
    home.mkdir()
    write_bag(home / 'bag', 'mcap', camera_messages(1, width=8, height=6))
    for suffix in ('mcap', 'bag', 'db3'):
        (home / f'junk.{suffix}').write_bytes(b'junk')
    (home / 'some.yaml').write_text('/**:\n  ros__parameters:\n    window: {size: 4}\n')
    run = CliRunner()

    def take(data):
        words = [word.translate(AWAY) for word in data.decode('utf-8', 'replace').split('\n')]
        if words[0] not in COMMANDS or ('bag' in words[1:] and words[0] != 'info'):
            raise Skip  # others compute for minutes
        with in_folder(home):
            done = run.invoke(app, words)
        if done.exception is not None and not isinstance(done.exception, SystemExit):
            raise done.exception
        assert done.exit_code in {0, 1, 2}, done.exit_code
        if done.exit_code == 1:
            lines = done.stderr.splitlines()
            assert any(line.startswith('page4d: ') for line in lines), done.stderr
            assert all(line.isprintable() for line in lines), done.stderr

    return ['\n'.join(line.split()).encode() for line in LINES], take


@contextlib.contextmanager
def in_folder(path):
    """Work in a folder for a while."""
    before = os.getcwd()
    os.chdir(path)
    try:
        yield
    finally:
        os.chdir(before)
