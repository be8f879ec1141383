"""Sources of evidence on rendered drives, and geometry alone with true depth and poses."""

from __future__ import annotations

from collections import defaultdict
from contextlib import closing
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from page4d_ros.datasets.rendered import render_sequences
from page4d_ros.datasets.simulator import TRUE_GAUGE, SequenceWorld, SimulatedEngine
from page4d_ros.evaluation.methods.motion_sources import Panel
from page4d_ros.evaluation.metrics.body_speeds import speeds
from page4d_ros.evaluation.metrics.motion import Sequence, places_at_rest, pooled
from page4d_ros.evaluation.metrics.prediction import Grid, Truth
from page4d_ros.evaluation.plans.dynamics_plan import KINDS, WALKING, shots
from page4d_ros.perception.dynamics import Dynamics, clean, threshold
from page4d_ros.perception.motion_classifier import DEFAULT, SOURCES
from page4d_ros.perception.types import FrameSet

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from page4d_ros.config import Config, MaskConfig
    from page4d_ros.datasets.rendered import RenderedSequence
    from page4d_ros.evaluation.methods.network import Network
    from page4d_ros.evaluation.plans.dynamics_plan import Options
    from page4d_ros.perception.types import Estimate, WindowEstimate
    from page4d_ros.truth import GroundTruthFrame

FAST = 2.0  # pixels per frame
TRUTH_WINDOW = 8
ORACLE = 'geometry, true depth and poses'
PICTURES = 4  # of the frames of one drive


@dataclass
class Shown:
    """Images, true masks, masks of every source, and points of a sequence, for pictures."""

    title: str
    images: list[NDArray] = field(default_factory=list)
    truth: list[NDArray] = field(default_factory=list)
    masks: list[dict[str, NDArray]] = field(default_factory=list)
    points: list[NDArray] = field(default_factory=list)  # x, y of the world, moving, called

    def add(self, estimate: Estimate, truth: NDArray, masks: dict[str, NDArray]) -> None:
        """Take in a frame's pictures."""
        self.images.append(estimate.maps.rgb)
        self.truth.append(truth)
        self.masks.append(masks)


@dataclass
class Found:
    """All figures.

    Attributes:
        kinds: figures by kind of drive and source.
        every: by source, over all kinds in known rooms.
        ghosts: points of the static cloud that lie on moving bodies, of all, by kind of cloud.
        shown: a drive for the pictures.
    """

    kinds: dict[str, dict[str, Any]]
    every: dict[str, Any]
    ghosts: dict[str, float]
    shown: Shown | None


def measure_drives(network: Network, options: Options, progress: Callable[[str], None]) -> Found:
    """Render drives, and ask every source what moves in them.

    Args:
        network: weights with settings and motion classifier.
        options: how much.
        progress: called with the kind of drive, after each frame.

    Raises:
        SceneError: nothing can be rendered here.
    """
    kinds: dict[str, dict[str, list[Sequence]]] = defaultdict(lambda: defaultdict(list))
    ghosts, shown = np.zeros((2, 2)), None
    planned = shots(options)
    with closing(render_sequences([shot for _, shot in planned], options.processes)) as reel:
        for (kind, _), footage in zip(planned, reel, strict=True):
            if footage is None:
                continue
            sequences, accumulated, seen = _drive(network, footage, lambda k=kind: progress(k))
            for source, sequence in sequences.items():
                kinds[kind][source].append(sequence)
            kinds[kind][ORACLE].append(_oracle(footage, network.config.mask))
            if kind == WALKING:
                ghosts += accumulated
                if shown is None or _share(seen) > _share(shown):
                    shown = seen
    every = {
        source: pooled([s for kind in KINDS for s in kinds[kind][source]])
        for source in (*SOURCES, ORACLE)
    }
    return Found(
        {kind: {source: pooled(s) for source, s in by.items()} for kind, by in kinds.items()},
        every,
        dict(zip(('without mask', 'with mask'), _ghosts(ghosts), strict=True)),
        shown,
    )


def _share(shown: Shown) -> float:
    return float(np.mean(shown.truth)) if shown.truth else 0.0


def _ghosts(counts: NDArray) -> list[float]:
    return [float(moving / total) if total else np.nan for moving, total in counts]


