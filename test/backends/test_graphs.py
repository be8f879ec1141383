"""Graphs of the network in other libraries say what torch says, and never stop the engine."""

import json
import shutil
import subprocess
import sys
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from small_network import network

from page4d_ros.backends import building
from page4d_ros.backends.building import fingerprint, key
from page4d_ros.backends.cache import GraphCache
from page4d_ros.backends.graph import FrameGraph, StepGraph, largest_difference, named, write_onnx
from page4d_ros.backends.graphs import Graphs
from page4d_ros.backends.product import DESCRIPTION, ENCODER, STEP, write_product
from page4d_ros.backends.runtimes import MODEL, RUNTIMES, open_runtime
from page4d_ros.benchmark.parity import differences
from page4d_ros.config import Config, ModelConfig
from page4d_ros.errors import BackendError
from page4d_ros.model.checkpoint import untrained_network
from page4d_ros.model.config import FourDVGGTConfig, NetworkConfig
from page4d_ros.model.network import StepPlan, full_cells
from page4d_ros.model.variants import MINED
from page4d_ros.perception import graphs as choosing
from page4d_ros.perception.build import build_engine, build_perception
from page4d_ros.perception.graphs import (
    BuildHere,
    BuildProcess,
    choose_backend,
    described,
    graph_of,
    open_graphs,
    stream_graphs,
)
from page4d_ros.perception.types import Frame, FrameSet
from page4d_ros.perception.window_engine import WindowEngine

pytest.importorskip('onnxscript', reason='onnxscript is not installed')

SIZE = 4  # as many frames as the camera head has attention heads
SETTINGS = ModelConfig(checkpoint='untrained', device='cpu', resolution=56)
CPU = torch.device('cpu')
LIMIT = 1e-4


def images(count):
    for index in range(count):
        rng = np.random.default_rng(index)
        yield np.kron(rng.integers(0, 255, (6, 8, 3), np.uint8), np.ones((8, 8, 1), np.uint8))


def engine_with(folder, name, *, variant=None, said=None, **kind):
    more = () if variant is None else (variant,)
    engine = WindowEngine(network(**kind), SETTINGS, SIZE, *more)
    store = GraphCache(folder)
    builder = BuildHere(engine.network, name, store)
    say = [].append if said is None else said.append
    engine.graphs = Graphs(
        engine.network, builder.runtime, store, builder, threads=1, wait=True, say=say
    )
    return engine


@pytest.fixture(scope='module')
def built(tmp_path_factory):
    """Folder of the graphs that several tests run."""
    return tmp_path_factory.mktemp('graphs')


@pytest.fixture(autouse=True, scope='module')
def exported(tmp_path_factory):
    """Write each graph of a network once: most of the time of building goes into that."""
    done, write = {}, building.write_onnx

    def write_once(network, graph, path, *, simplified=False):
        name = fingerprint(network), graph.name, simplified
        if name not in done:
            folder = tmp_path_factory.mktemp('exported')
            done[name] = folder, write(network, graph, folder / path.name, simplified=simplified)
        folder, found = done[name]
        shutil.copytree(folder, path.parent, dirs_exist_ok=True)
        return found

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(building, 'write_onnx', write_once)
        yield


@pytest.mark.parametrize('name', ['openvino', 'onnxruntime'])
@pytest.mark.parametrize('mask', [False, pytest.param(True, marks=pytest.mark.long)])
def test_a_sliding_window_is_that_of_torch(built, name, mask):
    pytest.importorskip(name, reason=f'{name} is not installed')
    said = []
    for _ in range(2):  # built, then from the cache
        ours = engine_with(built, name, mask=mask, said=said)
        theirs = WindowEngine(network(mask=mask), SETTINGS, SIZE)
        worst = differences(ours, theirs, images(24))
        assert set(worst) == {'pose', 'depth', 'confidence', 'mask'}
        assert max(worst.values()) < LIMIT, worst
    assert [line.split()[0] for line in said] == ['building'] * 2
    assert ours.graphs.title in ours.runs_on
    assert 'torch' in theirs.runs_on


@pytest.mark.long
def test_a_step_over_views_and_times_is_that_of_torch(tmp_path):
    plan = StepPlan((3, 4), 2, cells=full_cells(2, SIZE))
    graph = StepGraph(2 * SIZE, plan)
    file = tmp_path / 'onnx' / MODEL
    file.parent.mkdir()
    outputs, example = write_onnx(network(family=FourDVGGTConfig), graph, file)
    for name in ('openvino', 'onnxruntime'):
        runtime, folder = open_runtime(name), tmp_path / name
        folder.mkdir()
        runtime.compile(file, folder, 'fp32')
        found = runtime.load(folder, 1)(example)
        assert largest_difference(found, list(outputs.values())) < LIMIT, name


