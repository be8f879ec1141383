"""perception.launch.py, evaluated with stand-ins and with the real launch; nothing is started."""

import re
from pathlib import Path
from types import SimpleNamespace

import pytest
from launch_files import PREFIX, ROOT, load, load_with_stand_ins, started
from ruamel.yaml import YAML

from page4d_ros.config import Config, file_values
from page4d_ros.messages.layouts import Shown, rviz

CONFIG_FILE = ROOT / 'config' / 'perception.yaml'
ARGUMENTS = {
    'namespace', 'params_file', 'checkpoint', 'device', 'image_topic', 'camera_info_topic',
    'image_transport', 'base_frame', 'odom_frame', 'publish_tf', 'use_sim_time', 'autostart',
    'bag', 'bag_rate', 'rviz', 'log_level', 'remap_tf', 'bag_topics', 'cameras', 'scale_mode',
    'publish_size', 'camera_name', 'static_tf', 'respawn', 'bag_end', 'foxglove',
}  # fmt: skip
DEFAULTS = {'node.autostart': True}  # autostart alone, so that SetParameter has its way


@pytest.fixture(scope='module')
def with_stand_ins():
    return load_with_stand_ins()


@pytest.fixture(scope='module')
def with_launch():
    pytest.importorskip('launch_ros', reason='launch_ros is not installed: no wheel on PyPI')
    return load()


@pytest.fixture(params=['with_stand_ins', 'with_launch'])
def launch_file(request):
    return request.getfixturevalue(request.param)


def given(launch_file, **changes):
    return {name: default for name, default, *_ in launch_file.ARGUMENTS} | changes


def node_parameters(launch_file, **arguments):
    """Parameters that the node starts with: those of the file, then those of the arguments."""
    node = started(launch_file, **({'params_file': str(CONFIG_FILE)} | arguments))[0]
    values = arguments | {'params_file': node.parameters[0].param_file}
    text = node.parameters[0].evaluate(launch_file.LaunchContext(values))
    groups = YAML(typ='safe').load(text)['/**']['ros__parameters']
    flat = {f'{g}.{n}': value for g, group in groups.items() for n, value in group.items()}
    return flat | node.parameters[1]


# -- the list of arguments ------------------------------------------------------------------------


def test_all_arguments_are_declared(launch_file):
    entities = launch_file.generate_launch_description().entities
    declared = {e.name for e in entities if isinstance(e, launch_file.DeclareLaunchArgument)}
    assert declared == ARGUMENTS


def test_arguments_name_parameters_that_exist(with_stand_ins):
    names = {name for name, _ in Config.leaves().items()}
    every = given(with_stand_ins) | dict.fromkeys(with_stand_ins.OVERRIDES, 'x')
    every['static_tf'] = '0 0 0 0 0 0'
    every['use_sim_time'] = 'true'
    assert set(with_stand_ins.parameters(every)) - names == {'use_sim_time'}
    for name, _, text, _ in with_stand_ins.ARGUMENTS:
        for mentioned in re.findall(r'\b[a-z]+\.[a-z_]+\b', text):
            assert mentioned in names, (name, text)
    for name, parameter in with_stand_ins.OVERRIDES.items():
        text = next(t for n, _, t, _ in with_stand_ins.ARGUMENTS if n == name)
        assert parameter.split('.')[0] in ('model', 'frames', 'input', 'scale', 'publish')
        assert name == 'publish_tf' or name in parameter or parameter in text


def test_choices_are_those_of_the_parameters(with_stand_ins):
    choices = {name: given for name, _, _, given in with_stand_ins.ARGUMENTS}
    assert choices['scale_mode'] == ['', *Config.leaves()['scale.mode'].choices]
    assert choices['publish_size'] == ['', *Config.leaves()['publish.size'].choices]
    assert choices['image_transport'] == ['', *Config.leaves()['input.transport'].choices]


