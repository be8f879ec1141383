"""CUDA graphs, recorded and replayed without a GPU, say what torch says."""

from dataclasses import replace

import fake_cuda
import numpy as np
import pytest
import torch
from small_network import network

from page4d_ros.backends.graph import FrameGraph
from page4d_ros.backends.recorded import WARM_UP, RecordedGraphs
from page4d_ros.benchmark.parity import differences
from page4d_ros.config import ModelConfig
from page4d_ros.model.variants import AS_TRAINED, MINED
from page4d_ros.perception.graphs import choose_backend, open_graphs
from page4d_ros.perception.types import Frame, FrameSet
from page4d_ros.perception.window_engine import WindowEngine

SETTINGS = ModelConfig(checkpoint='untrained', device='cpu', resolution=56)
SIZE = 3
GPU = torch.device('cuda', 0)


def images(count, size=(42, 56)):
    for index in range(count):
        yield np.random.default_rng(index).integers(0, 255, (*size, 3), np.uint8)


def engine(said=None, *, variant=AS_TRAINED, mask=False):
    out = WindowEngine(network(mask=mask), SETTINGS, SIZE, variant)
    if said is not None:
        out.graphs = RecordedGraphs(out.network, GPU, say=said.append)
    return out


@pytest.mark.parametrize(('variant', 'mask'), [(AS_TRAINED, True), (MINED, False)])
def test_a_sliding_window_is_that_of_torch(monkeypatch, variant, mask):
    fake_cuda.install(monkeypatch, [])
    said = []
    ours, theirs = engine(said, variant=variant, mask=mask), engine(variant=variant, mask=mask)
    worst = differences(ours, theirs, images(9))
    assert max(worst.values()) < 1e-6, worst
    assert not said
    assert 'CUDA graphs' in ours.runs_on
    names = ours.graphs._recordings
    assert {name.split('_')[0] for name in names} == {'frame', 'step'}
    assert all(len(each._graph.operations) > 50 for each in names.values())
    ours.free()


def test_a_graph_is_recorded_once_after_a_warm_up(monkeypatch):
    log = []
    fake_cuda.install(monkeypatch, log)
    ours = network()
    encode = ours.encode
    ours.encode = lambda image: log.append('run') or encode(image)
    graphs = RecordedGraphs(ours, GPU)
    first, second = (torch.from_numpy(each).movedim(-1, 0)[None] for each in images(2))
    with torch.inference_mode():
        found = [graphs.call(FrameGraph((3, 4)), [each]) for each in (first, second, first)]
    assert log == [
        'side waits for caller',
        *['run'] * WARM_UP,
        'caller waits for side',
        'record on side, pool 1, thread_local',
        'run',
    ]
    assert torch.equal(found[0]['tokens'], found[2]['tokens'])  # a replay leaves outputs alone
    assert not torch.equal(found[0]['tokens'], found[1]['tokens'])
    assert graphs.ready


def test_another_grid_gets_its_own_graphs_and_memory(monkeypatch):
    log = []
    fake_cuda.install(monkeypatch, log)
    said = []
    ours, theirs = engine(said), engine()
    shapes = (42, 56), (28, 56), (42, 56)
    for size in shapes:
        worst = differences(ours, theirs, images(4, size))
        assert max(worst.values()) < 1e-6
        grid = f'_{size[0] // 14}x4'
        assert all(grid in name for name in ours.graphs._recordings)
    pools = [line.split(', ')[1] for line in log if line.startswith('record')]
    assert sorted(set(pools)) == ['pool 1', 'pool 2', 'pool 3']
    assert not said


def test_what_cannot_be_recorded_is_one_line_and_torch_goes_on(monkeypatch):
    log = []
    settings = fake_cuda.install(monkeypatch, log)
    settings.failure = RuntimeError('operation not permitted when stream is capturing\nmore')
    said = []
    ours = engine(said)
    worst = differences(ours, engine(), images(6))
    assert set(worst.values()) == {0.0}
    assert [line.split(' of ')[1] for line in said] == [
        f'{name}, torch runs it: operation not permitted when stream is capturing'
        for name in ours.graphs._recordings
    ]
    assert sum(line.startswith('record') for line in log) == len(said)
    assert not ours.graphs.ready
    assert 'CUDA graphs' not in ours.runs_on


def test_auto_records_on_a_gpu(monkeypatch):
    monkeypatch.delenv('PAGE4D_BACKEND')
    assert choose_backend(SETTINGS, GPU) == 'cudagraphs'
    assert choose_backend(replace(SETTINGS, precision='fp16'), GPU) == 'cudagraphs'
    assert choose_backend(replace(SETTINGS, compile=True), GPU) == 'cudagraphs'
    assert choose_backend(replace(SETTINGS, backend='tensorrt'), GPU) == 'tensorrt'


def test_there_are_none_on_a_cpu():
    said = []
    assert open_graphs(
        engine(), replace(SETTINGS, backend='cudagraphs'), wait=False, say=said.append
    ) is None  # fmt: skip
    assert said == ['torch runs the network: model.backend cudagraphs is for GPUs, not for cpu']


def test_after_the_warm_up_a_stream_records_nothing(monkeypatch):
    log = []
    fake_cuda.install(monkeypatch, log)
    ours = engine([])
    ours.warm_up(gram=True)
    assert sum(line.startswith('record') for line in log) == 2
    anchor = None
    for index, image in enumerate(images(6)):
        frames = FrameSet.of(Frame(index, 'camera', lambda: None))
        ours.push(frames, [image])
        ours.step(anchor, gram=True)
        anchor = frames.frames[0].key
    assert sum(line.startswith('record') for line in log) == 2
