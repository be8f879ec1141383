"""perception.launch.py as `ros2 launch` runs it, where launch_ros is installed."""

import os
import signal
import subprocess
import sys

import pytest
from launch_files import ROOT

pytest.importorskip('rclpy', reason='rclpy is not installed')
pytest.importorskip('launch_ros', reason='launch_ros is not installed: no wheel on PyPI')

from rcl_interfaces.srv import GetParameters
from rosgraph_msgs.msg import Clock

from page4d_ros.commands.show import SAMPLE

HANGS = 120  # seconds; a limit against hanging, not a measure
LAUNCH = """
import sys
from launch import LaunchDescription, LaunchService
from launch.actions import GroupAction, IncludeLaunchDescription
from launch.launch_description_sources import PythonLaunchDescriptionSource
from launch_ros.actions import SetParameter

given = dict(word.split(':=', 1) for word in sys.argv[2:])
source = PythonLaunchDescriptionSource(sys.argv[1])
perception = IncludeLaunchDescription(source, launch_arguments=given.items())
around = [SetParameter('mask.threshold', 0.77), SetParameter('window.size', 3)]
service = LaunchService()
service.include_launch_description(LaunchDescription([GroupAction([*around, perception])]))
sys.exit(service.run())
"""
BAG = {'bag': SAMPLE, 'image_topic': '/camera/image', 'image_transport': 'compressed'}


@pytest.fixture
def launch(tmp_path):
    """Launch in the background; all of it is gone after the test."""
    running = []

    def launch(**arguments):
        given = {'checkpoint': 'untrained', 'device': 'cpu'} | arguments
        path = ROOT / 'launch' / 'perception.launch.py'
        command = [sys.executable, '-c', LAUNCH, str(path)]
        command += [f'{name}:={value}' for name, value in given.items()]
        running.append(
            subprocess.Popen(
                command,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                env=os.environ | {'ROS_LOG_DIR': str(tmp_path)},
                start_new_session=True,
            )
        )
        return running[-1]

    yield launch
    for process in running:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def test_it_ends_with_the_recording(launch):
    process = launch(**BAG, bag_rate=4)
    out, _ = process.communicate(timeout=HANGS)
    assert process.returncode == 0, out
    assert 'the recording has ended' in out
    assert 'process has died' not in out
    assert 'no image for' not in out


def test_a_wrong_topic_ends_it_with_an_error_that_names_the_right_one(launch):
    process = launch(**BAG | {'image_topic': '/wrong/image'})
    out, _ = process.communicate(timeout=HANGS)
    assert process.returncode == 1, out
    assert 'it has images on /camera/image/compressed' in out
    assert 'was not played' in out


def test_a_wrong_path_ends_it_before_anything_starts(launch, tmp_path):
    process = launch(**BAG | {'bag': tmp_path / 'nothing'})
    out, _ = process.communicate(timeout=HANGS)
    assert process.returncode == 1, out
    assert 'no such file or folder' in out
    assert 'process started' not in out


def test_nobody_dies_of_ctrl_c_while_a_recording_plays(graph, launch):
    clock = graph.listen(Clock, '/clock')
    process = launch(**BAG, bag_rate=0.1)
    graph.until(lambda: clock, HANGS, '/clock')
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does: to all of them
    out, _ = process.communicate(timeout=HANGS)
    assert 'process has died' not in out, out
    assert 'Traceback' not in out


def test_parameters_that_are_set_around_it_are_those_of_the_node(graph, launch):
    launch(static_tf='0 0 1 0 0 0', camera_name='front')
    request = GetParameters.Request(names=['mask.threshold', 'window.size', 'frames.mount'])
    answer = graph.call(GetParameters, '/front/page4d/get_parameters', request, HANGS)
    threshold, size, mount = answer.values
    assert (threshold.double_value, size.integer_value) == (0.77, 3)
    assert list(mount.double_array_value) == [0, 0, 1, 0, 0, 0]
