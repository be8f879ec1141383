"""Two results side by side: figures, intervals, and what is refused."""

import copy
import json

import numpy as np
import pytest
from typer.testing import CliRunner

from page4d_ros.cli import app
from page4d_ros.errors import BagError
from page4d_ros.evaluation.metrics.blocks import Shares, figure
from page4d_ros.evaluation.plans.compare import compare, read_metrics


def result(errors, **changes):
    """What a run would leave: for each sequence, absolute errors of its frames."""
    sequences = {}
    for index, values in enumerate(errors):
        shares = Shares(len(values))
        shares.add('pose.ate_m', np.arange(len(values)), np.square(values), 1)
        shares.add('mask.JM', np.arange(len(values)), values, 1)
        tree = {
            'pose': {'sim3': {'ate_m': float(np.sqrt(np.mean(np.square(values))))}},
            'mask': {'JM': float(np.mean(values))},
            'depth': None,
            'points': None,
            'blocks': shares.blocks(),
        }
        sequences[f's{index}'] = {'frames': len(values), 'methods': {'streaming': tree}}
    protocol = {'name': 'all', 'stride': 1, 'modes': ['streaming'], 'as_published': False}
    metrics = {'kind': 'page4d evaluate data', 'format': 2, 'dataset': 'tum'}
    metrics |= {'protocol': protocol, 'sequences': sequences, 'checkpoint': {'label': 'x'}}
    return metrics | changes


def of(found, head):
    (only,) = (row for row in found if row.head == head)
    return only


RNG = np.random.default_rng(3)


def test_shares_make_figures_and_blocks():
    shares = Shares(10)
    shares.add('mask.JM', np.arange(10), np.arange(10.0), 1)
    shares.add('mask.JM', [9, 9], [1.0, 2.0], 0)  # the same frame may come again
    blocks = shares.blocks()['mask.JM']
    assert blocks == {'sum': [6.0, 15.0, 27.0], 'weight': [4.0, 3.0, 3.0]}
    assert figure('mask.JM', 48, 10) == 4.8
    assert figure('pose.ate_m', 48, 12) == 2.0
    assert np.isnan(figure('mask.JM', 0, 0))


def test_a_constant_difference_is_sure():
    errors = RNG.uniform(0.1, 0.2, (1, 100))
    found = of(compare(result(errors), result(errors + 0.05)), 'JM')
    assert found.second - found.first == pytest.approx(0.05)
    assert (found.low, found.high) == (pytest.approx(0.05), pytest.approx(0.05))
    assert found.sure


def test_the_same_run_twice_differs_by_nothing():
    errors = RNG.uniform(0.1, 0.2, (3, 50))
    for row in compare(result(errors), result(errors)):
        assert (row.second - row.first, row.low, row.high) == (0, 0, 0)
        assert not row.sure


@pytest.mark.parametrize('shape', [(1, 2500), (2, 1250), (40, 64)])
def test_intervals_are_those_of_the_normal_distribution(shape):
    errors, change = RNG.uniform(0.4, 0.6, shape), RNG.normal(0, 0.1, shape)
    found = of(compare(result(errors), result(errors + change)), 'JM')
    expected = 2 * 1.96 * 0.1 / np.sqrt(change.size)
    assert found.high - found.low == pytest.approx(expected, rel=0.35)
    assert found.low < change.mean() < found.high


def test_errors_that_follow_each_other_are_alike():
    """Stretches know what single frames would hide: one long slip is no proof."""
    errors = np.full((1, 400), 0.2)
    slip = errors.copy()
    slip[0, 100:118] += 0.5  # inside one stretch of twenty
    found = of(compare(result(errors), result(slip)), 'JM')
    assert found.second > found.first
    assert not found.sure


def test_of_a_root_mean_square_the_mean_over_sequences_is_taken():
    ours, theirs = np.array([[3.0] * 30, [1.0] * 30]), np.array([[4.0] * 30, [1.0] * 30])
    found = of(compare(result(ours), result(theirs)), 'ATE [m]')
    assert (found.first, found.second) == (pytest.approx(2), pytest.approx(2.5))


def test_many_sequences_are_drawn_as_wholes():
    """One of six is worse: a draw without it is likely, however many frames it has."""
    errors = np.full((6, 100), 0.2)
    worse = errors.copy()
    worse[0] += 0.3
    assert not of(compare(result(errors), result(worse)), 'JM').sure
    few = compare(result(errors[:2]), result(worse[:2]))
    assert of(few, 'JM').sure  # of two, every moment of the first is worse


def test_what_one_lacks_is_left_out():
    first, second = (result(RNG.uniform(0, 1, (1, 30))) for _ in range(2))
    second['sequences']['s0']['methods']['streaming']['mask'] = None
    assert {row.section for row in compare(first, second)} == {'pose'}


@pytest.mark.parametrize(
    ('changes', 'text'),
    [
        ({'dataset': 'bonn'}, 'data set differs: tum and bonn'),
        ({'protocol': {'name': 'x', 'stride': 1, 'as_published': False}}, 'name differs'),
        ({'sequences': {'s0': {'frames': 7, 'methods': {}}}}, 'sequences and frames differs'),
    ],
)
def test_other_frames_are_refused(changes, text):
    first = result(RNG.uniform(0, 1, (1, 30)))
    with pytest.raises(BagError, match=text):
        compare(first, copy.deepcopy(first) | changes)


def test_files_of_something_else_are_refused(tmp_path):
    with pytest.raises(BagError, match='no metrics'):
        read_metrics(tmp_path)
    path = tmp_path / 'metrics.json'
    for text, reason in (('{', 'damaged'), ('[]', 'is not of'), ('{"format": 1}', 'is not of')):
        path.write_text(text)
        with pytest.raises(BagError, match=reason):
            read_metrics(path)


def test_from_the_command_line(walks, tmp_path):
    def compared(*paths):
        wide = {'COLUMNS': '160'}  # no cell is broken
        words = ['evaluate', '--compare', *map(str, paths)]
        return CliRunner().invoke(app, words, env=wide)

    shown = compared(walks / 'off', walks / 'on')
    assert shown.exit_code == 0, shown.output
    assert 'AbsRel, scale per' in shown.output
    assert '95 % interval' in shown.output
    metrics = json.loads((walks / 'off' / 'metrics.json').read_text())
    other = tmp_path / 'metrics.json'
    other.write_text(json.dumps(metrics | {'dataset': 'bonn'}))
    refused = compared(walks / 'off', other)
    assert refused.exit_code == 1
    assert 'data set differs' in refused.output
