"""What moves: geometry, its calibration, memory, and bodies."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from page4d_ros.config import Config, MaskConfig
from page4d_ros.errors import CheckpointError
from page4d_ros.geometry.camera import ImageTransform, PinholeCamera
from page4d_ros.perception import dynamics as dynamics_module
from page4d_ros.perception.clip import Mined
from page4d_ros.perception.dynamics import Dynamics
from page4d_ros.perception.edges import box_sums, restored, sharpened
from page4d_ros.perception.motion_classifier import DEFAULT, FEATURES, SOURCES, MotionClassifier
from page4d_ros.perception.moving_bodies import MovingBodyTracker
from page4d_ros.perception.pipeline import assemble
from page4d_ros.perception.residuals import View, reprojection_residuals, thinned_rgb
from page4d_ros.perception.types import Frame, FrameSet, OdometryEstimate, WindowEstimate
from page4d_ros.units import NS_PER_S

CAMERA = PinholeCamera(112, 84, 100.0, 100.0, 55.5, 41.5)
FIT = ImageTransform(112, 84, 112, 84, 0, 0, 112, 84)
WALL, BOX, SIDE = 4.0, 2.0, 0.4
RNG = np.random.default_rng(0)
TEXTURE = np.rint(255 * RNG.uniform(0.2, 0.8, (400, 400, 3))).astype(np.uint8)


def see(camera_x, box_x):
    """Depth (h, w) and image (h, w, 3): a wall, and before it a box that may move sideways."""
    v, u = np.mgrid[: CAMERA.height, : CAMERA.width]
    x, y = (u - CAMERA.cx) / CAMERA.fx, (v - CAMERA.cy) / CAMERA.fy
    depth = np.full(u.shape, WALL)
    at = BOX * x + camera_x - box_x
    box = (np.abs(at) < SIDE) & (np.abs(BOX * y) < SIDE)
    depth[box] = BOX
    place = np.where(box, at, WALL * x + camera_x + 3)
    column, row = ((place + 5) * 25).astype(int) % 400, ((depth * y + 5) * 25).astype(int) % 400
    return depth.astype(np.float32), TEXTURE[row, column], box


def stamped(index):
    """Set of one frame at a tenth of a second per index."""
    return FrameSet.of(Frame(round(index * NS_PER_S / 10) + 1, 'camera', None))


def window(cameras, boxes, depths=None):
    """Of cameras at x, and boxes at x."""
    frames = [see(*at) for at in zip(cameras, boxes, strict=True)]
    poses = np.tile(np.eye(4), (len(frames), 1, 1))
    poses[:, 0, 3] = cameras
    depth = np.stack([f[0] for f in frames])[-(depths or len(frames)) :]
    estimate = WindowEstimate(
        sets=tuple(map(stamped, range(len(frames)))),
        transforms=(FIT,) * len(frames),
        images=tuple(torch.from_numpy(f[1]).permute(2, 0, 1) for f in frames),
        T_gauge_camera=poses,
        cameras=(CAMERA,) * len(frames),
        depth=depth,
        confidence=np.full(depth.shape, 0.8, np.float32),
        dynamic=None,
    )
    return estimate, frames[-1][2]


def looked_back(estimate, frames):
    """What earlier frames saw, all of known depth."""
    depth = estimate.depth
    now, *earlier = (
        View.of(estimate, i, depth[i], thinned_rgb(estimate.images[i])) for i in (-1, *frames)
    )
    return reprojection_residuals(now, estimate.confidence[-1], earlier)


def masks(cameras, boxes, **values):
    """Mask of the last frame, by geometry alone, frame by frame."""
    config = replace(MaskConfig(), **({'source': 'geometry', 'dilate': 0} | values))
    dynamics = Dynamics(config, DEFAULT)
    for end in range(1, len(cameras) + 1):
        estimate, box = window(cameras[:end], boxes[:end], depths=1)
        last = end - 1
        motion = dynamics.update(estimate)
        assert last == end - 1
    return motion.probability, motion.mask > 0, box


def test_parallax_of_a_world_at_rest_scores_nothing():
    cameras = np.linspace(0, 0.6, 6)
    estimate, _ = window(cameras, np.zeros(6))
    assert looked_back(estimate, [0, 3]).depth.max() < 2
    probability, mask, _ = masks(cameras, np.zeros(6))
    assert not mask.any()
    assert probability.mean() < 0.2


@pytest.mark.parametrize('speed', [0.0, 0.1])
def test_a_body_that_moves_is_found(speed):
    """Beside a camera that moves, and one that stands."""
    cameras = np.arange(6) * speed
    boxes = np.linspace(-0.6, 0.6, 6)
    _, mask, box = masks(cameras, boxes)
    assert (mask & box).sum() / (mask | box).sum() > 0.85


def test_a_camera_that_stands_in_a_world_at_rest_finds_nothing():
    _, mask, _ = masks(np.zeros(6), np.zeros(6))
    assert not mask.any()


def test_what_was_hidden_says_nothing():
    """The wall that a box uncovers lies behind what was seen there."""
    estimate, box = window([0, 0], [0.0, 0.5])
    before = estimate.depth[0] == BOX
    uncovered = before & ~box
    assert uncovered.any()
    seen = looked_back(estimate, [0])
    assert not seen.visible[0][uncovered].any()
    assert not seen.colour[0][uncovered].any()
    assert (seen.depth[0][uncovered] < 0).all()


def test_depth_of_older_frames_is_remembered_in_one_unit():
    """Each window has a unit of its own, and only the newest depth."""
    cameras, boxes = np.zeros(6), np.linspace(-0.6, 0.6, 6)
    dynamics = Dynamics(replace(MaskConfig(), source='geometry', dilate=0), DEFAULT)
    for end in range(1, 7):
        estimate, box = window(cameras[:end], boxes[:end], depths=1)
        unit = 1.0 + 0.3 * end
        poses = estimate.T_gauge_camera.copy()
        poses[:, :3, 3] *= unit
        shrunk = replace(estimate, depth=estimate.depth * unit, T_gauge_camera=poses)
        mask = dynamics.update(shrunk, 1 / unit).mask
    assert ((mask > 0) & box).sum() / ((mask > 0) | box).sum() > 0.85


def test_a_wrong_answer_of_the_network_does_no_harm():
    estimate, _ = window(np.zeros(3), np.zeros(3))
    broken = replace(
        estimate,
        T_gauge_camera=np.full((3, 4, 4), np.nan),
        depth=np.full_like(estimate.depth, np.nan),
    )
    dynamics = Dynamics(replace(MaskConfig(), source='geometry'), DEFAULT)
    motion = dynamics.update(broken)
    assert np.isfinite(motion.probability).all()
    assert motion.mask.shape == (84, 112)


def test_one_broken_answer_is_forgotten():
    dynamics = Dynamics(replace(MaskConfig(), source='fused', dilate=0), DEFAULT)
    for end in range(1, 7):
        estimate, _ = window(np.zeros(end), np.zeros(end))
        estimate = replace(estimate, dynamic=np.full((end, 6, 8), 0.2, np.float32))
        if end == 3:
            estimate = replace(
                estimate,
                T_gauge_camera=np.full((3, 4, 4), np.nan),
                depth=np.full_like(estimate.depth, np.nan),
                dynamic=np.full((3, 6, 8), np.nan, np.float32),
            )
        if end == 5:
            depth = estimate.depth.copy()
            depth[-1, 3, 4] = np.inf
            estimate = replace(estimate, depth=depth)
        probability = dynamics.update(estimate).probability
        assert np.isfinite(probability).all()
        assert (probability < 0.5).mean() > 0.99


def test_sources_can_change_while_it_runs():
    estimate, _ = window(np.zeros(3), np.zeros(3))
    score = np.full((3, 6, 8), 0.9, np.float32)
    estimate = replace(estimate, dynamic=score, gram=np.zeros((1, 6, 8), np.float32))
    dynamics = Dynamics(MaskConfig(source='head', dilate=0), DEFAULT)
    assert dynamics.update(estimate).mask.all()
    dynamics.config = MaskConfig(source='geometry', dilate=0)
    assert not dynamics.update(estimate).mask.any()
    assert not dynamics.gram
    dynamics.config = MaskConfig(source='gram', dilate=0)
    assert dynamics.gram


def test_a_network_that_is_not_trusted_counts_little():
    estimate, _ = window(np.zeros(3), np.zeros(3))
    estimate = replace(estimate, dynamic=np.full((3, 6, 8), 0.99, np.float32))
    dynamics = Dynamics(MaskConfig(source='head', dilate=0), DEFAULT)
    assert dynamics.update(estimate, trust=0.7).probability.min() > 0.9
    assert dynamics.update(estimate, trust=0.0).probability.max() <= 0.5


def followed(cameras, boxes, wrong):
    """Judge the last frame by geometry whose depth is wrong by factors (h, w)."""
    dynamics = Dynamics(MaskConfig(source='geometry', dilate=0), DEFAULT)
    for end in range(1, len(cameras) + 1):
        estimate, box = window(cameras[:end], boxes[:end], depths=1)
        image = estimate.images[-1].permute(1, 2, 0).numpy()
        dynamics.follow(estimate.sets[-1], [image])
        estimate = replace(estimate, depth=(estimate.depth * wrong).astype(np.float32))
        motion = dynamics.update(estimate, trust=0.01)
    return dynamics.features[FEATURES.index('flow')], motion.probability, box


def test_flow_finds_what_moves_where_the_network_is_not_trusted():
    wrong = np.exp(np.random.default_rng(1).normal(0, 0.3, (84, 112)))
    cameras = np.arange(5) * 0.02
    flow, probability, box = followed(cameras, np.arange(5) * 0.08, wrong)
    assert np.median(flow[box]) > 4 * np.median(flow[~box])
    assert probability[box].mean() > 2 * probability[~box].mean()
    still, _, _ = followed(cameras, np.zeros(5), wrong)
    assert still.max() < np.median(flow[box])


def test_the_edges_of_a_score_move_to_those_of_depth():
    depth = np.full((56, 56), 4.0, np.float32)
    depth[:, 20:] = 2.0
    ramp = np.linspace(-4, 4, 56, dtype=np.float32).clip(-1, 1)
    blurred = np.roll(np.tile(ramp, (56, 1)), -4, 1)
    sharp = sharpened(blurred, depth, 0.0625)
    assert (sharp[28, 21] - sharp[28, 18]) > 1.5 * (blurred[28, 21] - blurred[28, 18])


@pytest.mark.parametrize('columns', [30, 60, 111])
def test_wide_images_are_judged_by_some_of_their_pixels(monkeypatch, columns):
    """And the answer is where it belongs."""
    monkeypatch.setattr(dynamics_module, 'MOST_COLUMNS', columns)
    probability, mask, box = masks(np.zeros(6), np.linspace(-0.6, 0.6, 6))
    assert probability.shape == mask.shape == (84, 112)
    assert (mask & box).sum() / (mask | box).sum() > 0.75
    assert not masks(np.linspace(0, 0.6, 6), np.zeros(6))[1].any()


def test_what_is_restored_keeps_to_the_edges_of_depth():
    depth = np.full((8, 11), 4.0, np.float32)
    depth[2:6, 3:8] = 2.0
    near = (depth == 2.0).astype(np.float32)
    for step in (1, 2, 3):
        view = np.s_[::step, ::step]
        back = restored(near[view].copy(), depth[view], depth)
        np.testing.assert_array_equal(back, near)


def test_sums_over_squares():
    x = np.random.default_rng(0).random((9, 11))
    wanted = np.lib.stride_tricks.sliding_window_view(np.pad(x, 2), (5, 5)).sum((2, 3))
    np.testing.assert_allclose(box_sums(x, 2), wanted)


def test_calibration_survives_its_file(tmp_path):
    path = tmp_path / 'weights.motion.json'
    assert MotionClassifier.of(path) is DEFAULT
    given = replace(DEFAULT, facts={'drives': 3})
    given.write(path)
    assert MotionClassifier.of(path) == given
    assert set(DEFAULT.sources['fused']) == {*FEATURES, 'bias'}
    path.write_text('{"sources": {"fused": 1}, "facts": {}}')
    with pytest.raises(CheckpointError, match='no motion classifier'):
        MotionClassifier.of(path)
    for source in SOURCES:
        incomplete = {**DEFAULT.sources, source: {'bias': 1.0}}
        MotionClassifier(incomplete).write(path)
        with pytest.raises(CheckpointError, match=f'{source} needs exactly'):
            MotionClassifier.of(path)


def moving(where):
    """What moves, known for sure."""
    return Mined(where.astype(np.float32), (where * 255).astype(np.uint8))


def estimate_at(seconds, box_x):
    """An estimate with a box that is known to move."""
    found, box = window([0.0], [box_x])
    found = replace(found, sets=(stamped(10 * seconds),))
    pose = OdometryEstimate(np.eye(4), np.zeros(6), np.eye(6), np.eye(6), 1.0, metric=True)
    return assemble(found, pose, [moving(box)], Config().depth, calibrated=[True])


def test_bodies_have_a_place_a_speed_and_a_number():
    bodies = MovingBodyTracker()
    for index in range(6):
        found = bodies.update(estimate_at(index * 0.1, -0.5 + 0.05 * index))
        assert [body.number for body in found] == [1]
    (body,) = found
    assert body.centre == pytest.approx([-0.25, 0, BOX], abs=0.03)
    assert body.size[:2] == pytest.approx([2 * SIDE] * 2, rel=0.15)
    assert body.velocity == pytest.approx([0.5, 0, 0], abs=0.1)
    assert body.probability == 1
    assert bodies.update(estimate_at(5.0, 0.5))[0].number == 2  # after a long gap
    bodies.forget()
    assert bodies.update(estimate_at(5.1, 0.5))[0].number == 3
    assert not bodies.update(estimate_at(5.2, 99.0))


def test_bodies_at_different_depths_are_two():
    estimate = estimate_at(0.0, 0.0)
    depth, where = estimate.maps.depth.copy(), np.zeros((84, 112), bool)
    where[20:60, 20:90] = True
    depth[20:60, 20:55], depth[20:60, 55:90] = 1.5, 3.0
    view = replace(estimate.views[0], maps=SimpleNamespace(depth=depth), motion=moving(where))
    found = MovingBodyTracker().update(replace(estimate, views=(view,)))
    assert sorted(round(float(body.centre[2]), 1) for body in found) == [1.5, 3.0]
