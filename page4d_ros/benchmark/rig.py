"""Cost of a step of a rig: all cameras in one window, against a window for each."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from page4d_ros.benchmark.cases import HALF_WIDTH, SMALL, Case
from page4d_ros.benchmark.meter import flops, now, threads
from page4d_ros.benchmark.plan import NOWHERE
from page4d_ros.config import ModelConfig
from page4d_ros.model.checkpoint import untrained_network
from page4d_ros.model.config import NetworkConfig
from page4d_ros.model.network import StepPlan, full_cells, patch_grid
from page4d_ros.perception.memory import MIB
from page4d_ros.perception.types import Frame, FrameSet
from page4d_ros.perception.window_engine import WindowEngine

if TYPE_CHECKING:
    from collections.abc import Callable

CASES = (
    Case('page4d-small_S8_84x112', SMALL, 8, (84, 112), rounds=15),
    Case('width384_S4_154x210', HALF_WIDTH, 4, (154, 210), rounds=3),
    Case('published_S8_392x518', NetworkConfig.published(), 8, (392, 518), timed=False),
)
SETS = 2  # that get depth: the new one, and the anchor of odometry


def run_rig(
    cameras: int, say: Callable[[str], None], cases: tuple[Case, ...] = CASES
) -> list[dict[str, Any]]:
    """Time steps over the same windows both ways, in turn.

    Args:
        cameras: of the rig.
        say: receives what is going on.
        cases: networks and windows; `Case.frames` counts sets.

    Returns:
        For each case: ratio of the floating-point operations; memory of a step beside the
        weights, by shapes, in MiB; where times are taken, medians of both in ms and of their
        ratio.
    """
    rows = []
    for case in cases:
        rows.append(_by_shapes(case, cameras) | {'name': f'{case.name}_{cameras} cameras'})
        if case.timed:
            rows[-1] |= _times(case, cameras, say)
    return rows


def _by_shapes(case: Case, cameras: int) -> dict[str, float]:
    with NOWHERE:
        network = untrained_network(case.network)
    network.prepare(NOWHERE, None, points=ModelConfig.point_head)
    operations, memory = [], []
    for views in (cameras, 1):
        frames, newest = case.frames * views, SETS * views
        images = torch.empty(frames, 3, *case.size, device=NOWHERE)
        grid = patch_grid(network, images)
        tokens = network.enter(network.encode(images)[None], grid, first=True)
        plan = StepPlan(grid, newest, cells=full_cells(views, case.frames))
        operations.append(flops(partial(network.step, tokens, plan)))
        needed = network.memory(frames, case.size, newest)
        memory.append((needed.cache * (cameras // views) + needed.working) / MIB)
    return {
        'flop_ratio': operations[0] / (cameras * operations[1]),
        'joint_mb': memory[0],
        'per_view_mb': memory[1],
    }


def _times(case: Case, cameras: int, say: Callable[[str], None]) -> dict[str, float]:
    config = ModelConfig(device='cpu', resolution=case.size[1], precision=case.precision)
    engine = WindowEngine(untrained_network(case.network), config, case.frames)
    rng, anchor, taken = np.random.default_rng(0), None, []
    with threads(case.threads):
        for index in range(case.frames + case.rounds):
            frames = tuple(Frame(index, '', lambda: None, view=view) for view in range(cameras))
            images = rng.integers(0, 256, (cameras, *case.size, 3), np.uint8)
            engine.push(FrameSet(index, frames), list(images))
            times = [now(engine.device)]
            for step in (engine.step, engine.step_apart):
                step(anchor)
                times.append(now(engine.device))
            if index >= case.frames:
                say(f'{case.name}, round {index - case.frames + 1} of {case.rounds}')
                taken.append(np.diff(times))
            anchor = frames[-1].key
    joint, apart = 1e3 * np.array(taken).T
    return {
        'joint_ms': float(np.median(joint)),
        'per_view_ms': float(np.median(apart)),
        'times_faster': float(np.median(joint / apart)),
    }
