"""The layout for Foxglove shows topics that there are, and comes with the package."""

import json
import re
import subprocess
import sys
from pathlib import Path

from page4d_ros.bags.replay import absolute
from page4d_ros.messages.topics import DIAGNOSTICS_TOPIC, OUTPUTS, STATUS_TOPIC

ROOT = Path(__file__).parents[2]
LAYOUT = json.loads((ROOT / 'config' / 'foxglove.json').read_text())
OURS = {absolute(topic.name) for topic in OUTPUTS} | {'/tf', '/tf_static', DIAGNOSTICS_TOPIC}


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
    assert layout['direction'] in {'row', 'column'}
    return leaves(layout['first']) + leaves(layout['second'])


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
    assert shown >= {absolute(name) for name in wanted} | {DIAGNOSTICS_TOPIC}


def test_every_panel_stands_somewhere_once():
    assert sorted(leaves(LAYOUT['layout'])) == sorted(LAYOUT['configById'])


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
    assert 'install(DIRECTORY launch config ' in (ROOT / 'CMakeLists.txt').read_text()
