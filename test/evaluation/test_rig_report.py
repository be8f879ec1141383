"""Reports of a rig: one for each camera, beside the truth of that camera."""

import json

import numpy as np
from typer.testing import CliRunner

from page4d_ros.bags.reader import open_bag
from page4d_ros.cli import app
from page4d_ros.evaluation.metrics.recording import cameras_of

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
        assert f'{name}:\n' in done.stdout
        assert (output / name / 'report.html').is_file()
        metrics[name] = json.loads((output / name / 'metrics.json').read_text())
        assert metrics[name]['recording'] == f'output {name}'
        assert metrics[name]['run']['images'] == 5
        assert metrics[name]['trajectory']['frame'] == f'{name}_optical_frame'
        assert metrics[name]['mask'] is not None
    done = page4d('replay', source, '-o', tmp_path / 'one', *rig[2:], *small, '--report')
    assert done.exit_code == 0, done.output
    alone = json.loads((tmp_path / 'one' / 'metrics.json').read_text())
    assert alone['run']['images'] == alone['depth']['frames'] == alone['mask']['frames'] == 5
    walls = [each['depth']['per_frame_flat_wall']['abs_rel'] for each in metrics.values()]
    assert not np.isclose(*walls)  # two different views