@pytest.mark.parametrize(
    'document', sorted([ROOT / 'README.md', *ROOT.glob('docs/*.md')]), ids=str
)
def test_documents_use_declared_arguments(document):
    for paragraph in document.read_text(encoding='utf-8').split('\n\n'):
        if 'perception.launch.py' in paragraph or 'launch argument' in paragraph:
            found = set(re.findall(r'(?<![\w.])([a-z_]+):=', paragraph))
            assert found <= ARGUMENTS, paragraph


# -- the node -------------------------------------------------------------------------------------


def test_only_what_is_given_overrides_the_file(launch_file):
    assert launch_file.parameters(given(launch_file)) == DEFAULTS
    full = launch_file.parameters(
        given(launch_file, checkpoint='w.pt', base_frame='none', publish_tf='false', bag='x.mcap')
    )
    assert full['model.checkpoint'] == 'w.pt'
    assert full['frames.base'] == ''
    assert full['frames.publish_tf'] is False
    assert full['use_sim_time'] is True


def test_the_node_by_default(with_stand_ins):
    (node,) = started(with_stand_ins)
    assert isinstance(node, with_stand_ins.LifecycleNode)
    assert (node.package, node.executable) == ('page4d_ros', 'page4d_node')
    assert (node.name, node.namespace, node.output) == ('page4d', '', 'screen')
    assert node.parameters == [DEFAULTS]
    assert not node.respawn
    assert node.arguments == ['--ros-args', '--log-level', 'info']
    scripts = (ROOT / 'setup.py').read_text()
    assert f"'{node.executable} = " in scripts


def test_parameters_are_the_files_with_the_arguments_over_them(with_stand_ins):
    leaves = Config.leaves().items()
    defaults = {name: leaf.default for name, leaf in leaves if leaf.default != ()}
    assert node_parameters(with_stand_ins) == defaults | DEFAULTS
    found = node_parameters(
        with_stand_ins,
        checkpoint='untrained',
        device='cuda:1',
        odom_frame='map',
        base_frame='base_footprint',
        publish_tf='false',
        image_transport='compressed',
        autostart='false',
        use_sim_time='true',
    )
    wanted = {
        'model.checkpoint': 'untrained',
        'model.device': 'cuda:1',
        'frames.odom': 'map',
        'frames.base': 'base_footprint',
        'frames.publish_tf': False,
        'input.transport': 'compressed',
        'node.autostart': False,
        'use_sim_time': True,
    }
    assert found == defaults | wanted
    del wanted['use_sim_time']
    Config().with_values(wanted)


def test_substitutions_of_a_parameter_file(with_stand_ins, tmp_path):
    path = tmp_path / 'mine.yaml'
    path.write_text('/**: {ros__parameters: {frames: {camera: "$(var namespace)_optical"}}}\n')
    found = node_parameters(with_stand_ins, params_file=str(path), namespace='front')
    assert found == {'frames.camera': 'front_optical'} | DEFAULTS


def test_a_place_of_the_camera_without_urdf(launch_file):
    found = launch_file.parameters(given(launch_file, static_tf='0.2 0 1.1 0 0.1 0'))
    assert found['frames.mount'] == [0.2, 0.0, 1.1, 0.0, 0.1, 0.0]
    Config().with_values(found)


def test_a_node_that_ends_may_be_started_again(with_stand_ins):
    (node,) = started(with_stand_ins, respawn='true')
    assert node.respawn
    assert node.respawn_delay > 0


def test_cameras_with_a_node_each_share_the_robots_tf(with_stand_ins):
    arguments = {'namespace': 'robot1', 'camera_name': 'front', 'remap_tf': 'true'}
    (node,) = started(with_stand_ins, **arguments)
    assert node.namespace == 'robot1/front'
    assert dict(node.remappings)['/tf'] == '/robot1/tf'
    assert dict(node.remappings)['image'] == 'image'  # /robot1/front/image
    (node,) = started(with_stand_ins, **arguments, ros_namespace='/fleet')  # of PushRosNamespace
    assert dict(node.remappings)['/tf_static'] == '/fleet/robot1/tf_static'
    (node,) = started(with_stand_ins, **(arguments | {'namespace': '/robot1'}), ros_namespace='/x')
    assert node.namespace == '/robot1/front'
    assert dict(node.remappings)['/tf'] == '/robot1/tf'


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


