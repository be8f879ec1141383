"""Held-out scenes are scored in the right frames and units, beside baselines that work."""

import json
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from fakes import pose_at, room_depth
from pages import check_page
from typer.testing import CliRunner

from page4d_ros.cli import app
from page4d_ros.commands import evaluate
from page4d_ros.config import Config
from page4d_ros.datasets.rendered import SIZE, RenderedSequence, render_sequences
from page4d_ros.datasets.rendered_plan import (
    Group,
    Options,
    SequencePlan,
    block_plans,
    prior_plans,
)
from page4d_ros.datasets.simulator import SequenceWorld, SimulatedEngine
from page4d_ros.errors import SceneError
from page4d_ros.evaluation.methods.checkpoints import SETTINGS
from page4d_ros.evaluation.methods.klt import Klt
from page4d_ros.evaluation.methods.network import Network
from page4d_ros.evaluation.methods.simple import MeanDepth, Still, network_grid
from page4d_ros.evaluation.metrics.figures import METRICS, difference, figure
from page4d_ros.evaluation.metrics.prediction import Score, Truth
from page4d_ros.evaluation.plans import scenes_tables as tables
from page4d_ros.evaluation.plans.scenes import ScenesPlan, as_source, baselines
from page4d_ros.evaluation.plans.scenes_figures import MEASURED
from page4d_ros.evaluation.report.tables import UNKNOWN, markdown, number
from page4d_ros.evaluation.result import settle
from page4d_ros.evaluation.run import run
from page4d_ros.geometry.poses import inverse
from page4d_ros.synthetic.options import Rig, Traffic
from page4d_ros.synthetic.render import centred_camera
from page4d_ros.synthetic.shards import SPLIT_SIZE, SPLITS
from page4d_ros.window_scores import average_precision

CAMERA = centred_camera(*SIZE)
PERFECT = {'abs_rel': 0, 'delta': 1, 'rotation_deg': 0, 'translation': 0}
PERFECT |= {'motion_ap': 1, 'motion_iou': 1}
WIDTH = 112


def unrendered(start=0.0, *, count=4, step=0.3, **changes):
    """A sequence that nobody rendered: a wall, a part of which moves, random images."""
    times = start + step * np.arange(count)
    poses = np.stack([pose_at(t) for t in times])
    mask = np.zeros((count, SIZE[1], SIZE[0]), bool)
    mask[:, 80:240, 120:200] = True  # whole patches of the network
    rng = np.random.default_rng(0)
    facts = {
        'group': Group.KNOWN,
        'block': 0,
        'room': 1,
        'seed': SPLITS['test'],
        'rig': Rig.HANDHELD,
        'traffic': Traffic.SOME,
        'camera': CAMERA,
        'stamps': np.rint(times * 1e9).astype(np.int64),
        'rgb': rng.integers(0, 256, (count, SIZE[1], SIZE[0], 3), dtype=np.uint8),
        'T_world_camera': poses,
        'depth': np.stack([room_depth(T, CAMERA) for T in poses]).astype(np.float32),
        'mask': mask,
    }
    return RenderedSequence(**facts | changes)


class Oracle(SimulatedEngine):
    """Simulated network of a sequence, or one that is spoilt on the way."""

    def __init__(self, truth, **spoil):
        super().__init__(SequenceWorld(truth), 4, resolution=WIDTH)
        self.spoil = spoil

    def step(self, anchor=None, *, gram=False):
        window = super().step(anchor)
        return replace(window, **{name: change(window) for name, change in self.spoil.items()})


def network(truth, name='oracle', **spoil):
    values = {'mask.source': 'head', 'odometry.estimator': 'network'}  # images are noise here
    config = Config().with_values(SETTINGS | values)
    return Network(name, Oracle(truth, **spoil), config)


def figures(method, window, names=tuple(PERFECT)):
    answer = method.predict(window)
    found = Score.of(answer, Truth.of(window, answer.grid), window.rig)
    return {name: METRICS[name].statistic([found]) for name in names}


