"""Sequences of data sets from end to end, and the numbers against published fixtures."""

import json
import subprocess
import sys
from pathlib import Path

import jsonschema
import layouts
import numpy as np
import pytest
from data_folders import parity_file
from pages import check_page
from scipy.spatial.transform import Rotation
from typer.testing import CliRunner

from page4d_ros.cli import app
from page4d_ros.config import Config
from page4d_ros.datasets.bag_index import Track
from page4d_ros.datasets.registry import DATASETS
from page4d_ros.datasets.sequence import FileSequence
from page4d_ros.errors import ConfigError
from page4d_ros.evaluation import plans
from page4d_ros.evaluation.methods.klt import LABEL as KLT
from page4d_ros.evaluation.methods.modes import squashed
from page4d_ros.evaluation.metrics.blocks import figure
from page4d_ros.evaluation.metrics.depth import DepthError, depth_metrics
from page4d_ros.evaluation.metrics.depth_alignment import PUBLISHED, optimal_scale, scale_and_shift
from page4d_ros.evaluation.metrics.trajectory import trajectory_metrics
from page4d_ros.evaluation.plans.data import DataPlan, Viewer
from page4d_ros.evaluation.plans.data_tables import COLUMNS, quotes, tables, value
from page4d_ros.evaluation.protocol import PROTOCOLS, Protocol
from page4d_ros.evaluation.result import Measured
from page4d_ros.evaluation.run import run
from page4d_ros.geometry.poses import from_quaternion
from page4d_ros.messages.trajectory import trajectory_line
from page4d_ros.truth import GroundTruthFrame

UNTRAINED = '--checkpoint', 'untrained', '--set', 'model.resolution=112'
SCHEMA = Path(plans.__file__).with_name('metrics.schema.json')
QUOTED = Path(plans.__file__).with_name('quoted.json')


@pytest.fixture(autouse=True)
def few_points(monkeypatch):
    monkeypatch.setattr('page4d_ros.evaluation.metrics.point_maps.MOST', 2000)


@pytest.fixture
def fixture():
    def load(name):
        return np.load(parity_file(f'train_eval/{name}.npz'))

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
    """In the order of the fixture."""
    error = DepthError()
    error.add(p, g)
    pixels, *rest = error.result().values()
    return [*rest, pixels]


def test_depth_agrees_with_the_fixture(fixture):
    data = fixture('depth_metrics')
    p, g = pixels(data)
    assert errors(p, g) == pytest.approx(data['metrics_metric'], abs=2e-6)
    scaled = errors(p * PUBLISHED.frame_scale(p, g), g)
    assert scaled == pytest.approx(data['metrics_median'], abs=2e-6)
    # ten steps of reweighting come near the scale with the least absolute error
    assert errors(p * optimal_scale(p, g), g)[0] == pytest.approx(
        data['metrics_scale'][0], abs=2e-3
    )


def test_the_published_fits_agree_with_the_fixture(fixture):
    data = fixture('depth_metrics')
    p, g = pixels(data)
    assert errors(p * PUBLISHED.scale(p, g), g) == pytest.approx(data['metrics_scale'], abs=2e-6)
    scale, shift = PUBLISHED.scale_and_shift(p, g)
    shifted = np.maximum(scale * p + shift, 1e-5)
    assert errors(shifted, g) == pytest.approx(data['metrics_scale_shift_lad2'], abs=2e-6)
    assert abs(shift) < 0.1  # stops near its start
    assert abs(scale_and_shift(p, g)[1]) > 0.2


