"""Matrices of a graph in eight bits.

Only layers of the transformer get them. By measurement the heads must stay as they are: in eight
bits the camera head, which runs several times on its own output, makes twice the error of poses of
all else, and convolutions ruin depth (docs/log/performance.md). Matrices that a graph cuts stay,
too: those of the last block's queries, keys and values.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import numpy as np

from page4d_ros.errors import BackendError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from onnx import ModelProto, NodeProto
    from torch import Tensor

INT8_WEIGHTS, INT8 = 'int8_weights', 'int8'
EIGHT_BITS = INT8_WEIGHTS, INT8
TRANSFORMER = 'network.aggregator'  # module whose layers get eight bits
SCOPES = 'pkg.torch.onnx.name_scopes'  # where the exporter notes the modules of a node
TURNED = '_turned'
LARGEST = 127


def round_weights(path: Path) -> None:
    """Replace matrices by whole numbers in eight bits and a scale for each of their outputs.

    Args:
        path: ONNX file of `write_onnx`; it is changed.

    Raises:
        BackendError: the graph has no such matrices.
    """
    from onnx import helper, numpy_helper

    model, layers = _layers(path)
    constants = {each.name: each for each in model.graph.initializer}
    rounded, nodes = {}, []
    for layer in layers:
        name = layer.input[1]
        if name not in rounded:
            matrix = numpy_helper.to_array(constants[name])
            scale = np.maximum(np.abs(matrix).max(axis=0), np.finfo(np.float32).tiny) / LARGEST
            parts = f'{name}_int8', f'{name}_scale'
            values = np.rint(matrix / scale).astype(np.int8), scale.astype(np.float32)
            new = map(numpy_helper.from_array, values, parts)
            model.graph.initializer.extend(new)
            model.graph.initializer.remove(constants[name])
            rounded[name] = f'{name}_rounded'
            nodes.append(helper.make_node('DequantizeLinear', parts, [rounded[name]], axis=1))
        layer.input[1] = rounded[name]
    nodes += model.graph.node
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    _save(model, path)


def calibrate(path: Path, inputs: Iterable[Sequence[Tensor]]) -> None:
    """Round matrices, and what they are multiplied with, by the ranges that inputs show.

    Args:
        path: ONNX file of `write_onnx`; it is changed.
        inputs: of the graph.

    Raises:
        BackendError: the graph has no such matrices, or ONNX Runtime is not installed.
    """
    try:
        from onnxruntime import quantization
    except ImportError as error:
        raise BackendError(f'{error}; pip install onnxruntime, which calibrates int8') from error

    model, layers = _layers(path)
    _save(model, path)
    names = [each.name for each in model.graph.input]
    feeds = iter(inputs)

    class Reader(quantization.CalibrationDataReader):
        def get_next(self) -> dict | None:
            found = next(feeds, None)
            return found and {n: t.numpy() for n, t in zip(names, found, strict=True)}

    rounded = path.with_name('rounded.onnx')
    logging.disable(logging.WARNING)  # it advises to fuse nodes, which would lose their names
    try:
        quantization.quantize_static(
            path,
            rounded,
            Reader(),
            nodes_to_quantize=[each.name for each in layers],
            per_channel=True,
            activation_type=quantization.QuantType.QInt8,
            weight_type=quantization.QuantType.QInt8,
            use_external_data_format=_is_large(path),
            extra_options={'ActivationSymmetric': True},  # OpenVINO is quick with these alone
        )
    finally:
        logging.disable(logging.NOTSET)
    path.with_name(f'{path.name}.data').unlink(missing_ok=True)
    rounded.replace(path)


def _layers(path: Path) -> tuple[ModelProto, list[NodeProto]]:
    """Model, and its nodes that multiply by a matrix (inputs, outputs), which gets that order."""
    import onnx
    from onnx import numpy_helper

    model = onnx.load(path)
    constants = {each.name: each for each in model.graph.initializer}
    turned = {
        node.output[0]: constants[node.input[0]]
        for node in model.graph.node
        if node.op_type == 'Transpose' and node.input[0] in constants
    }
    layers = [
        node
        for node in model.graph.node
        if node.op_type == 'MatMul' and node.input[1] in turned and _in_transformer(node)
    ]
    if not layers:
        raise BackendError('the graph has no matrices for eight bits')
    used = {layer.input[1] for layer in layers}
    for weight in {turned[name].name: turned[name] for name in used}.values():
        matrix = np.ascontiguousarray(numpy_helper.to_array(weight).T)
        model.graph.initializer.append(numpy_helper.from_array(matrix, weight.name + TURNED))
    for layer in layers:  # a layer that runs twice keeps one matrix
        layer.input[1] = turned[layer.input[1]].name + TURNED
    kept = [node for node in model.graph.node if not used.intersection(node.output)]
    read = {name for node in kept for name in node.input}
    for name in {turned[name].name for name in used} - read:
        model.graph.initializer.remove(constants[name])
    del model.graph.node[:]
    model.graph.node.extend(kept)
    chosen = {layer.name for layer in layers}
    return model, [node for node in model.graph.node if node.name in chosen]


def _in_transformer(node: NodeProto) -> bool:
    return any(each.key == SCOPES and TRANSFORMER in each.value for each in node.metadata_props)


def _is_large(path: Path) -> bool:
    """True if weights lie beside the file."""
    return len(list(path.parent.iterdir())) > 1


def _save(model: ModelProto, path: Path) -> None:
    """Write a model in place of all that lies in its folder."""
    import onnx

    large = _is_large(path)
    for file in path.parent.iterdir():
        file.unlink()
    onnx.save(model, path, save_as_external_data=large, location=f'{path.name}.data')
