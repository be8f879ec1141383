"""The launch files and parameter files of consumers; nothing is started."""

import pytest
from launch_files import load_with_stand_ins, started

CONSUMERS = {
    'rtabmap': ('rtabmap_slam', 'rtabmap'),
    'nvblox': ('nvblox_ros', 'nvblox_node'),
    'octomap': ('octomap_server', 'octomap_server_node'),
}


@pytest.fixture(scope='module')
def perception():
    return load_with_stand_ins()


@pytest.fixture(scope='module')
def modules():
    return {name: load_with_stand_ins(name) for name in CONSUMERS}


def both(modules, perception, name, **arguments):
    """The perception and its consumer, as started."""
    arguments = {'scale_mode': 'fixed'} | arguments
    return started(modules[name], perception, **arguments)


@pytest.mark.parametrize('name', CONSUMERS)
def test_the_consumer_runs_beside_the_perception(modules, perception, name):
    node, consumer = both(
        modules, perception, name, namespace='robot1', camera_name='front', remap_tf='true'
    )
    assert (node.package, node.parameters[-1]['scale.mode']) == ('page4d_ros', 'fixed')
    assert (consumer.package, consumer.executable) == CONSUMERS[name]
    assert consumer.namespace == node.namespace == 'robot1/front'
    tf = {('/tf', '/robot1/tf'), ('/tf_static', '/robot1/tf_static')}
    assert tf <= set(consumer.remappings)
    assert tf <= set(node.remappings)
    assert 'use_sim_time' not in consumer.parameters[-1]  # SetParameter may say it


@pytest.mark.parametrize('name', CONSUMERS)
def test_all_follow_one_clock(modules, perception, name, tmp_path):
    bag = tmp_path / 'x.mcap'
    bag.touch()
    node, *_, consumer = both(modules, perception, name, bag=str(bag))
    assert node.parameters[-1]['use_sim_time'] is True
    assert consumer.parameters[-1]['use_sim_time'] is True


@pytest.mark.parametrize('name', CONSUMERS)
def test_a_consumer_that_is_not_installed_is_told_first(modules, perception, monkeypatch, name):
    monkeypatch.setattr(modules[name], 'get_package_prefix', lambda package: {}[package])
    with pytest.raises(RuntimeError, match=f'needs {CONSUMERS[name][0]}, which is not installed'):
        both(modules, perception, name)


@pytest.mark.parametrize('name', ['rtabmap', 'nvblox'])
@pytest.mark.parametrize('mode', ['', 'none'])
def test_lengths_must_be_metres(modules, perception, name, mode):
    with pytest.raises(RuntimeError, match='scale_mode:= is needed'):
        both(modules, perception, name, scale_mode=mode)


def test_rtabmap_needs_a_robot(modules, perception):
    with pytest.raises(RuntimeError, match='needs the frame of a robot'):
        both(modules, perception, 'rtabmap', base_frame='none')


def test_rtabmap_gets_images_of_the_cameras_size(modules, perception):
    node, consumer = both(modules, perception, 'rtabmap', base_frame='base_footprint')
    assert node.parameters[-1]['publish.size'] == 'camera'
    assert consumer.parameters[-1]['frame_id'] == 'base_footprint'
    node, consumer = both(modules, perception, 'rtabmap', publish_size='network')
    assert node.parameters[-1]['publish.size'] == 'network'
    _, consumer = both(modules, perception, 'rtabmap', localization='true')
    assert consumer.parameters[-1]['Mem/IncrementalMemory'] == 'false'


def test_nvblox_keeps_movers_apart_or_never_sees_them(modules, perception):
    _, consumer = both(modules, perception, 'nvblox')
    assert consumer.parameters[-1]['use_segmentation'] is True
    assert dict(consumer.remappings)['camera_0/depth/image'] == 'depth/image'
    _, consumer = both(modules, perception, 'nvblox', movers='left_out')
    assert consumer.parameters[-1]['use_segmentation'] is False
    assert dict(consumer.remappings)['camera_0/depth/image'] == 'depth/static'
    assert 'camera_0/mask/image' not in dict(consumer.remappings)


def test_nvblox_takes_the_cameras_of_a_rig(modules, perception):
    _, consumer = both(modules, perception, 'nvblox', cameras='front=/c0/image left')
    assert consumer.parameters[-1]['num_cameras'] == 2
    assert dict(consumer.remappings)['camera_1/color/camera_info'] == 'left/rgb/camera_info'
    with pytest.raises(RuntimeError, match='more than the 4'):
        both(modules, perception, 'nvblox', cameras='a b c d e')


def test_octomap_takes_the_main_camera_of_a_rig(modules, perception):
    _, consumer = both(modules, perception, 'octomap', cameras='front left', odom_frame='world')
    assert dict(consumer.remappings)['cloud_in'] == 'front/points/static'
    assert consumer.parameters[-1]['frame_id'] == 'world'
    _, consumer = both(modules, perception, 'octomap', world_frame='map')
    assert consumer.parameters[-1]['frame_id'] == 'map'
