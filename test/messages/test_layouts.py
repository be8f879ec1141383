"""The layouts for Foxglove and RViz show topics that there are, of each camera of a rig."""

import json
import re
import subprocess
import sys
from pathlib import Path

import jsonschema
import pytest
from ruamel.yaml import YAML
from typer.testing import CliRunner

from page4d_ros.cli import app
from page4d_ros.messages.layouts import Shown, foxglove, rviz
from page4d_ros.messages.topics import (
    DIAGNOSTICS_TOPIC,
    IMAGE,
    LASER_SCAN,
    MARKERS,
    ON_REQUEST,
    OPTIONAL,
    OUTPUTS,
    POINT_CLOUD,
    outputs,
)

ROOT = Path(__file__).parents[2]
LAYOUT = json.loads((ROOT / 'config' / 'foxglove.json').read_text())
ALONE = Shown()
RIG = Shown(('front', 'left_2', 'R'), '/robot', 'eyes', odom='map', base='robot/base')
EVERY = (*OUTPUTS, *ON_REQUEST, *OPTIONAL)


def types(shown):
    """Type of each topic of a node, by its absolute name."""
    return {
        f'{shown.namespace}/{topic.name.replace("~", shown.node)}': topic.type
        for topic in outputs(shown.cameras, EVERY)
    }


DRAWN = {POINT_CLOUD, LASER_SCAN, MARKERS, 'nav_msgs/msg/Path', 'nav_msgs/msg/Odometry'}
CALIBRATION = 'sensor_msgs/msg/CameraInfo'
DISPLAYS = {
    'Path': 'nav_msgs/msg/Path',
    'Odometry': 'nav_msgs/msg/Odometry',
    'PointCloud2': POINT_CLOUD,
    'MarkerArray': MARKERS,
    'LaserScan': LASER_SCAN,
    'Image': IMAGE,
}

TOPIC = {'type': 'string', 'pattern': '^/'}
NUMBERS = {'type': 'array', 'items': {'type': 'number'}}
COLOUR = {'type': 'string', 'pattern': '^#[0-9a-f]{8}$'}
PANELS = {
    '3D': {
        'required': ['followTf', 'cameraState', 'topics', 'layers', 'scene'],
        'properties': {
            'followMode': {'enum': ['follow-pose', 'follow-position', 'follow-none']},
            'topics': {
                'propertyNames': TOPIC,
                'additionalProperties': {
                    'required': ['visible'],
                    'properties': {
                        'visible': {'type': 'boolean'},
                        'colorMode': {'enum': ['flat', 'rgb', 'rgba', 'gradient', 'colormap']},
                        'flatColor': COLOUR,
                        'pointSize': {'type': 'number', 'exclusiveMinimum': 0},
                        'decayTime': {'type': 'number', 'minimum': 0},
                    },
                },
            },
            'cameraState': {'properties': {'target': NUMBERS | {'minItems': 3, 'maxItems': 3}}},
        },
    },
    'Image': {
        'required': ['imageMode'],
        'properties': {
            'imageMode': {
                'required': ['imageTopic'],
                'properties': {'imageTopic': TOPIC, 'calibrationTopic': TOPIC},
            }
        },
    },
    'Plot': {
        'required': ['paths'],
        'properties': {
            'paths': {
                'type': 'array',
                'minItems': 1,
                'items': {
                    'required': ['value', 'enabled', 'timestampMethod'],
                    'properties': {
                        'value': TOPIC,
                        'timestampMethod': {'enum': ['receiveTime', 'headerStamp']},
                    },
                },
            }
        },
    },
    'RawMessages': {'required': ['topicPath'], 'properties': {'topicPath': TOPIC}},
    'DiagnosticSummary': {
        'required': ['topicToRender'],
        'properties': {'topicToRender': TOPIC, 'minLevel': {'enum': [0, 1, 2, 3]}},
    },
}
SCHEMA = {
    'type': 'object',
    'required': ['configById', 'globalVariables', 'userNodes', 'layout'],
    'properties': {
        'configById': {
            'minProperties': 1,
            'patternProperties': {
                f'^{kind}![a-zA-Z_0-9]+$': panel for kind, panel in PANELS.items()
            },
            'additionalProperties': False,
        },
        'globalVariables': {'type': 'object'},
        'userNodes': {'type': 'object'},
        'layout': {'$ref': '#/$defs/split'},
    },
    '$defs': {
        'split': {
            'anyOf': [
                {'type': 'string'},
                {
                    'required': ['direction', 'first', 'second'],
                    'properties': {
                        'direction': {'enum': ['row', 'column']},
                        'first': {'$ref': '#/$defs/split'},
                        'second': {'$ref': '#/$defs/split'},
                        'splitPercentage': {'exclusiveMinimum': 0, 'exclusiveMaximum': 100},
                    },
                    'additionalProperties': False,
                },
            ]
        }
    },
}


def strings(tree):
    """All keys and values."""
    if isinstance(tree, dict):
        return [text for key, value in tree.items() for text in [key, *strings(value)]]
    if isinstance(tree, list):
        return [text for value in tree for text in strings(value)]
    return [tree] if isinstance(tree, str) else []


def leaves(layout):
    if isinstance(layout, str):
        return [layout]
    return leaves(layout['first']) + leaves(layout['second'])


def test_of_one_camera_it_is_the_file():
    assert json.loads(foxglove(ALONE)) == LAYOUT
    content = YAML(typ='safe').load(ROOT / 'config' / 'perception.rviz')
    assert YAML(typ='safe').load(rviz(ALONE)) == content


