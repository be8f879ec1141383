"""Checks of a machine and a camera: what is found, what is advised, and exit codes."""

import json
import math
import sys

import numpy as np
import pytest
from typer.testing import CliRunner

from page4d_ros.cli import app
from page4d_ros.config import Config
from page4d_ros.doctor import camera, machine
from page4d_ros.doctor.result import ERROR, LEVELS, OK, SKIPPED, WARN, Check, ok, run, worst
from page4d_ros.errors import ConfigError
from page4d_ros.geometry.camera_calibration import CameraCalibration

K = np.array([[500.0, 0, 320], [0, 500, 240], [0, 0, 1]])


def doctor(*words):
    return CliRunner().invoke(app, ['doctor', *map(str, words)])


def levels(results):
    return {result.name: result.level for result in results}


def machine_results(**values):
    config = Config().with_values({n.replace('__', '.'): v for n, v in values.items()})
    return {result.name: result for result in run(machine.checks(config))}


def raises(error):
    def check():
        raise error

    return check


def test_checks_that_fail_or_break_do_not_end_the_others():
    found = run(
        [
            Check('ours', raises(ConfigError('no such device; take another'))),
            Check('broken', raises(ZeroDivisionError('x'))),
            Check('needs', lambda: ok('never'), ('ours',)),
            Check('needs that', lambda: ok('never'), ('needs',)),
            Check('fine', lambda: ok('a\nb')),
        ]
    )
    ours, broken, needs, needs_that, fine = found
    assert (ours.level, ours.text) == (ERROR, 'no such device; take another')
    assert 'ZeroDivisionError' in broken.text
    assert 'report' in broken.advice
    assert (needs.level, needs.text) == (SKIPPED, 'needs ours, see there')
    assert needs_that.level == SKIPPED
    assert fine.text == r'a\nb'
    assert worst([fine]) == worst([]) == OK
    assert worst([fine, needs, ours]) == ERROR


def test_this_machine_can_run_the_package():
    results = machine_results()
    assert (
        levels(results.values()).items()
        >= dict.fromkeys(
            ('python', 'libraries', 'torch', 'device', 'weights', 'memory'), OK
        ).items()
    )
    assert 'rendered places' in results['weights'].text
    assert 'GiB needed for 8 frames of 112x84' in results['memory'].text


def test_every_finding_that_is_no_success_says_what_to_do():
    for results in (
        machine_results(model__checkpoint='untrained', model__device='cuda'),
        machine_results(model__checkpoint='nowhere.pt'),
    ):
        for result in results.values():
            assert result.level in LEVELS
            assert result.level in {OK, SKIPPED} or result.advice or ';' in result.text, result


def test_weights_that_cannot_be_used_are_named(tmp_path):
    page = tmp_path / 'page.pt'
    page.write_text('<html>sign in</html>')
    results = machine_results(model__checkpoint=str(page))
    assert 'is a web page, not weights' in results['weights'].text
    assert results['memory'].level == SKIPPED
    assert machine_results(model__checkpoint='untrained')['weights'].level == WARN


def test_foreign_weights_come_with_a_word_on_their_licence(tmp_path):
    from page4d_ros.perception.build import SMALL_FILE

    path = tmp_path / 'mine.safetensors'
    path.write_bytes(SMALL_FILE.read_bytes())
    found = machine_results(model__checkpoint=str(path))['weights']
    assert found.level == OK
    assert 'whole' in found.text
    assert 'licence' in found.advice
    path.write_bytes(SMALL_FILE.read_bytes()[:-1000])
    assert machine_results(model__checkpoint=str(path))['weights'].level == ERROR


def test_too_little_memory_is_told_before_the_node_starts(monkeypatch):
    monkeypatch.setattr('page4d_ros.perception.memory.free_bytes', lambda _device: 1e6)
    found = machine_results()['memory']
    assert found.level == ERROR
    assert 'window.size' in found.advice
    monkeypatch.setattr('page4d_ros.perception.memory.free_bytes', lambda _device: math.inf)
    assert machine_results()['memory'].level == OK


def test_a_library_that_is_missing_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, 'safetensors', None)
    results = machine_results()
    assert results['libraries'].advice == 'pip install safetensors'
    assert results['memory'].level == SKIPPED


@pytest.mark.parametrize(
    ('capability', 'built_for', 'expected'),
    [
        ((8, 6), ['sm_80', 'sm_90'], True),
        ((8, 7), ['sm_75', 'sm_90'], False),
        ((11, 0), ['sm_90', 'sm_100', 'sm_120'], False),  # a Jetson Thor
        ((11, 0), ['sm_110'], True),
        ((12, 1), ['sm_120a'], True),
        ((11, 0), ['compute_90'], True),
        ((7, 5), ['sm_80', 'compute_80'], False),
        ((9, 0), [], False),
    ],
)
def test_compute_capabilities(capability, built_for, expected):
    assert machine.runs(*capability, built_for) is expected


