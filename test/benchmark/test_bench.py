"""Meters that measure, cases that compare, and the command that shows them."""

import json
from contextlib import nullcontext
from dataclasses import replace
from functools import partial
from types import SimpleNamespace

import pytest
import torch
from torch import nn
from training_cases import MICRO
from typer.testing import CliRunner

from page4d_ros.benchmark import beside, cases, rig
from page4d_ros.benchmark.cases import PRESETS, Case
from page4d_ros.benchmark.meter import Stages, flops, machine, peak_bytes, threads
from page4d_ros.benchmark.node import _summary
from page4d_ros.benchmark.run import run_case
from page4d_ros.cli import app
from page4d_ros.messages.status import STAGES
from page4d_ros.model.config import FourDVGGTConfig

CPU = torch.device('cpu')
MICRO_POINTS = replace(MICRO, point_head=True)


def test_peak_is_what_is_held_at_once():
    def run():
        one = torch.empty(3 << 20, dtype=torch.uint8)
        other = torch.empty(2 << 20, dtype=torch.uint8)
        del one
        return torch.empty(1 << 20, dtype=torch.uint8), other

    assert peak_bytes(run, CPU) == 5 << 20


def test_operations_and_stages_are_those_of_the_modules():
    layer, other = nn.Linear(8, 16, bias=False), nn.Linear(16, 4, bias=False)
    x = torch.rand(5, 8)
    assert flops(lambda: other(layer(x))) == 2 * 5 * (8 * 16 + 16 * 4)
    stages = Stages([('a', layer), ('b', other)], CPU)
    for _ in range(50):
        layer(x)
    milliseconds = stages.close()
    assert milliseconds['a'] > 0
    assert 'b' not in milliseconds
    layer(x)
    assert stages.seconds['a'] * 1e3 == milliseconds['a']


def test_threads_are_given_back():
    before = torch.get_num_threads()
    with threads(1):
        assert torch.get_num_threads() == 1
    assert torch.get_num_threads() == before
    assert all(value > 0 for value in machine(CPU, torch.float32).values())


@pytest.mark.parametrize('mask', [False, True])
def test_both_ways_answer_alike_and_the_engine_does_less(mask):
    case = Case('width16', MICRO_POINTS, 8, (42, 56), mask=mask, anchor=mask, rounds=2)
    row = run_case(case, 'cpu', ['torch'], lambda _: None)[0].row()
    assert row['max_rel_diff'] < 1e-4
    assert set(row['rel_diff']) == {'pose', 'depth', 'confidence', 'mask'}
    assert row['flop_ratio'] > 1
    assert row['peak_memory_ratio'] < 1
    assert row['reference_ms'] > 0 < row['engine_ms']
    assert row['speedup_range'][0] <= row['speedup'] <= row['speedup_range'][1]
    assert row['stages_ms']['reference']['point head'] > 0
    assert 'point head' not in row['stages_ms']['engine']
    assert row['arrival_to_pose_ms'] < row['engine_ms']


def test_a_family_has_rows_of_its_own():
    sizes = replace(FourDVGGTConfig.tiny(), point_head=True)
    row = run_case(Case('width128', sizes, 8, (28, 42), rounds=1), 'cpu', ['torch'], print)[
        0
    ].row()
    assert set(row['rel_diff']) == {'pose', 'depth', 'confidence'}
    assert row['max_rel_diff'] < 1e-4
    assert row['flop_ratio'] > 1.5
    assert row['stages_ms']['engine']['temporal blocks'] > 0


def test_backends_are_compared_in_one_run():
    pytest.importorskip('onnxruntime', reason='onnxruntime is not installed')
    case = Case('micro', MICRO_POINTS, 2, (28, 42), rounds=2)
    torch_row, other = (r.row() for r in run_case(case, 'cpu', ['torch', 'onnxruntime'], print))
    assert (torch_row['backend'], other['backend']) == ('torch', 'onnxruntime')
    assert torch_row['speedup'] > 0
    assert other['speedup'] > 0
    assert 0 < other['max_rel_diff'] < 1e-4
    assert 0 < other['load_s'] < other['build_s']
    assert 0 < other['load_mb'] < 1000
    assert 0 < torch_row['arrival_to_pose_ms'] < torch_row['engine_ms'] * 1.01
    assert other['arrival_to_pose_ms'] > 0


