"""Rendered rigs: words of the command line, geometry between cameras, recordings."""

import numpy as np
import pytest
from reprojection import camera_motion, relative_depth_error
from typer.testing import CliRunner

from page4d_ros.bags.reader import open_bag
from page4d_ros.cli import app
from page4d_ros.datasets import bag as bags
from page4d_ros.errors import ConfigError, SceneError
from page4d_ros.geometry.poses import inverse
from page4d_ros.synthetic.render import FIRST_STAMP_NS, render_rig
from page4d_ros.synthetic.rig import ALONE, parse_rig

RIG = ['front', 'left=15,0.2,20', 'right=-30,-0.1']


def page4d(*words):
    return CliRunner().invoke(app, [str(word) for word in words])


def test_cameras_look_and_sit_to_the_left():
    front, left, right = parse_rig(RIG)
    assert (front.name, left.name, right.name) == ('front', 'left', 'right')
    assert (front.delay, left.delay, right.delay) == (0.0, 0.02, 0.0)
    np.testing.assert_allclose(left.T_main_camera[:3, 3], [-0.2, 0, 0])
    ahead = left.T_main_camera[:3, 2]  # optical: x right, y down, z forward
    assert np.degrees(np.arctan2(-ahead[0], ahead[2])) == pytest.approx(15)
    assert right.T_main_camera[0, 2] == pytest.approx(0.5)
    assert parse_rig([]) == [ALONE]


@pytest.mark.parametrize(
    ('texts', 'said'),
    [
        (['front', 'left'], ''),
        (['front', 'left=1'], '--camera left=1: give NAME=YAW,LEFT'),
        (['front', 'left=1,2,3,4'], 'such as left=45,0.2,10'),
        (['front', 'left=nan,0'], 'such as left=45,0.2,10'),
        (['front', '2left=1,0'], 'such as left=45,0.2,10'),
        (['front', 'front=1,0'], 'front, front are not all different'),
        (['front=1,0'], 'the first camera is the main one'),
        (['front', 'left=1,0,-3'], 'cannot be ahead of the first one'),
    ],
)
def test_what_is_no_rig_is_refused(texts, said):
    if not said:
        assert parse_rig(texts)[1].delay == 0
        return
    with pytest.raises(ConfigError, match=said.replace('.', r'\.')):
        parse_rig(texts)


def test_views_of_a_rig_agree_with_each_other(renderer):
    cameras = parse_rig(['front', 'left=15,0.2', 'late=0,0,300'])
    views = list(render_rig(cameras, frames=2, rate_hz=5.0, width=160, height=120))
    assert [(camera.name, frame.stamp_ns - FIRST_STAMP_NS) for camera, frame in views] == [
        ('front', 0), ('left', 0), ('front', 2e8), ('left', 2e8), ('late', 3e8), ('late', 5e8),
    ]  # fmt: skip
    (_, front), (left, beside), *_ = views
    T = inverse(front.T_world_camera) @ beside.T_world_camera
    np.testing.assert_allclose(T, left.T_main_camera, atol=1e-12)
    error = relative_depth_error(front, beside, camera_motion(front, beside), ~front.mask)
    assert np.median(error) < 1e-3
    error = relative_depth_error(front, beside, camera_motion(beside, front), ~front.mask)
    assert np.median(error) > 1e-2


def test_the_last_frame_of_a_late_camera_is_in_the_drive():
    with pytest.raises(SceneError, match='at most 10 fit'):
        render_rig(parse_rig(['front', 'late=0,0,150']), frames=11, rate_hz=10.0, seconds=1.1)


def test_a_rig_in_a_recording_has_its_truth(renderer, tmp_path):
    size = '--width', 64, '--height', 48, '--frames', 3, '--rate', 5
    done = page4d(
        'render', '-o', tmp_path / 'rig', *(w for c in RIG for w in ('--camera', c)), *size
    )
    assert done.exit_code == 0, done.output
    assert done.stdout.endswith('9 frames of 64x48 pixels\n')
    with open_bag(tmp_path / 'rig') as bag:
        topics = set(bag.topics())
    for name in ('front', 'left', 'right'):
        assert {f'/{name}/image', f'/{name}/camera_info'} < topics
        assert f'/ground_truth/{name}/depth/compressed' in topics
    found = {}
    for name in ('front', 'left'):
        sequence = bags.read(tmp_path / 'rig', bags.Topics(image=f'/{name}/image'))
        found[name] = list(sequence.read(range(sequence.count)))
    assert len(found['front']) == 3
    front, left = found['front'][1], found['left'][1]
    assert left.stamp_ns - front.stamp_ns == 20_000_000
    assert np.abs(left.depth - front.depth).mean() > 0.05
    T = inverse(front.T_world_camera) @ left.T_world_camera
    assert np.linalg.norm(T[:3, 3]) == pytest.approx(0.2, abs=0.05)
    done = page4d('render', '-o', tmp_path / 'none', '--camera', 'left=5,0', *size)
    assert (done.exit_code, 'the first camera is the main one' in done.stderr) == (1, True)
