"""Sequences of data sets from end to end, and the numbers against published fixtures."""

import json
import subprocess
import sys
from pathlib import Path

import layouts
import numpy as np
import pytest
from scipy.spatial.transform import Rotation
from typer.testing import CliRunner

from page4d_ros.cli import app
from page4d_ros.errors import ConfigError
from page4d_ros.evaluation.clips.protocol import PROTOCOLS, Protocol
from page4d_ros.evaluation.pixels import DepthError, optimal_scale, scale_and_shift
from page4d_ros.evaluation.recording import Track
from page4d_ros.evaluation.trajectory import trajectory_metrics
from page4d_ros.geometry.poses import from_quaternion
from page4d_ros.messages.trajectory import trajectory_line

PARITY = Path(__file__).resolve().parents[3] / 'shared' / 'parity' / 'train_eval'


@pytest.fixture
def fixture():
    def load(name):
        path = PARITY / f'{name}.npz'
        if not path.is_file():
            pytest.skip(f'no parity fixture at {path}')
        return np.load(path)

    return load


def test_trajectories_agree_with_the_fixture(fixture):
    data = fixture('traj_metrics')

    def track(name):
        poses = zip(data[f'{name}_quat_wxyz'][:, [1, 2, 3, 0]], data[f'{name}_xyz'], strict=True)
        stamps = np.arange(20) * 10**9
        return Track('world', 'camera', stamps, np.stack([from_quaternion(*p) for p in poses]))

    tree, _ = trajectory_metrics(track('est'), track('ref'), metric=False)
    for ours, theirs in (
        ('ate_m', 'ate_rmse'),
        ('rpe_translation_m', 'rpe_trans_rmse'),
        ('rpe_rotation_deg', 'rpe_rot_deg_rmse'),
    ):
        assert tree['sim3'][ours] == pytest.approx(float(data[theirs]), abs=1e-6)


def pixels(data):
    p, g = data['pred'].astype(np.float64), data['gt'].astype(np.float64)
    valid = (g > 0) & (g < 70)
    return p[valid], g[valid]


def errors(p, g):
    error = DepthError()
    error.add(p, g)
    return list(error.result().values())


