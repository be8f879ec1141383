"""Replay of recordings with several cameras."""

import numpy as np
import pytest
from bags_helpers import MAKE, START_NS, STEP_NS, camera_info, head, tf, write_bag
from fakes import OracleEngine, picture, pose_at
from scipy.spatial.transform import Rotation
from typer.testing import CliRunner

from page4d_ros.bags.reader import open_bag
from page4d_ros.bags.recording import Recording
from page4d_ros.bags.replay import OFFLINE, replay
from page4d_ros.cli import app
from page4d_ros.config import Config
from page4d_ros.errors import BagError
from page4d_ros.geometry.poses import from_quaternion, inverse, transform
from page4d_ros.messages import encode
from page4d_ros.messages.decode import stamp_ns
from page4d_ros.messages.transforms import TransformBuffer
from page4d_ros.perception.base_frame import FORWARD
from page4d_ros.perception.pipeline import Perception

NAMES = ['front', 'left']
TOPICS = ['/cam0/image', '/cam1/image']
LEFT = transform(Rotation.from_euler('y', -0.6).as_matrix(), (-0.25, 0.05, -0.1))
MOUNTS = {0: np.eye(4), 1: LEFT}
MOUNT = transform(FORWARD[:3, :3], (0.2, 0.0, 1.2))


def recorded(count=12, *, late_ns=0, left=lambda _i: True):
    """Messages of a rig of two; left's are recorded `late_ns` late, and only some of them."""
    out = []
    for view, T in MOUNTS.items():
        out.append(('/tf_static', START_NS, tf(START_NS, 'base_link', f'cam{view}', MOUNT @ T)))
    for i in range(count):
        for view, topic in enumerate(TOPICS):
            if view and not left(i):
                continue
            ns, log_ns = START_NS + i * STEP_NS, START_NS + i * STEP_NS + view * late_ns
            picture_ = encode.image(MAKE, head(ns, f'cam{view}'), picture(ns + view))
            out.append((f'/cam{view}/camera_info', log_ns, camera_info(ns)))
            out.append((topic, log_ns, picture_))
    return sorted(out, key=lambda item: item[1])


def config(**values):
    settings = {'cameras': NAMES, 'mask.source': 'head', 'scale.mode': 'rig'}
    settings |= {'model.grid': 'joint'}
    return Config().with_values(OFFLINE | settings | values)


def run(tmp_path, messages, settings=None, **options):
    settings = settings or config()
    path = write_bag(tmp_path / 'in', 'mcap', messages)
    engine = OracleEngine(seed=2, mounts=MOUNTS)
    with Recording(path, settings, image_topics=TOPICS) as source:
        summary = replay(
            source,
            tmp_path / 'out',
            settings,
            perception=Perception(settings, engine),
            **options,
        )
    out = {}
    with open_bag(tmp_path / 'out') as bag:
        for topic, _, message in bag.messages(bag.topics()):
            out.setdefault(topic, []).append(message)
    return summary, out


def test_each_camera_may_have_a_window_of_its_own(tmp_path):
    settings = config(**{'model.grid': 'per_view', 'scale.mode': 'none'})
    messages = recorded(left=lambda i: i % 3 != 1)
    summary, out = run(tmp_path, messages, settings)
    assert (summary.frames, summary.estimates, summary.dropped) == (12, 12, {})
    assert not summary.warnings
    times = [START_NS + i * STEP_NS for i in range(12)]
    assert [stamp_ns(m.header) for m in out['/odom']] == times
    assert [stamp_ns(m.header) for m in out['/front/depth/image']] == times
    seen = [t for i, t in enumerate(times) if i % 3 != 1]
    assert [stamp_ns(m.header) for m in out['/left/depth/image']] == seen


@pytest.mark.parametrize('late_ns', [0, 2 * STEP_NS])
def test_every_camera_has_its_outputs_in_metres(tmp_path, late_ns):
    """What is recorded late waits for nobody: replay has time."""
    summary, out = run(tmp_path, recorded(late_ns=late_ns))
    assert (summary.frames, summary.estimates, summary.dropped) == (12, 12, {})
    assert summary.metric
    assert not summary.warnings
    times = [START_NS + i * STEP_NS for i in range(12)]
    for view, name in enumerate(NAMES):
        got = out[f'/{name}/depth/image']
        assert [stamp_ns(m.header) for m in got] == times
        assert {m.header.frame_id for m in got} == {f'cam{view}'}
        assert len(out[f'/{name}/points/static']) > 5
    assert '/depth/image' not in out
    assert [stamp_ns(m.header) for m in out['/odom']] == times
    last = out['/odom'][-1].pose.pose
    moved = inverse(pose_at(START_NS * 1e-9)) @ pose_at(times[-1] * 1e-9)
    expected = MOUNT @ moved @ inverse(MOUNT)
    q, p = last.orientation, last.position
    T = from_quaternion((q.x, q.y, q.z, q.w), (p.x, p.y, p.z))
    np.testing.assert_allclose(T, expected, atol=0.02 * np.linalg.norm(moved[:3, 3]) + 0.01)
    buffer = TransformBuffer()
    for message in out['/tf_static']:
        buffer.store(message)
    np.testing.assert_allclose(buffer.lookup('cam0', 'cam1'), LEFT, atol=1e-9)


def test_a_camera_may_stop_in_the_middle(tmp_path):
    summary, out = run(tmp_path, recorded(left=lambda i: i < 5))
    assert summary.estimates == 12
    assert len(out['/front/depth/image']) == 12
    assert len(out['/left/depth/image']) == 5


def test_a_rig_on_the_command_line(tmp_path):
    path = write_bag(tmp_path / 'in', 'mcap', recorded(5))
    pairs = [f'--camera={name}={topic}' for name, topic in zip(NAMES, TOPICS, strict=True)]
    options = ['--checkpoint', 'untrained', '--set', 'model.resolution=56']
    result = CliRunner().invoke(
        app, ['replay', str(path), '-o', str(tmp_path / 'out'), *pairs, *options]
    )
    assert result.exit_code == 0, result.output
    with open_bag(tmp_path / 'out') as bag:
        assert {'/front/depth/image', '/left/mask/image', '/odom'} <= set(bag.topics())


@pytest.mark.parametrize(
    ('given', 'said'),
    [
        (['front=/a', '1,1,1,1'], 'NAME=TOPIC once'),
        (['front=/a', 'front=/b'], 'NAME=TOPIC once'),
        (['1,1,1,1', '2,2,2,2'], 'FX,FY,CX,CY once'),
        (['front=/cam0/image', 'left=/none'], 'no images on /none'),
    ],
)
def test_cameras_that_make_no_sense(tmp_path, given, said):
    path = write_bag(tmp_path / 'in', 'mcap', recorded(2))
    pairs = [f'--camera={text}' for text in given]
    result = CliRunner().invoke(app, ['replay', str(path), '-o', str(tmp_path / 'out'), *pairs])
    assert result.exit_code == 1
    assert said in result.output


def test_a_clip_and_a_folder_are_of_one_camera(tmp_path):
    with pytest.raises(BagError, match='clip is of one camera'):
        run(tmp_path, recorded(2), clip=True)
    (tmp_path / 'images').mkdir()
    with pytest.raises(BagError, match='only these hold several cameras'):
        replay(tmp_path / 'images', tmp_path / 'out2', config())
