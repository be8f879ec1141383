import json
import os
import signal
import subprocess
import sys
import time

import pytest
from bags_helpers import camera_messages, images_of, oracle, stamps, write_bag
from typer.testing import CliRunner

import page4d_ros
from page4d_ros.bags.reader import open_bag
from page4d_ros.cli import app


@pytest.fixture
def bag(tmp_path):
    return write_bag(tmp_path / 'in', 'mcap', camera_messages())


@pytest.fixture
def configs(monkeypatch):
    """Replace the network; collects the settings it would have been built with."""
    seen = []

    def build(config, **_):
        seen.append(config)
        return oracle(config)

    monkeypatch.setattr('page4d_ros.perception.build.build_perception', build)
    return seen


def page4d(*words):
    return CliRunner().invoke(app, [str(word) for word in words])


def test_help_and_version_load_nothing_heavy():
    code = (
        'import sys\n'
        'from page4d_ros.cli import app\n'
        'try: app(["--help"])\n'
        'except SystemExit as end: assert not end.code\n'
        'print({"torch", "cv2", "rosbags", "mujoco", "rclpy", "numpy"} & set(sys.modules))'
    )
    start = time.perf_counter()
    done = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, check=True)
    assert time.perf_counter() - start < 5  # 0.3 s on an idle machine
    assert done.stdout.endswith('set()\n')
    for command in ('replay', 'info', 'import-tum', 'render', 'play', 'record'):
        assert command in done.stdout
    assert page4d('--version').output == f'page4d {page4d_ros.__version__}\n'


def test_replay_with_a_report(tmp_path, bag, configs, monkeypatch):
    done = page4d('replay', bag, '-o', tmp_path / 'out', '--report')
    assert done.exit_code == 0, done.output
    assert 'It runs.' in done.stdout
    assert json.loads((tmp_path / 'out' / 'metrics.json').read_text())['run']['estimates'] == 6
    assert 'Does it work here?' in (tmp_path / 'out' / 'report.html').read_text()
    monkeypatch.setattr('page4d_ros.commands.show.find_spec', lambda _name: None)
    done = page4d('replay', bag, '-o', tmp_path / 'not', '--report')
    assert done.exit_code == 1
    assert 'reports need evo jinja2 matplotlib plotly: pip install' in done.output
    assert not (tmp_path / 'not').exists()


def test_replay(tmp_path, bag, configs):
    done = page4d('replay', bag, '-o', tmp_path / 'out', '--set', 'window.size=3')
    assert done.exit_code == 0, done.output
    assert 'estimates  6' in done.stdout
    assert 'dropped    none' in done.stdout
    assert images_of(tmp_path / 'out', '/depth/image') == stamps()
    config = configs[0]
    assert (config.window.size, config.window.stride) == (3, 1)


def test_json_is_one_object(tmp_path, bag, configs):
    done = page4d('replay', bag, '-o', tmp_path / 'out', '--json', '--stride', '2')
    found = json.loads(done.stdout)
    assert (found['frames'], found['estimates'], found['dropped']) == (6, 3, {})
    assert found['output'] == str(tmp_path / 'out')
    assert found['caution'] == ''
    assert found['interrupted'] is False


def test_settings_come_from_file_then_set_then_options(tmp_path, bag, configs):
    params = tmp_path / 'p.yaml'
    params.write_text(
        '/**:\n  ros__parameters:\n    use_sim_time: true\n    window: {size: 5, stride: 2}\n'
        'page4d:\n  ros__parameters:\n    frames.odom: world\n    window.max_gap: 2\n'
        'other:\n  ros__parameters:\n    unknown: 1\n'
    )
    options = ('--params', params, '--set', 'window.size=6', '--set', 'frames.base=')
    done = page4d('replay', bag, '-o', tmp_path / 'out', *options, '--device', 'cpu')
    assert done.exit_code == 0, done.output
    config = configs[0]
    assert (config.window.size, config.window.stride, config.window.max_gap) == (6, 1, 2.0)
    assert (config.frames.odom, config.frames.base) == ('world', '')
    assert config.model.device == 'cpu'


def test_the_shipped_parameter_file_is_accepted(tmp_path, bag, configs):
    from page4d_ros.share import share_file

    params = share_file('config/perception.yaml')
    assert page4d('replay', bag, '-o', tmp_path / 'out', '--params', params).exit_code == 0


@pytest.mark.parametrize(
    ('words', 'message'),
    [
        (('--set', 'window.size=0'), 'window.size: 0 is outside'),
        (('--set', 'window.size'), 'expected NAME=VALUE'),
        (('--set', 'window.sise=3'), "unknown setting 'window.sise'"),
        (('--params', 'none.yaml'), 'none.yaml: no such file'),
        (('--set', 'scale.mode=depth'), '--depth-topic and --set scale.mode=depth need'),
        (('--odom-topic', '/odom'), '--odom-topic and --set scale.mode=odometry need'),
        (('--image-topic', '/x'), 'no images on /x; there are /camera/image'),
        (('--topic', 'odometry'), 'no output odometry; there are confidence/image'),
        (('--start', '100'), 'none of its 0 frames gave an estimate'),
    ],
)
def test_mistakes_are_one_line_and_exit_code_1(tmp_path, bag, configs, words, message):
    done = page4d('replay', bag, '-o', tmp_path / 'out', *words)
    assert done.exit_code == 1
    assert message in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert done.stderr.startswith('page4d: ')


