"""Recipes: what is read, and one clear line for everything that is wrong."""

import json
import math
import sys

import pytest
from test_schedule import RECIPES

from page4d_ros.errors import TrainingError
from page4d_ros.training.log import EVERY, METRICS, Log
from page4d_ros.training.recipe import (
    Recipe,
    differences,
    load_recipe,
    read_recipe,
    recipe_tree,
)


@pytest.mark.parametrize('name', ['tiny', 'tiny_poses', 'finetune'])
def test_a_shipped_recipe_survives_its_own_tree(name):
    recipe = load_recipe(RECIPES / f'{name}.yaml')
    assert read_recipe(recipe_tree(recipe), name) == recipe
    assert differences(recipe, Recipe())


def test_an_empty_file_is_all_defaults(tmp_path):
    (tmp_path / 'r.yaml').write_text('# nothing\n')
    assert load_recipe(tmp_path / 'r.yaml') == Recipe()


def test_overrides_reach_every_depth(tmp_path):
    (tmp_path / 'r.yaml').write_text('data: {width: 70}\n')
    values = {'steps': 7, 'data.train': 'here', 'data.sensor.noise': 0, 'loss.camera': 2}
    recipe = load_recipe(tmp_path / 'r.yaml', values | {'data.window_sizes': {3: 1}})
    assert (recipe.steps, recipe.data.train, recipe.data.width) == (7, 'here', 70)
    assert (recipe.data.sensor.noise, recipe.loss.camera) == (0.0, 2.0)
    assert recipe.data.window_sizes == {3: 1}
    assert set(differences(recipe, Recipe())) == {
        'data.width',
        'data.sensor.noise',
        'data.window_sizes',
        'loss.camera',
    }


@pytest.mark.parametrize(
    ('text', 'message'),
    [
        ('sunshine: 1', 'no setting sunshine; there are .*steps'),
        ('data: {sensor: {rain: 1}}', 'r.yaml: data: sensor: no setting rain'),
        ('3: 4', 'no setting 3'),
        ('steps: many', "steps must be a int, not 'many'"),
        ('steps: 1.5', 'steps must be a int'),
        ('steps: true', 'steps must be a int'),
        ('steps: 0', r'steps is 0, outside \[1, inf\]'),
        ('save_every: 0', 'save_every is 0'),
        ('data: 5', 'data: expected settings by name, not 5'),
        ('[1, 2]', r'expected settings by name, not \[1, 2\]'),
        ('name:', 'name must be a str, not None'),
        ('network: huge', "network is 'huge'; take one of tiny, published"),
        ('loss: {gauge: room}', 'take one of first_camera, first_camera_metres, scene'),
        ('loss: {depth: -1}', r'depth is -1.0, outside \[0, inf\]'),
        ('loss: {depth: .nan}', 'depth is nan'),
        ('data: {ordered: 2}', r'ordered is 2.0, outside \[0, 1\]'),
        ('data: {fov_x_deg: 180}', 'fov_x_deg is 180'),
        ('data: {window_sizes: {}}', 'window_sizes must be odds by length'),
        ('data: {window_sizes: {0: 1}}', 'window_sizes must be odds by length'),
        ('data: {window_sizes: {2: 0}}', 'window_sizes must be odds by length'),
        ('data: {window_sizes: {a: 1}}', 'window_sizes must be odds by length'),
        ('betas: [0.9]', 'betas must be two numbers below 1'),
        ('groups: []', 'groups must be a list of groups'),
        ('groups: {lr: 1}', 'groups must be a list of groups'),
        ("groups: [{parameters: '*'}]", 'parameters must be a list of names'),
        ('groups: [{lr: fast}]', "groups: lr must be a float, not 'fast'"),
        ('groups: [{fall: sine}]', 'take one of cosine, linear'),
        ('groups: [{warmup: 0.5, hold: 0.1}]', 'hold 0.1 ends before warmup 0.5'),
        ('a: [', 'is no YAML'),
        ('a: 1\n\tb: 2', 'is no YAML'),
    ],
)
def test_a_wrong_recipe_is_one_clear_line(tmp_path, text, message):
    path = tmp_path / 'r.yaml'
    path.write_text(text)
    with pytest.raises(TrainingError, match=message) as caught:
        load_recipe(path)
    assert str(caught.value).startswith(str(path))
    assert '\n' not in str(caught.value)


@pytest.mark.parametrize('name', ['sunshine', 'data.rain', 'steps.more', 'data.train.x.y'])
def test_a_wrong_override_is_named(tmp_path, name):
    (tmp_path / 'r.yaml').write_text('steps: 3\ndata: {train: here}\n')
    with pytest.raises(TrainingError, match=r'r.yaml.*no setting'):
        load_recipe(tmp_path / 'r.yaml', {name: 1})


def test_what_is_no_recipe_is_refused(tmp_path):
    (tmp_path / 'bytes.yaml').write_bytes(b'\xff\xfe\x00steps')
    with pytest.raises(TrainingError, match='is no YAML'):
        load_recipe(tmp_path / 'bytes.yaml')
    with pytest.raises(TrainingError, match='no such recipe'):
        load_recipe(tmp_path / 'missing.yaml')
    with pytest.raises(TrainingError, match='no such recipe'):
        load_recipe(tmp_path)


def lines(folder):
    return [json.loads(line) for line in (folder / METRICS).read_text().splitlines()]


def test_means_are_written_now_and_then_and_in_the_end(tmp_path):
    log = Log(tmp_path)
    for step in range(1, EVERY + 3):
        log.losses(step, {'total': float(step)})
    log.metrics(EVERY + 2, {'abs_rel': 0.1234567, 'mask_ap': math.nan})
    log.close()
    first, evaluation, last = lines(tmp_path)
    assert (first['step'], first['kind'], first['total']) == (EVERY, 'loss', (EVERY + 1) / 2)
    assert evaluation == {
        'step': EVERY + 2,
        'kind': 'validation',
        'abs_rel': 0.123457,
        'mask_ap': None,
    }
    assert (last['step'], last['total']) == (EVERY + 2, EVERY + 1.5)


def test_a_log_goes_on_where_the_state_was_saved(tmp_path):
    """A run was killed at step 60, and its last state is of step 40."""
    log = Log(tmp_path)
    for step in range(1, 61):
        log.losses(step, {'total': 1.0})
        if step % 20 == 10:
            log.metrics(step, {'abs_rel': step / 100})
    log.close()
    with (tmp_path / METRICS).open('a') as file:
        file.write('{"step": 61, "ki')
    log = Log(tmp_path, after=40)
    assert log.last == {'abs_rel': 0.3}
    for step in range(41, 61):
        log.losses(step, {'total': 2.0})
    log.close()
    found = [(line['step'], line['kind'], line.get('total')) for line in lines(tmp_path)]
    assert [f for f in found if f[1] == 'loss'] == [
        (20, 'loss', 1.0),
        (40, 'loss', 1.0),
        (60, 'loss', 2.0),
    ]
    assert [step for step, kind, _ in found if kind == 'validation'] == [10, 30]
    Log(tmp_path, after=0).close()
    assert lines(tmp_path) == []


def test_without_tensorboard_there_is_still_the_file(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, 'torch.utils.tensorboard', None)
    log = Log(tmp_path)
    assert not log.boarded
    log.metrics(1, {'abs_rel': 1.0})
    log.close()
    assert [path.name for path in tmp_path.iterdir()] == [METRICS]
    with pytest.raises(TrainingError, match='cannot be written'):
        Log(tmp_path / METRICS)
