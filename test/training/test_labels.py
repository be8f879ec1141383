"""Labels by a teacher, and training on them."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from noisy_teacher import NoisyTeacher, label
from safetensors import safe_open
from scipy.spatial.transform import Rotation
from training_cases import MICRO
from typer.testing import CliRunner

from page4d_ros.bags.replay import OFFLINE, replay
from page4d_ros.cli import app
from page4d_ros.commands.show import SAMPLE
from page4d_ros.config import Config
from page4d_ros.datasets.bag import read
from page4d_ros.geometry.poses import inverse
from page4d_ros.model.checkpoint import load_network, save_network, untrained_network
from page4d_ros.perception.types import NETWORK, NOTHING, POINTS
from page4d_ros.synthetic.shards import recording_shard, recording_shards
from page4d_ros.training.labels import HELD_OUT, LabelShards, distrust
from page4d_ros.training.losses import camera_loss, depth_loss
from page4d_ros.training.objective import motion_loss, relative_loss
from page4d_ros.training.recipe import DataConfig
from page4d_ros.training.window_sampling import WindowDataset, find_shards, make_views

SETTINGS = ['--set', 'window.size=4', '--set', 'scale.mode=fixed']


def page4d(*words):
    return CliRunner().invoke(app, [str(word) for word in words])


@pytest.fixture(scope='module')
def labelled(tmp_path_factory):
    """Labels of the sample drive by page4d-small, and what the command said."""
    folder = tmp_path_factory.mktemp('labels')
    done = page4d('label', SAMPLE, '-o', folder, '--hold-out', 0.3, *SETTINGS)
    assert done.exit_code == 0, done.output
    return folder, done.stdout


@pytest.fixture(scope='module')
def estimates(tmp_path_factory):
    """What the teacher estimates of the sample's first frames."""
    config = Config().with_values(OFFLINE | {'window.size': 4})
    found = []
    output = tmp_path_factory.mktemp('replay') / 'out'
    replay(
        SAMPLE, output, config, topics=['odom'], seen=found.append,
        stopped=lambda: len(found) >= 14,
    )  # fmt: skip
    return found


def test_labels_are_near_the_truth(labelled):
    folder, said = labelled
    shards = find_shards(folder)
    assert [s.frames for s in shards] == [20, 20]
    assert len(find_shards(folder / HELD_OUT)) == 1
    assert 'in 3 shards, 1 of them held out' in said
    assert '1 one frame in the window' in said
    truth = {f.stamp_ns: f for f in read(SAMPLE, complete=True).frames()}
    with safe_open(shards[0].path, 'np') as file:
        first = json.loads(file.metadata()['shard'])['stamp_ns']
    start = sorted(truth).index(first)
    frames = [truth[stamp] for stamp in sorted(truth)[start : start + 20]]
    labels = shards[0].read(np.arange(20))
    weights, _, pose_weights = shards[0].read_weights(np.arange(20))
    assert (pose_weights == 1).all()
    assert 0.3 < weights.mean() < 1
    for k in (5, 19):
        T = inverse(labels[0].T_world_camera) @ labels[k].T_world_camera
        known = inverse(frames[0].T_world_camera) @ frames[k].T_world_camera
        turn = Rotation.from_matrix(T[:3, :3].T @ known[:3, :3]).magnitude()
        assert np.degrees(turn) < 0.5
        # the label shows what the frame shows: its depth, pixel by pixel
        by = frames[k].rgb.shape[1] / labels[k].rgb.shape[1]
        v, u = np.nonzero(labels[k].depth > 0)
        at = np.rint((np.stack([u, v]) + 0.5) * by - 0.5).astype(int)
        ratio = labels[k].depth[v, u] / frames[k].depth[at[1], at[0]]
        assert np.nanmedian(np.abs(ratio / np.nanmedian(ratio) - 1)) < 0.05
        grey = frames[k].rgb[at[1], at[0]].mean(1)
        assert np.corrcoef(labels[k].rgb[v, u].mean(1), grey)[0, 1] > 0.95
    assert labels[0].camera.fx == pytest.approx(frames[0].camera.fx / by, rel=1e-3)
    assert labels[0].camera.cx == pytest.approx((frames[0].camera.cx + 0.5) / by - 0.5, abs=0.1)