def test_a_sequence_measured_as_published_agrees_with_the_fixture(fixture):
    data = fixture('depth_metrics')
    frames = list(zip(data['pred'], data['gt'], strict=True))
    tree = depth_metrics(
        lambda: ((i, *pair) for i, pair in enumerate(frames)), metric=True, rules=PUBLISHED
    ).tree
    for fit, name in (
        ('per_sequence', 'scale'),
        ('per_sequence_scale_shift', 'scale_shift_lad2'),
        ('unscaled', 'metric'),
    ):
        pixels, *rest = tree[fit].values()
        assert [*rest, pixels] == pytest.approx(data[f'metrics_{name}'], abs=2e-6)


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
    assert list(Protocol(first=2, stride=3, frames=4).indices(100)) == [2, 5, 8, 11]
    assert list(Protocol(spread=3).indices(101)) == [0, 50, 100]
    assert list(Protocol(spread=5).indices(3)) == [0, 1, 2]
    assert list(PROTOCOLS['page4d-depth-bonn'].indices(500)) == list(range(30, 140))
    assert not len(Protocol(first=9).indices(5))
    assert len(PROTOCOLS['vggt4d-mask-davis16'].sequences) == 20
    assert len(PROTOCOLS['vggt4d-mask-davis17'].sequences) == 30
    assert len(PROTOCOLS['page4d-pose-sintel'].sequences) == 14
    for wrong in ({'stride': 0}, {'modes': ('x',)}, {'as_published': True}):
        with pytest.raises(ConfigError):
            Protocol(**wrong)


def evaluate(*words):
    return CliRunner().invoke(app, ['evaluate', 'data', *map(str, words)])


@pytest.fixture(scope='module')
def dog(tmp_path_factory):
    """Metrics of untrained weights on a sequence in DAVIS' layout, which is too long at once."""
    folder = tmp_path_factory.mktemp('dog')
    layouts.write_davis(folder / 'davis')
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr('page4d_ros.evaluation.plans.data.WHOLE_MOST', 3)
        words = 'davis', folder / 'davis', '-o', folder / 'out', *UNTRAINED
        result = evaluate(*words, '--modes', 'streaming,whole')
    assert result.exit_code == 0, result.output
    return metrics_of(folder / 'out')


def metrics_of(folder):
    return json.loads((folder / 'metrics.json').read_text())


def test_a_data_set_from_end_to_end(walks):
    out = walks / 'off'
    metrics = metrics_of(out)
    assert set(metrics['sequences']) == {'rgbd_dataset_freiburg3_a', 'rgbd_dataset_freiburg3_b'}
    for sequence in metrics['sequences'].values():
        assert sequence['frames'] == 3
        for method in ('streaming', 'whole clip', 'streaming, mask on in attention'):
            tree = sequence['methods'][method]
            assert tree['pose']['poses'] == 3
            assert tree['depth']['frames'] == 3
            assert tree['points']['points'] > 1000
            assert tree['mask'] is None
            assert tree['metric'] is False
            assert (tree['timing'] is None) == (method == 'whole clip')
            blocks_make_the_figures(tree)
    assert list(validator().iter_errors(metrics)) == []
    name = 'sequences.rgbd_dataset_freiburg3_a.methods.streaming.mask'
    assert metrics['reasons'][name] == 'the data set has no masks'
    assert metrics['verdict']['headline'] == 'The plumbing works.'
    text = (out / 'tables.md').read_text()
    assert '| mean: streaming |' in text
    assert 'standing still' in text
    page, _ = check_page(out / 'report.html')
    assert page.count('data:image/jpeg') == 2 * (3 + 2) * 3  # and the worst depths
    assert page.count('class="stage"') == 2
    assert page.count('Shown is streaming.') == 2
    assert 'tum' in page


def validator():
    schema = json.loads(SCHEMA.read_text())
    jsonschema.Draft202012Validator.check_schema(schema)
    return jsonschema.Draft202012Validator(schema)


def blocks_make_the_figures(tree):
    for name, blocks in tree['blocks'].items():
        section, key = name.split('.', 1)
        known = value(section, tree[section], key)
        assert figure(name, sum(blocks['sum']), sum(blocks['weight'])) == pytest.approx(known)
    shown = {s for s in COLUMNS if tree[s] and (s != 'pose' or tree[s]['sim3'])}
    assert {name.split('.')[0] for name in tree['blocks']} == shown


def test_the_schema_refuses_what_is_not_described(dog):
    tree = dog['sequences']['dog']['methods']['streaming']
    for wrong in ({'JM': 1.5}, {'JM': 'x'}, {'unheard': 1}):
        changed = json.loads(json.dumps(dog))
        changed['sequences']['dog']['methods']['streaming']['mask'] = tree['mask'] | wrong
        assert list(validator().iter_errors(changed)), wrong


