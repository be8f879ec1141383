"""The node as a process of its own: how it starts, refuses and ends."""

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip('rclpy', reason='rclpy is not installed')
pytest.importorskip('page4d_ros.msg', reason='the workspace is not built')

from lifecycle_msgs.srv import GetState
from sensor_msgs.msg import Image

from page4d_ros.messages import encode
from page4d_ros.ros.compat import RosMessages

MAKE = RosMessages()
HANGS = 60  # seconds; a limit against hanging, not a measure


@pytest.fixture
def start(request):
    """Start a node in a namespace that no other test uses; it is gone after the test."""
    running = []

    namespace = f'/test_{os.getpid()}_{abs(hash(request.node.name))}'

    def start(*parameters):
        command = [sys.executable, '-m', 'page4d_ros.ros.main', '--ros-args']
        command += ['-r', f'__ns:={namespace}']
        for parameter in parameters:
            command += ['-p', parameter]
        process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=os.environ
        )
        process.namespace = namespace
        running.append(process)
        return process

    yield start
    for process in running:
        process.kill()
        process.wait()


def wait_for_state(graph, process, label):
    name = f'{process.namespace}/page4d/get_state'
    response = graph.call(GetState, name, GetState.Request(), HANGS)
    assert response.current_state.label == label


def finish(process, sent):
    process.send_signal(sent)
    out, _ = process.communicate(timeout=HANGS)
    assert 'Traceback' not in out, out
    return process.returncode, out


def test_a_signal_during_inference_ends_with_zero(graph, start, sent):
    """A forward pass of many seconds on a CPU cannot be interrupted, and need not be awaited."""
    process = start(
        'model.checkpoint:=untrained',
        'model.device:=cpu',
        'node.autostart:=true',
        'model.resolution:=1036',
        'window.size:=16',
        'window.stride:=1',
        'frames.tf_timeout:=0.0',
    )
    publisher = graph.node.create_publisher(Image, f'{process.namespace}/image', 10)
    graph.until(lambda: publisher.get_subscription_count() > 0, HANGS, 'the node')
    picture = np.random.default_rng(0).integers(0, 256, (480, 640, 3), dtype=np.uint8)
    for i in range(30):
        head = encode.header(MAKE, 10**18 + i * 10**8, 'camera')
        publisher.publish(encode.image(MAKE, head, picture))
        time.sleep(0.1)
    code, out = finish(process, sent)
    assert code == 0, out
    assert 'untrained' in out


def answers(process):
    """Python itself answers SIGINT by an exception, and SIGTERM not at all."""
    status = Path('/proc', str(process.pid), 'status').read_text()
    return int(re.search(r'SigCgt:\s*(\w+)', status)[1], 16) >> (signal.SIGTERM - 1) & 1


@pytest.mark.parametrize('after', [0.0, 1.0])
def test_an_early_signal_ends_with_zero(graph, start, sent, after):
    process = start('node.autostart:=true', 'model.checkpoint:=untrained')
    graph.until(lambda: answers(process), HANGS, 'the first line of main')
    time.sleep(after)
    code, out = finish(process, sent)
    assert code == 0, out


def test_a_shutdown_that_hangs_is_told_from_success(sent, tmp_path):
    """The exit code was 0, and nobody learned of it."""
    tmp_path.joinpath('hanging.py').write_text(f"""
import os, sys, time
from page4d_ros.ros import main, node

node.HUNG = 2.0

class Hanging(node.Page4dNode):
    def __init__(self):
        super().__init__()
        self.create_timer(0.1, self.hang)

    def hang(self):
        os.kill(os.getpid(), {int(sent)})
        time.sleep(1000)

node.Page4dNode = Hanging
sys.exit(main.main(['--ros-args']))
""")
    command = [sys.executable, '-m', 'hanging']
    done = subprocess.run(
        command, cwd=tmp_path, timeout=HANGS, check=False, capture_output=True, text=True
    )
    assert done.returncode == 1
    assert 'Timeout' in done.stderr
    assert 'in hang' in done.stderr


def test_a_signal_in_executed_text_ends_with_zero(sent, tmp_path):
    """As torch's import does; `python -m` remembers KeyboardInterrupt there, although caught."""
    tmp_path.joinpath('told.py').write_text(f"""
import functools, sys
from page4d_ros.errors import Page4dError
from page4d_ros.ros import main, node

def build(config):
    exec('import os, time; os.kill(os.getpid(), {int(sent)}); time.sleep(0.2)')
    raise Page4dError('nobody was told')

node.Page4dNode = functools.partial(node.Page4dNode, build=build)
sys.exit(main.main(['--ros-args', '-p', 'node.autostart:=true']))
""")
    command = [sys.executable, '-m', 'told']
    done = subprocess.run(command, cwd=tmp_path, timeout=HANGS, check=False)
    assert done.returncode == 0