class Given(ScenesPlan):
    """Given methods on given windows, each a pair of both; `networks` of them are networks."""

    def __init__(self, pairs, networks=1):
        super().__init__([], Options())
        self.pairs = pairs
        self.networks, self.simple = pairs[0][0][:networks], pairs[0][0][networks:]

    def sources(self, _progress):
        for methods, window in self.pairs:
            count = len(self.networks)
            self.networks, self.simple = methods[:count], methods[count:]
            yield as_source(window)


def score(methods, window):
    """Scores of methods on a window, by label."""
    ((_, cases),) = run(Given([(methods, window)]))
    return {label: case.tree['score'] for label, case in cases.items()}


def test_an_oracle_in_any_gauge_is_perfect():
    window = unrendered()
    found = figures(network(window), window)
    assert found == pytest.approx(PERFECT, abs=2e-3)
    mask = figures(network(window), window, ('mask_iou',))
    assert mask['mask_iou'] > 0.8  # bilinear from patches, then dilated


def test_one_factor_on_poses_and_depth_changes_nothing():
    def bigger(window):
        T = window.T_gauge_camera.copy()
        T[:, :3, 3] *= 7
        return T

    window = unrendered()
    plain = figures(network(window), window)
    scaled = network(window, T_gauge_camera=bigger, depth=lambda w: 7 * w.depth)
    assert figures(scaled, window) == pytest.approx(plain, abs=1e-5)
    half = figures(network(window, T_gauge_camera=bigger), window)
    assert half['translation'] == pytest.approx(6, rel=0.01)


@pytest.mark.parametrize(
    ('spoil', 'metric', 'limit'),
    [
        ({'T_gauge_camera': lambda w: inverse(w.T_gauge_camera)}, 'translation', 0.2),
        ({'T_gauge_camera': lambda w: w.T_gauge_camera[::-1]}, 'rotation_deg', 3),
        ({'depth': lambda w: w.depth[..., ::-1] ** 2}, 'abs_rel', 0.1),
    ],
)
def test_wrong_answers_are_found_out(spoil, metric, limit):
    window = unrendered()
    assert figures(network(window, **spoil), window)[metric] > limit


def test_a_shuffled_mask_is_found_out():
    def shuffled(window):
        order = np.random.default_rng(0).permutation(window.dynamic[0].size)
        return window.dynamic.reshape(len(window.dynamic), -1)[:, order].reshape(
            window.dynamic.shape
        )

    window = unrendered()
    found = figures(network(window, dynamic=shuffled), window)
    assert found['motion_ap'] < 0.5
    assert found['motion_iou'] < 0.5


@pytest.mark.parametrize('levels', [3, 1000])
def test_average_precision_is_that_of_scikit_learn(levels):
    metrics = pytest.importorskip('sklearn.metrics')
    rng = np.random.default_rng(0)
    truth, given = rng.random(500) < 0.1, rng.integers(0, levels, 500) / levels
    assert average_precision(truth, given) == pytest.approx(
        metrics.average_precision_score(truth, given)
    )


def test_poses_that_are_no_numbers_count_as_failures():
    window = unrendered()
    broken = network(window, T_gauge_camera=lambda w: w.T_gauge_camera * np.nan)
    answer = broken.predict(window)
    found = Score.of(answer, Truth.of(window, answer.grid), window.rig)
    assert found.failures == 6
    assert figures(broken, window)['translation'] == 1


def test_identity_errs_by_the_true_motion_and_tripods_do_not_count():
    window = unrendered()
    grid = network_grid(Oracle(window), SIZE)
    relative = [inverse(b) @ a for a, b in pairwise(window.T_world_camera)]
    found = figures(Still(grid), window)
    turns = [np.degrees(np.arccos((np.trace(T[:3, :3]) - 1) / 2)) for T in relative]
    assert min(turns) < found['rotation_deg'] < sum(turns)
    assert found['translation'] == 1
    assert np.isnan(figures(Still(grid), replace(window, rig=Rig.TRIPOD))['rotation_deg'])


