"""Correspondences with the first view, and the auxiliary losses."""

import pytest
import torch
from training_cases import MICRO

from page4d_ros.errors import TrainingError
from page4d_ros.model.checkpoint import untrained_network
from page4d_ros.training.auxiliary import attention_loss, correspondence_loss
from page4d_ros.training.batch import Batch
from page4d_ros.training.matches import first_view_matches
from page4d_ros.training.objective import Objective, mean_depth
from page4d_ros.training.recipe import LossConfig
from page4d_ros.training.targets import targets

SIZE = 56, 84
GRID = 4, 6
FOCAL, DEPTH = 70.0, 2.0


def shifted(pixels, *, depth=DEPTH):
    """Two views of a wall: the second camera is further right, so that places move left in it."""
    extrinsics = torch.eye(4)[:3].repeat(1, 2, 1, 1)
    extrinsics[0, 1, 0, 3] = -pixels * depth / FOCAL
    K = torch.tensor([[FOCAL, 0, 41.5], [0, FOCAL, 27.5], [0, 0, 1]]).repeat(1, 2, 1, 1)
    images = torch.rand(1, 2, 3, *SIZE, generator=torch.Generator().manual_seed(0))
    dense, patches = torch.ones(1, 2, *SIZE), torch.ones(1, 2, *GRID)
    truth = depth * dense, extrinsics, K, 0 * patches
    return Batch(images, *truth, dense, patches, torch.ones(1, 2))


@pytest.mark.parametrize('frame', ['scene', 'first_camera_metres', 'first_camera'])
def test_a_wall_moves_as_the_camera_does(frame):
    batch = shifted(14.0)
    matches = first_view_matches(targets(batch, frame), batch.motion)
    moved = matches.pixels[0, 0] - matches.centres
    torch.testing.assert_close(moved, torch.tensor([14.0, 0.0]).expand(24, 2), atol=1e-3, rtol=0)
    assert matches.centres[0].tolist() == [7, 7]
    assert matches.centres[-1].tolist() == [77, 49]
    columns = matches.visible.view(*GRID)
    assert columns[:, :5].all()
    assert not columns[:, 5].any()  # the last column has left the first view


def test_what_moves_hides_or_is_unknown_is_no_match():
    batch = shifted(0.0)
    batch.motion[0, 1, 0] = 0.5
    batch.motion[0, 1, 1] = torch.nan
    batch.depth[0, 0, 28:42] = 1.0  # something stands before the third row in the first view
    batch.depth[0, 1, 42:] = 0.0
    seen = first_view_matches(targets(batch, 'scene'), batch.motion).visible.view(*GRID)
    assert [bool(row.all()) for row in seen] == [False, True, False, False]
    assert not seen[[0, 2, 3]].any()


def test_knowing_the_displacement_is_right():
    batch = shifted(14.0)
    matches = first_view_matches(targets(batch, 'scene'), batch.motion)
    right = torch.tensor([14.0 / 84, 0.0]).expand(1, 1, 24, 2)
    assert float(correspondence_loss([right], matches, 84)) < 1e-4
    assert float(correspondence_loss([right, right + 0.1], matches, 84)) == pytest.approx(
        0.05, 1e-3
    )


def test_attention_to_the_true_place_is_right():
    batch = shifted(7.0)  # between two patches
    matches = first_view_matches(targets(batch, 'scene'), batch.motion)
    specials = 5
    logits = torch.full((1, 1, 24, 2 * (24 + specials)), -9.0)
    for patch in range(24):
        there = specials + patch
        logits[..., patch, there] = 0.0
        logits[..., patch, min(there + 1, specials + 23)] = 0.0
    best = float(attention_loss([logits], matches, GRID, SIZE))
    assert float(torch.tensor(2.0).log()) < best < 1.1  # centres are half a pixel off the patches
    elsewhere = torch.roll(logits, 24 + specials, dims=-1)  # the same place in the wrong view
    assert float(attention_loss([elsewhere], matches, GRID, SIZE)) > 5 * best


def test_auxiliary_losses_train_the_blocks_they_read():
    config = LossConfig(
        targets='first_camera_metres',
        camera=0,
        depth=0,
        points=0,
        attention=1.0,
        attention_blocks=(1,),
    )
    network = untrained_network(MICRO)
    objective = Objective(network, config)
    with torch.no_grad():
        network(shifted(3.0).images)  # an evaluation in between is not recorded
    losses = objective(shifted(3.0))
    assert set(losses) == {'attention', 'total'}
    losses['total'].backward()
    blocks = network.aggregator.global_blocks
    assert blocks[1].attn.qkv.weight.grad.abs().max() > 0
    assert blocks[2].attn.qkv.weight.grad is None
    one = Batch(*(column[:, :1] for column in shifted(3.0)))
    with pytest.raises(TrainingError, match='nothing to train'):
        objective(one)
    assert set(objective(shifted(3.0))) == {'attention', 'total'}


def test_attention_in_a_block_that_is_not_there():
    config = LossConfig(attention=1.0, attention_blocks=(1, 4))
    with pytest.raises(
        TrainingError, match=r'attention_blocks \(1, 4\): the network has 4 blocks'
    ):
        Objective(untrained_network(MICRO), config)


def test_depth_by_window_counts_far_walls_like_near_ones():
    network = untrained_network(MICRO)

    def loss(**values):
        torch.manual_seed(0)
        config = LossConfig(targets='scene', camera=0, points=0, **values)
        return float(Objective(network, config)(shifted(3.0, depth=6.0))['depth'].detach())

    by_window = loss(depth_by_window=True, length_unit=2.0)
    assert by_window == pytest.approx(loss(length_unit=6.0), rel=1e-4)
    assert by_window != pytest.approx(loss(length_unit=2.0), rel=1e-2)


def test_mean_depth_leaves_out_what_is_unknown():
    batch = shifted(3.0)
    batch.depth[0, 0] = 0
    batch.depth[0, 1, :5] = 0
    assert float(mean_depth(targets(batch, 'scene'))) == pytest.approx(DEPTH)
    batch.depth[:] = 0
    assert float(mean_depth(targets(batch, 'scene'))) == 1
