"""Reduced precision of graphs: what is rounded, what stays, by how much, for which settings."""

from dataclasses import replace

import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper
from small_network import network

from page4d_ros.backends import eight_bits
from page4d_ros.backends.building import FP32, TOLERANCE, find, fingerprint, key
from page4d_ros.backends.cache import GraphCache
from page4d_ros.backends.calibration import Calibration, keep, kept
from page4d_ros.backends.eight_bits import EIGHT_BITS, INT8, INT8_WEIGHTS
from page4d_ros.backends.graph import FrameGraph, StepGraph, write_onnx
from page4d_ros.backends.graphs import Graphs
from page4d_ros.backends.runtimes import open_runtime
from page4d_ros.benchmark.cases import Case
from page4d_ros.benchmark.parity import differences
from page4d_ros.benchmark.run import run_case
from page4d_ros.commands.bench import _bench_engine
from page4d_ros.commands.graphs import _calibrating
from page4d_ros.commands.show import SAMPLE
from page4d_ros.config import Config, ModelConfig
from page4d_ros.errors import BackendError, ConfigError, Page4dError
from page4d_ros.evaluation.methods.checkpoints import load
from page4d_ros.model.network import StepPlan
from page4d_ros.perception import graph_building
from page4d_ros.perception.devices import choose_precision
from page4d_ros.perception.graphs import BuildHere, check, choose_backend
from page4d_ros.perception.window_engine import WindowEngine

pytest.importorskip('onnxscript', reason='onnxscript is not installed')
pytest.importorskip('onnxruntime', reason='onnxruntime is not installed')

GRID, SIZE = (3, 4), 3
SETTINGS = ModelConfig(checkpoint='untrained', device='cpu', resolution=56)
CPU = torch.device('cpu')
FRAME, STEP = FrameGraph(GRID), StepGraph(SIZE, StepPlan(GRID, 1))
# matrices, and products with them: the first frame block, which FRAME has, and the last of all run
# twice; the graph cuts the matrix of the last one's queries, keys and values, which stays
LAYERS = {FRAME: (12, 16), STEP: (27, 30)}
LAST = 'network.aggregator.global_blocks.3.attn.qkv.weight'


def images(count):
    for index in range(count):
        rng = np.random.default_rng(index)
        yield np.kron(rng.integers(0, 255, (6, 8, 3), np.uint8), np.ones((7, 7, 1), np.uint8))


def calibration(count=4):
    stack = np.stack(list(images(count))).transpose(0, 3, 1, 2)
    return torch.from_numpy(np.ascontiguousarray(stack))


def matrices(path):
    """Constants of eight bits by name, and of 32 bits with two axes."""
    constants = onnx.load(path).graph.initializer
    small = {each.name: each for each in constants if each.data_type == onnx.TensorProto.INT8}
    small = {n: numpy_helper.to_array(each) for n, each in small.items() if len(each.dims) == 2}
    wide = [each for each in constants if each.data_type == onnx.TensorProto.FLOAT]
    return small, {each.name: numpy_helper.to_array(each) for each in wide if len(each.dims) == 2}


@pytest.fixture(scope='module')
def written(tmp_path_factory):
    """A file of each graph, and its network."""
    made = network()
    folder = tmp_path_factory.mktemp('written')
    for graph in (FRAME, STEP):
        write_onnx(made, graph, folder / graph.name)
    return made, folder


def copied(written, graph, tmp_path):
    path = tmp_path / 'graph.onnx'
    path.write_bytes((written[1] / graph.name).read_bytes())
    return path


@pytest.mark.parametrize('graph', [FRAME, STEP], ids=lambda each: each.name)
def test_layers_of_the_transformer_are_rounded_and_heads_are_not(written, tmp_path, graph):
    path = copied(written, graph, tmp_path)
    _, before = matrices(path)
    eight_bits.round_weights(path)
    small, wide = matrices(path)
    assert len(small) == LAYERS[graph][0]
    assert all('aggregator' in name and 'blocks' in name for name in small)
    assert {n for n in wide if 'aggregator' in n and n.endswith('weight')} <= {LAST}
    heads = {name for name in before if 'head' in name}
    assert heads <= set(wide)
    assert bool(heads) == (graph is STEP)
    onnx.checker.check_model(path)


