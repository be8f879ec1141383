"""NVIDIA's TensorRT, by its own Python interface.

ONNX Runtime's provider would be a second library to install, which is not on PyPI for Jetson, and
its engines a second cache. Written for TensorRT 10 and 11, as documented; never run on a GPU yet.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, ClassVar

import torch

from page4d_ros.errors import BackendError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from torch import Tensor

ENGINE, NAMES = 'graph.engine', 'names.json'
OLDEST = 10  # the first with strongly typed networks that know bfloat16


class TensorRt:
    """Engines for the GPU that builds them; types of the graph are the types that it runs in."""

    name = 'tensorrt'
    memory = torch.device('cuda', 0)
    precisions: ClassVar = ('fp32', 'fp16', 'bf16')
    simplified = True  # its parser knows no sequences

    def __init__(self) -> None:
        import tensorrt

        self._trt = tensorrt
        self.title = f'TensorRT {tensorrt.__version__}'
        if int(tensorrt.__version__.split('.')[0]) < OLDEST:
            raise BackendError(f'model.backend tensorrt: {self.title} is older than {OLDEST}')
        if not torch.cuda.is_available():
            raise BackendError(f'model.backend tensorrt: {self.title} finds no GPU')
        gpu = torch.cuda.get_device_properties(self.memory)
        # all of the Jetson Orin family have one name
        self.device = f'{gpu.name} {gpu.major}.{gpu.minor}, {gpu.multi_processor_count} SMs'
        self._log = _log(tensorrt)
        self._runtime = tensorrt.Runtime(self._log)

    def compile(self, model: Path, folder: Path, precision: str) -> None:
        """Build an engine; see `Runtime`."""
        import onnx

        trt = self._trt
        builder = trt.Builder(self._log)
        typed = 1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED)
        network = builder.create_network(typed)
        parser = trt.OnnxParser(network, self._log)
        if not parser.parse_from_file(str(model)):
            reasons = [parser.get_error(each).desc() for each in range(parser.num_errors)]
            raise BackendError(f'{self.title} cannot read the graph: {"; ".join(reasons)}')
        config = builder.create_builder_config()
        if precision == 'fp32':
            config.clear_flag(trt.BuilderFlag.TF32)  # would round to 10 bits before it multiplies
        engine = builder.build_serialized_network(network, config)
        if engine is None:
            raise self._error('cannot build the graph')
        (folder / ENGINE).write_bytes(engine)
        graph = onnx.load(model, load_external_data=False).graph
        names = [[each.name for each in kind] for kind in (graph.input, graph.output)]
        (folder / NAMES).write_text(json.dumps(names), encoding='utf-8')

    def load(self, folder: Path, threads: int) -> Callable[[Sequence[Tensor]], list[Tensor]]:
        """Load an engine, which runs on a stream of its own; see `Runtime`."""
        del threads
        engine = self._runtime.deserialize_cuda_engine((folder / ENGINE).read_bytes())
        context = engine and engine.create_execution_context()
        if context is None:
            raise self._error('cannot load the graph')
        names, outputs = json.loads((folder / NAMES).read_text(encoding='utf-8'))
        wanted = {name: self._described(engine, name) for name in (*names, *outputs)}
        stream = torch.cuda.Stream(self.memory)

        def run(inputs: Sequence[Tensor]) -> list[Tensor]:
            given = [each.contiguous() for each in inputs]
            for name, each in zip(names, given, strict=True):
                if (tuple(each.shape), each.dtype) != wanted[name] or each.device != self.memory:
                    raise BackendError(
                        f'{name} is {tuple(each.shape)}, {each.dtype} on {each.device} instead of '
                        f'{wanted[name]} on {self.memory}'
                    )
            found = [
                torch.empty(shape, dtype=dtype, device=self.memory)
                for shape, dtype in map(wanted.__getitem__, outputs)
            ]
            for name, each in zip((*names, *outputs), (*given, *found), strict=True):
                context.set_tensor_address(name, each.data_ptr())
            caller = torch.cuda.current_stream(self.memory)
            stream.wait_stream(caller)
            if not context.execute_async_v3(stream.cuda_stream):
                raise self._error('cannot run the graph')
            caller.wait_stream(stream)
            return found

        return run

    def _described(self, engine: Any, name: str) -> tuple[tuple[int, ...], torch.dtype]:
        """Shape and type of an input or output."""
        kinds = self._trt.DataType
        types = {kinds.FLOAT: torch.float32, kinds.UINT8: torch.uint8, kinds.BOOL: torch.bool}
        return tuple(engine.get_tensor_shape(name)), types[engine.get_tensor_dtype(name)]

    def _error(self, what: str) -> BackendError:
        """Error that ends in what TensorRT logged last."""
        errors = self._log.errors
        reason = errors[-1] if errors else 'it does not say why'
        errors.clear()
        return BackendError(f'{self.title} {what}: {reason}')


def _log(trt: Any) -> Any:
    """Logger that keeps errors and says nothing itself."""
    serious = trt.ILogger.Severity.ERROR, trt.ILogger.Severity.INTERNAL_ERROR

    class Log(trt.ILogger):
        def __init__(self) -> None:
            trt.ILogger.__init__(self)
            self.errors: list[str] = []

        def log(self, severity: Any, message: str) -> None:
            if severity in serious:
                self.errors.append(message)

    return Log()
