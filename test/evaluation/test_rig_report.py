"""Reports of a rig: one of all cameras, and one of each beside the truth of that camera."""

import json

import numpy as np
from pages import check_page
from typer.testing import CliRunner

from page4d_ros.bags.reader import open_bag
from page4d_ros.cli import app
from page4d_ros.evaluation.metrics.recording import cameras_of
from page4d_ros.evaluation.plans.rig import _together
from page4d_ros.evaluation.report.scene import Moment, Scene, merged

SIZE = '--width', '64', '--height', '48', '--frames', '5', '--rate', '10'


def page4d(*words):
    return CliRunner().invoke(app, [str(word) for word in words])


def test_each_camera_of_a_rig_is_measured_by_its_own_truth(tmp_path):
    source, output = tmp_path / 'source', tmp_path / 'output'
    done = page4d('render', '-o', source, '--camera', 'front', '--camera', 'left=40,0.2,10', *SIZE)
    assert done.exit_code == 0, done.output
    rig = ('--camera', 'front=/front/image', '--camera', 'left=/left/image')
    small = ('--checkpoint', 'untrained', '--set', 'model.resolution=56')
    done = page4d('replay', source, '-o', output, *rig, *small, '--report')
    assert done.exit_code == 0, done.output
    with open_bag(output) as bag:
        assert cameras_of(bag) == ['front', 'left']
    with open_bag(source) as bag:
        assert cameras_of(bag) == []
    metrics = {}
    for name in ('front', 'left'):
        assert (output / name / 'report.html').is_file()
        metrics[name] = json.loads((output / name / 'metrics.json').read_text())
        assert metrics[name]['recording'] == f'output {name}'
        assert metrics[name]['run']['images'] == 5
        assert metrics[name]['trajectory']['frame'] == f'{name}_optical_frame'
        assert metrics[name]['mask'] is not None
    rig_metrics = json.loads((output / 'metrics.json').read_text())
    assert str(output / 'report.html') in done.stdout
    assert rig_metrics['main'] == 'front'
    assert rig_metrics['trajectory'] == metrics['front']['trajectory']
    for name, tree in rig_metrics['cameras'].items():
        assert tree['depth'] == metrics[name]['depth']
        assert tree['images'] == 5
    text, parser = check_page(output / 'report.html')
    assert {'frames-front', 'frames-left', 'map', 'accuracy', 'timing', 'topics'} <= {*parser.ids}
    assert len(parser.images) == 2 * 5 * 4  # a strip of each camera, without the worst frames
    assert text.count('class="stage"') == 1
    assert 'href="left/report.html"' in text
    assert text.count('Hatched pixels have no depth') == 1
    done = page4d('replay', source, '-o', tmp_path / 'one', *rig[2:], *small, '--report')
    assert done.exit_code == 0, done.output
    alone = json.loads((tmp_path / 'one' / 'metrics.json').read_text())
    assert alone['run']['images'] == alone['depth']['frames'] == alone['mask']['frames'] == 5
    walls = [each['depth']['per_frame_flat_wall']['abs_rel'] for each in metrics.values()]
    assert not np.isclose(*walls)  # two different views


def moment(stamp_ns, x):
    T = np.eye(4)
    T[0, 3] = x
    return Moment(stamp_ns, (T,), np.full((2, 6), x))


def test_a_scene_of_several_cameras_has_the_points_of_all_and_one_path():
    cloud = np.random.default_rng(0).uniform(0, 1, (50, 6))
    paths = np.zeros((3, 3)), np.ones((3, 3))
    front = Scene(cloud, [moment(0, 0.1), moment(100, 0.2)], paths[0], None)
    left = Scene(
        np.add(cloud, [3, 0, 0, 0, 0, 0]), [moment(10, 0.3), moment(95, 0.4)], paths[1], None
    )
    right = Scene(np.zeros((0, 6)), [], paths[1], None)
    scene = merged([front, left, right])
    assert len(scene.static) == 100
    assert scene.path is paths[0]
    assert [each.stamp_ns for each in scene.moments] == [0, 100]
    assert [len(each.T_world_cameras) for each in scene.moments] == [2, 2]
    assert [sorted(set(each.points[:, 0])) for each in scene.moments] == [[0.1, 0.3], [0.2, 0.4]]
    assert not merged([right]).moments


def test_answers_in_which_all_cameras_agree_are_said_once():
    both = {'pose': True, 'depth': True, 'motion mask': False}
    other = {'depth': True, 'motion mask': True}
    assert _together({'front': both, 'left': other, 'right': {}}) == {
        'depth': True,
        'motion mask of front': False,
        'motion mask of left': True,
    }