def test_a_rounded_matrix_is_within_half_a_step(written, tmp_path):
    path = copied(written, FRAME, tmp_path)
    eight_bits.round_weights(path)
    small, _ = matrices(path)
    constants = {each.name: each for each in onnx.load(path).graph.initializer}
    for name, values in small.items():
        assert (np.abs(values).max(axis=0) == 127).all()
        scale = numpy_helper.to_array(constants[name.replace('_int8', '_scale')])
        layer = name.removeprefix('network.').removesuffix('_turned_int8')
        weight = written[0].get_parameter(layer).detach().numpy()
        assert (np.abs(values * scale - weight.T) <= 0.501 * scale).all()


@pytest.mark.parametrize('calibrated', [False, True])
def test_large_models_keep_their_weights_beside_them(written, tmp_path, calibrated):
    """Weights beyond 2 GB do not fit into one file."""
    rounded = []
    for beside in (False, True):
        folder = tmp_path / str(beside)
        folder.mkdir()
        path = copied(written, FRAME, folder)
        if beside:
            model = onnx.load(path)
            onnx.save(model, path, save_as_external_data=True, location='graph.onnx.data')
        if calibrated:
            eight_bits.calibrate(path, [(calibration()[:1],)])
        else:
            eight_bits.round_weights(path)
        assert (len(list(folder.iterdir())) == 2) == beside
        rounded.append(matrices(path)[0])
    assert rounded[0].keys() == rounded[1].keys()
    assert all(np.array_equal(values, rounded[1][name]) for name, values in rounded[0].items())


def test_calibrated_layers_have_eight_bits_on_both_sides(written, tmp_path):
    path = copied(written, STEP, tmp_path)
    eight_bits.calibrate(path, Calibration(calibration(), '').inputs(written[0], STEP))
    small, _ = matrices(path)
    assert len(small) == LAYERS[STEP][0]
    nodes = onnx.load(path).graph.node
    made_by = {name: node for node in nodes for name in node.output}
    rounded = [node for node in nodes if node.op_type == 'MatMul'
               and all(made_by[n].op_type == 'DequantizeLinear' for n in node.input)]  # fmt: skip
    assert len(rounded) == LAYERS[STEP][1]


CASES = [
    ('openvino', 'bf16'),
    pytest.param('openvino', INT8_WEIGHTS, marks=pytest.mark.long),
    pytest.param('onnxruntime', INT8, marks=pytest.mark.long),
]


@pytest.mark.parametrize(('name', 'precision'), CASES)
def test_a_sliding_window_is_close_to_that_of_torch(tmp_path, name, precision):
    pytest.importorskip(name, reason=f'{name} is not installed')
    if precision not in open_runtime(name).precisions:
        with pytest.raises(BackendError, match='not for cpu in bf16'):
            check(open_runtime(name), CPU, precision)
        return
    said, store = [], GraphCache(tmp_path)
    settings = replace(SETTINGS, backend=name, precision=precision)
    ours = WindowEngine(network(), settings, SIZE)
    builder = BuildHere(ours.network, name, store, precision)
    builder.keep_images(calibration(), GRID)
    ours.graphs = Graphs(
        ours.network, builder.runtime, store, builder,
        threads=1, precision=precision, wait=True, say=said.append,
    )  # fmt: skip
    worst = differences(ours, WindowEngine(network(), SETTINGS, SIZE), images(8))
    assert 1e-4 < max(worst.values()) < TOLERANCE[precision], worst
    assert len(said) == 2
    if precision in EIGHT_BITS:
        assert ours.runs_on.endswith(f'with {precision}')


def test_what_is_calibrated_anew_is_built_anew(tmp_path):
    store, made = GraphCache(tmp_path), network()
    weights = fingerprint(made)
    builder = BuildHere(made, 'onnxruntime', store, INT8)
    with pytest.raises(BackendError, match=r'is not calibrated .* run `page4d build`'):
        builder(FRAME)
    assert not builder.calibrated(GRID)
    builder.keep_images(calibration(), GRID)
    builder(FRAME)
    assert builder.calibrated(GRID)
    assert builder.known(FRAME)
    assert not builder.calibrated((4, 4))
    assert find(FRAME, builder.runtime, store, weights) is None
    keep(store, calibration(5), GRID, weights)
    assert builder.known(FRAME) is None
    keep(store, calibration(), GRID, weights)
    assert builder.known(FRAME)
    found = kept(store, GRID, weights)
    assert torch.equal(found.images, calibration())
    keys = [
        key(FRAME, builder.runtime, weights, precision, images)
        for precision in (FP32, INT8_WEIGHTS, INT8)
        for images in (None, found, found._replace(digest='other'))
    ]
    assert len({str(each) for each in keys}) == len(keys)


