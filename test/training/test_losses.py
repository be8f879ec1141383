"""Losses and targets against PAGE-4D's own numbers; each check fails for a typical mistake."""

import parity
import pytest
import torch
from data_folders import parity_params
from training_cases import random_batch

from page4d_ros.model.pose_encoding import encode_pose, unproject
from page4d_ros.training import losses
from page4d_ros.training.auxiliary import camera_token_loss, coordinate_loss
from page4d_ros.training.losses import camera_loss, dense_loss, depth_loss, point_loss
from page4d_ros.training.objective import limit_windows, motion_loss, relative_loss
from page4d_ros.training.targets import compose, invert, normalise_scene, targets

TOLERANCE = 1e-5


def close(got, wanted):
    return abs(float(got) - float(wanted)) <= TOLERANCE


@pytest.fixture(params=parity_params('train_eval/losses*.npz'))
def case(request):
    return parity.read(request.param)


@pytest.fixture(params=parity_params('train_eval/scene_normalisation*.npz'))
def scene(request):
    return parity.read(request.param)


def all_losses(case):
    """Every number of the fixture, by its name there."""
    # The fixture's own gt_pose_enc is what its cameras were made of: its quaternions have any
    # length. The answer that was compared with is encoded anew from the cameras.
    gt = encode_pose(case['extrinsics'], case['intrinsics'], case['depths'].shape[-2:])
    camera = camera_loss(case['pred_pose_enc_list'], gt, case['point_masks'])
    depth = depth_loss(
        case['pred_depth'][..., 0], case['pred_depth_conf'], case['depths'], case['point_masks']
    )
    points = point_loss(
        case['pred_world_points'],
        case['pred_world_points_conf'],
        case['world_points'],
        case['point_masks'],
    )
    total = 5 * camera['camera'] + sum(depth.values()) + sum(points.values())
    out = {
        'loss_camera': camera['camera'],
        'loss_T': camera['translation'],
        'loss_R': camera['rotation'],
        'loss_FL': camera['field_of_view'],
        'objective': total,
    }
    for name, parts in (('depth', depth), ('point', points)):
        out[f'loss_reg_{name}'] = parts['regression']
        out[f'loss_conf_{name}'] = parts['confidence']
        out[f'loss_grad_{name}'] = parts['gradient']
    return out


def wrong(case):
    return {
        name for name, value in all_losses(case).items() if not close(value, case[f'out_{name}'])
    }


def test_losses_are_the_published_ones(case):
    assert wrong(case) == set()
    assert {f'out_{name}' for name in all_losses(case)} == {
        k for k in case if k.startswith('out_')
    }


@pytest.mark.parametrize(
    ('name', 'value', 'hurt'),
    [
        ('ITERATION_DECAY', 1.0, {'loss_camera', 'loss_T', 'loss_R', 'loss_FL'}),
        ('FIELD_OF_VIEW_WEIGHT', 1.0, {'loss_camera'}),
        ('QUANTILE', 1.0, {'loss_reg_depth', 'loss_conf_point'}),
        ('ENOUGH', 10**9, {'loss_reg_depth', 'loss_conf_depth', 'loss_reg_point'}),
        ('MIN_VALID', 10**9, {'loss_T', 'loss_reg_depth', 'loss_grad_point'}),
    ],
)
def test_a_mistake_in_a_constant_shows(case, monkeypatch, name, value, hurt):
    monkeypatch.setattr(losses, name, value)
    assert hurt | {'objective'} <= wrong(case)


def test_a_mistake_in_a_formula_shows(case, monkeypatch):
    whole = {
        'gradient_loss': lambda p, g, v: original['gradient_loss'](p, g, torch.ones_like(v)),
        'normal_loss': lambda p, g, v: original['normal_loss'](p, g, torch.ones_like(v)),
        'dense_loss': lambda *a, gamma, alpha: original['dense_loss'](
            *a, gamma=alpha, alpha=gamma
        ),
    }
    hurt = {
        'gradient_loss': {'loss_grad_depth'},
        'normal_loss': {'loss_grad_point'},
        'dense_loss': {'loss_conf_depth', 'loss_conf_point'},
    }
    original = {name: getattr(losses, name) for name in whole}
    for name, mistaken in whole.items():
        with monkeypatch.context() as patch:
            patch.setattr(losses, name, mistaken)
            assert wrong(case) == hurt[name] | {'objective'}