def _drive(
    network: Network, footage: RenderedSequence, progress: Callable[[], None]
) -> tuple[dict[str, Sequence], NDArray, Shown]:
    config: Config = network.config
    out = {source: Sequence() for source in SOURCES}
    shown = Shown(f'room {footage.room}, drive {footage.seed}')
    ghosts, before, truth = np.zeros((2, 2)), {}, None
    first = min(config.window.size, len(footage.stamps)) - 1  # the window is full
    picks = set(np.linspace(first, len(footage.stamps) - 1, PICTURES).round().astype(int))
    panel = Panel(config.mask, network.classifier)
    engine = network.engine
    simulator = _simulator(footage, 2, engine.resolution, engine.patch_size)
    for index, (estimate, frame) in enumerate(network.estimates(footage.frames(), panel)):
        window = _true_window(simulator, frame)
        predictions = panel.predictions
        if truth is None:
            truth = Truth.of(footage, Grid(estimate.transform, engine.patch_size))
        moving = truth.mask[index]
        if index >= first:
            for source, motion in predictions.items():
                mask = called(motion.probability, config.mask)
                out[source].add(motion.probability, mask, moving)
            at, still = places_at_rest(window, moving, truth.mask[index - 1])
            for source, motion in predictions.items():
                out[source].compare(motion.probability, before[source], at, still)
            ghosts += _accumulate(shown, estimate, moving, truth.depth[index], footage, index)
        if index in picks:
            masks = {name: called(a.probability, config.mask) for name, a in predictions.items()}
            shown.add(estimate, moving, masks)
        before = {source: motion.probability for source, motion in predictions.items()}
        progress()
    return out, ghosts, shown


def called(probability: NDArray, config: MaskConfig) -> NDArray[np.bool_]:
    """The mask without its margin, as papers compare masks."""
    return clean(threshold(probability, config), replace(config, dilate=0)) > 0


def _accumulate(
    shown: Shown,
    estimate: Estimate,
    moving: NDArray,
    depth: NDArray,
    footage: RenderedSequence,
    index: int,
) -> NDArray:
    """Count what a static cloud would hold without and with the mask: (moving, all) of each."""
    known = estimate.maps.known
    static = known & (estimate.mask == 0)
    camera = estimate.transform.camera_to_network(footage.camera)
    T = footage.T_world_camera[index]
    points = camera.unproject(depth)[known] @ T[:3, :3].T + T[:3, 3]
    facts = np.column_stack([points[:, :2], moving[known], ~static[known]])
    shown.points.append(facts.astype(np.float32))
    return np.array([[(moving & use).sum(), use.sum()] for use in (known, static)], float)


def _simulator(
    footage: RenderedSequence, size: int, resolution: int, patch_size: int
) -> SimulatedEngine:
    """Windows of true poses and depths, without motion."""
    world = SequenceWorld(replace(footage, mask=None))
    return SimulatedEngine(
        world, size, gauge=TRUE_GAUGE, resolution=resolution, patch_size=patch_size
    )


def _true_window(simulator: SimulatedEngine, frame: GroundTruthFrame) -> WindowEstimate:
    """The window up to a frame, with depth of it and of the one before."""
    before = simulator.sets[-1].frames.keys[0] if simulator.sets else None
    simulator.push(FrameSet.of(frame.frame), [frame.rgb])
    return simulator.step(before)


def _oracle(footage: RenderedSequence, config: MaskConfig) -> Sequence:
    """Geometry alone, with true windows, on bodies that move fast enough."""
    settings = replace(config, source='geometry', dilate=0)
    dynamics, out = Dynamics(settings, DEFAULT), Sequence()
    simulator = _simulator(footage, TRUTH_WINDOW, footage.camera.width, 1)  # all of the pixels
    for index, frame in enumerate(footage.frames()):
        motion = dynamics.update(_true_window(simulator, frame))
        if index < min(TRUTH_WINDOW, len(footage.stamps)) - 1:
            continue
        moving = footage.mask[index]
        fast = moving & (speeds(footage, index)[footage.bodies[index]] > FAST)
        out.add(motion.probability, motion.mask > 0, fast, ~moving | fast)
    return out
