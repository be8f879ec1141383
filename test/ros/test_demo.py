"""Player, node and recorder together, as three processes on a real graph."""

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip('rclpy', reason='rclpy is not installed')
pytest.importorskip('page4d_ros.msg', reason='the workspace is not built')

from rclpy.duration import Duration
from rosgraph_msgs.msg import Clock
from tf2_msgs.msg import TFMessage

from page4d_ros.bags.reader import open_bag
from page4d_ros.commands.show import DEMO_SETTINGS, IMAGE_TOPIC, SAMPLE
from page4d_ros.messages.decode import stamp_ns
from page4d_ros.messages.status import WAITING
from page4d_ros.ros import demo
from page4d_ros.ros.demo import DemoError, graph_environment, run_graph

TOPICS = {
    '/odom', '/tf', '/tf_static', '/path', '/depth/image', '/depth/camera_info', '/depth/static',
    '/rgb/image',
    '/rgb/camera_info', '/mask/image', '/mask/camera_info', '/mask/probability',
    '/mask/overlay', '/confidence/image',
    '/points/static', '/points/dynamic', '/scan', '/page4d/status', '/diagnostics',
}  # fmt: skip
HANGS = 60  # seconds; a limit against hanging, not a measure
FRAMED = TOPICS - {'/tf', '/tf_static', '/diagnostics'}


@pytest.fixture(scope='module')
def recording(tmp_path_factory):
    output = tmp_path_factory.mktemp('demo')
    settings = DEMO_SETTINGS | {'model.resolution': 112, 'points.rate': 0.0}
    run_graph(SAMPLE, output, image_topic=IMAGE_TOPIC, parameters=settings)
    return output


def messages(recording, topic):
    with open_bag(recording / 'perception') as bag:
        return [m.value for m in bag.messages([topic])]


def test_every_output_is_recorded(recording):
    with open_bag(recording / 'perception') as bag:
        assert set(bag.topics()) == TOPICS
        assert not bag.warnings


def test_it_begins_when_the_clock_does(recording):
    with open_bag(recording / 'perception') as bag, open_bag(SAMPLE) as sample:
        assert bag.start_time >= sample.start_time
        assert bag.end_time - bag.start_time < 60e9


def test_stamps_are_those_of_the_images(recording):
    with open_bag(SAMPLE) as bag:
        taken = {stamp_ns(m.value.header) for m in bag.messages([IMAGE_TOPIC])}
    for topic in FRAMED:
        # a status while the first image is awaited belongs to no frame
        found = [m for m in messages(recording, topic) if getattr(m, 'state', None) != WAITING]
        stamps = [stamp_ns(m.header) for m in found]
        assert stamps, topic
        assert set(stamps) <= taken, topic


def test_the_tree_of_tf_has_one_parent_for_each_frame(recording):
    items = [
        i for t in ('/tf', '/tf_static') for m in messages(recording, t) for i in m.transforms
    ]
    parents = {(item.child_frame_id, item.header.frame_id) for item in items}
    assert parents == {('base_link', 'odom'), ('camera_optical_frame', 'base_link')}


def test_each_image_has_its_camera_info(recording):
    for kind in ('depth', 'rgb', 'mask'):
        infos = {stamp_ns(m.header): m for m in messages(recording, f'/{kind}/camera_info')}
        for image in messages(recording, f'/{kind}/image'):
            info = infos.get(stamp_ns(image.header))
            if info is not None:  # the last pair may be cut apart by the end of the recording
                assert (info.width, info.height) == (image.width, image.height)
                assert np.asarray(info.k)[0] > 0


def test_the_node_ended_cleanly(recording):
    log = (recording / 'log' / 'node.log').read_text()
    assert 'Traceback' not in log
    assert 'page4d-small are for rendered places' in log


def test_a_failing_process_is_named(tmp_path):
    with pytest.raises(DemoError, match=r'player\.log'):
        run_graph(tmp_path / 'nothing', tmp_path, image_topic='/x', parameters=DEMO_SETTINGS)


