"""The security policy allows what the node uses, and nothing else."""

from pathlib import Path
from xml.etree import ElementTree as Xml

import pytest

pytest.importorskip('rclpy', reason='rclpy is not installed')

from robot import Robot
from typer.testing import CliRunner

from page4d_ros.cli import app
from page4d_ros.messages.policy import policy, subscribed
from page4d_ros.messages.topics import OPTIONAL, of_camera

FILE = Path(__file__).parents[2] / 'config' / 'security' / 'page4d.policy.xml'
NAME, NAMESPACE = 'page4d', '/'
OPTIONS = {topic.name for topic in OPTIONAL}  # where their types are installed
ALTERNATIVES = (  # settings, and the inputs that they bring
    ({}, {'image'}),
    ({'input__transport': 'compressed'}, {'image/compressed'}),
    ({'scale__mode': 'depth'}, {'image', 'scale/depth'}),
    ({'scale__mode': 'odometry'}, {'image', 'scale/odom'}),
    ({'use_sim_time': True}, {'image', '/clock'}),
    ({'cameras': ['left', 'right']}, {'left/image', 'right/image'}),
)
ALWAYS = {'/tf', '/tf_static'}


def resolved(names):
    """Absolute names."""
    private = {name.replace('~', f'/{NAME}') for name in names}
    return {name if name.startswith('/') else f'/{name}' for name in private}


def used(robot, kind):
    """Names that the node really uses."""
    method = getattr(robot.node, f'get_{kind}_names_and_types_by_node')
    return {name for name, _ in method(NAME, NAMESPACE)}


def allowed(text, group, verb):
    """Names in a policy."""
    (profile,) = Xml.fromstring(text.encode()).iter('profile')
    (found,) = (each for each in profile.iter(group) if each.get(verb) == 'ALLOW')
    return resolved(each.text for each in found)


@pytest.mark.parametrize(('values', 'inputs'), ALTERNATIVES, ids=range(len(ALTERNATIVES)))
def test_the_policy_is_what_the_node_uses(graph, values, inputs):
    cameras = values.get('cameras', [])
    text = policy(cameras)
    robot = Robot(graph, activate=False, **values)
    robot.node.trigger_configure()
    robot.node.trigger_activate()
    infos = {of_camera('camera_info', camera) for camera in cameras or ['']}
    wanted = {
        'subscriber': resolved(ALWAYS | infos | inputs),
        'publisher': allowed(text, 'topics', 'publish') - resolved(OPTIONS),
        'service': allowed(text, 'services', 'reply'),
    }
    for kind, names in wanted.items():  # the graph is known a little later
        graph.until(
            lambda kind=kind, names=names: used(robot, kind) - resolved(OPTIONS) == names,
            what=f'{kind} {names}',
        )
    assert wanted['subscriber'] <= allowed(text, 'topics', 'subscribe')


def test_no_input_is_allowed_that_no_setting_brings():
    brought = set().union(*(inputs for values, inputs in ALTERNATIVES if 'cameras' not in values))
    assert brought | ALWAYS | {'camera_info'} == subscribed()


def test_the_file_is_what_the_command_prints():
    done = CliRunner().invoke(app, ['policy'])
    assert done.exit_code == 0
    assert done.stdout == FILE.read_text(), 'page4d policy > config/security/page4d.policy.xml'


def test_a_rig_below_a_namespace():
    words = ['policy', '--camera', 'left', '--camera', 'right', '--node-name', '/robot/eyes']
    done = CliRunner().invoke(app, words)
    assert '<enclave path="/robot/eyes">' in done.stdout
    assert '<profile ns="/robot" node="eyes">' in done.stdout
    assert '<topic>left/image</topic>' in done.stdout


@pytest.mark.parametrize('words', [['--node-name', 'a b'], ['--camera', 'left/../x']])
def test_names_that_cannot_be_are_refused(words):
    done = CliRunner().invoke(app, ['policy', *words])
    assert done.exit_code == 1
    assert done.stderr.startswith('page4d: ')