NOW = 'os.kill(os.getpid(), sent)'
# in a thread that was there before, and so does not block it as the main thread does
EARLY = """
begins = threading.Event()
other = threading.Thread(target=lambda: (begins.wait(), signal.raise_signal(sent)))
other.start()

def init(args, init=rclpy.init):
    begins.set()
    other.join()
    init(args=args)

rclpy.init = init
"""


@pytest.mark.parametrize(('before', 'within'), [(EARLY, ''), ('', NOW)], ids=['early', 'now'])
def test_ros_is_down_before_the_interrupted_code_goes_on(sent, before, within, tmp_path):
    """Otherwise an executor that was woken may wait again, and nobody wakes it any more."""
    source = f"""
import os, signal, threading
import rclpy
from page4d_ros.ros import signals
sent = {int(sent)}
{before}
with signals.ros([]):
    {within}
    print(rclpy.ok())
"""
    command = [sys.executable, '-c', source]
    done = subprocess.run(
        command, cwd=tmp_path, timeout=HANGS, check=False, capture_output=True, text=True
    )
    assert (done.returncode, done.stdout) == (0, 'False\n'), done.stderr


def test_a_signal_that_comes_twice_ends_with_zero(graph, start, sent):
    process = start('node.autostart:=true', 'model.checkpoint:=untrained')
    wait_for_state(graph, process, 'active')
    process.send_signal(sent)
    time.sleep(0.05)
    code, out = finish(process, sent)
    assert code == 0, out


def test_a_node_that_waits_to_be_configured_says_so(graph, start):
    process = start('model.checkpoint:=untrained')
    wait_for_state(graph, process, 'unconfigured')
    code, out = finish(process, signal.SIGINT)
    assert code == 0, out
    assert f'`ros2 lifecycle set {process.namespace}/page4d configure`' in out


def test_without_a_checkpoint_it_says_what_to_do_and_lives(graph, start):
    process = start('node.autostart:=true', 'model.checkpoint:=""')
    wait_for_state(graph, process, 'unconfigured')
    code, out = finish(process, signal.SIGINT)
    assert code == 0, out
    assert 'cannot configure: model.checkpoint is empty' in out
    assert 'README' in out


@pytest.mark.parametrize(
    ('parameter', 'complaint'),
    [
        ('window.size:=1000', 'window.size'),
        ('window.size:=many', 'window.size: expected int'),
        ('depth.encoding:=8UC1', 'is not one of 32FC1, 16UC1'),
    ],
)
def test_a_bad_parameter_is_one_clear_line(start, parameter, complaint):
    process = start(parameter)
    out, _ = process.communicate(timeout=HANGS)
    assert process.returncode == 1
    assert complaint in out
    assert 'Traceback' not in out


@pytest.fixture
def secured(monkeypatch):
    """Make ROS look for a keystore in a folder."""

    def secured(folder):
        monkeypatch.setenv('ROS_SECURITY_ENABLE', 'true')
        monkeypatch.setenv('ROS_SECURITY_STRATEGY', 'Enforce')
        monkeypatch.setenv('ROS_SECURITY_KEYSTORE', str(folder))

    return secured


def last_line(process):
    """What it says when it has ended with 1, after what ROS itself may have logged."""
    out, _ = process.communicate(timeout=HANGS)
    assert process.returncode == 1
    assert 'Traceback' not in out
    return out.splitlines()[-1]


def test_an_argument_that_ros_refuses_is_one_clear_line(start):
    line = last_line(start('model.checkpoint'))
    assert line.startswith('page4d_node: ROS does not start: ')
    assert "rule: '-p model.checkpoint'" in line


def test_a_keystore_that_is_missing_or_empty_is_one_clear_line(start, secured, tmp_path):
    secured(tmp_path)
    line = last_line(start())
    assert line.startswith('page4d_node: ROS does not start: ')
    assert f"'{tmp_path}/enclaves' does not exist" in line
    (tmp_path / 'enclaves').mkdir()
    assert last_line(start()).startswith('page4d_node: ROS ')


def test_a_corrupt_checkpoint_is_refused(tmp_path, graph, start):
    weights = tmp_path / 'weights.pt'
    weights.write_bytes(b'PK\x03\x04' + os.urandom(1000))
    process = start('node.autostart:=true', f'model.checkpoint:={weights}')
    wait_for_state(graph, process, 'unconfigured')
    code, out = finish(process, signal.SIGINT)
    assert code == 0
    assert 'cannot configure' in out
    assert 'weights.pt' in out


def test_a_missing_gpu_is_refused(graph, start):
    import torch

    if torch.cuda.is_available():
        pytest.skip('this machine has a GPU')
    process = start('node.autostart:=true', 'model.checkpoint:=untrained', 'model.device:=cuda')
    wait_for_state(graph, process, 'unconfigured')
    code, out = finish(process, signal.SIGINT)
    assert code == 0
    assert "cannot configure: model.device 'cuda' cannot be used" in out
