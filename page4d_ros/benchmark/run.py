"""The reference and the engine in turn, over the same frames, with the same weights."""

from __future__ import annotations

import copy
import tempfile
import time
from dataclasses import dataclass, field, replace
from itertools import count, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from page4d_ros.backends.cache import GraphCache
from page4d_ros.backends.eight_bits import INT8
from page4d_ros.backends.graphs import Graphs
from page4d_ros.benchmark.meter import (
    Stages,
    flops,
    machine,
    now,
    peak_bytes,
    threads,
)
from page4d_ros.config import MaskConfig, ModelConfig
from page4d_ros.geometry.poses import inverse
from page4d_ros.model.checkpoint import untrained_network
from page4d_ros.model.fourd_vggt import FourDVGGT
from page4d_ros.model.pose_encoding import decode_pose
from page4d_ros.model.reference import Reference
from page4d_ros.perception.devices import choose_device
from page4d_ros.perception.dynamics import Dynamics
from page4d_ros.perception.graphs import (
    RECORDED,
    TORCH,
    BuildHere,
    check,
    recorded_graphs,
    window_graphs,
)
from page4d_ros.perception.memory import MIB, resident_bytes
from page4d_ros.perception.motion_classifier import DEFAULT
from page4d_ros.perception.types import Frame, FrameSet
from page4d_ros.perception.window_engine import WindowEngine

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from numpy.typing import NDArray
    from torch import Tensor, nn

    from page4d_ros.benchmark.cases import Case
    from page4d_ros.model.network import NetworkOutput
    from page4d_ros.model.page4d import Page4D
    from page4d_ros.perception.types import WindowEstimate

CALIBRATING = 16  # images for int8


@dataclass
class Result:
    """Measurements of a case; times in milliseconds, memory in MiB beside the weights.

    Attributes:
        name: of the case.
        new: frames that arrive between two steps.
        backend: of the engine.
        reference: of every round.
        engine: of every round, from the arrival of the new frames to the end of the step.
        pose: of every round, from the arrival of the newest frame to its pose, which a graph
            gives at the end of the step.
        fuse: of every round, what it takes to say what moves after a step.
        differences: largest relative ones between both answers.
        facts: everything that is one number per case.
        stages: milliseconds of one step by stage, of the reference and of the engine.
    """

    name: str
    new: int
    backend: str
    reference: list[float] = field(default_factory=list)
    engine: list[float] = field(default_factory=list)
    pose: list[float] = field(default_factory=list)
    fuse: list[float] = field(default_factory=list)
    differences: dict[str, float] = field(default_factory=dict)
    facts: dict[str, float] = field(default_factory=dict)
    stages: dict[str, dict[str, float]] = field(default_factory=dict)

    def row(self) -> dict[str, Any]:
        """For JSON."""
        out: dict[str, Any] = {'name': self.name, 'backend': self.backend, 'new_frames': self.new}
        if self.engine:
            ratios = np.divide(self.reference, self.engine)
            out |= {
                'reference_ms': float(np.median(self.reference)),
                'engine_ms': float(np.median(self.engine)),
                'speedup': float(np.median(ratios)),
                'speedup_range': [float(ratios.min()), float(ratios.max())],
                'engine_p99_over_p50': float(
                    np.quantile(self.engine, 0.99) / np.median(self.engine)
                ),
                'new_frames_per_second': 1e3 * self.new / float(np.median(self.engine)),
            }
        if self.fuse:
            out['fuse_ms'] = float(np.median(self.fuse))
            out['fuse_share'] = float(np.median(np.divide(self.fuse, self.engine)))
        if self.pose:
            out['arrival_to_pose_ms'] = float(np.median(self.pose))
        out |= {'max_rel_diff': max(self.differences.values()), 'rel_diff': self.differences}
        return out | self.facts | {'stages_ms': self.stages}


