"""The loop of the evaluation with a plan of a few lines, and the tables that plans make."""

import json

import numpy as np
import pytest
from pages import check_page

from page4d_ros.errors import BagError
from page4d_ros.evaluation.metrics.sequence import PoseErrors
from page4d_ros.evaluation.plans.plan import Plan
from page4d_ros.evaluation.report.page import Page, Section, path_plots
from page4d_ros.evaluation.report.tables import POSE_COLUMNS, UNKNOWN, Cell, Column, Row, table
from page4d_ros.evaluation.result import Output, Source, UnsuitableError
from page4d_ros.evaluation.run import evaluate
from page4d_ros.truth import GroundTruthFrame


class Walk:
    """Six frames along a line that bends."""

    def frames(self):
        for index in range(6):
            T = np.eye(4)
            T[:3, 3] = index, index**2 / 10, 0
            yield GroundTruthFrame(index * 10**8, np.zeros((4, 4, 3), np.uint8), T_world_camera=T)


class Truth:
    label = 'truth'

    def run(self, source):
        for frame in source.data.frames():
            yield Output(frame, frame.T_world_camera)


class Blind:
    label = 'blind'

    def run(self, source):
        raise UnsuitableError(f'does not see {source.name}')


class Watcher:
    """Notes what comes by."""

    def __init__(self, seen):
        self.seen = seen

    def add(self, output):
        self.seen.append(output.frame.stamp_ns)

    def finish(self, measured):
        return measured.tree['pose']['poses']


class WalkPlan(Plan):
    title = 'Walks'

    def __init__(self):
        self.open, self.firsts, self.seen = False, [], []

    def sources(self, _progress):
        try:
            self.open = True
            yield Source('walk', Walk())
        finally:
            self.open = False

    def methods(self, _source):
        return [Blind(), Truth()]

    def watching(self, _source, method, stack, *, first):
        assert self.open
        self.firsts.append((method.label, first))
        stack.callback(lambda: self.seen.append('closed'))
        return [PoseErrors()], [Watcher(self.seen)]

    def tree(self, result):
        ((source, cases),) = result
        return {source.name: {label: case.tree for label, case in cases.items()}}

    def tables(self, metrics):
        rows = [
            Row(label, tree and tree['pose']['sim3'], where=f'walk.{label}')
            for label, tree in metrics['walk'].items()
        ]
        return [table('walk', rows, POSE_COLUMNS, reasons=metrics['reasons'])]

    def page(self, result, metrics):
        ((_, cases),) = result
        assert cases['truth'].shown == (6,)
        plots = path_plots('paths', result[0].paths)
        return Page('kind', 'Walks', [Section('', plots=plots, tables=self.tables(metrics))])


def test_a_plan_of_a_few_lines(tmp_path):
    plan, done = WalkPlan(), []
    metrics = evaluate(plan, tmp_path / 'out', done.append)
    assert not plan.open
    assert done == ['walk, truth'] * 6
    assert plan.firsts == [('truth', True)]  # the blind one ended before
    assert plan.seen == [*(index * 10**8 for index in range(6)), 'closed']
    assert metrics['walk']['truth']['pose']['sim3']['ate_m'] == pytest.approx(0, abs=1e-9)
    assert metrics['walk']['blind'] is None
    assert metrics['reasons']['walk.blind'] == 'does not see walk'
    assert json.loads((tmp_path / 'out' / 'metrics.json').read_text()) == metrics
    assert 'does not see walk' in (tmp_path / 'out' / 'tables.md').read_text()
    assert '<svg' in check_page(tmp_path / 'out' / 'report.html')[0]


def test_an_output_that_cannot_be_written_is_one_clear_error(tmp_path):
    (tmp_path / 'file').write_text('')
    with pytest.raises(BagError, match='file: cannot be written'):
        evaluate(WalkPlan(), tmp_path / 'file')


def test_the_best_of_each_group_of_rows_is_marked():
    interval = {'mean': 0.3, 'low': 0.2, 'high': 0.4}
    rows = [
        Row('a', {'part.x': 0.2, 'y': 5}),
        Row('b', {'part': {'x': 0.1}, 'y': None}, where='b'),
        Row('c', {'part.x': interval, 'y': 7}, rivals='others'),
        Row('d', {'part.x': 0.4, 'y': 'text'}, rivals='others'),
        Row('oracle', {'part.x': 0.0, 'y': Cell('done', best=True)}, rivals=None),
        Row('nothing', None),
    ]
    columns = Column('part.x', 'x', less=True), Column('y', 'y', less=False)
    found = dict(table('t', rows, columns, reasons={'b.y': 'why'}).rows)
    assert {label for label, cells in found.items() if cells[0].best} == {'b', 'c'}
    assert found['c'][0] == ('0.3', '[0.2, 0.4]', True)
    # alone in its column nothing is best
    assert [found[label][1] for label in 'abcd'] == [
        ('5', '', False),
        (UNKNOWN, 'why', False),
        ('7', '', False),
        ('text', '', False),
    ]
    assert found['oracle'][1].best
    assert found['nothing'][0].text == UNKNOWN
    unmarked = dict(table('t', rows[:2], columns, mark=False).rows)
    assert not any(cell.best for cells in unmarked.values() for cell in cells)
