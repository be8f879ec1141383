"""A stand-in for the module `tensorrt`: its engines are ONNX files that ONNX Runtime runs.

It has the calls that `page4d_ros.backends.tensorrt` makes, with the names and results of NVIDIA's
documentation of TensorRT 10. Addresses are those of the host's memory.
"""

import ctypes
import enum
import sys
from types import SimpleNamespace

import numpy as np
import onnx
import onnxruntime
import torch
from fake_cuda import Stream

from page4d_ros.backends import tensorrt as backend
from page4d_ros.backends.tensorrt import TensorRt

__version__ = '10.13.3'
DataType = enum.Enum('DataType', 'FLOAT UINT8 BOOL')
NetworkDefinitionCreationFlag = enum.IntEnum('NetworkDefinitionCreationFlag', 'STRONGLY_TYPED')
BuilderFlag = enum.Enum('BuilderFlag', 'TF32')
NUMPY = {DataType.FLOAT: np.float32, DataType.UINT8: np.uint8, DataType.BOOL: np.bool_}
ONNX = {
    onnx.TensorProto.FLOAT: DataType.FLOAT,
    onnx.TensorProto.UINT8: DataType.UINT8,
    onnx.TensorProto.BOOL: DataType.BOOL,
}
calls = []
wrong = SimpleNamespace(parse=(), build='', load='', run='')  # texts of errors


class ILogger:
    """Its subclasses get what the library says."""

    Severity = enum.Enum('Severity', 'INTERNAL_ERROR ERROR WARNING')

    def fail(self, text):
        self.log(self.Severity.ERROR, text)
        self.log(self.Severity.WARNING, 'never mind')


class Builder:
    def __init__(self, log):
        self._log = log

    def create_network(self, flags):
        calls.append(f'network {flags}')
        return SimpleNamespace(model=b'')

    def create_builder_config(self):
        return SimpleNamespace(clear_flag=lambda flag: calls.append(f'clear {flag.name}'))

    def build_serialized_network(self, network, config):
        calls.append('build')
        if wrong.build:
            return self._log.fail(wrong.build)
        return memoryview(network.model)


class OnnxParser:
    def __init__(self, network, log):
        self._network = network

    @property
    def num_errors(self):
        return len(wrong.parse)

    def get_error(self, index):
        return SimpleNamespace(desc=lambda: wrong.parse[index])

    def parse_from_file(self, path):
        assert isinstance(path, str)
        self._network.model = onnx.load(path).SerializeToString()
        return not wrong.parse


class Runtime:
    def __init__(self, log):
        self._log = log

    def deserialize_cuda_engine(self, engine):
        calls.append('load')
        if wrong.load:
            return self._log.fail(wrong.load)
        return Engine(engine, self._log)


class Engine:
    def __init__(self, model, log):
        graph = onnx.load_from_string(model).graph
        self.ports = {each.name: each.type.tensor_type for each in (*graph.input, *graph.output)}
        self.inputs = [each.name for each in graph.input]
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads, options.log_severity_level = 1, 3
        self.session = onnxruntime.InferenceSession(model, options)
        self.log = log

    def get_tensor_shape(self, name):
        return [each.dim_value for each in self.ports[name].shape.dim]

    def get_tensor_dtype(self, name):
        return ONNX[self.ports[name].elem_type]

    def create_execution_context(self):
        return Context(self)


class Context:
    def __init__(self, engine):
        self._engine, self._addresses = engine, {}

    def set_tensor_address(self, name, address):
        self._addresses[name] = address
        return True

    def execute_async_v3(self, stream):
        calls.append('run')
        engine = self._engine
        if wrong.run:
            engine.log.fail(wrong.run)
            return False
        found = engine.session.run(None, {name: self._at(name) for name in engine.inputs})
        for port, value in zip(engine.session.get_outputs(), found, strict=True):
            self._at(port.name)[...] = value
        return True

    def _at(self, name):
        """The memory of an input or output as an array."""
        shape = self._engine.get_tensor_shape(name)
        dtype = np.dtype(NUMPY[self._engine.get_tensor_dtype(name)])
        size = int(np.prod(shape)) * dtype.itemsize
        memory = (ctypes.c_byte * size).from_address(self._addresses[name])
        return np.frombuffer(memory, dtype).reshape(shape)


class Torch:
    """The module `torch` of a machine with a GPU, for the backend alone."""

    def __init__(self):
        self.gpu = SimpleNamespace(name='Orin', major=8, minor=7, multi_processor_count=16)
        self.cuda = SimpleNamespace(
            is_available=lambda: self.gpu is not None,
            get_device_properties=lambda _: self.gpu,
            Stream=lambda _: Stream(calls, 'engine'),
            current_stream=lambda _: Stream(calls, 'caller'),
        )

    def __getattr__(self, name):
        return getattr(torch, name)


def install(monkeypatch):
    """Make this the module `tensorrt`; returns the `Torch` that goes with it."""
    calls.clear()
    out = Torch()
    monkeypatch.setitem(sys.modules, 'tensorrt', sys.modules[__name__])
    monkeypatch.setattr(TensorRt, 'memory', torch.device('cpu'))
    monkeypatch.setattr(backend, 'torch', out)
    return out