@pytest.mark.parametrize('shown', [ALONE, RIG])
def test_the_layout_has_the_structure_that_foxglove_imports(shown):
    jsonschema.Draft202012Validator(SCHEMA).validate(json.loads(foxglove(shown)))


@pytest.mark.parametrize(
    ('path', 'value'),
    [
        (('configById', '3D!world', 'topics', 'points'), {'visible': True}),
        (('configById', 'Chart!x'), {}),
        (('layout', 'direction'), 'diagonal'),
        (('layout', 'second', 'third'), '3D!world'),
    ],
)
def test_a_mistake_in_the_structure_is_found(path, value):
    broken = json.loads(json.dumps(LAYOUT))
    inner = broken
    for name in path[:-1]:
        inner = inner[name]
    inner[path[-1]] = value
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.Draft202012Validator(SCHEMA).validate(broken)


@pytest.mark.parametrize('shown', [ALONE, RIG])
def test_all_topics_are_ours_and_all_fields_are_in_their_messages(shown):
    fields = set(
        re.findall(r'^\w+ (\w+)', (ROOT / 'msg/PerceptionStatus.msg').read_text(), re.MULTILINE)
    )
    seen, status = set(), f'{shown.namespace}/{shown.node}/status'
    ours = {*types(shown), '/tf', '/tf_static', DIAGNOSTICS_TOPIC}
    for text in strings(json.loads(foxglove(shown))['configById']):
        if text.startswith('/'):
            topic, _, field = text.partition('.')
            seen.add(topic)
            assert topic in ours, text
            assert not field or (topic == status and field in fields), text
    wanted = {'points/static', 'points/dynamic', 'mask/overlay', 'depth/image', 'markers'}
    of_each = outputs(shown.cameras, [topic for topic in EVERY if topic.name in wanted])
    assert seen >= {f'{shown.namespace}/{topic.name}' for topic in of_each}
    assert seen >= {status, DIAGNOSTICS_TOPIC}


@pytest.mark.parametrize('shown', [ALONE, RIG])
def test_each_panel_gets_topics_of_the_types_that_it_draws(shown):
    known = types(shown)
    for name, panel in json.loads(foxglove(shown))['configById'].items():
        if name.startswith('3D!'):
            assert {known[topic] for topic in panel['topics']} <= DRAWN
            assert panel['followTf'] == shown.base
            assert panel['layers']['grid']['frameId'] == shown.odom
        if name.startswith('Image!'):
            mode = panel['imageMode']
            assert known[mode['imageTopic']] == IMAGE
            assert known[mode['calibrationTopic']] == CALIBRATION
            beside = mode['imageTopic'].rpartition('/')[0]
            assert mode['calibrationTopic'].startswith(beside)  # of the same camera


@pytest.mark.parametrize('shown', [ALONE, RIG])
def test_every_panel_stands_somewhere_once(shown):
    content = json.loads(foxglove(shown))
    assert sorted(leaves(content['layout'])) == sorted(content['configById'])


@pytest.mark.parametrize('shown', [ALONE, RIG])
def test_rviz_subscribes_to_our_topics_by_their_types(shown):
    manager = YAML(typ='safe').load(rviz(shown))['Visualization Manager']
    assert manager['Global Options']['Fixed Frame'] == shown.odom
    known, seen = {topic.name: topic.type for topic in outputs(shown.cameras, EVERY)}, set()
    for display in manager['Displays']:
        topic = display.get('Topic')
        if topic is not None:
            kind = display['Class'].removeprefix('rviz_default_plugins/')
            assert known[topic['Value']] == DISPLAYS[kind], display['Name']
            assert topic['Reliability Policy'] in {'Reliable', 'Best Effort'}
            seen.add(topic['Value'])
    wanted = {'points/static', 'points/dynamic', 'markers', 'depth/colormap', 'mask/overlay'}
    of_each = outputs(shown.cameras, [topic for topic in EVERY if topic.name in wanted])
    assert seen >= {topic.name for topic in of_each}
    names = [display['Name'] for display in manager['Displays']]
    assert len(names) == len(set(names))


def test_the_command_prints_what_a_viewer_reads(tmp_path):
    def run(*words):
        return CliRunner().invoke(app, ['layout', *words])

    done = run('foxglove', '--camera', 'front', '--camera', 'left', '--node-name', '/r/page4d')
    assert json.loads(done.output) == json.loads(foxglove(Shown(('front', 'left'), '/r')))
    assert run('rviz', '--odom-frame', 'map').output == rviz(Shown(odom='map'))
    wrong = run('rviz', '--node-name', 'page4d')
    assert wrong.exit_code == 1
    assert "--node-name 'page4d': expected a name such as /robot/page4d" in wrong.output
    assert 'cameras' in run('rviz', '--camera', 'a/b').output


def test_an_installation_holds_the_layout():
    code = (
        'from distutils.core import run_setup\n'
        'dist = run_setup("setup.py", stop_after="init")\n'
        'print([f for _, files in dist.data_files for f in files])'
    )
    done = subprocess.run(
        [sys.executable, '-c', 'import setuptools\n' + code],
        capture_output=True, text=True, check=True, cwd=ROOT,
    )  # fmt: skip
    assert 'config/foxglove.json' in done.stdout
    assert 'config/perception.rviz' in done.stdout
    assert 'install(DIRECTORY launch config ' in (ROOT / 'CMakeLists.txt').read_text()