def test_graphs_are_for_grids_without_gaps():
    engine = WindowEngine(network(family=FourDVGGTConfig), SETTINGS, 2)
    asked = []
    engine.graphs = SimpleNamespace(
        prepare=lambda graph: asked.append(('prepare', graph)),
        call=lambda graph, inputs: asked.append((len(inputs), graph)),
    )
    (image,) = images(1)
    anchor = None
    for time, views in enumerate([(0, 1), (0, 1), (0,), (0, 1), (0, 1)]):
        frames = FrameSet(time, tuple(Frame(time, '', None, view=v) for v in views))
        engine.push(frames, [image] * len(views))
        engine.step(anchor)
        anchor = frames.keys[-1]  # as that of the odometry: the newest frame so far
    steps = [each for each in asked if isinstance(each[1], StepGraph)]
    wanted = StepGraph(4, StepPlan((3, 4), 4, cells=full_cells(2, 2)))
    assert steps == [(1, wanted), (1, wanted)]
    assert graph_of(**json.loads(json.dumps(described(wanted)))) == wanted


def test_statistics_and_hidden_patches_are_in_the_graph(tmp_path):
    pytest.importorskip('openvino', reason='openvino is not installed')
    said = []
    ours = engine_with(tmp_path, 'openvino', variant=MINED, said=said)
    theirs = WindowEngine(network(), SETTINGS, SIZE, MINED)
    mask = np.zeros((42, 56), np.uint8)
    mask[10:30, 10:30] = 255
    for index, image in enumerate(images(8)):
        frames = FrameSet.of(Frame(index, 'camera', lambda: None))
        found = []
        for engine in (ours, theirs):
            engine.push(frames, [image])
            found.append(engine.step(None))
            engine.hide([SimpleNamespace(mask=mask)])
        np.testing.assert_allclose(found[0].dynamic, found[1].dynamic, atol=LIMIT)
        np.testing.assert_allclose(found[0].depth, found[1].depth, rtol=LIMIT)
    assert any('gram' in line and 'hides' in line for line in said)
    assert not any('torch' in line for line in said)


def test_a_failure_is_one_line_and_torch_goes_on(tmp_path):
    runtime = Failing()
    said = []
    engine = WindowEngine(network(), SETTINGS, SIZE)
    engine.graphs = Graphs(
        engine.network, runtime, GraphCache(tmp_path), runtime, threads=1, wait=True,
        say=said.append,
    )  # fmt: skip
    worst = differences(engine, WindowEngine(network(), SETTINGS, SIZE), images(8))
    assert set(worst.values()) == {0.0}
    assert said == [
        'building frame_3x4 for a runtime',
        'model.backend failing: torch runs instead, because it does not work',
        'building step_S4_3x4_new2 for a runtime',
        'model.backend failing: torch runs instead, because it does not work',
    ]
    assert not engine.graphs.ready
    engine.free()
    assert runtime.closed


class Failing:
    """Runtime and builder that cannot do anything."""

    name, title, device = 'failing', 'a runtime', 'cpu'
    closed = False

    def __call__(self, graph):
        raise BackendError('it does not work')

    def close(self):
        self.closed = True


def test_a_library_that_fails_later_is_left(built):
    pytest.importorskip('onnxruntime', reason='onnxruntime is not installed')
    said = []
    engine = engine_with(built, 'onnxruntime', said=said)
    for index, image in enumerate(images(9)):
        if index == 6:
            for name, (_, outputs) in engine.graphs._ready.items():
                engine.graphs._ready[name] = fail, outputs
        engine.push(FrameSet.of(Frame(index, 'camera', lambda: None)), [image])
        assert np.isfinite(engine.step().depth).all()
    assert sum('torch goes on: device lost' in line for line in said) == 2


def fail(_):
    raise RuntimeError('device lost')


def test_a_graph_that_differs_from_torch_is_not_kept(tmp_path, monkeypatch):
    pytest.importorskip('onnxruntime', reason='onnxruntime is not installed')
    builder = BuildHere(network(), 'onnxruntime', GraphCache(tmp_path))
    load = builder.runtime.load

    def wrong(folder, threads):
        run = load(folder, threads)
        return lambda inputs: [1.001 * each for each in run(inputs)]

    monkeypatch.setattr(builder.runtime, 'load', wrong)
    with pytest.raises(BackendError, match=r'differs from torch by 1\.0e-03 in frame_3x4'):
        builder(FrameGraph((3, 4)))
    assert list(tmp_path.iterdir()) == []


