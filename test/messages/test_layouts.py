"""The layouts for Foxglove and RViz show topics that there are, and come with the package."""

import json
import re
import subprocess
import sys
from pathlib import Path

import jsonschema
import pytest
from ruamel.yaml import YAML

from page4d_ros.bags.replay import absolute
from page4d_ros.messages.topics import (
    DIAGNOSTICS_TOPIC,
    IMAGE,
    LASER_SCAN,
    MARKERS,
    ON_REQUEST,
    OPTIONAL,
    OUTPUTS,
    POINT_CLOUD,
    STATUS_TOPIC,
)

ROOT = Path(__file__).parents[2]
LAYOUT = json.loads((ROOT / 'config' / 'foxglove.json').read_text())
TYPES = {absolute(topic.name): topic.type for topic in (*OUTPUTS, *ON_REQUEST, *OPTIONAL)}
OURS = set(TYPES) | {'/tf', '/tf_static', DIAGNOSTICS_TOPIC}
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
            'patternProperties': {f'^{kind}![a-z]+$': panel for kind, panel in PANELS.items()},
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


def test_the_layout_has_the_structure_that_foxglove_imports():
    jsonschema.Draft202012Validator(SCHEMA).validate(LAYOUT)


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


def test_all_topics_are_ours_and_all_fields_are_in_their_messages():
    fields = set(
        re.findall(r'^\w+ (\w+)', (ROOT / 'msg/PerceptionStatus.msg').read_text(), re.MULTILINE)
    )
    shown = set()
    for text in strings(LAYOUT['configById']):
        if text.startswith('/'):
            topic, _, field = text.partition('.')
            shown.add(topic)
            assert topic in OURS, text
            assert not field or (topic == absolute(STATUS_TOPIC) and field in fields), text
    wanted = ('points/static', 'points/dynamic', 'mask/overlay', 'depth/image', STATUS_TOPIC)
    assert shown >= {absolute(name) for name in (*wanted, 'markers')} | {DIAGNOSTICS_TOPIC}


def test_each_panel_gets_topics_of_the_types_that_it_draws():
    for name, panel in LAYOUT['configById'].items():
        if name.startswith('3D!'):
            assert {TYPES[topic] for topic in panel['topics']} <= DRAWN
        if name.startswith('Image!'):
            mode = panel['imageMode']
            assert TYPES[mode['imageTopic']] == IMAGE
            assert TYPES[mode['calibrationTopic']] == CALIBRATION


def test_every_panel_stands_somewhere_once():
    assert sorted(leaves(LAYOUT['layout'])) == sorted(LAYOUT['configById'])


def rviz_displays():
    content = YAML(typ='safe').load(ROOT / 'config/perception.rviz')
    return content['Visualization Manager']['Displays']


def test_rviz_subscribes_to_our_topics_by_their_types():
    seen = set()
    for display in rviz_displays():
        topic = display.get('Topic')
        if topic is not None:
            kind = display['Class'].removeprefix('rviz_default_plugins/')
            assert TYPES[absolute(topic['Value'])] == DISPLAYS[kind], display['Name']
            assert topic['Reliability Policy'] in {'Reliable', 'Best Effort'}
            seen.add(topic['Value'])
    assert seen >= {'points/static', 'points/dynamic', 'markers', 'depth/colormap', 'mask/overlay'}


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
