"""Types in the graphs of networks in half precision, and operations that other parsers know."""

from collections import Counter
from functools import cache

import pytest
import torch
from small_network import network

from page4d_ros.backends.building import TOLERANCE
from page4d_ros.backends.graph import (
    FrameGraph,
    StepGraph,
    largest_difference,
    named,
    write_onnx,
)
from page4d_ros.backends.mixed import MixedPrecision
from page4d_ros.model.config import FourDVGGTConfig
from page4d_ros.model.network import StepPlan
from page4d_ros.perception.devices import PRECISIONS

onnx = pytest.importorskip('onnx', reason='onnx is not installed')
pytest.importorskip('onnxscript', reason='onnxscript is not installed')

CPU = torch.device('cpu')
FRAME = FrameGraph((3, 4))
STEP = StepGraph(3, StepPlan((3, 4), 2, (2,)), hides=True)
CASES = [('bf16', FRAME), ('fp16', STEP)]
HALF = {'FLOAT16', 'BFLOAT16'}
PRODUCTS = {'MatMul', 'Add', 'Mul', 'Div', 'Erf'}  # layers, biases, and GELU
MOVES = {
    'Cast',
    'Concat',
    'Gather',
    'Identity',
    'Reshape',
    'Slice',
    'Split',
    'Squeeze',
    'Transpose',
}
# of those in use, what TensorRT 10's parser knows: docs/operators.md of onnx/onnx-tensorrt
KNOWN = {
    *PRODUCTS, *MOVES, 'Clip', 'Conv', 'ConvTranspose', 'Exp', 'Expand', 'GatherND',
    'LayerNormalization', 'Not', 'Pad', 'ReduceMax', 'ReduceMean', 'ReduceMin', 'ReduceSum',
    'Relu', 'Resize', 'Sigmoid', 'Softmax', 'Sqrt', 'Sub', 'Unsqueeze', 'Where',
}  # fmt: skip


def halved(precision, **kind):
    out = network(**kind or {'mask': True}, camera_iterations=1)
    out.prepare(CPU, PRECISIONS[precision], points=False)
    return out


@pytest.fixture(scope='module')
def written(tmp_path_factory):
    """ONNX file of a case, with what torch makes of the example."""

    @cache
    def write(precision, graph):
        path = tmp_path_factory.mktemp('onnx') / 'graph.onnx'
        return path, *write_onnx(halved(precision), graph, path, simplified=True)

    return write


def types(path):
    """How often each operation has outputs of each type."""
    graph = onnx.shape_inference.infer_shapes(onnx.load(path)).graph
    ports = [*graph.value_info, *graph.output]
    kinds = {each.name: each.type.tensor_type.elem_type for each in ports}
    name = onnx.TensorProto.DataType.Name
    return Counter((node.op_type, name(kinds[node.output[0]])) for node in graph.node)


@pytest.mark.parametrize(('precision', 'graph'), CASES, ids=str)
def test_products_are_of_16_bits_and_all_else_of_32(written, precision, graph):
    path, outputs, _ = written(precision, graph)
    found = types(path)
    small = {op for op, kind in found if kind in HALF}
    assert small <= PRODUCTS | MOVES, small  # so no norm, softmax, rotation, convolution
    kinds = {kind for _, kind in found if kind in HALF}
    assert kinds == {'BFLOAT16' if precision == 'bf16' else 'FLOAT16'}
    wide = {op for op, kind in found if kind == 'FLOAT'}
    assert wide >= {'LayerNormalization', 'Softmax', 'Sub', 'Concat', 'Add'}
    assert all(each.dtype == torch.float32 for each in outputs.values())


def test_all_layers_of_the_blocks_multiply_in_16_bits(written):
    ours = halved('bf16')
    path, _, _ = written('bf16', FRAME)
    blocks = *ours.aggregator.patch_embed.blocks, *[ours.aggregator.frame_blocks[0]] * 2
    layers = sum(isinstance(m, torch.nn.Linear) for block in blocks for m in block.modules())
    attention = 2 * len(blocks)
    assert types(path)['MatMul', 'BFLOAT16'] == layers + attention
    assert ('MatMul', 'FLOAT') not in types(path)


@pytest.mark.parametrize(('precision', 'graph'), CASES, ids=str)
def test_tensorrt_knows_all_operations(written, precision, graph):
    path, _, _ = written(precision, graph)
    assert {op for op, _ in types(path)} <= KNOWN


def test_another_program_computes_the_same(written):
    onnxruntime = pytest.importorskip('onnxruntime', reason='onnxruntime is not installed')
    path, outputs, example = written('fp16', STEP)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(path, options)
    given = {name: each.numpy() for name, each in zip(STEP.inputs, example, strict=True)}
    found = [torch.from_numpy(each) for each in session.run(None, given)]
    assert largest_difference(found, list(outputs.values())) < TOLERANCE['fp16']


@torch.no_grad()
def test_attention_along_time_keeps_its_bias():
    graph, kind = StepGraph(3, StepPlan((3, 4), 2)), {'family': FourDVGGTConfig}
    theirs = network(**kind, camera_iterations=1)
    example = graph.example(theirs)
    wanted = list(named(graph.compute(theirs, *example)).values())
    with MixedPrecision():
        found = list(named(graph.compute(halved('bf16', **kind), *example)).values())
    assert 1e-5 < largest_difference(found, wanted) < TOLERANCE['bf16']


@pytest.mark.parametrize('precision', ['fp32', 'fp16', 'bf16'])
@torch.no_grad()
def test_numbers_are_close_to_those_of_32_bits(precision):
    theirs = network(mask=True, camera_iterations=1)
    example = STEP.example(theirs)
    wanted = named(STEP.compute(theirs, *example))
    with MixedPrecision():
        found = named(STEP.compute(halved(precision), *example))
    worst = largest_difference(list(found.values()), list(wanted.values()))
    if precision == 'fp32':
        assert worst < 1e-5
    else:
        assert 1e-5 < worst < TOLERANCE[precision]