def test_the_key_names_all_that_a_graph_depends_on(tmp_path):
    runtime = Failing()
    graph = StepGraph(4, StepPlan((3, 4), 2))
    one = network()
    base = key(graph, runtime, fingerprint(one))
    other = network()
    assert key(graph, runtime, fingerprint(other)) == base
    with torch.no_grad():
        other.aggregator.camera_token[0, 0, 0, 0] += 1e-3
    changed = [
        key(graph, runtime, fingerprint(other)),
        key(graph, runtime, fingerprint(one.with_mask_in_attention(on=True))),
        key(StepGraph(4, StepPlan((3, 4), 1)), runtime, fingerprint(one)),
        key(StepGraph(5, StepPlan((3, 4), 2)), runtime, fingerprint(one)),
        key(StepGraph(4, StepPlan((3, 4), 2, (3,))), runtime, fingerprint(one)),
        key(StepGraph(4, StepPlan((3, 4), 2), hides=True), runtime, fingerprint(one)),
        *(key(graph, runtime, fingerprint(one), name) for name in ('fp16', 'bf16', 'int8')),
    ]
    runtime.title = 'a later runtime'
    changed.append(key(graph, runtime, fingerprint(one)))
    runtime.title, runtime.device = 'a runtime', 'another cpu'
    changed.append(key(graph, runtime, fingerprint(one)))
    assert base not in changed
    assert len({str(each) for each in changed}) == len(changed)


def test_a_process_of_its_own_builds_what_the_engine_finds(tmp_path, monkeypatch):
    pytest.importorskip('onnxruntime', reason='onnxruntime is not installed')
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path))
    config = replace(SETTINGS, backend='onnxruntime')
    engine = WindowEngine(untrained_network(NetworkConfig.tiny()), config, 2)
    said = []
    engine.graphs = open_graphs(engine, config, wait=True, say=said.append)
    (image,) = images(1)
    engine.push(FrameSet.of(Frame(0, 'camera', lambda: None)), [image])
    assert said == [f'building frame_3x4 for {engine.graphs.title}']
    assert engine.graphs.ready
    engine.free()


class Known:
    """Runtime that gives what torch says, of graphs whose names it reads."""

    name, title, device = 'known', 'a known runtime', 'cpu'
    memory, precisions = CPU, ('fp32',)

    def __init__(self, network, graphs):
        self.network, self.graphs = network, {graph.name: graph for graph in graphs}

    def load(self, folder, threads):
        graph = self.graphs[(folder / 'name').read_text()]
        return lambda inputs: list(named(graph.compute(self.network, *inputs)).values())

    def keep(self, store):
        for graph in self.graphs.values():

            def write(folder, graph=graph):
                (folder / 'name').write_text(graph.name)
                outputs = named(graph.compute(self.network, *graph.example(self.network)))
                return {'grid': graph.grid, 'outputs': list(outputs)}

            with torch.no_grad():
                store.store(key(graph, self, fingerprint(self.network)), write)


def test_a_perception_begins_with_the_graphs_that_were_used_last(tmp_path, monkeypatch):
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path))
    monkeypatch.setattr(choosing, 'choose_backend', lambda *_: Known.name)
    monkeypatch.setattr(choosing, 'BuildProcess', lambda _: Failing())
    values = {
        'model.checkpoint': 'untrained', 'model.device': 'cpu', 'model.resolution': 56,
        'model.threads': 1, 'window.size': 2,
    }  # fmt: skip
    config = Config().with_values(values)
    wide = stream_graphs(config, (2, 4), gram=True)
    known = Known(build_engine(config).network, wide)
    monkeypatch.setitem(RUNTIMES, Known.name, lambda: known)
    said = []
    assert not build_perception(config, say=said.append).engine.graphs.ready
    known.keep(GraphCache())
    graphs = build_perception(config, say=said.append).engine.graphs
    assert set(graphs._ready) == {'frame_2x4', 'step_S2_2x4_new2_gram1'}
    assert all(graphs._ready.values())
    for other in ({'window.size': 3}, {'model.resolution': 70}):
        graphs = build_perception(config.with_values(other), say=said.append).engine.graphs
        assert 'step_S2_2x4_new2_gram1' not in graphs._ready
    assert said == []


def test_a_process_that_fails_says_why(tmp_path, monkeypatch):
    (tmp_path / 'page4d_ros.py').write_text('raise SystemExit("not of this package")')
    monkeypatch.chdir(tmp_path)
    missing = replace(SETTINGS, backend='onnxruntime', checkpoint=str(tmp_path / 'none.pt'))
    with pytest.raises(BackendError, match=r'none\.pt'):
        BuildProcess(missing)(FrameGraph((3, 4)))