class Contest:
    """One case, made ready: both windows are full.

    Args:
        case: what is compared.
        device: name of the device.
        backend: of the engine; its graphs are attached afterwards. With a precision that is not
            the case's as ``backend:precision``.
    """

    def __init__(self, case: Case, device: str, backend: str = TORCH) -> None:
        self.backend, _, precision = backend.partition(':')
        self.precision = precision or case.precision
        self.case, self.device = case, choose_device(device)
        sizes = replace(case.network, mask_enabled=case.mask)
        network = untrained_network(sizes).to(self.device).requires_grad_(False)
        if isinstance(network, FourDVGGT):
            network.fusion.alpha.fill_(1.0)  # or the answers would not tell of the temporal branch
        self.alpha = float(case.mask)
        self.half = None if case.precision == 'fp32' else torch.bfloat16
        # in 16 bits the engine converts its weights, and the reference keeps its own
        self.reference = Reference(network if self.precision == 'fp32' else copy.deepcopy(network))
        weights = _weight_bytes(network)
        config = ModelConfig(
            device=device,
            resolution=case.size[1],
            precision=self.precision,
            compile=case.compile and self.backend == TORCH,
        )
        self.engine = WindowEngine(network, config, case.frames)
        self.dynamics = Dynamics(MaskConfig(), DEFAULT)
        self.stream = _noise(case.size)
        self.result = Result(case.name, case.new, backend)
        self.result.facts = {
            'reference_weights_mb': weights / MIB,
            'engine_weights_mb': _weight_bytes(network) / MIB,
        }
        self._stages = [*network.stages(), *_point_head(self.reference)]
        self._posed = np.nan
        if not case.compile and self.backend == TORCH:
            dict(self._stages)['camera head'].register_forward_hook(self._on_pose)
        for _ in range(case.frames - 1):
            self.engine.push(*next(self.stream))
        self._anchor = None
        self.step()

    def _on_pose(self, *_: object) -> None:
        self._posed = now(self.device)

    def step(self) -> tuple[WindowEstimate, float]:
        """Let new frames arrive and run the engine; its answer, and when the last one arrived."""
        for _ in range(self.case.new):
            arrived = now(self.device)
            frames, images = next(self.stream)
            self.engine.push(frames, images)
            self.dynamics.follow(frames, images)
        window = self.engine.step(self._anchor)
        if self.case.anchor:
            self._anchor = window.frames[-1].key
        return window, arrived

    def published(self, images: Tensor) -> NetworkOutput:
        """The published answer for a window (S, 3, h, w), in the precision of the case."""
        with torch.autocast(self.device.type, self.half, enabled=self.half is not None):
            return self.reference(images, self.alpha)

    def round(self) -> None:
        """Take the times of one step of both."""
        start = now(self.device)
        window, arrived = self.step()
        ended = now(self.device)
        engine = ended - start
        pose = (ended if np.isnan(self._posed) else self._posed) - arrived
        start = now(self.device)
        self.dynamics.update(window)
        self.result.fuse.append(1e3 * (now(self.device) - start))
        images = torch.stack(window.images)
        start = now(self.device)
        output = self.published(images)
        reference = now(self.device) - start
        result = self.result
        result.engine.append(1e3 * engine)
        result.pose.append(1e3 * pose)
        result.reference.append(1e3 * reference)
        self._compare(window, output)

    def inspect(self) -> None:
        """Count operations and memory; time the stages."""
        if self.engine.graphs is not None:  # another library's memory and stages are its own
            return
        images, facts = torch.stack(self.step()[0].images), self.result.facts
        cache = self.engine.cache_bytes()
        peaks = {
            'reference_peak_mb': peak_bytes(lambda: self.published(images), self.device) / MIB,
            'engine_peak_mb': (peak_bytes(self.step, self.device) + cache) / MIB,
        }
        facts |= peaks
        facts['peak_memory_ratio'] = peaks['engine_peak_mb'] / peaks['reference_peak_mb']
        if not self.case.timed:
            window, _ = self.step()
            self._compare(window, self.published(torch.stack(window.images)))
            return
        compiled, self.engine._compiled = self.engine._compiled, None  # to see inside
        for name, run in (('reference', lambda: self.published(images)), ('engine', self.step)):
            facts[f'{name}_tflop'] = 1e-12 * flops(run)
            stages = Stages(self._stages, self.device)
            run()
            self.result.stages[name] = stages.close()
        self.engine._compiled = compiled
        facts['flop_ratio'] = facts['reference_tflop'] / facts['engine_tflop']
        on_gpu = self.device.type == 'cuda'  # many CPUs multiply 16 bits one by one
        facts |= machine(self.device, (on_gpu and self.half) or torch.float32)
        facts['engine_floor_ms'] = 1e3 * facts['engine_tflop'] / facts['tflops']

    def _compare(self, window: WindowEstimate, output: NetworkOutput) -> None:
        newest = slice(-len(window.depth), None)
        T, _ = decode_pose(output.pose_enc[0].double(), window.images[0].shape[-2:])
        pairs = {
            'pose': (inverse(window.T_gauge_camera)[:, :3], T),
            'depth': (window.depth, output.depth[0, newest]),
            'confidence': (window.confidence, 1 - 1 / output.depth_conf[0, newest]),
        }
        if output.mask_score is not None:
            pairs['mask'] = window.dynamic, 0.5 - output.mask_score[0]
        worst = self.result.differences
        for name, (ours, published) in pairs.items():
            theirs = published.cpu().numpy()
            difference = float(np.abs(ours - theirs).max() / np.abs(theirs).max())
            worst[name] = max(worst.get(name, 0.0), difference)