def test_remappings(with_stand_ins):
    (node,) = started(with_stand_ins, image_topic='/c/rgb', camera_info_topic='/calibration')
    inputs = [('image', '/c/rgb'), ('image/compressed', '/c/rgb/compressed')]
    assert node.remappings == [*inputs, ('camera_info', '/calibration')]
    (node,) = started(with_stand_ins, remap_tf='true', namespace='robot1', log_level='debug')
    assert node.remappings[-2:] == [('/tf', '/robot1/tf'), ('/tf_static', '/robot1/tf_static')]
    assert node.namespace == 'robot1'
    assert node.arguments[-1] == 'debug'


def test_cameras_of_a_rig(with_stand_ins, bag):
    node, player, _ = started(with_stand_ins, cameras='front=/c0/rgb left', bag=bag)
    assert node.parameters[-1]['cameras'] == ['front', 'left']
    assert node.remappings == [
        ('front/image', '/c0/rgb'),
        ('front/image/compressed', '/c0/rgb/compressed'),
        ('front/camera_info', '/c0/camera_info'),
        ('left/image', 'left/image'),
        ('left/image/compressed', 'left/image/compressed'),
        ('left/camera_info', 'left/camera_info'),
    ]
    assert {'--topic=/c0/rgb', '--topic=/left/camera_info'} <= set(player.cmd)
    with pytest.raises(RuntimeError, match='leave out the others'):
        started(with_stand_ins, cameras='front', image_topic='/c/rgb')


def test_the_template_of_a_rig_holds_settings():
    config = Config().with_values(file_values(ROOT / 'config' / 'rig.yaml'))
    assert len(config.cameras) == len(config.rig.offsets) == 3
    assert config.scale.mode == 'rig'


@pytest.mark.parametrize(
    'wrong',
    [
        {'image_transport': 'theora'},
        {'publish_tf': 'yes'},
        {'remap_tf': '1'},
        {'use_sim_time': 'True'},
        {'autostart': 'no'},
        {'rviz': ''},
        {'image_topic': ''},
        {'image_topic': '/'},
        {'bag_rate': 'fast'},
        {'bag_rate': '0'},
        {'bag': 'no_such_bag.mcap'},
        {'bag_end': 'pause'},
        {'static_tf': '0 0 1'},
        {'static_tf': '0 0 1 0 0 0', 'base_frame': 'none'},
        {'static_tf': '0 0 1 up 0 0'},
        {'camera_name': 'front/left'},
        {'respawn': 'always'},
    ],
    ids=str,
)
def test_wrong_arguments_are_refused_by_name(launch_file, wrong):
    with pytest.raises(RuntimeError, match=next(iter(wrong))):
        started(launch_file, **wrong)


# -- beside the node ------------------------------------------------------------------------------


@pytest.fixture
def bag(tmp_path):
    path = tmp_path / 'x.mcap'
    path.touch()
    return str(path)


def test_a_bag_is_played(launch_file, bag):
    actions = started(launch_file, bag=bag)
    assert isinstance(actions[0], launch_file.LifecycleNode)
    kinds = [launch_file.ExecuteProcess, launch_file.RegisterEventHandler]
    assert [type(a) for a in actions[1:]] == kinds


def test_the_player_of_a_bag(with_stand_ins, bag):
    node, player, _ = started(with_stand_ins, bag=bag, bag_rate='0.5', image_topic='/c/image')
    program, *rest = player.cmd
    assert program == str(PREFIX / 'lib' / 'page4d_ros' / 'page4d')
    assert rest[:5] == ['play', bag, '--rate', '0.5', '--wait']
    topics = ['/c/image', '/c/image/compressed', '/c/camera_info', '/tf_static']
    assert rest[5:] == [f'--topic={topic}' for topic in topics]
    assert node.parameters[-1]['use_sim_time'] is True
    _, player, _ = started(with_stand_ins, bag=bag, bag_topics='/tf gps')
    assert player.cmd[-3:] == ['--topic=/tf_static', '--topic=/tf', '--topic=/gps']
    _, player, _ = started(with_stand_ins, bag=bag, bag_topics='all')
    assert not [word for word in player.cmd if word.startswith('--topic')]
    _, player, _ = started(with_stand_ins, bag=bag, namespace='robot1', camera_name='front')
    assert '--topic=/robot1/front/image' in player.cmd


