"""Runtimes that compile and run graphs."""

from __future__ import annotations

import ctypes
import importlib.metadata
import mmap
import platform
import shutil
from contextlib import contextmanager
from functools import cache
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import torch

from page4d_ros.backends.eight_bits import EIGHT_BITS
from page4d_ros.backends.tensorrt import TensorRt
from page4d_ros.errors import BackendError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from torch import Tensor

    Run = Callable[[Sequence[Tensor]], list[Tensor]]

CPU = torch.device('cpu')
MODEL, COMPILED, HINT = 'graph.onnx', 'graph.blob', 'precision.txt'


class Runtime(Protocol):
    """A library that runs graphs.

    Attributes:
        name: as in ``model.backend``.
        title: name and version, for people.
        device: what a compiled graph is bound to.
        memory: where inputs and outputs are.
        precisions: that it runs graphs in.
        simplified: True if it needs graphs as `write_onnx` simplifies them.
    """

    name: str
    title: str
    device: str
    memory: torch.device
    precisions: Sequence[str]
    simplified: bool

    def compile(self, model: Path, folder: Path, precision: str) -> None:
        """Write what `load` reads.

        Args:
            model: ONNX file; files with its weights may lie beside it.
            folder: to write to.
            precision: of the model, one of `precisions`.

        Raises:
            BackendError: the library cannot run this model.
        """

    def load(self, folder: Path, threads: int) -> Run:
        """Function from inputs to outputs, in the graph's order; not for several threads at once.

        Args:
            folder: as `compile` wrote it.
            threads: of the CPU.

        Raises:
            BackendError: the library cannot load it.
        """


class OpenVino:
    """Intel's OpenVINO, whose CPU plugin is quick on all x86-64 processors."""

    name = 'openvino'
    memory, simplified = CPU, False

    def __init__(self) -> None:
        self._core = _openvino_core()
        self.title = f'OpenVINO {_version("openvino")}'
        self.device = self._core.get_property('CPU', 'FULL_DEVICE_NAME')
        # where the processor does not multiply it, bf16 takes many times as long as fp32
        half = 'BF16' in self._core.get_property('CPU', 'OPTIMIZATION_CAPABILITIES')
        self.precisions = ('fp32', *(['bf16'] if half else []), *EIGHT_BITS)

    def compile(self, model: Path, folder: Path, precision: str) -> None:
        """Compile for this processor; see `Runtime`."""
        hint = 'bf16' if precision == 'bf16' else 'f32'
        with _named_errors('OpenVINO cannot compile the graph'):
            compiled = self._core.compile_model(
                self._core.read_model(model), 'CPU', self._properties(1, hint)
            )
            (folder / COMPILED).write_bytes(compiled.export_model().getvalue())
        (folder / HINT).write_text(hint, encoding='utf-8')  # `load` would take bf16 where it can

    def load(self, folder: Path, threads: int) -> Run:
        """Load a compiled graph; see `Runtime`."""
        with (
            _named_errors('OpenVINO cannot load the graph'),
            (folder / COMPILED).open('rb') as file,
        ):
            mapping = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY)  # it takes no other
            blob = _openvino().Tensor(np.frombuffer(mapping, np.uint8), shared_memory=True)
            hint = (folder / HINT).read_text(encoding='utf-8')
            compiled = self._core.import_model(blob, 'CPU', self._properties(threads, hint))
            request = compiled.create_infer_request()
        _return_freed_memory()
        # the model refers to weights in the file, but computes with most of them in its own order
        if hasattr(mmap, 'MADV_DONTNEED'):
            mapping.madvise(mmap.MADV_DONTNEED)
        outputs = compiled.outputs
        kept = blob, request  # a tuple frees its last item first: the request, then its weights

        def run(inputs: Sequence[Tensor]) -> list[Tensor]:
            found = kept[1].infer([each.numpy() for each in inputs], share_inputs=True)
            return [torch.from_numpy(found[each]) for each in outputs]

        return run

    def _properties(self, threads: int, hint: str) -> dict[str, object]:
        return {
            'INFERENCE_NUM_THREADS': threads,
            'NUM_STREAMS': 1,
            'INFERENCE_PRECISION_HINT': hint,
            # with them, attention of as many tokens as heads is wrong (2026.4); no slower without
            'SNIPPETS_MODE': 'DISABLE',
        }


class OnnxRuntime:
    """Microsoft's ONNX Runtime, on any processor."""

    name = 'onnxruntime'
    memory, precisions, simplified = CPU, ('fp32', *EIGHT_BITS), False

    def __init__(self) -> None:
        import onnxruntime

        self._onnxruntime = onnxruntime
        self.title = f'ONNX Runtime {_version("onnxruntime")}'
        self.device = platform.machine()

    def compile(self, model: Path, folder: Path, precision: str) -> None:
        """Keep the model as it is: it is optimised when it is loaded; see `Runtime`."""
        del precision
        for file in model.parent.iterdir():
            shutil.copy(file, folder / file.name)

    def load(self, folder: Path, threads: int) -> Run:
        """Load a graph; see `Runtime`."""
        options = self._onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.log_severity_level = 3
        # idle threads would keep cores busy that others need
        options.add_session_config_entry('session.intra_op.allow_spinning', '0')
        with _named_errors('ONNX Runtime cannot load the graph'):
            session = self._onnxruntime.InferenceSession(
                folder / MODEL, options, providers=['CPUExecutionProvider']
            )
        names = [each.name for each in session.get_inputs()]

        def run(inputs: Sequence[Tensor]) -> list[Tensor]:
            given = {name: each.numpy() for name, each in zip(names, inputs, strict=True)}
            return [torch.from_numpy(each) for each in session.run(None, given)]

        return run


RUNTIMES = {each.name: each for each in (OpenVino, OnnxRuntime, TensorRt)}
SOURCES = {TensorRt.name: 'it is part of JetPack; elsewhere pip install tensorrt'}


def open_runtime(name: str) -> Runtime:
    """Runtime of a name.

    Raises:
        BackendError: its library is not installed, or not for this machine.
    """
    try:
        return RUNTIMES[name]()
    except ImportError as error:
        source = SOURCES.get(name, "pip install 'page4d_ros[graphs]'")
        raise BackendError(f'model.backend {name}: {error}; {source}') from error


@cache
def _openvino_core() -> Any:
    """The only core of the process, which is never freed.

    A core gives the thread that makes it a stack for signals. Where one core outlives another,
    that stack is one that was freed, and the next signal, such as Ctrl-C, ends the process.
    """
    return _openvino().Core()


def _openvino() -> Any:
    import openvino

    return openvino


def _return_freed_memory() -> None:
    """Give the system back what the C library keeps of freed memory, where it is glibc's.

    Loading a graph frees much in small pieces, which later allocations seldom fit.
    """
    trim = getattr(ctypes.CDLL(None), 'malloc_trim', None)
    if trim is not None:
        trim(0)


def _version(package: str) -> str:
    return importlib.metadata.version(package)


@contextmanager
def _named_errors(what: str) -> Iterator[None]:
    """Turn whatever a library raises into a `BackendError` of one line."""
    try:
        yield
    except Exception as error:
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        reason = lines[-1] if lines else type(error).__name__
        raise BackendError(f'{what}: {reason}') from error
