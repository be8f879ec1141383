"""Files and words that somebody made to hurt: one line on stderr, without a trace."""

import cv2
import numpy as np
import pytest
from bags_helpers import camera_messages, write_bag
from typer.testing import CliRunner

from page4d_ros.cli import app
from page4d_ros.config import Config
from page4d_ros.errors import BagError, ConfigError, Page4dError, TrainingError, printable
from page4d_ros.settings import parse_assignment, parse_yaml
from page4d_ros.training.recipe import load_recipe


@pytest.fixture(scope='module')
def bag(tmp_path_factory):
    return write_bag(tmp_path_factory.mktemp('cli') / 'bag', 'mcap', camera_messages(2))


def refused(*words):
    """One line that a command ends with."""
    done = CliRunner().invoke(app, [str(word) for word in words])
    assert done.exit_code == 1, done.exception
    (line,) = done.stderr.splitlines()
    assert line.startswith('page4d: ')
    assert line.isprintable()
    return line


LAUGHS = 'a: &a [1,1,1,1,1,1,1,1,1]\n' + ''.join(
    f'{b}: &{b} [*{a},*{a},*{a},*{a},*{a},*{a},*{a},*{a},*{a}]\n'
    for a, b in zip('abcdefgh', 'bcdefghi', strict=True)
)
YAML = {
    'deep flow': 'a: ' + '[' * 50_000,
    'deep closed': 'a: ' + '[' * 2_000 + ']' * 2_000,
    'deep block': '- ' * 20_000 + 'a',
    'recursive': 'a: &a [*a]',
    'recursive mapping': 'a: &a\n  b: *a',
    'merged into itself': 'a: &a\n  <<: *a\n  b: 1',
    'laughs': LAUGHS,
    'no date': 'a: 2020-99-99',
    'long number': 'a: ' + '9' * 10_000,
    'list as a name': '? [1, 2]\n: 3',
    'controls': 'a: \x1b]0;x\x07',
}


@pytest.mark.parametrize('kind', YAML)
def test_parameter_files_and_recipes(tmp_path, bag, kind):
    path = tmp_path / 'a.yaml'
    path.write_text(YAML[kind])
    refused('replay', bag, '-o', tmp_path / 'out', '--params', path)
    with pytest.raises(TrainingError):
        load_recipe(path)


def test_what_is_no_tree_is_refused_as_such():
    with pytest.raises(ValueError, match='more than 100000 values'):
        parse_yaml(LAUGHS)
    with pytest.raises(ValueError, match='part of itself'):
        parse_yaml(YAML['recursive'])
    with pytest.raises(ValueError, match='nested more than 32 deep'):
        parse_yaml(YAML['deep closed'])
    assert parse_yaml('a: &x [1, 2]\nb: *x') == {'a': [1, 2], 'b': [1, 2]}


@pytest.mark.parametrize(
    'words',
    [
        ('--set', 'window.size=' + '[' * 10_000),
        ('--set', 'window.size=' + '[' * 1_000 + ']' * 1_000),
        ('--set', 'window.size=9\x1b[2J\nforged'),
        ('--start', '1e300'),
        ('--duration', '1e300'),
        ('--image-topic', '/a\x1b]0;owned\x07\nforged'),
    ],
    ids=range(6),
)
def test_options(tmp_path, bag, words):
    refused('replay', bag, '-o', tmp_path / 'out', '--checkpoint', 'untrained', *words)


def test_names_are_printed_as_one_line():
    assert printable('Größe 3 µm') == 'Größe 3 µm'
    assert printable('a\nb\x1b[2J\u202e') == r'a\nb\x1b[2J\u202e'
    for kind in (Page4dError, BagError, ConfigError):
        assert str(kind('a\nb')) == r'a\nb'


@pytest.mark.parametrize('value', ['', 'left', '3', '{a: 1}'])
@pytest.mark.parametrize('name', ['cameras', 'rig.offsets'])
def test_a_list_is_wanted_where_there_is_one(name, value):
    with pytest.raises(ConfigError, match=f'{name}: expected a list'):
        Config().with_values(dict([parse_assignment(f'{name}={value}')]))


def sequence(tmp_path, rgb='1.0 rgb/1.png', poses='1.0 0 0 0 0 0 0 1'):
    """Folder of a TUM sequence with one image."""
    (tmp_path / 'tum/rgb').mkdir(parents=True)
    cv2.imwrite(str(tmp_path / 'tum/rgb/1.png'), np.zeros((480, 640, 3), np.uint8))
    for name, text in (('rgb', rgb), ('groundtruth', poses)):
        data = text if isinstance(text, bytes) else text.encode()
        (tmp_path / f'tum/{name}.txt').write_bytes(data)
    return tmp_path / 'tum'


def test_a_tum_sequence_that_is_whole(tmp_path):
    folder = sequence(tmp_path)
    done = CliRunner().invoke(app, ['import-tum', str(folder), '-o', str(tmp_path / 'bag')])
    assert done.exit_code == 0, done.stderr


@pytest.mark.parametrize(
    ('lists', 'said'),
    [
        ({'rgb': '1.0 ../../etc/passwd'}, 'which is outside'),
        ({'rgb': '1.0 /etc/passwd'}, 'which is outside'),
        ({'rgb': '1.0 groundtruth.txt'}, 'is no PNG or JPEG image'),
        ({'rgb': b'1.0 rgb/1.png\n\xff\xfe\x00'}, 'expected a time and a value'),
        ({'rgb': bytes(range(256)) * 10}, 'expected a time and a value'),
        ({'poses': '1.0 inf 0 0 0 0 0 1'}, 'no pose at'),
        ({'poses': '1.0 0 0 0 nan 0 0 1'}, 'no pose at'),
        ({'poses': '1.0 0 0 0 0 0 0 0'}, 'no pose at'),
        ({'poses': '1.0 1 2 3'}, 'no pose at'),
    ],
    ids=range(9),
)
def test_lists_of_a_tum_sequence(tmp_path, lists, said):
    folder = sequence(tmp_path, **lists)
    assert said in refused('import-tum', folder, '-o', tmp_path / 'bag')


def test_settings_still_name_what_is_wrong(tmp_path):
    path = tmp_path / 'a.yaml'
    path.write_bytes(b'\xff\xfe\xff')
    assert 'not a YAML file' in refused('replay', tmp_path, '-o', 'x', '--params', path)
    with pytest.raises(ConfigError, match='expected int'):
        Config().with_values({'window.size': [[1]]})