def test_pose_is_encoded_at_the_size_of_the_images(case):
    height, width = case['depths'].shape[-2:]
    right, mistaken = (
        encode_pose(case['extrinsics'], case['intrinsics'], size)
        for size in ((height, width), (width, height))
    )
    parity.assert_close(right[..., 7:], case['gt_pose_enc'][..., 7:], TOLERANCE)
    assert (mistaken - right)[..., 7:].abs().max() > 0.01
    gt = torch.nn.functional.normalize(case['gt_pose_enc'][..., 3:7], dim=-1)
    parity.assert_close(right[..., 3:7], gt, TOLERANCE)


def normalised(scene, valid=None, extrinsics=None):
    return normalise_scene(
        scene['extrinsics'] if extrinsics is None else extrinsics,
        scene['world_points'],
        scene['depths'],
        scene['point_masks'] if valid is None else valid,
    )


def test_scene_normalisation_is_the_published_one(scene):
    extrinsics, points, depth, unit = normalised(scene)
    parity.assert_close(extrinsics, scene['out_extrinsics'], TOLERANCE)
    parity.assert_close(points, scene['out_world_points'], TOLERANCE)
    parity.assert_close(depth, scene['out_depths'], TOLERANCE)
    in_camera = scene['cam_points'] / unit[:, None, None, None, None]
    parity.assert_close(in_camera, scene['out_cam_points'], TOLERANCE)


def test_a_mistake_in_the_target_frame_shows(scene):
    everywhere = normalised(scene, valid=torch.ones_like(scene['point_masks']))
    other_origin = normalised(scene, extrinsics=scene['extrinsics'].flip(1))
    for found in (everywhere, other_origin):
        assert (found[1] - scene['out_world_points']).abs().max() > 0.01


def test_compose_and_invert():
    a, b = random_batch(1, 5).extrinsics, random_batch(1, 5, seed=1).extrinsics
    identity = torch.eye(3, 4).expand_as(a)
    torch.testing.assert_close(compose(a, invert(a)), identity, atol=1e-6, rtol=0)
    torch.testing.assert_close(compose(invert(b), invert(a)), invert(compose(a, b)))
    four = [torch.cat([x, torch.tensor([[0.0, 0, 0, 1]]).expand(1, 5, 1, 4)], -2) for x in (a, b)]
    torch.testing.assert_close(compose(a, b), (four[0] @ four[1])[..., :3, :])


def test_targets_in_both_frames():
    batch = random_batch(2, 3, known=0.5)
    scene, first = targets(batch, 'scene'), targets(batch, 'first_camera')
    assert torch.equal(scene.valid, batch.depth > 0)
    assert torch.equal(scene.depth, batch.depth)
    torch.testing.assert_close(first.extrinsics[:, 0], torch.eye(3, 4).expand(2, 3, 4))
    distance = first.world_points.norm(dim=-1)
    mean = (distance * first.valid).sum((1, 2, 3)) / first.valid.sum((1, 2, 3))
    torch.testing.assert_close(mean, torch.ones(2), atol=1e-4, rtol=0)
    # its own cameras see its own depth at its own points
    again = unproject(first.depth, first.extrinsics, first.intrinsics)
    known = first.valid
    torch.testing.assert_close(again[known], first.world_points[known], atol=1e-5, rtol=0)


def as_prediction(extrinsics, intrinsics, iterations=2):
    return encode_pose(extrinsics, intrinsics, (28, 42)).expand(iterations, -1, -1, -1)