def test_a_gpu_that_torch_is_not_built_for(monkeypatch):
    import torch

    fakes = {
        'is_available': lambda: True,
        'device_count': lambda: 1,
        'get_device_capability': lambda _index: (11, 0),
        'get_device_name': lambda _index: 'Thor',
        'get_arch_list': lambda: ['sm_90', 'sm_120'],
    }
    for name, fake in fakes.items():
        monkeypatch.setattr(torch.cuda, name, fake)
    (check,) = (c for c in machine.checks(Config()) if c.name == 'gpu')
    level, text, advice = check.find()
    assert level == ERROR
    assert 'Thor, sm_110' in text
    assert 'cu130' in advice


def seen(**changes):
    values = {
        'topic': '/camera/image',
        'info_topic': '/camera/camera_info',
        'seconds': 2.0,
        'base': 'base_link',
        'types': ['sensor_msgs/msg/Image'],
        'reliable': [True],
        'stamps': [i * 33_000_000 for i in range(60)],
        'ages': [0.01] * 60,
        'encoding': 'rgb8',
        'size': (640, 480),
        'infos': 60,
        'calibration': CameraCalibration(640, 480, K),
        'frame_id': 'camera',
        'mounted': True,
    }
    return camera.Seen(**values | changes)


def test_a_good_camera():
    assert set(levels(run(camera.checks(seen()))).values()) == {OK}


@pytest.mark.parametrize(
    ('name', 'level', 'said', 'changes'),
    [
        ('camera', ERROR, 'there is /left/image', {'types': [], 'others': ['/left/image']}),
        ('camera', ERROR, 'nothing came for 2 s', {'stamps': []}),
        ('camera', WARN, '2 publishers', {'types': ['sensor_msgs/msg/Image'] * 2}),
        ('camera rate', WARN, 'lost on the way', {'infos': 120}),
        ('camera rate', WARN, '2.0 images/s', {'stamps': [1, 2, 3, 4], 'infos': 4}),
        ('camera image', ERROR, 'mono12', {'encoding': 'mono12', 'refusal': 'is unknown'}),
        ('camera stamps', WARN, 'go back', {'stamps': [1, 5, 4, *range(10, 50)]}),
        ('camera stamps', WARN, 'far from the clock', {'ages': [1e6] * 60}),
        ('camera_info', WARN, 'nothing came', {'infos': 0}),
        ('camera_info', WARN, 'not calibrated', {'calibration': None}),
        ('camera_info', ERROR, 'NaN', {'info_refusal': 'camera_info holds NaN'}),
        ('camera_info', ERROR, 'ignored', {'size': (320, 240)}),
        (
            'camera_info',
            WARN,
            'distortion',
            {'calibration': CameraCalibration(640, 480, K, np.array([0.1, 0, 0, 0, 0]))},
        ),
        ('tf', WARN, "no transform from 'base_link' to 'camera'", {'mounted': False}),
        ('tf', SKIPPED, 'tracked', {'base': '', 'mounted': False}),
    ],
)
def test_what_is_wrong_with_a_camera(name, level, said, changes):
    found = {result.name: result for result in run(camera.checks(seen(**changes)))}[name]
    assert found.level == level
    assert said in found.text
    assert found.advice or level == SKIPPED


def test_the_command_prints_each_check_and_says_by_its_exit_code_how_it_went():
    done = doctor()
    assert done.exit_code == 0, done.output
    assert 'python' in done.stdout
    assert 'GiB needed' in done.stdout
    bad = doctor('--checkpoint', 'nowhere.pt')
    assert bad.exit_code == 1
    assert 'no such weight file' in bad.stdout
    assert doctor('--set', 'model.checkpoint=untrained').exit_code == 0
    assert doctor('--set', 'model.checkpoint=untrained', '--strict').exit_code == 1


def test_the_commands_json_is_for_scripts():
    done = doctor('--json', '--checkpoint', 'nowhere.pt')
    found = json.loads(done.stdout)
    assert found['level'] == ERROR
    checks = {check['name']: check for check in found['checks']}
    assert checks['weights'].keys() == {'name', 'level', 'text', 'advice'}
    assert checks['weights']['level'] == ERROR


def test_without_ros_it_says_so_and_goes_on(monkeypatch):
    module = sys.modules['page4d_ros.commands.doctor']  # its function hides it
    monkeypatch.setattr(module, 'find_spec', lambda _name: None)
    done = doctor()
    assert done.exit_code == 0
    assert 'rclpy is not installed' in done.stdout
    assert doctor('--image-topic', '/camera/image').exit_code == 1