def test_no_weights(tmp_path, bag):
    done = page4d('replay', bag, '-o', tmp_path / 'out', '--set', 'model.checkpoint=')
    assert done.exit_code == 1
    assert 'model.checkpoint is empty' in done.stderr
    assert not (tmp_path / 'out').exists()


def test_sources_that_are_none(tmp_path, configs):
    assert page4d('replay', tmp_path / 'none', '-o', tmp_path / 'out').exit_code == 1
    assert page4d('info', tmp_path / 'none').exit_code == 1
    assert 'no such file' in page4d('info', tmp_path / 'none').stderr


@pytest.mark.parametrize('words', [('replay',), ('nonsense',), ('replay', 'x', '--stride', '0')])
def test_wrong_usage_is_exit_code_2(words):
    assert page4d(*words).exit_code == 2


def test_the_output_is_safe(tmp_path, bag, configs):
    out = tmp_path / 'out'
    assert page4d('replay', bag, '-o', out).exit_code == 0
    again = page4d('replay', bag, '-o', out)
    assert (again.exit_code, '--force' in again.stderr) == (1, True)
    assert page4d('replay', bag, '-o', out, '--force').exit_code == 0
    own = page4d('replay', out, '-o', out, '--force')
    assert (own.exit_code, 'holds, the source' in own.stderr) == (1, True)
    inside = page4d('replay', next(out.glob('*.mcap')), '-o', out, '--force')
    assert (inside.exit_code, 'holds, the source' in inside.stderr) == (1, True)
    assert images_of(out, '/depth/image') == stamps()


def test_ctrl_c_keeps_a_readable_recording(tmp_path, bag, monkeypatch):
    def build(config, **_):
        perception = oracle(config)
        step = perception.engine.step

        def interrupted(anchor=None, **kwargs):
            if perception.engine.steps == 2:
                os.kill(os.getpid(), signal.SIGINT)
            return step(anchor, **kwargs)

        perception.engine.step = interrupted
        return perception

    monkeypatch.setattr('page4d_ros.perception.build.build_perception', build)
    before = signal.getsignal(signal.SIGINT)
    done = page4d('replay', bag, '-o', tmp_path / 'out', '--json')
    assert done.exit_code == 130
    assert json.loads(done.stdout)['interrupted'] is True
    assert images_of(tmp_path / 'out', '/depth/image') == stamps(3)
    assert signal.getsignal(signal.SIGINT) is before


def test_ctrl_c_twice_ends_at_once(tmp_path, bag, monkeypatch):
    def build(config, **_):
        perception = oracle(config)

        def interrupted(anchor=None, **kwargs):
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(0.2)  # two at once would be one
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(5)

        perception.engine.step = interrupted
        return perception

    monkeypatch.setattr('page4d_ros.perception.build.build_perception', build)
    assert page4d('replay', bag, '-o', tmp_path / 'out').exit_code == 130
    assert (tmp_path / 'out/metadata.yaml').exists()


def test_info(bag):
    done = page4d('info', bag)
    assert done.exit_code == 0
    assert '       6  /camera/image  sensor_msgs/msg/Image  64x48 rgb8' in done.stdout


def test_warnings_go_to_stderr(tmp_path, bag, configs):
    file = next(bag.glob('*.mcap'))
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    done = page4d('replay', bag, '-o', tmp_path / 'out', '--json')
    assert done.exit_code == 0
    assert 'damaged or not closed properly' in done.stderr
    assert json.loads(done.stdout)['warnings']


def test_graph_commands_say_what_they_need(tmp_path, bag, monkeypatch):
    monkeypatch.setitem(sys.modules, 'rclpy', None)
    for words in (('play', bag), ('record', tmp_path / 'out')):
        done = page4d(*words)
        assert (done.exit_code, 'needs ROS 2' in done.stderr) == (1, True)


def test_import_tum_and_render_errors(tmp_path, monkeypatch):
    done = page4d('import-tum', tmp_path, '-o', tmp_path / 'bag')
    assert (done.exit_code, 'rgb.txt: is missing' in done.stderr) == (1, True)
    done = page4d('import-tum', tmp_path, '-o', tmp_path / 'bag', '--camera', 'kinect')
    assert done.exit_code == 2
    monkeypatch.setitem(sys.modules, 'mujoco', None)
    done = page4d('render', '-o', tmp_path / 'clip', '--frames', '2')
    assert done.exit_code == 1
    assert 'mujoco' in done.stderr


def test_render(tmp_path):
    pytest.importorskip('mujoco')
    done = page4d('render', '-o', tmp_path / 'clip', '--frames', '2', '--compressed')
    if done.exit_code and 'OpenGL' in done.stderr:
        pytest.skip('no OpenGL without a display on this machine')
    assert done.exit_code == 0, done.output
    with open_bag(tmp_path / 'clip') as bag:
        counts = {name: topic.count for name, topic in bag.topics().items()}
    assert counts['/camera/image/compressed'] == counts['/ground_truth/odom'] == 2