def test_a_process_that_does_not_stop_is_killed_and_named(graph, tmp_path, monkeypatch):
    monkeypatch.setattr(demo, 'STOP_TIMEOUT', 0.5)
    deaf = 'trap "" INT; echo up; while true; do sleep 0.1; done'
    log = tmp_path / 'recorder.log'
    with (
        pytest.raises(DemoError, match='the recorder did not end within'),
        demo.running(['sh', '-c', deaf], log, dict(os.environ)) as process,
    ):
        graph.until(log.read_text, HANGS, 'its first line')
    assert process.returncode == -signal.SIGKILL


@pytest.mark.parametrize(
    ('arguments', 'complaint'),
    [
        (['nothing'], 'no such file'),
        (['--wait'], 'Missing argument'),
        ([SAMPLE, '--wait', '--topic=/wrong'], 'none of its topics is wanted'),
        (
            [SAMPLE, '--wait', '--topic=/wrong', '--topic=/tf_static'],
            'no images on /tf_static, /wrong; it has images on /camera/image/compressed',
        ),
    ],
)
def test_the_player_refuses_clearly(arguments, complaint, tmp_path):
    command = [sys.executable, '-m', 'page4d_ros.cli', 'play', *arguments]
    done = subprocess.run(
        command, capture_output=True, text=True, env=graph_environment(), cwd=tmp_path, check=False
    )
    assert done.returncode in {1, 2}
    assert complaint in done.stderr
    assert 'Traceback' not in done.stderr


@pytest.fixture
def run():
    """Run a command of page4d in the background; it is gone after the test."""
    running = []

    def run(*arguments):
        command = [sys.executable, '-m', 'page4d_ros.cli', *map(str, arguments)]
        running.append(
            subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        )
        return running[-1]

    yield run
    for process in running:
        process.kill()
        process.wait()


def test_the_player_can_be_stopped(sent, graph, run):
    clock = graph.listen(Clock, '/clock')
    process = run('play', SAMPLE, '--loops', 1000)
    graph.until(lambda: clock, HANGS, '/clock')
    process.send_signal(sent)
    out, _ = process.communicate(timeout=HANGS)
    assert process.returncode == 0, out  # launch calls anything else a death
    assert 'Traceback' not in out
    assert 'played' not in out


def test_the_recorder_can_be_stopped(sent, graph, run, tmp_path):
    publisher = graph.node.create_publisher(TFMessage, '/tf', 10)
    process = run('record', tmp_path / 'recorded', '--topic', '/tf')
    graph.until(publisher.get_subscription_count, HANGS, 'the recorder')
    for _ in range(5):
        publisher.publish(TFMessage())
    assert publisher.wait_for_all_acked(Duration(seconds=HANGS))
    process.send_signal(sent)
    out, _ = process.communicate(timeout=HANGS)
    assert process.returncode == 0
    assert re.fullmatch(r'recorded \d messages in .*\n', out)
    with open_bag(tmp_path / 'recorded') as bag:
        assert not bag.warnings


def test_demos_at_one_time_do_not_meet(tmp_path):
    """Each prints its domain and waits; none has that of another."""
    code = (
        'from page4d_ros.ros.demo import graph_environment\n'
        "print(graph_environment()['ROS_DOMAIN_ID'], flush=True)\ninput()"
    )
    environment = {k: v for k, v in os.environ.items() if k != 'ROS_DOMAIN_ID'}
    pipes = {'stdin': subprocess.PIPE, 'stdout': subprocess.PIPE, 'text': True}
    command = [sys.executable, '-c', code]
    environment['TMPDIR'] = str(tmp_path)
    demos = [subprocess.Popen(command, env=environment, **pipes) for _ in range(3)]
    domains = [demo.stdout.readline() for demo in demos]
    for each in demos:
        each.communicate('\n', timeout=HANGS)
    assert sorted(domains) == ['30\n', '31\n', '32\n']
    again = subprocess.check_output(command, env=environment, input='\n', text=True)
    assert again == '30\n'


def test_the_sample_is_small_enough_to_ship():
    files = [f for f in Path(SAMPLE).rglob('*') if f.is_file()]
    assert sum(f.stat().st_size for f in files) < 5_000_000