def test_the_mask_can_be_switched_the_other_way(walks):
    trees = {}
    for mask in ('on', 'off'):
        metrics = metrics_of(walks / mask)
        assert metrics['mask_in_attention'] is (mask == 'on')
        trees[mask] = metrics['sequences']['rgbd_dataset_freiburg3_a']['methods']
        for tree in trees[mask].values():
            tree.pop('timing', None)
    other = trees['on']['streaming, mask off in attention']
    assert other == trees['off']['streaming']
    assert trees['off']['streaming, mask on in attention'] == trees['on']['streaming']
    assert other['depth'] != trees['on']['streaming']['depth']
    assert 'whole clip, mask off in attention' in trees['on']


def test_pictures_alone_have_depth_only(walks, tmp_path):
    words = 'tum', walks / 'tum', '-o', tmp_path, *UNTRAINED, '--protocol', 'page4d-mono'
    result = evaluate(*words, '--sequence', 'rgbd_dataset_freiburg3_a')
    assert result.exit_code == 0, result.output
    metrics = metrics_of(tmp_path)
    assert list(validator().iter_errors(metrics)) == []
    ((name, sequence),) = metrics['sequences'].items()
    tree = sequence['methods']['each picture alone']
    assert tree['depth']['per_frame']['pixels'] > 0
    assert tree['depth']['per_frame_scale_shift']['abs_rel'] >= 0
    assert [tree[section] for section in ('pose', 'points', 'mask')] == [None] * 3
    assert metrics['reasons'][f'sequences.{name}.methods.each picture alone.pose'] == (
        'each image stands alone'
    )
    page = (tmp_path / 'report.html').read_text()
    assert 'Shown is each picture alone.' in page
    assert 'class="stage"' not in page  # they have no places


def test_as_published_measures_other_depths(tmp_path):
    layouts.write_tum(tmp_path / 'tum', count=7)
    trees = {}
    for flag in ([], ['--as-published']):
        out = tmp_path / f'out{len(flag)}'
        words = 'tum', tmp_path / 'tum', '-o', out, *UNTRAINED, '--protocol', 'page4d-pose-tum'
        result = evaluate(*words, *flag, '--modes', 'whole')
        assert result.exit_code == 0, result.output
        metrics = metrics_of(out)
        assert list(validator().iter_errors(metrics)) == []
        (sequence,) = metrics['sequences'].values()
        trees[bool(flag)] = sequence['methods']['whole clip']
        assert sequence['methods'][KLT]['pose']['poses'] == 3
        text = (out / 'tables.md').read_text()
        assert '| quoted (PAGE-4D): VGGT | 0.028 | 0.014 | 0.371 |' in text
    assert trees[True]['depth']['coverage'] == 1  # nothing is left out
    assert trees[True]['depth']['per_frame_scale_shift'] is None
    assert trees[True]['points'] is None
    assert trees[True]['depth']['per_sequence'] != trees[False]['depth']['per_sequence']
    blocks_make_the_figures(trees[True])


def test_rows_of_papers_stand_only_beside_their_data_set_and_protocol():
    assert [q['method'] for q in quotes('tum', 'page4d-pose-tum')] == ['PAGE-4D', 'VGGT']
    assert (
        quotes('tum', 'all') == quotes('tum', 'custom') == quotes('bonn', 'page4d-pose-tum') == []
    )
    for row in json.loads(QUOTED.read_text()):
        assert row['dataset'] in DATASETS
        assert set(row['protocols']) <= set(PROTOCOLS)
        for protocol in row['protocols']:
            assert PROTOCOLS[protocol].dataset in {'', row['dataset']}
        for section, figures in row['figures'].items():
            assert set(figures) <= {column.key for column in COLUMNS[section]}