def test_half_precision_is_measured_against_its_own_kind():
    case = Case('width16', MICRO_POINTS, 2, (42, 56), rounds=1, precision='bf16')
    row = run_case(case, 'cpu', ['torch'], lambda _: None)[0].row()
    assert row['engine_weights_mb'] < row['reference_weights_mb']
    assert row['max_rel_diff'] < 0.1


def test_presets_name_the_width_first():
    for preset in PRESETS.values():
        for case in preset:
            assert case.name.startswith(f'width{case.network.embed_dim}_S{case.frames}_')
            assert len({c.name for c in preset}) == len(preset)


def page4d(*arguments):
    return CliRunner().invoke(app, ['bench', *map(str, arguments)])


def test_the_command_prints_and_writes(tmp_path, monkeypatch):
    case = Case('width16_S2_42x56', MICRO_POINTS, 2, (42, 56), rounds=1)
    silent = replace(case, name='width16_S2_42x56_memory', timed=False)
    monkeypatch.setitem(cases.PRESETS, 'tiny', [case, silent])
    done = page4d('--json', tmp_path / 'new' / 'bench.json')
    assert done.exit_code == 0, done.output
    assert 'times faster' in done.stdout
    rows = json.loads((tmp_path / 'new' / 'bench.json').read_text())['cases']
    assert [row['name'] for row in rows] == [case.name, silent.name]
    assert {'reference_ms', 'engine_ms', 'speedup', 'max_rel_diff'} <= rows[0].keys()
    assert 'engine_ms' not in rows[1]


def test_replay_is_slower_beside_busy_processes(monkeypatch, tmp_path):
    """With a rate of 8 alone, and of 1 less for each other process; threads that spin halve it."""
    running = []
    monkeypatch.setattr(beside, 'busy', lambda count: nullcontext(running.append(count)))

    def rate(words, environment):
        assert words[0] == 'replay'
        return (8 - running[-1]) / (1 + ('OMP_WAIT_POLICY' in environment))

    monkeypatch.setattr(beside, '_rate', rate)
    done = page4d('--beside', '--json', tmp_path / 'rows.json')
    assert done.exit_code == 0, done.output
    assert 'beside two busy processes' in done.stdout
    shipped, spinning = json.loads((tmp_path / 'rows.json').read_text())['cases']
    assert (shipped['alone_per_second'], shipped['beside_per_second']) == (8, 6)
    assert (spinning['alone_per_second'], spinning['beside_per_second']) == (4, 3)
    assert shipped['beside_ratio'] == spinning['beside_ratio'] == 0.75
    assert running == 2 * beside.ROUNDS * [0, beside.BUSY]


def test_busy_processes_end_with_their_context():
    with beside.busy(1) as others:
        assert others[0].poll() is None
    assert others[0].poll() is not None


def test_the_plan_says_what_fits(tmp_path):
    done = page4d('--plan', '--json', tmp_path / 'plan.json')
    assert done.exit_code == 0, done.output
    assert 'published' in done.stdout
    rows = json.loads((tmp_path / 'plan.json').read_text())['cases']
    keys = 'name', 'frames', 'width', 'precision'
    by = {tuple(row[key] for key in keys): row for row in rows}
    assert len(by) == len(rows)
    full, half = (by['published', 8, 518, kind] for kind in ('fp32', 'bf16'))
    assert 3500 < full['weights_mb'] < 4600  # 1.19 billion weights, less the point head
    assert half['weights_mb'] < 0.65 * full['weights_mb']
    assert half['working_mb'] <= full['working_mb']
    assert by['published', 16, 518, 'fp32']['cache_mb'] > 1.8 * full['cache_mb']
    assert by['page4d-small', 8, 112, 'fp32']['total_mb'] < 50
    for row in rows:
        parts = (row[part] for part in ('weights_mb', 'cache_mb', 'working_mb'))
        assert row['total_mb'] == pytest.approx(sum(parts))


