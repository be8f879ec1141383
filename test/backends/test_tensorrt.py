"""TensorRT, with a stand-in for its module: precision, errors, and that torch goes on."""

import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from small_network import network

from page4d_ros.backends.building import fingerprint, key
from page4d_ros.backends.cache import GraphCache
from page4d_ros.backends.graph import OPSET, FrameGraph
from page4d_ros.backends.graphs import Graphs
from page4d_ros.backends.runtimes import open_runtime
from page4d_ros.backends.tensorrt import TensorRt
from page4d_ros.benchmark.parity import differences
from page4d_ros.config import Config, ModelConfig
from page4d_ros.errors import BackendError
from page4d_ros.perception import graph_building
from page4d_ros.perception.graph_building import build_missing
from page4d_ros.perception.graphs import BuildHere, open_graphs
from page4d_ros.perception.window_engine import WindowEngine

onnx = pytest.importorskip('onnx', reason='onnx is not installed')
pytest.importorskip('onnxscript', reason='onnxscript is not installed')
fake_tensorrt = pytest.importorskip('fake_tensorrt', reason='onnxruntime is not installed')
calls, wrong = fake_tensorrt.calls, fake_tensorrt.wrong
SETTINGS = ModelConfig(checkpoint='untrained', device='cpu', resolution=56)
FRAME = FrameGraph((3, 4))
IMAGE = torch.arange(3 * 42 * 56).to(torch.uint8).reshape(1, 3, 42, 56)


@pytest.fixture(autouse=True)
def gpu(monkeypatch):
    return fake_tensorrt.install(monkeypatch)


def compiled(folder, precision='fp32'):
    """A runtime, with an engine in a folder that makes bytes wide."""
    file = folder / 'model.onnx'
    kinds, shape = onnx.TensorProto, list(IMAGE.shape)
    model = onnx.helper.make_model(
        onnx.helper.make_graph(
            [onnx.helper.make_node('Cast', ['image'], ['wide'], to=kinds.FLOAT)],
            'wide',
            [onnx.helper.make_tensor_value_info('image', kinds.UINT8, shape)],
            [onnx.helper.make_tensor_value_info('wide', kinds.FLOAT, shape)],
        ),
        opset_imports=[onnx.helper.make_opsetid('', OPSET)],
        ir_version=10,
    )
    onnx.save(model, file)
    runtime = open_runtime('tensorrt')
    runtime.compile(file, folder, precision)
    return runtime


def images(count):
    for index in range(count):
        yield np.random.default_rng(index).integers(0, 255, (42, 56, 3), np.uint8)


@pytest.mark.long
def test_a_sliding_window_in_half_precision(tmp_path):
    """Growth in torch under autocast, then engines: all close to float32."""
    settings = replace(SETTINGS, precision='fp16')
    ours, theirs = (
        WindowEngine(network(camera_iterations=1), each, 3) for each in (settings, SETTINGS)
    )
    store, said = GraphCache(tmp_path), []
    build = BuildHere(ours.network, 'tensorrt', store, 'fp16')
    ours.graphs = Graphs(
        ours.network, build.runtime, store, build,
        threads=1, precision='fp16', wait=True, say=said.append,
    )  # fmt: skip
    worst = differences(ours, theirs, images(8))
    assert 1e-6 < max(worst.values()) < 2e-2, worst
    assert [line.split()[:2] for line in said] == [
        ['building', 'frame_3x4'],
        ['building', 'step_S3_3x4_new2'],
    ]
    assert calls.count('run') == 2 + 8 + 6  # checks, frames, full windows
    assert 'float16, TensorRT 10.13.3' in ours.runs_on


@pytest.mark.parametrize(('precision', 'cleared'), [('fp32', True), ('fp16', False)])
def test_networks_are_strongly_typed_and_float32_is_whole(tmp_path, precision, cleared):
    compiled(tmp_path, precision)
    assert calls[0] == f'network {1 << fake_tensorrt.NetworkDefinitionCreationFlag.STRONGLY_TYPED}'
    assert ('clear TF32' in calls) is cleared