def test_relative_loss_does_not_know_the_frame():
    batch = random_batch(2, 4)
    pose = as_prediction(batch.extrinsics, batch.intrinsics)
    assert float(relative_loss(pose, batch.extrinsics)) < 1e-6
    elsewhere = compose(batch.extrinsics, random_batch(2, 1, seed=7).extrinsics)
    moved = as_prediction(elsewhere, batch.intrinsics)
    assert (moved - pose).abs().max() > 0.1
    assert float(relative_loss(moved, batch.extrinsics)) < 1e-6
    flipped = pose.clone()
    flipped[..., 3:7] *= -1
    assert float(relative_loss(flipped, batch.extrinsics)) < 1e-6


def test_relative_loss_grows_with_the_error():
    batch = random_batch(2, 4)
    found = []
    for error in (0.0, 0.05, 0.1, 0.2):
        pose = as_prediction(batch.extrinsics, batch.intrinsics).clone()
        pose[:, :, 1, 0] += error
        found.append(float(relative_loss(pose, batch.extrinsics)))
    assert found == sorted(found)
    assert found[1] > 1e-3
    assert float(relative_loss(pose[:, :, :1], batch.extrinsics[:, :1])) == 0.0


def test_either_sign_of_a_quaternion_is_the_answer():
    batch = random_batch(2, 2)
    valid = torch.ones(2, 2, 28, 42, dtype=torch.bool)
    gt = encode_pose(batch.extrinsics, batch.intrinsics, (28, 42))
    flipped = gt.clone()
    flipped[:, 1, 3:7] *= -1
    pred = flipped.expand(2, -1, -1, -1)
    assert float(camera_loss(pred, gt, valid, either_sign=True)['rotation']) == 0.0
    assert float(camera_loss(pred, gt, valid)['rotation']) > 0.1


def test_a_token_that_encodes_the_camera_has_no_loss():
    answer = targets(random_batch(2, 3), 'scene')
    T_world_camera = invert(answer.extrinsics)
    right, _, forward, centre = T_world_camera.unbind(-1)
    known = torch.cat([centre / 2, right, forward], dim=-1)
    assert float(camera_token_loss([known, known], answer, 2.0)) < 1e-6
    wrong = camera_token_loss([known, known + 0.1], answer, 2.0)
    assert float(wrong) == pytest.approx(0.05, rel=1e-4)


def test_no_window_drowns_the_others():
    gradient = torch.ones(3, 2, 4) * torch.tensor([1.0, 2.0, 100.0])[:, None, None]
    limited = limit_windows(gradient)
    assert torch.equal(limited[:2], gradient[:2])
    assert float(limited[2].norm()) == pytest.approx(3 * float(gradient[1].norm()))


def test_few_known_pixels_teach_nothing():
    batch = random_batch(1, 2)
    valid = torch.zeros(1, 2, 28, 42, dtype=torch.bool)
    pose = as_prediction(batch.extrinsics + 1, batch.intrinsics).requires_grad_()
    assert camera_loss(pose, pose[0].detach() + 1, valid)['camera'].item() == 0.0
    depth = batch.depth.clone().requires_grad_()
    parts = depth_loss(depth, 1 + batch.depth, batch.depth + 1, valid)
    assert {value.item() for value in parts.values()} == {0.0}
    sum(parts.values()).backward()
    assert not depth.grad.any()
    dense = dense_loss(batch.depth, batch.depth, batch.depth, valid, gamma=1, alpha=1)
    assert float(dense['regression']) == 0.0


def test_unknown_motion_and_places_teach_nothing():
    score = torch.rand(1, 2, 2, 3, requires_grad=True)
    unknown = torch.full((1, 2, 2, 3), torch.nan)
    assert motion_loss(score - 0.5, unknown).item() == 0.0
    some = unknown.clone()
    some[0, 0] = 1.0
    assert motion_loss(score * 0 - 0.4, some).item() == pytest.approx(-torch.tensor(0.9).log())
    answer = targets(random_batch(1, 2, known=0.0), 'scene')
    predictions = (torch.rand(1, 2, 6, 3, requires_grad=True),) * 2
    loss = coordinate_loss(predictions, answer, (2, 3), 1.0)
    loss.backward()
    assert loss.item() == 0.0
    assert torch.equal(predictions[0].grad, torch.zeros_like(predictions[0]))
