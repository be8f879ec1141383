"""`page4d top` beside nodes on a real graph."""

import contextlib
import os
import pty
import signal
import subprocess
import sys
import time

import pytest
from robot import START, STEP, Robot

pytest.importorskip('rclpy', reason='rclpy is not installed')
pytest.importorskip('page4d_ros.srv', reason='the workspace is not built')

TOP = [sys.executable, '-m', 'page4d_ros.cli', 'top']


def top(*words):
    environment = os.environ | {'COLUMNS': '120'}
    return subprocess.run(
        [*TOP, *words], capture_output=True, text=True, timeout=120, check=False, env=environment
    )


def test_the_state_of_a_node_is_printed_once(graph):
    robot = Robot(graph)
    robot.mount()
    for i in range(4):
        robot.show(START + i * STEP)
    before = len(robot.status)

    def go_on():
        stamp = START + (4 + go_on.count) * STEP
        go_on.count += 1
        robot.images.publish(robot.image(stamp))

    go_on.count = 0
    graph.node.create_timer(0.1, go_on)
    done = top('--once', '--patience', '30')
    assert done.returncode == 0, done.stderr
    assert '/page4d' in done.stdout
    assert 'tracking' in done.stdout
    assert 'oracle' in done.stdout
    assert '●' in done.stdout
    assert len(robot.status) > before
    done = top('--once', '--node', '/elsewhere/page4d', '--patience', '1')
    assert done.returncode == 1
    assert 'no status of /elsewhere/page4d' in done.stderr


def test_without_a_node_there_is_one_clear_line(graph):
    done = top('--once', '--patience', '0.5')
    assert done.returncode == 1
    assert done.stderr.startswith('page4d: no status of any page4d node came within 0.5 s')
    assert len(done.stderr.splitlines()) == 1
    assert 'use --once' in top().stderr


def test_it_draws_on_a_terminal_until_ctrl_c(graph):
    robot = Robot(graph)
    graph.node.create_timer(0.5, robot.node.session.publish_idle_status)
    ours, theirs = pty.openpty()
    environment = os.environ | {'COLUMNS': '120', 'LINES': '40', 'TERM': 'xterm'}
    process = subprocess.Popen(TOP, stdout=theirs, stderr=theirs, env=environment)
    os.close(theirs)
    text, until = b'', time.monotonic() + 60
    while b'waiting' not in text and time.monotonic() < until:
        text += os.read(ours, 4096)
    assert b'waiting' in text
    process.send_signal(signal.SIGINT)
    with contextlib.suppress(OSError):  # at its end; what is not read would keep it from that
        while True:
            text += os.read(ours, 4096)
    assert process.wait(30) == 0
    assert b'Traceback' not in text
    os.close(ours)