def test_distil_says_before_and_after_and_from_what(labelled, tmp_path):
    folder, _ = labelled
    student = tmp_path / 'student.safetensors'
    save_network(untrained_network(MICRO), student, name='student')
    done = page4d(
        'train', 'distill', '-o', tmp_path / 'run',
        *(w for v in (
            f'data.train={folder}', f'data.validation={folder / HELD_OUT}',
            f'data.rehearsal={folder / HELD_OUT}', f'weights={student}', 'steps=3',
            'data.frames_per_batch=8', 'data.workers=0',
        ) for w in ('--set', v)),
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    (row,) = (line for line in done.stdout.splitlines() if line.startswith('abs_rel'))
    assert '->' in row
    path = tmp_path / 'run' / 'network.safetensors'
    with safe_open(path, 'np') as file:
        assert json.loads(file.metadata()['taught']) == ['sample_room by page4d-small']
    assert load_network(path).purpose == 'the places of the recordings that it was taught from'


@pytest.fixture(scope='module')
def noisy(tmp_path_factory):
    """Labels of the sample drive by a teacher that errs everywhere, and their folder."""
    folder = tmp_path_factory.mktemp('noisy')
    return label(SAMPLE, folder, window__size=4), folder


def test_a_teacher_that_errs_says_so_in_part(noisy):
    shards, folder = noisy
    assert shards.kept >= 40
    truth = {f.stamp_ns: f for f in read(SAMPLE, complete=True).frames()}
    errors, weights, agreed = [], [], []
    for shard in find_shards(folder):
        with safe_open(shard.path, 'np') as file:
            known = truth[json.loads(file.metadata()['shard'])['stamp_ns']]  # its first frame
        (labels,) = shard.read(np.zeros(1, int))
        sure, _, _ = shard.read_weights(np.zeros(1, int))
        v, u = np.nonzero(labels.depth > 0)
        ratio = labels.depth[v, u] / known.depth[::2, ::2][v, u]
        errors.append(np.abs(ratio / np.nanmedian(ratio) - 1))
        weights.append(sure[0, v, u])
        agreed.append(labels.mask[v, u] == known.mask[::2, ::2][v, u])
    error, weight = np.concatenate(errors), np.concatenate(weights)
    assert 0.02 < np.nanmean(error) < 0.15
    assert 0.1 < weight.mean() < 0.9
    trusted = weight > np.median(weight)
    assert np.nanmean(error[trusted]) < 0.8 * np.nanmean(error[~trusted])
    assert 0.7 < np.concatenate(agreed).mean() < 1


def test_what_such_a_teacher_says_can_be_learnt_from(noisy, tmp_path):
    _, folder = noisy
    student = tmp_path / 'student.safetensors'
    save_network(untrained_network(MICRO), student, name='student')
    run = tmp_path / 'run'
    done = page4d(
        'train', 'distill', '-o', run,
        *(w for v in (
            f'data.train={folder}', f'data.validation={folder}', f'weights={student}', 'steps=6',
            'data.frames_per_batch=8', 'data.workers=0',
        ) for w in ('--set', v)),
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    rows = [json.loads(line) for line in (run / 'metrics.jsonl').read_text().splitlines()]
    before, after = (row['abs_rel'] for row in rows if 'abs_rel' in row)
    assert np.isfinite([before, after]).all()
    assert before != after
    with safe_open(run / 'network.safetensors', 'np') as file:
        taught = json.loads(file.metadata()['taught'])
    assert taught == [f'sample_room by {NoisyTeacher.name}']


def test_weights_of_the_labels_reach_the_batch(labelled):
    shard = find_shards(labelled[0])[0]
    config = DataConfig(fov_x_deg=0, turn_deg=2.0)
    *_, depth, motion, pose = make_views(shard, np.arange(4), config, 14, None)
    assert (depth.shape, motion.shape, pose.shape) == ((4, 84, 112), (4, 6, 8), (4,))
    raw, _, _ = shard.read_weights(np.arange(4))
    assert depth.mean() == pytest.approx(raw.mean(), abs=0.05)
    assert depth.std() > 0.05


def test_rehearsal_has_its_share(labelled):
    folder, _ = labelled
    own, other = find_shards(folder), find_shards(folder / HELD_OUT)
    config = DataConfig(fov_x_deg=0, window_sizes={1: 1.0}, frames_per_batch=1)
    for share in (0.0, 1.0):
        drawn = []
        data = WindowDataset(
            own, replace(config, rehearsal_share=share), 14, 0, 9, rehearsed=_Noting(other, drawn)
        )
        for index in range(9):
            data[index]
        assert len(drawn) == 9 * share


class _Noting(list):
    """Shards that note when one is drawn."""

    def __init__(self, shards, drawn):
        super().__init__(shards)
        self.drawn = drawn

    def __getitem__(self, index):
        self.drawn.append(index)
        return super().__getitem__(index)


@pytest.mark.parametrize(
    ('change', 'reason'),
    [
        ({}, ''),
        ({'lost': True}, 'lost'),
        ({'relies_on': NOTHING}, 'lost'),
        ({'relies_on': POINTS, 'network_trust': 0.0}, ''),
        ({'relies_on': NETWORK, 'network_trust': 0.9}, ''),
        ({'relies_on': NETWORK, 'network_trust': 0.1}, 'network not trusted, and no points'),
    ],
)
def test_frames_that_cannot_be_trusted_are_named(estimates, change, reason):
    estimate = estimates[-1]
    assert distrust(replace(estimate, odometry=replace(estimate.odometry, **change))) == reason


def test_a_lost_pose_ends_a_shard(estimates, tmp_path):
    shards = LabelShards(tmp_path, 'drive', frames=8)
    shards.teacher = 'teacher'
    lost = replace(estimates[6], odometry=replace(estimates[6].odometry, lost=True))
    for estimate in [*estimates[1:6], lost, *estimates[1:10]]:
        shards.add(estimate)
    shards.close()
    assert shards.left_out == {'lost': 1, 'too few in a row': 6}
    assert [s.frames for s in find_shards(tmp_path)] == [8]
    assert find_shards(tmp_path)[0].taught == 'drive by teacher'
    assert shards.hold_out(0.5) == 0  # one has to stay


def test_bad_requests_are_one_line(labelled, tmp_path):
    folder, _ = labelled
    again = page4d('label', SAMPLE, '-o', folder)
    assert 'has labels of sample_room; add --force to replace them' in again.stderr
    alone = page4d('label', SAMPLE, '-o', tmp_path, '--set', 'odometry.estimator=network')
    assert 'nothing would say how far the teacher can be trusted' in alone.stderr
    twice = page4d('label', SAMPLE, SAMPLE, '-o', tmp_path)
    assert 'two recordings are called sample_room' in twice.stderr
    assert {again.exit_code, alone.exit_code, twice.exit_code} == {1}


def test_a_weight_scales_the_loss_of_its_pixel_view_or_patch():
    g = torch.Generator().manual_seed(0)
    depth, gt = (1 + torch.rand(1, 2, 28, 28, generator=g) for _ in range(2))
    sure = 1 + torch.rand(1, 2, 28, 28, generator=g)
    valid, ones = torch.ones(1, 2, 28, 28, dtype=torch.bool), torch.ones(1, 2, 28, 28)
    plain, same, half = (depth_loss(depth, sure, gt, valid, w) for w in (None, ones, 0.5 * ones))
    for name, value in plain.items():
        assert torch.equal(value, same[name])
        power = 0.25 if name == 'gradient' else 0.5  # the product of two pixels' weights
        torch.testing.assert_close(half[name], power * value)
    left = ones.clone()
    left[..., 14:] = 0
    changed = gt.clone()
    changed[..., 14:] += 3  # where nothing is known, nothing is asked
    for name, value in depth_loss(depth, sure, gt, valid, left).items():
        torch.testing.assert_close(value, depth_loss(depth, sure, changed, valid, left)[name])

    poses, truth = torch.rand(2, 1, 2, 9, generator=g), torch.rand(1, 2, 9, generator=g)
    first = torch.tensor([[1.0, 0.0]])
    wrong = truth.clone()
    wrong[:, 1] += 1
    one, other = (camera_loss(poses, t, valid, weight=first)['camera'] for t in (truth, wrong))
    assert one == other > 0
    extrinsics = torch.eye(4)[:3].repeat(1, 2, 1, 1)
    assert relative_loss(poses, extrinsics, first) == 0 < relative_loss(poses, extrinsics)
    score, motion = torch.rand(1, 1, 2, 2, generator=g) - 0.5, torch.ones(1, 1, 2, 2)
    one = motion_loss(score, motion, torch.tensor([[[[1.0, 0.0], [0.0, 0.0]]]]))
    torch.testing.assert_close(4 * one, motion_loss(score[..., :1, :1], motion[..., :1, :1]))


def test_shards_of_a_recording_are_its_own(tmp_path):
    mine = [recording_shard(tmp_path, 'drive', number) for number in (0, 12345)]
    for path in (
        *mine,
        recording_shard(tmp_path, 'drive_2', 0),
        recording_shard(tmp_path, 'd', 0),
    ):
        path.touch()
    assert sorted(recording_shards(tmp_path, 'drive')) == mine
