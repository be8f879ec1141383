"""Recipes: what is read, and one clear line for everything that is wrong."""

import json
import math
import sys

import pytest
from test_schedule import RECIPES

from page4d_ros.errors import TrainingError
from page4d_ros.training.log import EVERY, METRICS, Log
from page4d_ros.training.recipe import (
    GroupConfig,
    Recipe,
    fixed_differences,
    load_recipe,
    read_recipe,
)


@pytest.mark.parametrize('name', ['tiny', 'tiny_poses', 'finetune'])
def test_a_shipped_recipe_survives_its_own_tree(name):
    recipe = load_recipe(RECIPES / f'{name}.yaml')
    assert read_recipe(recipe.to_mapping(), name) == recipe
    assert fixed_differences(recipe, Recipe())


def test_every_setting_is_documented_and_its_default_is_allowed():
    for name, leaf in (Recipe.leaves() | GroupConfig.leaves()).items():
        assert leaf.doc.endswith('.'), name
    assert Recipe().with_values(Recipe().to_mapping()) == Recipe()


def test_an_empty_file_is_all_defaults(tmp_path):
    (tmp_path / 'r.yaml').write_text('# nothing\n')
    assert load_recipe(tmp_path / 'r.yaml') == Recipe()


def test_overrides_reach_every_depth(tmp_path):
    (tmp_path / 'r.yaml').write_text('data: {width: 70}\n')
    values = {'steps': 7, 'data.train': 'here', 'data.augmentation.noise': 0, 'loss.camera': 2}
    recipe = load_recipe(tmp_path / 'r.yaml', values | {'data.window_sizes': {3: 1}})
    assert (recipe.steps, recipe.data.train, recipe.data.width) == (7, 'here', 70)
    assert (recipe.data.augmentation.noise, recipe.loss.camera) == (0.0, 2.0)
    assert recipe.data.window_sizes == {3: 1}
    assert set(fixed_differences(recipe, Recipe())) == {
        'data.width',
        'data.augmentation.noise',
        'data.window_sizes',
        'loss.camera',
    }


@pytest.mark.parametrize(
    ('text', 'message'),
    [
        ('sunshine: 1', "unknown setting 'sunshine'; there are .*steps"),
        (
            'data: {augmentation: {rain: 1}}',
            'augmentation.rain.; there are exposure',
        ),
        ('stesp: 1', "unknown setting 'stesp'; did you mean steps"),
        ('loss: {gauge: scene}', r'r.yaml: loss\.gauge is now called loss\.targets'),
        ('data: {sensor: {noise: 0}}', r'data\.sensor is now called data\.augmentation'),
        ('3: 4', "unknown setting '3'"),
        ('steps: many', "steps: expected int, got 'many'"),
        ('steps: 1.5', 'steps: expected int'),
        ('steps: true', 'steps: expected int'),
        ('steps: 0', r'steps: 0 is outside \[1, inf\]'),
        ('save_every: 0', 'save_every: 0 is outside'),
        ('data: 5', 'data: expected settings by name, got 5'),
        ('[1, 2]', r'expected settings by name, got \[1, 2\]'),
        ('name:', 'name: expected str, got None'),
        ('network: huge', "network: 'huge' is not one of tiny, small, published"),
        ('loss: {targets: room}', 'is not one of first_camera, first_camera_metres, scene'),
        ('loss: {depth: -1}', r'depth: -1.0 is outside \[0, inf\]'),
        ('loss: {depth: .nan}', 'depth: nan is outside'),
        ('data: {ordered: 2}', r'ordered: 2.0 is outside \[0, 1\]'),
        ('data: {fov_x_deg: 180}', 'fov_x_deg: 180.0 is outside'),
        ('data: {window_sizes: {}}', 'window_sizes: expected odds by length'),
        ('data: {window_sizes: {0: 1}}', 'window_sizes: expected odds by length'),
        ('data: {window_sizes: {2: 0}}', 'window_sizes: expected odds by length'),
        ('data: {window_sizes: {a: 1}}', 'window_sizes: expected odds by length'),
        ('betas: [0.9]', 'betas: expected two numbers below 1'),
        ('groups: []', 'groups: expected a list of groups'),
        ('groups: {lr: 1}', 'groups: expected a list of groups'),
        ("groups: [{parameters: '*'}]", 'parameters: expected a list of names'),
        ('groups: [{lr: fast}]', r"groups\[0\]\.lr: expected float, got 'fast'"),
        ('groups: [{fall: sine}]', 'is not one of cosine, linear'),
        ('groups: [{warmup: 0.5, hold: 0.1}]', 'hold 0.1 ends before warmup 0.5'),
        ('a: [', 'not a YAML file'),
        ('a: 1\n\tb: 2', 'not a YAML file'),
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
    with pytest.raises(TrainingError, match=r'r.yaml.*unknown setting'):
        load_recipe(tmp_path / 'r.yaml', {name: 1})


def test_what_is_no_recipe_is_refused(tmp_path):
    (tmp_path / 'bytes.yaml').write_bytes(b'\xff\xfe\x00steps')
    with pytest.raises(TrainingError, match='not a YAML file'):
        load_recipe(tmp_path / 'bytes.yaml')
    with pytest.raises(TrainingError, match='no such file'):
        load_recipe(tmp_path / 'missing.yaml')
    with pytest.raises(TrainingError, match='no such file'):
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