@pytest.mark.parametrize(
    ('what', 'text', 'said'),
    [
        (
            'parse',
            ['no importer for NonZero', 'bad'],
            'read the graph: no importer for NonZero; bad',
        ),
        ('build', 'insufficient memory', 'build the graph: insufficient memory'),
        ('load', 'plan of another version', 'load the graph: plan of another version'),
        ('run', 'illegal address', 'run the graph: illegal address'),
    ],
)
def test_errors_carry_the_library_s_own_words(tmp_path, monkeypatch, what, text, said):
    monkeypatch.setattr(wrong, what, text)
    with pytest.raises(BackendError, match=f'TensorRT 10.13.3 cannot {said}'):
        compiled(tmp_path).load(tmp_path, 1)([IMAGE])


def test_an_engine_that_cannot_be_loaded_is_built_anew(tmp_path, monkeypatch):
    monkeypatch.setattr(wrong, 'load', 'plan of another version')
    ours, store, said = network(), GraphCache(tmp_path / 'store'), []
    runtime = open_runtime('tensorrt')
    identity = key(FRAME, runtime, fingerprint(ours))

    def write(folder):
        compiled(folder)
        return {'outputs': ['wide']}

    def build(_):
        monkeypatch.setattr(wrong, 'load', '')
        store.store(identity, write)

    store.store(identity, write)
    graphs = Graphs(ours, runtime, store, build, threads=1, wait=True, say=said.append)
    found = graphs.call(FRAME, [IMAGE])
    assert said == ['building frame_3x4 for TensorRT 10.13.3']
    assert torch.equal(found['wide'], IMAGE.float())


def test_inputs_of_other_shapes_and_types_are_refused(tmp_path):
    run = compiled(tmp_path).load(tmp_path, 1)
    for image in (torch.zeros(1, 3, 42, 70, dtype=torch.uint8), IMAGE.float()):
        with pytest.raises(
            BackendError, match=r'image is .* instead of \(\(1, 3, 42, 56\), torch'
        ):
            run([image])
    calls.clear()
    turned = IMAGE.transpose(2, 3).contiguous().transpose(2, 3)
    (found,) = run([turned])
    assert torch.equal(found, IMAGE.float())
    assert calls == ['engine waits for caller', 'run', 'caller waits for engine']


def test_engines_are_bound_to_the_kind_of_gpu(gpu):
    first = open_runtime('tensorrt')
    assert first.device == 'Orin 8.7, 16 SMs'
    gpu.gpu.multi_processor_count = 8
    assert open_runtime('tensorrt').device != first.device


def test_where_it_cannot_run_one_line_says_why(monkeypatch, gpu):
    engine = WindowEngine(network(), SETTINGS, 3)

    def said(**values):
        lines = []
        config = replace(SETTINGS, backend='tensorrt', **values)
        assert open_graphs(engine, config, wait=False, say=lines.append) is None
        (line,) = lines
        return line.removeprefix('torch runs the network: model.backend tensorrt')

    assert said(compile=True) == ' goes without model.compile'
    monkeypatch.setattr(TensorRt, 'memory', torch.device('cuda', 0))
    assert said() == ' is for cuda:0 in fp32 or fp16 or bf16, not for cpu in fp32'
    gpu.gpu = None
    assert said() == ': TensorRT 10.13.3 finds no GPU'
    monkeypatch.setattr(fake_tensorrt, '__version__', '8.6.1')
    assert said() == ': TensorRT 8.6.1 is older than 10'
    monkeypatch.setitem(sys.modules, 'tensorrt', None)
    assert said().endswith('it is part of JetPack; elsewhere pip install tensorrt')


def test_ahead_of_time_a_network_on_the_cpu_is_built_from(tmp_path, monkeypatch):
    """As on a Jetson, where the GPU's memory is the system's."""
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path))
    monkeypatch.setattr(graph_building, 'stream_graphs', lambda _, grid, **__: [FrameGraph(grid)])
    values = {'checkpoint': 'untrained', 'resolution': 56, 'backend': 'tensorrt'}
    config = Config().with_values({f'model.{name}': value for name, value in values.items()})
    config = config.with_values({'model.precision': 'fp16', 'model.compile': True})
    lines = []
    title, rows = build_missing(config, '56x42', images=list, say=lines.append)
    assert (title, list(rows)) == ('TensorRT 10.13.3', ['frame_3x4'])
    assert build_missing(config, '56x42', images=list, say=lines.append)[1] == rows
    assert lines == ['building frame_3x4 for TensorRT 10.13.3']