def test_depth_agrees_with_the_fixture(fixture):
    data = fixture('depth_metrics')
    p, g = pixels(data)
    assert len(p) == data['metrics_scale'][-1]
    low_g, low_p = (np.sort(x)[(len(x) - 1) // 2] for x in (g, p))  # torch's median
    assert errors(p * low_g / low_p, g) == pytest.approx(data['metrics_median'][[0, 4]], abs=1e-6)
    assert errors(p, g) == pytest.approx(data['metrics_metric'][[0, 4]], abs=1e-6)
    # ten steps of reweighting come near the scale with the least absolute error
    assert errors(p * optimal_scale(p, g), g) == pytest.approx(
        data['metrics_scale'][[0, 4]], abs=2e-3
    )


def test_scale_and_shift_minimise_the_absolute_error(fixture):
    data = fixture('depth_metrics')
    p, g = pixels(data)
    scale, shift = scale_and_shift(p, g)
    least = np.abs(scale * p + shift - g).sum()
    for ds, dt in ((0.01, 0), (-0.01, 0), (0, 0.01), (0, -0.01)):
        assert least < np.abs((scale + ds) * p + shift + dt - g).sum()
    squares = np.polyfit(p, g, 1)
    assert least < np.abs(np.polyval(squares, p) - g).sum()
    rng = np.random.default_rng(0)
    p = rng.uniform(1, 5, 500)
    g = 2 * p - 0.7
    g[:100] = 60.0  # a fifth is wrong
    assert scale_and_shift(p, g) == pytest.approx((2, -0.7), abs=1e-3)


def test_protocols():
    assert list(Protocol(2, 3, 4).indices(100)) == [2, 5, 8, 11]
    assert list(PROTOCOLS['page4d-depth-bonn'].indices(500)) == list(range(30, 140))
    assert not len(Protocol(first=9).indices(5))
    with pytest.raises(ConfigError):
        Protocol(stride=0)


def evaluate(*words):
    return CliRunner().invoke(app, ['evaluate', 'data', *map(str, words)])


def test_a_data_set_from_end_to_end(tmp_path):
    for name in ('rgbd_dataset_freiburg3_a', 'rgbd_dataset_freiburg3_b'):
        layouts.write_tum(tmp_path / 'tum', name, count=5)
    out = tmp_path / 'out'
    result = evaluate(
        'tum', tmp_path / 'tum', '-o', out, '--checkpoint', 'untrained', '--frames', 4
    )
    assert result.exit_code == 0, result.output
    metrics = json.loads((out / 'metrics.json').read_text())
    assert set(metrics['sequences']) == {'rgbd_dataset_freiburg3_a', 'rgbd_dataset_freiburg3_b'}
    for sequence in metrics['sequences'].values():
        assert sequence['frames'] == 4
        for method in ('streaming', 'whole clip'):
            tree = sequence['methods'][method]
            assert tree['pose']['poses'] == 4
            assert tree['depth']['frames'] == 4
            assert tree['mask'] is None
    name = 'sequences.rgbd_dataset_freiburg3_a.methods.streaming.mask'
    assert metrics['reasons'][name] == 'the data set has no masks'
    text = (out / 'tables.md').read_text()
    assert '| mean: streaming |' in text
    assert 'standing still' in text
    page = (out / 'report.html').read_text()
    assert page.count('data:image/jpeg') == 2 * (4 + 4) * 3  # and the worst depths
    assert page.count('class="stage"') == 2
    assert metrics['verdict']['headline'] == 'The plumbing works.'
    assert metrics['sequences']['rgbd_dataset_freiburg3_a']['methods']['streaming']['timing']
    assert 'tum' in page


def test_masks_from_end_to_end(tmp_path):
    layouts.write_davis(tmp_path / 'davis')
    out = tmp_path / 'out'
    result = evaluate('davis', tmp_path / 'davis', '-o', out, '--checkpoint', 'untrained')
    assert result.exit_code == 0, result.output
    tree = json.loads((out / 'metrics.json').read_text())['sequences']['dog']['methods']
    assert 0 <= tree['streaming']['mask']['JM'] <= 1
    assert tree['streaming']['pose'] is None


def test_long_clips_are_not_taken_at_once(tmp_path, monkeypatch):
    monkeypatch.setattr('page4d_ros.evaluation.clips.run.WHOLE_MOST', 3)
    layouts.write_davis(tmp_path / 'davis')
    out = tmp_path / 'out'
    assert evaluate('davis', tmp_path / 'davis', '-o', out, '--checkpoint', 'untrained')
    metrics = json.loads((out / 'metrics.json').read_text())
    assert metrics['sequences']['dog']['methods']['whole clip'] is None
    assert metrics['reasons']['sequences.dog.methods.whole clip'] == 'more than 3 frames'


def test_what_is_wrong_is_one_line(tmp_path):
    for words, text in (
        (['nothing', tmp_path], 'there are tum, bonn'),
        (['tum', tmp_path], 'expected <sequence>/rgb.txt'),
        (['tum', tmp_path, '--protocol', 'x'], 'no protocol'),
    ):
        result = evaluate(*words, '-o', tmp_path / 'out')
        assert result.exit_code == 1
        assert text in result.output


def evo(tool, *words):
    """The RMSE that one of evo's own commands prints."""
    program = Path(sys.executable).with_name(f'evo_{tool}')
    command = [program, 'tum', *map(str, words), '-as', '--no_warnings']
    text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    return float(next(line.split()[1] for line in text.splitlines() if 'rmse' in line))


def test_trajectories_agree_with_evos_commands(tmp_path):
    rng = np.random.default_rng(2)
    stamps = 100 * 10**9 + np.arange(30) * 10**8
    poses = np.stack([np.eye(4)] * 30)
    poses[:, :3, 3] = np.cumsum(rng.normal(size=(30, 3)), 0)
    poses[:, :3, :3] = Rotation.from_rotvec(np.cumsum(rng.normal(0, 0.1, (30, 3)), 0)).as_matrix()
    guess = poses.copy()
    guess[:, :3, 3] = 0.4 * guess[:, :3, 3] + rng.normal(0, 0.05, (30, 3))
    files = {}
    for name, track in (('truth', poses), ('guess', guess)):
        files[name] = tmp_path / f'{name}.tum'
        lines = map(trajectory_line, stamps.tolist(), track)
        files[name].write_text(''.join(lines))
    tracks = (Track('world', 'camera', stamps, p) for p in (guess, poses))
    ours = trajectory_metrics(*tracks, metric=False)[0]['sim3']
    given = files['truth'], files['guess']
    steps = '--delta', 1, '--delta_unit', 'f', '--all_pairs'
    assert ours['ate_m'] == pytest.approx(evo('ape', *given), abs=1e-6)
    assert ours['rpe_translation_m'] == pytest.approx(evo('rpe', *given, *steps), abs=1e-6)
    assert ours['rpe_rotation_deg'] == pytest.approx(
        evo('rpe', *given, *steps, '-r', 'angle_deg'), abs=1e-6
    )
