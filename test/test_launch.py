"""perception.launch.py, evaluated with stand-ins and with the real launch; nothing is started."""

import importlib.util
import re
import sys
from pathlib import Path

import launch_stand_ins
import pytest
from ruamel.yaml import YAML

from page4d_ros.config import Config, file_values

ROOT = Path(__file__).parents[1]
LAUNCH_FILE = ROOT / 'launch' / 'perception.launch.py'
CONFIG_FILE = ROOT / 'config' / 'perception.yaml'
PREFIX = Path('/opt/robot')
ARGUMENTS = {
    'namespace', 'params_file', 'checkpoint', 'device', 'image_topic', 'camera_info_topic',
    'image_transport', 'base_frame', 'odom_frame', 'publish_tf', 'use_sim_time', 'autostart',
    'bag', 'bag_rate', 'rviz', 'log_level', 'remap_tf', 'bag_topics', 'cameras', 'scale_mode',
    'publish_size',
}  # fmt: skip
DEFAULTS = {'input.transport': 'raw', 'node.autostart': True, 'use_sim_time': False}


def load():
    spec = importlib.util.spec_from_file_location('perception_launch', LAUNCH_FILE)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope='module')
def with_stand_ins():
    with pytest.MonkeyPatch.context() as patch:
        for name, module in launch_stand_ins.modules(ROOT, PREFIX).items():
            patch.setitem(sys.modules, name, module)
        return load()


@pytest.fixture(scope='module')
def with_launch():
    pytest.importorskip('launch_ros', reason='launch_ros is not installed: no wheel on PyPI')
    return load()


@pytest.fixture(params=['with_stand_ins', 'with_launch'])
def launch_file(request):
    return request.getfixturevalue(request.param)


def started(launch_file, **arguments):
    """Actions that `ros2 launch` would start for these arguments."""
    context = launch_file.LaunchContext()
    context.launch_configurations.update(arguments)
    out = []
    for entity in launch_file.generate_launch_description().entities:
        out += entity.execute(context) or []
    return out


def given(launch_file, **changes):
    return {name: default for name, default, *_ in launch_file.ARGUMENTS} | changes


def node_parameters(launch_file, **arguments):
    """Parameters that the node starts with: those of the file, then those of the arguments."""
    node = started(launch_file, **arguments)[0]
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
    assert set(with_stand_ins.parameters(every)) - names == {'use_sim_time'}
    for name, _, text, _ in with_stand_ins.ARGUMENTS:
        for mentioned in re.findall(r'\b[a-z]+\.[a-z_]+\b', text):
            assert mentioned in names, (name, text)
    for name, parameter in with_stand_ins.OVERRIDES.items():
        text = next(t for n, _, t, _ in with_stand_ins.ARGUMENTS if n == name)
        assert parameter.split('.')[0] in ('model', 'frames', 'scale', 'publish')
        assert name == 'publish_tf' or name in parameter or parameter in text


def test_choices_are_those_of_the_parameters(with_stand_ins):
    choices = {name: given for name, _, _, given in with_stand_ins.ARGUMENTS}
    assert choices['scale_mode'] == ['', *Config.leaves()['scale.mode'].choices]
    assert choices['publish_size'] == ['', *Config.leaves()['publish.size'].choices]
    for transport in choices['image_transport']:
        Config().with_values({'input.transport': transport})
    transport = next(leaf for name, leaf in Config.leaves().items() if name == 'input.transport')
    assert next(d for n, d, *_ in with_stand_ins.ARGUMENTS if n == 'image_transport') == (
        transport.default
    )


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
    assert node.parameters[0].param_file == str(CONFIG_FILE)
    assert node.parameters[0].allow_substs
    assert node.parameters[1] == DEFAULTS
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
    assert node.remappings[-2:] == [('/tf', 'tf'), ('/tf_static', 'tf_static')]
    assert node.namespace == 'robot1'
    assert node.arguments[-1] == 'debug'


def test_cameras_of_a_rig(with_stand_ins):
    node, player = started(with_stand_ins, cameras='front=/c0/rgb left', bag='x.mcap')
    assert node.parameters[1]['cameras'] == ['front', 'left']
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
        {'bag_rate': 'fast', 'bag': 'x.mcap'},
        {'bag_rate': '0', 'bag': 'x.mcap'},
    ],
    ids=str,
)
def test_wrong_arguments_are_refused_by_name(launch_file, wrong):
    with pytest.raises(RuntimeError, match=next(iter(wrong))):
        started(launch_file, **wrong)


# -- beside the node ------------------------------------------------------------------------------


def test_a_bag_is_played(launch_file):
    actions = started(launch_file, bag='drive.mcap')
    assert isinstance(actions[0], launch_file.LifecycleNode)
    assert [type(a) for a in actions[1:]] == [launch_file.ExecuteProcess]


def test_the_player_of_a_bag(with_stand_ins):
    node, player = started(with_stand_ins, bag='x.mcap', bag_rate='0.5', image_topic='/c/image')
    program, *rest = player.cmd
    assert program == str(PREFIX / 'lib' / 'page4d_ros' / 'page4d')
    assert rest[:5] == ['play', 'x.mcap', '--rate', '0.5', '--wait']
    topics = ['/c/image', '/c/image/compressed', '/c/camera_info', '/tf_static']
    assert rest[5:] == [f'--topic={topic}' for topic in topics]
    assert node.parameters[1]['use_sim_time'] is True
    _, player = started(with_stand_ins, bag='x.mcap', bag_topics='/tf gps')
    assert player.cmd[-3:] == ['--topic=/tf_static', '--topic=/tf', '--topic=/gps']
    _, player = started(with_stand_ins, bag='x.mcap', bag_topics='all')
    assert not [word for word in player.cmd if word.startswith('--topic')]


def test_rviz_follows_the_same_clock(with_stand_ins):
    _, viewer = started(with_stand_ins, rviz='true', use_sim_time='true', namespace='a')
    assert (viewer.package, viewer.executable, viewer.namespace) == ('rviz2', 'rviz2', 'a')
    assert viewer.parameters == [{'use_sim_time': True}]
    assert Path(viewer.arguments[-1]).is_file()


def test_rviz_that_is_not_installed_is_told_before_anything_starts(with_stand_ins, monkeypatch):
    monkeypatch.setattr(with_stand_ins, 'get_package_prefix', lambda name: {}[name])
    with pytest.raises(RuntimeError, match='rviz2, which is not installed'):
        started(with_stand_ins, rviz='true')
