"""`page4d health` answers by a node's diagnostics."""

import os
import subprocess
import sys

import pytest
from robot import START, STEP, Robot

pytest.importorskip('rclpy', reason='rclpy is not installed')
pytest.importorskip('page4d_ros.srv', reason='the workspace is not built')


def health(*words):
    return subprocess.run(
        [sys.executable, '-m', 'page4d_ros.cli', 'health', '--patience', '20', *words],
        capture_output=True, text=True, timeout=120, check=False, env=dict(os.environ),
    )  # fmt: skip


def test_a_node_that_runs_is_healthy_and_one_that_fails_is_not(graph):
    robot = Robot(graph)
    for i in range(3):
        robot.show(START + i * STEP)
    done = health()
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip()
    robot.node.session.health.error = 'the network is gone'
    done = health('--node', '/page4d')
    assert done.returncode == 1
    assert 'the network is gone' in done.stdout


def test_where_nobody_answers_it_says_so(graph):
    done = health('--node', '/nobody', '--patience', '0.5')
    assert done.returncode == 1
    assert done.stderr.startswith('page4d: no diagnostics of /nobody came within 0.5 s')