@pytest.mark.parametrize(
    ('values', 'meant', 'machine', 'chosen'),
    [
        ({}, None, 'x86_64', 'openvino'),
        ({}, None, 'aarch64', 'torch'),
        ({}, 'onnxruntime', 'aarch64', 'onnxruntime'),
        ({'backend': 'onnxruntime'}, 'torch', 'x86_64', 'onnxruntime'),
        ({'compile': True}, None, 'x86_64', 'torch'),
        ({'precision': 'bf16'}, None, 'x86_64', 'openvino'),
        ({'precision': 'fp16'}, None, 'x86_64', 'torch'),
        ({'precision': 'int8'}, None, 'x86_64', 'openvino'),
        ({'precision': 'int8_weights'}, None, 'aarch64', 'onnxruntime'),
        ({'backend': 'torch'}, None, 'x86_64', 'torch'),
    ],
)
def test_auto_takes_what_is_quick_and_installed(monkeypatch, values, meant, machine, chosen):
    monkeypatch.setattr(choosing.importlib.util, 'find_spec', lambda _: True)
    monkeypatch.setattr(choosing.platform, 'machine', lambda: machine)
    monkeypatch.delenv('PAGE4D_BACKEND')
    if meant:
        monkeypatch.setenv('PAGE4D_BACKEND', meant)
    assert choose_backend(replace(SETTINGS, **values), CPU) == chosen
    monkeypatch.setattr(choosing.importlib.util, 'find_spec', lambda _: None)
    if not meant and 'backend' not in values and 'int8' not in values.get('precision', ''):
        assert choose_backend(replace(SETTINGS, **values), CPU) == 'torch'


def test_a_backend_that_is_not_there_is_one_line(monkeypatch):
    said = []
    engine = WindowEngine(network(), SETTINGS, SIZE)
    monkeypatch.setitem(RUNTIMES, 'openvino', missing)
    graphs = open_graphs(
        engine, replace(SETTINGS, backend='openvino'), wait=False, say=said.append
    )
    assert graphs is None
    assert said == [
        "torch runs the network: model.backend openvino: No module named 'openvino'; "
        "pip install 'page4d_ros[graphs]'"
    ]


def missing():
    raise ImportError("No module named 'openvino'")


@pytest.mark.long
def test_other_programs_run_the_onnx_files_over_a_sliding_window(tmp_path):
    onnxruntime = pytest.importorskip('onnxruntime', reason='onnxruntime is not installed')
    engine = WindowEngine(network(), SETTINGS, SIZE)
    step = StepGraph(SIZE, StepPlan((3, 4), 1))
    files = write_product(engine.network, FrameGraph((3, 4)), step, tmp_path / 'new')
    assert [file.name for file in files] == [ENCODER, STEP, DESCRIPTION]
    about = json.loads(files[2].read_text())
    assert about['window'] == SIZE
    encode, run = (onnxruntime.InferenceSession(file) for file in files[:2])
    for name, session in ((ENCODER, encode), (STEP, run)):
        for kind, nodes in (('inputs', session.get_inputs()), ('outputs', session.get_outputs())):
            described = about['graphs'][name][kind]
            assert {node.name: node.shape for node in nodes} == {
                each: facts['shape'] for each, facts in described.items()
            }
    kept = []
    for index, image in enumerate(images(10)):
        engine.push(FrameSet.of(Frame(index, 'camera', lambda: None)), [image])
        window = engine.step()
        names = [node.name for node in encode.get_outputs()]
        pixels = window.images[-1][None].numpy()
        kept.append(dict(zip(names, encode.run(None, {'image': pixels}), strict=True)))
        kept = kept[-SIZE:]
        if len(kept) < SIZE:
            continue
        tokens = [kept[0]['first_tokens'], *(each['tokens'] for each in kept[1:])]
        (depth,) = run.run(['depth'], {'tokens': np.concatenate(tokens, axis=1)})
        np.testing.assert_allclose(depth[0], window.depth, rtol=LIMIT)


def test_signals_arrive_after_a_runtime_is_gone():
    """Cores of OpenVINO that outlive each other would leave a freed stack to the next signal."""
    pytest.importorskip('openvino', reason='openvino is not installed')
    code = (
        'import os, signal\n'
        'from page4d_ros.backends.runtimes import open_runtime\n'
        'signal.signal(signal.SIGINT, lambda *_: print("handled"))\n'
        'first = open_runtime("openvino")\n'
        'second = open_runtime("openvino")\n'
        'del first\n'
        'del second\n'
        'os.kill(os.getpid(), signal.SIGINT)\n'
    )
    done = subprocess.run(
        [sys.executable, '-c', code], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (0, 'handled\n'), done.stderr


def test_open_runtime_names_the_extra(monkeypatch):
    monkeypatch.setitem(RUNTIMES, 'onnxruntime', missing)
    with pytest.raises(BackendError, match='page4d_ros\\[graphs\\]'):
        open_runtime('onnxruntime')