def test_mean_depth_knows_the_rooms_it_has_seen():
    seen = [unrendered(t, room=room) for t, room in ((0.0, 1), (1.0, 1), (2.0, 2))]
    grid = network_grid(Oracle(seen[0]), SIZE)
    by_room = MeanDepth(grid, seen, by_room=True)
    assert figures(by_room, seen[2])['abs_rel'] < figures(by_room, seen[0])['abs_rel']
    assert by_room.predict(unrendered(room=101)).depth is None
    assert MeanDepth(grid, seen, by_room=False).predict(unrendered(room=101)).depth is not None


def test_a_true_stream_has_no_error_and_a_still_one_is_said_to_be():
    stream = unrendered(count=12, step=0.1, group=Group.STREAM)
    grid = network_grid(Oracle(stream), SIZE)
    found = score([network(stream), Still(grid)], stream)
    assert found['oracle'].ate == pytest.approx(0, abs=1e-6)
    assert found['oracle'].rpe_rotation_deg == pytest.approx(0, abs=1e-4)
    assert (found['oracle'].poses, found['oracle'].frames) == (12, 12)
    assert found['identity pose'].collapsed
    assert 0.2 < found['identity pose'].ate < 0.6


def test_equal_networks_do_not_differ_and_blocks_are_averaged():
    windows = [unrendered(t) for t in (0.0, 0.7, 1.9, 3.1)]
    still = [score([Still(network_grid(Oracle(w), SIZE))], w)['identity pose'] for w in windows]
    found = figure([still[:2], still[2:]], METRICS['rotation_deg'])
    assert found.mean == pytest.approx(np.mean(found.blocks))
    assert found.low <= found.mean <= found.high
    assert found.low < found.high
    again = figure([still[:2], still[2:]], METRICS['rotation_deg'])
    assert difference(again, found) == {'mean': 0, 'low': 0, 'high': 0}


def evaluated():
    """Plan and metrics of a run on sequences that nobody rendered."""
    pairs = []
    for window in (unrendered(t, block=b, seed=b) for t, b in ((0.0, 0), (0.7, 0), (1.9, 1))):
        worse = network(window, 'worse', depth=lambda w: w.depth[..., ::-1] ** 2)
        still = Still(network_grid(worse.engine, SIZE))
        pairs.append(([network(window), worse, still], window))
    plan = Given(pairs, networks=2)
    plan.loaded = [
        (None, {'label': name, 'file': name, 'sha256': ''}) for name in ('oracle', 'worse')
    ]
    tree, reasons = settle(plan.tree(run(plan)))
    return plan, json.loads(json.dumps({'command': 'page4d', 'reasons': reasons} | tree))


def test_tables_hold_the_figures_of_the_metrics():
    plan, metrics = evaluated()
    text = '\n'.join(map(markdown, plan.tables(metrics)))
    known = metrics['figures']['known']
    for name in MEASURED[Group.KNOWN.value]:
        value = known[name]['worse']['mean']
        assert number(value) in text
    (table,) = tables.tables(metrics)
    cells = dict(table.rows)
    assert cells['oracle'][0].best
    assert not cells['worse'][0].best
    assert cells['identity pose'][0].text == UNKNOWN
    (worse,) = tables.difference_tables(metrics)
    assert worse.rows[0][1][0].text.startswith('+')
    assert not worse.rows[0][1][0].best
    assert len(metrics['drives']['known']) == 3
    drive = metrics['drives']['known'][0]['values']
    assert 'abs_rel' not in drive['identity pose']


