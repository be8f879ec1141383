"""The engine on 4D-VGGT, and on the grid of views and times; a slow forward pass says the same."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from engine_cases import LIMIT, SETTINGS, frame, network_of, pair, relative, run

from page4d_ros.geometry.poses import inverse
from page4d_ros.model.config import FourDVGGTConfig, NetworkConfig
from page4d_ros.model.network import StepPlan
from page4d_ros.model.pose_encoding import decode_pose
from page4d_ros.perception.types import Frame, FrameKey, FrameSet
from page4d_ros.perception.window_engine import WindowEngine

FAMILIES = pytest.mark.parametrize('family', [NetworkConfig, FourDVGGTConfig])
GRID = (3, 4)


@pytest.mark.parametrize('size', [4, 8])
@pytest.mark.parametrize(
    'fields',
    [
        {},
        {'time_window': 3},
        {'depth': 6, 'dpt_taps': (0, 2, 3, 4)},  # the last layers concern the camera only
        {'encoder_depth': 0},
    ],
)
def test_same_numbers_as_the_published_way(fields, size):
    engine, reference = pair(mask=False, size=size, family=FourDVGGTConfig, **fields)
    worst = run(engine, reference, 0.0, size=size)
    assert set(worst) == {'pose', 'depth', 'confidence', 'points'}
    assert max(worst.values()) <= LIMIT, worst


def test_a_window_that_keeps_its_first_frame():
    engine, reference = pair(mask=False, family=FourDVGGTConfig)
    worst = {}
    for index in range(8):
        engine.push(*frame(index), keep_first=index < 6)
        window = engine.step()
        wanted = reference(torch.stack(window.images))
        worst[index] = relative(window.depth, wanted.depth[0, -1:])
    assert max(worst.values()) <= LIMIT, worst


def push(engine, time, views, offset=0):
    frames = tuple(Frame(time, 'camera', lambda: None, view=view + offset) for view in views)
    engine.push(FrameSet(time, frames), [frame(10 * time + view)[1][0] for view in views])


def slowly(network, window, cells):
    """All frames of a window at once, with depth for each."""
    images = torch.stack(window.images)
    with torch.inference_mode():
        tokens = network.enter(network.encode(images)[None], GRID, first=True)
        return network.step(tokens, StepPlan(GRID, len(images), cells=cells))


def assert_same(window, wanted):
    T, _ = decode_pose(wanted.pose_enc[0], window.images[0].shape[-2:])
    newest = slice(-len(window.depth), None)
    assert relative(inverse(window.T_gauge_camera)[:, :3], T) <= LIMIT
    assert relative(window.depth, wanted.depth[0, newest]) <= LIMIT
    assert relative(window.points, wanted.world_points[0, newest]) <= LIMIT


@FAMILIES
def test_views_and_times_are_a_grid_in_which_cells_may_be_missing(family):
    network = network_of(mask=False, family=family)
    engine = WindowEngine(network, SETTINGS, 3)
    sets = [(0, 2), (0, 2), (2,), (0, 2), (0,), (0,), (0,), (0, 1, 2)]
    for time, views in enumerate(sets):
        push(engine, time, views)
        anchor = FrameKey(time - 1, 0) if time % 2 else None
        window = engine.step(anchor)
        held = sets[max(0, time - 2) : time + 1]
        known = sorted({view for each in held for view in each})
        cells = tuple((known.index(v), t) for t, each in enumerate(held) for v in each)
        assert_same(window, slowly(network, window, cells))
    assert len(cells) == 5
    alone = [(0, time) for time in range(len(window.frames))]
    wrong = slowly(network, window, alone).depth[0, -len(window.depth) :]
    assert (relative(window.depth, wrong) > 1e-4) == (family is FourDVGGTConfig)


@FAMILIES
def test_one_camera_is_the_grid_of_one_view_whatever_its_index(family):
    network = network_of(mask=False, family=family)
    engines = [WindowEngine(network, SETTINGS, 4) for _ in range(2)]
    for time in range(6):
        windows = []
        for offset, engine in zip((0, 3), engines, strict=True):
            push(engine, time, (0,), offset)
            windows.append(engine.step())
        np.testing.assert_array_equal(windows[0].depth, windows[1].depth)
    plain = slowly(network, windows[0], ())
    numbered = slowly(network, windows[0], tuple((0, t) for t in range(4)))
    assert torch.equal(plain.depth, numbered.depth)
    assert_same(windows[0], plain)


def test_half_matrices_of_both_branches():
    network = network_of(mask=False, family=FourDVGGTConfig).float()
    engine = WindowEngine(network, replace(SETTINGS, precision='bf16'), 4)
    linear = network.temporal.temporal_blocks[0].attn.qkv
    assert linear.weight.dtype == network.fusion.projection.weight.dtype == torch.bfloat16
    for time in range(5):
        push(engine, time, (0, 1))
        window = engine.step()
    assert np.isfinite(window.depth).all()