def test_what_is_wrong_is_said():
    assert 'no such case; there are width128_S4' in page4d('--only', 'width7').stderr
    for what in ('--node', '--overhead', '--beside'):
        assert 'unknown setting' in page4d(what, '--set', 'window.sise=3').stderr
    if not torch.cuda.is_available():
        assert 'model.device' in page4d('--preset', 'gpu', '--only', 'k2').stderr


def test_time_goes_to_the_innermost_stage(monkeypatch):
    pytest.importorskip('rclpy', reason='rclpy is not installed')
    from page4d_ros.benchmark import overhead

    clock = SimpleNamespace(now=0.0)
    monkeypatch.setattr(overhead.time, 'thread_time', lambda: clock.now)

    def passes(seconds):
        clock.now += seconds

    watch = overhead.Watch()
    inner = watch.timed('network', passes)

    def process():
        passes(1)
        inner(10)
        passes(2)

    watch.timed('fuse', process)()
    passes(100)
    spent = watch.take()
    assert (spent['fuse'], spent['network']) == (3e3, 1e4)
    watch.timed('publish', passes)(5)
    assert watch.take()['publish'] == 5e3


def test_what_the_node_does_beside_the_network(tmp_path, monkeypatch):
    pytest.importorskip('rclpy', reason='rclpy is not installed')
    from page4d_ros.benchmark import overhead

    monkeypatch.setattr(overhead, 'FRAMES', 2)
    monkeypatch.setattr(overhead, 'ROUNDS', 2)
    done = page4d('--overhead', '--set', 'model.resolution=56', '--json', tmp_path / 'out.json')
    assert done.exit_code == 0, done.output
    rows = json.loads((tmp_path / 'out.json').read_text())['cases']
    names = [
        f'network {where}_{who}'
        for where in ('here', 'elsewhere')
        for who in ('nobody', 'every output')
    ]
    assert [row['name'] for row in rows] == names
    for row in rows:
        assert row['frames'] == 2
        assert list(row['stages_ms']) == ['decode', 'fuse', 'publish']
        assert all(median > 0 for median, _ in row['stages_ms'].values())


def test_summary_of_the_node():
    status = [
        SimpleNamespace(
            **{f'{stage}_ms': float(i + 1) for i, stage in enumerate(STAGES)},
            frame_age=0.1 * number,
            received=10,
            dropped=3,
        )
        for number in (1, 2, 3)
    ]
    summary = _summary(status)
    assert summary['frames'] == 3
    assert summary['own_ms'] == [1.0 + 4.0 + 5.0] * 2  # all but encode and forward
    assert summary['frame_age_s'][0] == pytest.approx(0.2)
    assert (summary['received'], summary['dropped']) == (10, 3)


def test_a_rig_is_run_both_ways(monkeypatch, tmp_path):
    case = Case('micro', MICRO, 3, (56, 56), rounds=2)
    both = case, replace(case, name='shapes', timed=False)
    monkeypatch.setattr(rig, 'run_rig', partial(rig.run_rig, cases=both))
    done = CliRunner().invoke(app, ['bench', '--rig', '3', '--json', str(tmp_path / 'rig.json')])
    assert done.exit_code == 0, done.output
    row, shapes = json.loads((tmp_path / 'rig.json').read_text())['cases']
    assert row['name'] == 'micro_3 cameras'
    assert row['joint_ms'] > 0
    assert row['per_view_ms'] > 0
    assert row['joint_mb'] > row['per_view_mb'] > 0
    assert row['flop_ratio'] == shapes['flop_ratio'] > 1
    assert 'joint_ms' not in shapes
    assert 'per_view, ms' in done.output