def test_windows_slide_over_the_calibration(written):
    made = written[0]
    frames = calibration(6)
    windows = list(Calibration(frames, '').inputs(made, STEP))
    assert len(windows) == 4
    with torch.no_grad():
        encoded = made.encode(frames)[None]
        each = encoded.split(1, dim=1)
        first = torch.cat([made.enter(one, GRID, first=True) for one in each], dim=1)
        later = made.enter(encoded, GRID, first=False)
    for start, (tokens,) in enumerate(windows):
        torch.testing.assert_close(tokens[:, 0], first[:, start])
        torch.testing.assert_close(tokens[:, 1:], later[:, start + 1 : start + SIZE])
    hiding = replace(STEP, frames=8, hides=True)  # longer than the recording, which begins again
    tokens, hidden = next(Calibration(frames, '').inputs(made, hiding))
    assert tokens.shape[1] == 8
    assert not hidden.any()


@pytest.mark.long
def test_page4d_build_calibrates_by_the_sample_drive(tmp_path, monkeypatch):
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path))
    monkeypatch.delenv('PAGE4D_BACKEND')
    names = {f'model.{name}': getattr(SETTINGS, name) for name in ('checkpoint', 'resolution')}
    more = {'model.precision': INT8, 'model.backend': 'onnxruntime', 'window.size': 2}
    config = Config().with_values(names | more)
    asked = []

    def sample():
        asked.append(True)
        return _calibrating(config, [SAMPLE], '')[:4]

    for again, times in ((False, 1), (False, 1), (True, 2)):
        _, rows = graph_building.build_missing(
            config, '320x240', images=sample, again=again, say=lambda _: None
        )
        assert len(rows) == 2
        assert len(asked) == times
    with pytest.raises(ConfigError, match='no images to calibrate with'):
        graph_building.build_missing(
            config, '320x240', images=list, again=True, say=lambda _: None
        )


def test_settings_that_do_not_go_together_are_one_line():
    for precision in EIGHT_BITS:
        with pytest.raises(ConfigError, match=f'{precision} is not for model.backend torch'):
            choose_backend(replace(SETTINGS, precision=precision, backend='torch'), CPU)
        with pytest.raises(ConfigError, match=f'{precision} is for the CPU, not for cuda'):
            choose_precision(precision, torch.device('cuda'))
        assert choose_precision(precision, CPU) is None
    with pytest.raises(BackendError, match='onnxruntime is for cpu in fp32 or int8_weights or'):
        check(open_runtime('onnxruntime'), CPU, 'bf16')


def test_a_processor_without_bfloat16_gets_none(monkeypatch):
    pytest.importorskip('openvino', reason='openvino is not installed')
    from page4d_ros.backends import runtimes

    class Core:
        def get_property(self, _, name):
            return ['FP32', 'INT8'] if name == 'OPTIMIZATION_CAPABILITIES' else 'a processor'

    monkeypatch.setattr(runtimes, '_openvino_core', Core)
    assert open_runtime('openvino').precisions == (FP32, *EIGHT_BITS)


def test_evaluations_refuse_what_torch_does_not_have():
    for precision in EIGHT_BITS:
        config = Config().with_values({'model.precision': precision})
        with pytest.raises(ConfigError, match=f'{precision} is not for evaluations'):
            load(['untrained'], config)


@pytest.mark.long
def test_the_benchmark_compares_precisions():
    case = Case('width16', replace(network().config, point_head=True), 2, (42, 56), rounds=1)
    backends = ['onnxruntime', f'onnxruntime:{INT8}']
    full, eight = run_case(case, 'cpu', backends, lambda _: None)
    assert [full.backend, eight.backend] == backends
    assert max(full.differences.values()) < TOLERANCE[FP32] < max(eight.differences.values())
    with pytest.raises(BackendError, match='not for cpu in bf16'):
        run_case(case, 'cpu', ['onnxruntime:bf16'], lambda _: None)
    with pytest.raises(Page4dError, match='no precision int9; there are fp32'):
        _bench_engine('tiny', '', 'cpu', ['onnxruntime:int9'])
