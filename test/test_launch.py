"""perception.launch.py, evaluated without starting anything."""

import importlib.util
from pathlib import Path

import pytest

pytest.importorskip('launch_ros', reason='launch_ros is not installed: it has no wheel on PyPI')

from launch import LaunchContext
from launch.actions import DeclareLaunchArgument, ExecuteProcess
from launch_ros.actions import LifecycleNode

ARGUMENTS = {
    'namespace', 'params_file', 'checkpoint', 'device', 'image_topic', 'camera_info_topic',
    'image_transport', 'base_frame', 'odom_frame', 'publish_tf', 'use_sim_time', 'autostart',
    'bag', 'bag_rate', 'rviz', 'log_level',
}  # fmt: skip


@pytest.fixture(scope='module')
def launch_file():
    path = Path(__file__).parents[1] / 'launch' / 'perception.launch.py'
    spec = importlib.util.spec_from_file_location('perception_launch', path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def given(launch_file, **changes):
    return {name: default for name, default, *_ in launch_file.ARGUMENTS} | changes


def test_all_arguments_are_declared(launch_file):
    entities = launch_file.generate_launch_description().entities
    declared = {e.name for e in entities if isinstance(e, DeclareLaunchArgument)}
    assert declared >= ARGUMENTS


def test_only_what_is_given_overrides_the_file(launch_file):
    plain = launch_file.parameters(given(launch_file))
    assert plain == {'input.transport': 'raw', 'node.autostart': True, 'use_sim_time': False}
    full = launch_file.parameters(
        given(launch_file, checkpoint='w.pt', base_frame='none', publish_tf='false', bag='x.mcap')
    )
    assert full['model.checkpoint'] == 'w.pt'
    assert full['frames.base'] == ''
    assert full['frames.publish_tf'] is False
    assert full['use_sim_time'] is True


@pytest.mark.parametrize(
    ('image', 'info'),
    [
        ('/camera/image_rect', '/camera/camera_info'),
        ('/camera/image_rect/compressed', '/camera/camera_info'),
        ('image', 'camera_info'),
        ('/image', '/camera_info'),
    ],
)
def test_camera_info_lies_beside_the_image(launch_file, image, info):
    remapped = dict(launch_file.remappings(given(launch_file, image_topic=image)))
    assert remapped['camera_info'] == info
    assert remapped['image/compressed'].count('compressed') == 1


def test_a_bag_is_played(launch_file):
    context = LaunchContext()
    context.launch_configurations.update(given(launch_file, bag='drive.mcap'))
    actions = launch_file.actions(context)
    assert isinstance(actions[0], LifecycleNode)
    assert [type(a) for a in actions[1:]] == [ExecuteProcess]