def run_case(
    case: Case, device: str, backends: Sequence[str], say: Callable[[str], None]
) -> list[Result]:
    """Measure one case, with each backend in turn in every round.

    Raises:
        BackendError: a backend cannot run the case.
    """
    with threads(case.threads), tempfile.TemporaryDirectory() as folder:
        contests = []
        for backend in backends:
            say(f'making the network ready for {backend}')
            contests.append(_contest(case, device, backend, GraphCache(Path(folder))))
        say('counting operations and memory')
        for contest in contests:
            contest.inspect()
        for number in range(case.rounds if case.timed else 0):
            say(f'round {number + 1} of {case.rounds}')
            for contest in contests:
                contest.round()
    return [contest.result for contest in contests]


def _contest(case: Case, device: str, backend: str, store: GraphCache) -> Contest:
    contest = Contest(case, device, backend)
    if contest.backend == TORCH:
        return contest
    if contest.backend == RECORDED:
        contest.engine.graphs = recorded_graphs(contest.engine, fused=case.compile)
        contest.step()  # records
        return contest
    network = contest.engine.network
    precision = contest.precision
    builder = BuildHere(network, contest.backend, store, precision)
    check(builder.runtime, contest.device, precision)
    grid = tuple(side // network.patch_size for side in case.size)
    newest = 2 if case.anchor else case.new
    wanted = window_graphs(grid, case.frames, 1, newest=newest, gram=False, hides=False)
    if precision == INT8:
        seen = [images[0] for _, images in islice(_noise(case.size), CALIBRATING)]
        builder.keep_images(torch.from_numpy(np.stack(seen)).permute(0, 3, 1, 2), grid)
    start = time.perf_counter()
    for graph in wanted:
        builder(graph)
    built, held = time.perf_counter(), resident_bytes()
    threads_here = torch.get_num_threads()
    graphs = Graphs(
        network, builder.runtime, store, builder,
        threads=threads_here, precision=precision, wait=True,
    )  # fmt: skip
    for graph in wanted:
        graphs.prepare(graph)
    contest.engine.graphs = graphs
    facts = {'build_s': built - start, 'load_s': time.perf_counter() - built}
    facts['load_mb'] = (resident_bytes() - held) / MIB
    contest.result.facts |= facts
    return contest


def _weight_bytes(network: Page4D) -> int:
    return sum(p.numel() * p.element_size() for p in network.parameters())


def _noise(size: tuple[int, int]) -> Iterator[tuple[FrameSet, list[NDArray[np.uint8]]]]:
    """A camera that sees another noise in every frame."""
    for index in count():
        image = np.random.default_rng(index).integers(0, 256, (*size, 3), np.uint8)
        yield FrameSet.of(Frame(index, 'camera', lambda: None)), [image]


def _point_head(reference: Reference) -> list[tuple[str, nn.Module]]:
    """The reference's point head, which the engine has dropped."""
    return [] if reference.point_head is None else [('point head', reference.point_head)]