def at_the_end(launch_file, bag, returncode=0, **arguments):
    """Actions that follow the end of the player."""
    node, player, handler = started(launch_file, bag=bag, **arguments)[:3]
    assert handler.event_handler.target_action is player
    event = SimpleNamespace(returncode=returncode)
    return node, handler.event_handler.on_exit(event, launch_file.LaunchContext())


def test_launch_ends_with_the_recording(with_stand_ins, bag):
    _, (timer,) = at_the_end(with_stand_ins, bag)
    assert timer.period > 0  # for the last estimates
    told, action = timer.actions
    assert 'has ended' in told.msg
    assert isinstance(action, with_stand_ins.Shutdown)


@pytest.mark.parametrize(
    'arguments', [{'bag_end': 'stay'}, {'rviz': 'true'}, {'foxglove': 'true'}]
)
def test_what_is_looked_at_stays_and_rests(with_stand_ins, bag, arguments):
    node, (timer,) = at_the_end(with_stand_ins, bag, **arguments)
    change, told = timer.actions
    assert change.event.lifecycle_node_matcher(node)
    assert change.event.transition_id == with_stand_ins.Transition.TRANSITION_DEACTIVATE
    assert 'has ended' in told.msg
    _, (timer,) = at_the_end(with_stand_ins, bag, **(arguments | {'bag_end': 'shutdown'}))
    assert isinstance(timer.actions[-1], with_stand_ins.Shutdown)


def test_launch_ends_with_an_error_if_the_player_does(with_stand_ins, bag):
    with pytest.raises(RuntimeError, match='was not played'):
        at_the_end(with_stand_ins, bag, returncode=1)
    handler = started(with_stand_ins, bag=bag)[2].event_handler
    over = with_stand_ins.LaunchContext()
    over.is_shutdown = True  # Ctrl-C: all end
    assert handler.on_exit(SimpleNamespace(returncode=1), over) == []


def test_viewers_follow_the_same_clock(with_stand_ins):
    _, viewer, bridge = started(
        with_stand_ins, rviz='true', foxglove='true', use_sim_time='true', namespace='a'
    )
    assert (viewer.package, viewer.executable, viewer.namespace) == ('rviz2', 'rviz2', 'a')
    assert viewer.parameters == bridge.parameters == [{'use_sim_time': True}]
    assert Path(viewer.arguments[-1]).is_file()
    assert (bridge.package, bridge.executable) == ('foxglove_bridge', 'foxglove_bridge')
    _, viewer = started(with_stand_ins, rviz='true')
    assert viewer.parameters == []  # SetParameter may say it


def test_rviz_shows_every_camera_in_the_frame_of_the_trajectory(with_stand_ins):
    _, viewer = started(
        with_stand_ins, rviz='true', cameras='front=/cam0/image left', odom_frame='map'
    )
    assert Path(viewer.arguments[-1]).read_text() == rviz(Shown(('front', 'left'), odom='map'))


@pytest.mark.parametrize(('name', 'package'), [('rviz', 'rviz2'), ('foxglove', 'foxglove_bridge')])
def test_viewers_that_are_not_installed_are_told_before_anything_starts(
    with_stand_ins, monkeypatch, name, package
):
    monkeypatch.setattr(with_stand_ins, 'get_package_prefix', lambda name: {}[name])
    with pytest.raises(RuntimeError, match=f'{package}, which is not installed'):
        started(with_stand_ins, **{name: 'true'})