def two_lengths(*, as_published):
    """Sequences with an AbsRel of 0.1 over 30 pixels and of 0.4 over 10."""
    sequences = {}
    for name, total, pixels in (('a', 3.0, 30), ('b', 4.0, 10)):
        tree = {
            'depth': {key: {} for key in ('per_frame_flat_wall', 'per_sequence_flat_wall')}
            | {'per_frame': {'abs_rel': total / pixels}},
            'blocks': {'depth.per_frame.abs_rel': {'sum': [total], 'weight': [pixels]}},
        }
        sequences[name] = {'frames': 1, 'methods': {'streaming': tree}}
    checkpoint, protocol = {'label': 'x'}, {'as_published': as_published}
    metrics = {'sequences': sequences, 'checkpoint': checkpoint, 'protocol': protocol}
    return metrics | {'quoted': [], 'mask_in_attention': False, 'caution': '', 'remarks': []}


@pytest.mark.parametrize(('as_published', 'mean'), [(False, '0.25'), (True, '0.175')])
def test_as_published_each_pixel_counts_the_same(as_published, mean):
    (table,) = tables(two_lengths(as_published=as_published))
    assert dict(table.rows)['mean: streaming'][0].text == mean


class Watcher:
    """Stands for the recording of a viewer."""

    def __init__(self):
        self.stamps, self.aligned, self.closed = [], None, False

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.closed = True

    def add(self, estimate, frame):
        assert estimate.frame.stamp_ns == frame.stamp_ns
        self.stamps.append(frame.stamp_ns)

    def align(self, found):
        self.aligned = found


def test_a_viewer_sees_the_first_mode(tmp_path):
    layouts.write_tum(tmp_path / 'tum', count=5)
    watchers, config = {}, Config().with_values({'model.resolution': 112, 'window.stride': 1})

    def watch(name, _engine):
        return watchers.setdefault(name, Watcher())

    protocol = Protocol(modes=('whole', 'streaming'))
    plan = DataPlan('tum', tmp_path / 'tum', 'untrained', config, protocol, watch=watch)
    run(plan)
    ((name, watcher),) = watchers.items()
    assert name == ''  # the only sequence
    assert len(watcher.stamps) == 5
    assert watcher.closed
    Viewer(watcher).finish(Measured({}, path='the path'))
    assert watcher.aligned == 'the path'


def test_sequences_of_a_protocol():
    bonn = PROTOCOLS['page4d-depth-bonn']

    def counts(name):
        return bonn.counts(FileSequence(name, 1, lambda _: None))

    assert counts('balloon2')
    assert counts('rgbd_bonn_balloon2')
    assert not counts('rgbd_bonn_balloon')
    assert Protocol().counts(FileSequence('anything', 1, lambda _: None))


def test_squares_are_made_as_published():
    rgb = np.zeros((48, 64, 3), np.uint8)
    rgb[:, 32:] = 200
    mask = rgb[..., 0] > 0
    depth = np.ones((48, 64), np.float32)
    frame = squashed(GroundTruthFrame(1, rgb, depth=depth, mask=mask), 56, 14)
    assert frame.rgb.shape == (56, 56, 3)
    assert frame.depth is depth
    np.testing.assert_array_equal(frame.rgb[:, :26].max(), 0)
    np.testing.assert_array_equal(frame.rgb[:, 30:].min(), 200)
    np.testing.assert_array_equal(frame.mask[:, 28:], True)


def test_masks_from_end_to_end(dog):
    assert list(validator().iter_errors(dog)) == []
    tree = dog['sequences']['dog']['methods']['streaming']
    assert 0 <= tree['mask']['JM'] <= 1
    assert tree['pose'] is None


def test_long_clips_are_not_taken_at_once(dog):
    assert dog['sequences']['dog']['methods']['whole clip'] is None
    assert dog['reasons']['sequences.dog.methods.whole clip'] == 'more than 3 frames'


def test_what_is_wrong_is_one_line(tmp_path):
    for words, text in (
        (['nothing', tmp_path], 'there are tum, bonn'),
        (['tum', tmp_path], 'expected <sequence>/rgb.txt'),
        (['tum', tmp_path, '--protocol', 'x'], 'no protocol'),
        (['tum', tmp_path, '--modes', 'x'], 'no mode'),
        (['tum', tmp_path, '--protocol', 'page4d-depth-bonn'], 'is for bonn'),
        (['tum', tmp_path, '--as-published'], "needs a paper's --protocol"),
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
