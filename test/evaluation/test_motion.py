"""Measures of masks, clips with masks, and the evaluation of what moves from end to end."""

import json

import numpy as np
import pytest
from data_folders import parity_file
from layouts import write_davis
from pages import check_page

from page4d_ros.datasets.rendered_plan import MAX_BLOCKS, block_plans
from page4d_ros.datasets.rendered_plan import Options as SceneOptions
from page4d_ros.errors import SceneError
from page4d_ros.evaluation.metrics.masks import Measure, boundary, region
from page4d_ros.evaluation.metrics.motion import Sequence, pooled
from page4d_ros.evaluation.plans.dynamics import DynamicsPlan
from page4d_ros.evaluation.plans.dynamics_drives import KINDS, Options, planned
from page4d_ros.evaluation.run import evaluate


def test_measures_are_those_of_davis():
    data = np.load(parity_file('vggt4d/davis_metrics.npz'))
    J = [region(*pair) for pair in zip(data['pred'], data['gt'], strict=True)]
    F = [boundary(*pair) for pair in zip(data['pred'], data['gt'], strict=True)]
    assert pytest.approx(data['iou'], abs=1e-6) == J
    assert pytest.approx(data['boundary_f'], abs=1e-6) == F
    assert Measure.of(J) == pytest.approx(data['J_mean_recall_decay'], abs=1e-6)
    assert Measure.of(F) == pytest.approx(data['F_mean_recall_decay'], abs=1e-6)


def test_decay_by_hand():
    values = [1.0] * 50 + [0.5] * 100 + [0.2] * 50
    assert Measure.of(values).decay == pytest.approx(0.8, abs=0.02)
    assert Measure.of(values, as_published=True) == Measure.of(values)
    long = [1.0] * 100 + [0.5] * 100 + [0.2] * 100
    assert Measure.of(long).decay > 0.7
    wrapped = Measure.of(long, as_published=True).decay  # frame 299 is taken for 43
    assert np.isnan(wrapped) or wrapped < 0.7


def test_frames_in_which_nothing_moves_count_as_published():
    nothing, something = np.zeros((14, 14), bool), np.zeros((14, 14), bool)
    something[3:9, 3:9] = True
    means = {}
    for as_published in (False, True):
        drive = Sequence(as_published=as_published)
        for truth in (something, nothing):
            drive.add(truth.astype(np.float32), truth, truth)
        means[as_published] = pooled([drive])
    assert (means[False]['JM'], means[True]['JM']) == (1.0, 0.5)
    assert (means[False]['FM'], means[True]['FM']) == (1.0, 1.0)


def test_empty_masks():
    nothing, something = np.zeros((2, 20, 30), bool)
    something[5:10, 5:10] = True
    assert (region(nothing, nothing), boundary(nothing, nothing)) == (0, 1)
    assert boundary(something, nothing) == boundary(nothing, something) == 0
    assert np.isnan(Measure.of([]).mean)


def test_figures_by_hand():
    truth = np.zeros((10, 20), bool)
    truth[:, :5] = True  # 50 of 200
    called = np.zeros((10, 20), bool)
    called[:, 3:8] = True  # hits 20 and 30 more
    sequence = Sequence()
    sequence.add(np.where(called, 0.7, 0.1), called, truth)
    v, u = np.indices((10, 20), np.float32)
    now, before = np.full((2, 10, 20), [[[0.5]], [[0.4]]], np.float32)
    sequence.compare(now, before, (u, v), np.ones((10, 20), bool))
    found = pooled([sequence])
    assert found['JM'] == pytest.approx(20 / 80)
    assert found['precision'] == pytest.approx(20 / 50)
    assert found['recall'] == pytest.approx(20 / 50)
    assert found['false_positives'] == pytest.approx(30 / 150)
    assert found['called'] == found['moving'] == pytest.approx(0.25)
    # where 0.7 was said, 0.4 was true; where 0.1 was said, 0.2 was
    assert found['ece'] == pytest.approx(0.25 * 0.3 + 0.75 * 0.1)
    assert found['flicker'] == pytest.approx(0.1)


def test_pixels_that_do_not_count():
    truth = np.zeros((4, 4), bool)
    truth[0] = True
    counts = np.ones((4, 4), bool)
    counts[1] = False
    called = np.zeros((4, 4), bool)
    called[:2] = True
    sequence = Sequence()
    sequence.add(called.astype(float), called, truth, counts)
    assert pooled([sequence])['JM'] == 1


def test_drives_are_of_no_other_evaluation():
    ours = {seed for _, plan in planned(Options(drives=20)) for seed in plan.seeds}
    theirs = {
        seed
        for block in range(MAX_BLOCKS)
        for plan in block_plans(SceneOptions(), block)
        for seed in plan.seeds
    }
    assert not ours & theirs
    assert max(ours) < 400_000
    assert len({s.conditions(s.seeds[0]) for _, s in planned(Options())}) == len(KINDS)
    with pytest.raises(SceneError):
        Options(drives=10_000)


def test_from_drives_to_report(tmp_path):
    """Two kinds of sources agree on nothing with untrained weights, but all figures are there."""
    options = Options(rooms=(1,), unseen=(), drives=1, frames=6, processes=1)
    done = []
    plan = DynamicsPlan('untrained', options, davis=write_davis(tmp_path / 'davis'))
    metrics = evaluate(plan, tmp_path / 'out', done.append)
    assert set(metrics['kinds']) == set(KINDS)
    assert metrics == json.loads((tmp_path / 'out' / 'metrics.json').read_text())
    assert len(done) == 2 * 4 * 6 + 4  # the network, and geometry with the truth
    moving = metrics['kinds']['camera and bodies move']
    assert moving['geometry, true depth and poses']['JM'] > 0.5
    assert 0 < moving['fused']['moving'] < 1
    assert metrics['clips']['dog']['head']['JM'] is not None
    assert metrics['ghosts']['without mask'] > 0
    titles = [table.title for table in plan.tables(metrics)]
    assert titles[0] == 'camera and bodies move'
    assert 'dog' in titles
    page, _ = check_page(tmp_path / 'out' / 'report.html')
    assert page.count('data:image/jpeg') >= 20
    assert 'untrained' in page