def test_no_drive_is_of_the_training_and_blocks_are_disjoint():
    options = Options(seeds=3, drives=20, unseen=6)
    blocks = [block_plans(options, b) for b in range(3)]
    drives = [(plan.room, seed) for plans in blocks for plan in plans for seed in plan.seeds]
    seeds = [seed for _, seed in drives]
    assert len(drives) == len(set(drives))
    assert min(seeds) >= SPLITS['test']
    assert max(seeds) < SPLITS['test'] + SPLIT_SIZE
    assert all(
        SPLITS['train'] <= seed < SPLITS['train'] + SPLIT_SIZE
        for plan in prior_plans(options)
        for seed in plan.seeds
    )
    rooms = {plan.room for plans in blocks for plan in plans if plan.group is Group.UNSEEN}
    assert rooms.isdisjoint(options.rooms)
    placed = {Group.PLACE, Group.STATIC_PLACE}
    places = [plan.room for plans in blocks for plan in plans if plan.group in placed]
    assert len(places) == len(set(places)) == 3 * (16 + 8)
    assert all(SPLITS['test'] <= place < SPLITS['test'] + SPLIT_SIZE for place in places)


@pytest.mark.parametrize(
    'wrong', [{'rooms': (101,)}, {'seeds': 11}, {'drives': 1000}, {'places': -1}]
)
def test_plans_that_would_share_drives_are_refused(wrong):
    with pytest.raises(SceneError, match=r'there are|unseen'):
        Options(**wrong)


@pytest.fixture(scope='module')
def rendered():
    """Two windows of one room: one of the training, one that is held out."""
    plans = [
        SequencePlan(Group.PRIOR, 0, 1, (SPLITS['train'] + 2,)),
        SequencePlan(Group.CROWDED, 0, 1, (SPLITS['test'],)),
    ]
    try:
        return list(render_sequences(plans, 1))
    except SceneError as error:
        pytest.skip(str(error))


def test_rendered_windows_are_what_was_asked_for(rendered):
    window = rendered[1]
    assert (window.rig, window.traffic) == (Rig.HANDHELD, Traffic.MANY)
    assert window.rgb.shape == (4, 240, 320, 3)
    assert np.diff(window.stamps).tolist() == [300_000_000] * 3
    assert window.mask.any()


def test_corners_beat_identity(rendered):
    window = rendered[1]
    grid = network_grid(Oracle(window), SIZE)
    still, klt = (figures(m, window) for m in (Still(grid), Klt.at_camera(SIZE, grid)))
    assert klt['rotation_deg'] < 0.3 * still['rotation_deg']
    assert klt['translation'] < 0.5
    poses = score([Klt.at_camera(SIZE, grid)], replace(window, group=Group.STREAM))
    assert poses[f'KLT, {SIZE[0]}x{SIZE[1]}'].ate < 0.1


def test_every_baseline_answers(rendered):
    prior, window = rendered
    first = network(window)
    found = score([first, *baselines(first, [prior])], window)
    for name in MEASURED[Group.KNOWN.value]:
        values = [METRICS[name].statistic([s]) for s in found.values()]
        assert np.isfinite(values).sum() >= 3
    ap = {name: METRICS['motion_ap'].statistic([s]) for name, s in found.items()}
    assert ap['frame difference, stabilised'] > ap['everything moves']


def test_a_missing_checkpoint_is_one_line(tmp_path):
    given = ['evaluate', 'scenes', str(tmp_path / 'none.safetensors'), '-o', str(tmp_path)]
    result = CliRunner().invoke(app, given)
    assert result.exit_code == 1
    assert 'Traceback' not in result.output
    assert len(result.output.strip().splitlines()) == 1


def test_the_command_measures_and_writes(tmp_path, rendered, monkeypatch):
    monkeypatch.setitem(evaluate.QUICK, 'prior_drives', 1)
    options = ['--quick', '--rooms', '1', '--drives', '1', '--processes', '1']
    result = CliRunner().invoke(app, ['evaluate', 'scenes', 'untrained', '-o', tmp_path, *options])
    assert result.exit_code == 0, result.output
    metrics = json.loads((tmp_path / 'metrics.json').read_text())
    assert set(metrics['figures']) == {'known', 'static', 'crowded'}
    value = metrics['figures']['known']['abs_rel']['untrained']['mean']
    assert number(value) in (tmp_path / 'tables.md').read_text()
    assert number(value) in check_page(tmp_path / 'report.html')[0]
