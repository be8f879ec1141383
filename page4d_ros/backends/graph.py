"""Parts of a network as graphs of fixed shapes, and their ONNX files."""

from __future__ import annotations

import contextlib
import logging
import os
import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import nn

from page4d_ros.backends.mixed import MixedPrecision
from page4d_ros.errors import BackendError
from page4d_ros.model.network import NetworkOutput

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from torch import Tensor

    from page4d_ros.model.network import Network, StepPlan

POSES = 'pose_enc_iters'
OPSET = 18


class FrameTokens(NamedTuple):
    """Tokens of one frame.

    Attributes:
        patches: of the encoder, (1, 1, h * w, C).
        tokens: window tokens, (1, 1, P, C).
        first_tokens: window tokens of a frame that is the first of its window, likewise.
    """

    patches: Tensor
    tokens: Tensor
    first_tokens: Tensor


@dataclass(frozen=True)
class FrameGraph:
    """Encoder and first frame block: the part that a frame goes through by itself.

    Its input is ``image``, (1, 3, H, W) RGB of bytes; its outputs are those of `FrameTokens`.

    Attributes:
        grid: patches as (h, w).
    """

    grid: tuple[int, int]

    inputs = ('image',)

    @property
    def name(self) -> str:
        """Short and unique for a network."""
        return 'frame_{}x{}'.format(*self.grid)

    def compute(self, network: Network, image: Tensor) -> FrameTokens:
        """Run it in torch."""
        patches = network.encode(image)[None]
        first = [network.enter(patches, self.grid, first=first) for first in (False, True)]
        return FrameTokens(patches, *first)

    def example(self, network: Network) -> tuple[Tensor, ...]:
        """Random inputs."""
        height, width = (side * network.patch_size for side in self.grid)
        return (_noise((1, 3, height, width)),)


@dataclass(frozen=True)
class StepGraph:
    """Blocks that relate the frames of a window, and the heads.

    Its inputs are ``tokens``, (1, S, P, C), the ``first_tokens`` of the oldest frame before the
    ``tokens`` of the others, and ``hidden``, (1, S, h, w) bool, if `hides`. Its outputs are those
    of `NetworkOutput` that the network has, but for ``pose_enc``, which is the last of
    ``pose_enc_iters``.

    Attributes:
        frames: S of the window.
        plan: all else.
        hides: True if patches are hidden; see `Network.step`.
    """

    frames: int
    plan: StepPlan
    hides: bool = False

    @property
    def grid(self) -> tuple[int, int]:
        """Patches as (h, w)."""
        return self.plan.grid

    @property
    def inputs(self) -> tuple[str, ...]:
        """Names of the inputs."""
        return ('tokens', 'hidden') if self.hides else ('tokens',)

    @property
    def name(self) -> str:
        """Short and unique for a network."""
        grid, newest, references, cells = self.plan
        name = f'step_S{self.frames}_{grid[0]}x{grid[1]}_new{newest}'
        name += '_gram' + '.'.join(map(str, references)) if references else ''
        name += '_cells' + '.'.join(f'{view}-{time}' for view, time in cells) if cells else ''
        return name + '_hides' * self.hides

    def compute(
        self, network: Network, tokens: Tensor, hidden: Tensor | None = None
    ) -> NetworkOutput:
        """Run it in torch."""
        return network.step(tokens, self.plan, hidden)

    def example(self, network: Network) -> tuple[Tensor, ...]:
        """Inputs of random images; the first quarter of the patches is hidden."""
        height, width = (side * network.patch_size for side in self.plan.grid)
        encoded = network.encode(_noise((self.frames, 3, height, width)))[None]
        tokens = network.enter(encoded, self.plan.grid, first=True)
        if not self.hides:
            return (tokens,)
        hidden = torch.zeros(1, self.frames, *self.plan.grid, dtype=torch.bool)
        hidden.flatten(2)[..., : hidden[0, 0].numel() // 4] = True
        return tokens, hidden


Graph = FrameGraph | StepGraph


def _noise(shape: tuple[int, ...]) -> Tensor:
    random = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, shape, dtype=torch.uint8, generator=random)


def named(output: FrameTokens | NetworkOutput) -> dict[str, Tensor]:
    """Outputs of a graph by name; those that a network lacks are left out."""
    return {
        name: value
        for name, value in output._asdict().items()
        if value is not None and name != 'pose_enc'
    }


def network_output(outputs: Mapping[str, Tensor]) -> NetworkOutput:
    """Estimates of a step from the outputs of its graph."""
    nothing = dict.fromkeys(NetworkOutput._fields)
    return NetworkOutput(**nothing | outputs | {'pose_enc': outputs[POSES][-1]})


class _Part(nn.Module):
    """Part of a network, of tensors only.

    It is itself no parent of the network, so that names of weights stay as they are.
    """

    def __init__(self, network: Network, graph: Graph) -> None:
        super().__init__()
        self.network, self.graph = network, graph

    def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        return tuple(named(self.graph.compute(self.network, *inputs)).values())


def write_onnx(
    network: Network, graph: Graph, path: Path, *, simplified: bool = False
) -> tuple[dict[str, Tensor], list]:
    """Write a part of a network as an ONNX file.

    Args:
        network: on the CPU, and ready for inference. The graph multiplies in the types of its
            weights; see `MixedPrecision`.
        graph: the part.
        path: file to write; weights beyond 2 GB go to files beside it.
        simplified: True for a graph without sequences of tensors, which not every program reads;
            takes some seconds more.

    Returns:
        What torch makes of the example, by name, and the example.

    Raises:
        BackendError: the exporter is not installed, or cannot export this.
    """
    with torch.no_grad(), _quiet(), MixedPrecision():
        example = graph.example(network)
        outputs = named(graph.compute(network, *example))
        try:
            exported = torch.export.export(_Part(network, graph).eval(), example)
            program = torch.onnx.export(
                exported,
                dynamo=True,
                opset_version=OPSET,
                input_names=list(graph.inputs),
                output_names=list(outputs),
                optimize=simplified,  # most runtimes do that themselves, and much quicker
                verbose=False,
            )
            program.save(path)
        except ImportError as error:
            raise BackendError(
                f'graphs are written by the packages onnx and onnxscript ({error}); '
                "pip install 'page4d_ros[graphs]'"
            ) from error
        except Exception as error:  # the exporter raises what it likes
            reason = (str(error).splitlines() or [type(error).__name__])[0]
            raise BackendError(f'{graph.name} cannot be written as ONNX: {reason}') from error
    return outputs, example


@contextlib.contextmanager
def _quiet():
    """Keep the exporter's progress and its thoughts about itself to itself."""
    level = logging.getLogger('torch.onnx').level
    logging.getLogger('torch.onnx').setLevel(logging.ERROR)
    try:
        with (
            warnings.catch_warnings(),
            open(os.devnull, 'w', encoding='utf-8') as nowhere,
            contextlib.redirect_stdout(nowhere),
        ):
            warnings.simplefilter('ignore')
            yield
    finally:
        logging.getLogger('torch.onnx').setLevel(level)


def largest_difference(ours: Sequence[Tensor], theirs: Sequence[Tensor]) -> float:
    """Largest difference of tensors, relative to the largest value of each."""
    return max(
        float((a - b).abs().max() / b.abs().max().clamp_min(1e-12))
        for a, b in zip(ours, theirs, strict=True)
    )
