"""`page4d train` and `page4d shards-from`, as somebody types them."""

import json
import signal
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch
import training_cases as cases
from bags_helpers import (
    MAKE,
    START_NS,
    STEP_NS,
    camera_info,
    camera_messages,
    head,
    stamps,
    write_bag,
)
from fakes import CAMERA, pose_at, room_depth
from ruamel.yaml import YAML
from typer.testing import CliRunner

from page4d_ros.bags import ground_truth
from page4d_ros.bags.reader import open_bag
from page4d_ros.cli import app
from page4d_ros.commands.show import SAMPLE
from page4d_ros.commands.train import _recipe_file
from page4d_ros.datasets.bag_index import BagIndex, Track, depth_of, mask_of
from page4d_ros.datasets.bag_truth import BagTruth
from page4d_ros.datasets.pose_interpolation import pose_at as track_pose
from page4d_ros.geometry.poses import inverse, transform
from page4d_ros.messages import encode
from page4d_ros.model.checkpoint import load_network
from page4d_ros.model.pose_encoding import unproject
from page4d_ros.perception.base_frame import FORWARD
from page4d_ros.training.recipe import DataConfig
from page4d_ros.training.trainer import Trainer
from page4d_ros.training.window_sampling import find_shards, make_views
from page4d_ros.units import NS_PER_S


def page4d(*words):
    return CliRunner().invoke(app, [str(word) for word in words])


@pytest.fixture
def recipe(files, watched, tmp_path):
    path = tmp_path / 'recipe.yaml'
    tree = cases.micro_tree(files)
    tree['data']['validation'] = watched
    YAML(typ='safe').dump(tree, path)
    return path


def metrics(folder):
    return [json.loads(line) for line in (folder / 'metrics.jsonl').read_text().splitlines()]


def test_train_to_the_end_and_on(recipe, tmp_path):
    run = tmp_path / 'run'
    done = page4d(
        'train', recipe, '-o', run, '--device', 'cpu', '--threads', torch.get_num_threads()
    )
    assert done.exit_code == 0, done.output
    assert 'step       4 of 4' in done.stdout
    assert 'abs_rel' in done.stdout
    assert f'weights    {run / "network.safetensors"}' in done.stdout
    assert 'page4d: evaluation: abs_rel' in done.stderr
    load_network(run / 'network.safetensors')
    assert [line['step'] for line in metrics(run)] == [0, 2, 4, 4]
    assert (run / 'tensorboard').is_dir() == (find_spec('tensorboard') is not None)

    again = page4d('train', recipe, '-o', run)
    assert again.exit_code == 0
    assert 'all its steps are done; more need --set steps=N' in again.stderr
    assert 'abs_rel' in again.stdout
    more = page4d('train', recipe, '-o', run, '--set', 'steps=5')
    assert f'{run} goes on after step 4 of 5' in more.stderr
    assert 'step       5 of 5' in more.stdout
    assert [line['step'] for line in metrics(run)] == [0, 2, 4, 4, 5, 5]


def test_ctrl_c_saves_and_says_how_to_go_on(recipe, tmp_path, monkeypatch):
    step = Trainer.train_step

    def interrupted(self, batch):
        if self.step == 2:
            signal.raise_signal(signal.SIGINT)
        return step(self, batch)

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, 'train_step', interrupted)
        done = page4d('train', recipe, '-o', tmp_path / 'run')
    assert done.exit_code == 130
    assert 'step       3 of 4' in done.stdout
    assert 'everything is saved, and the same command goes on' in done.stderr
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    assert page4d('train', recipe, '-o', tmp_path / 'run').exit_code == 0
    assert page4d('train', recipe, '-o', tmp_path / 'whole').exit_code == 0
    one, other = (
        load_network(tmp_path / name / 'network.safetensors').state_dict()
        for name in ('run', 'whole')
    )
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_without_tensorboard_it_says_so_once(recipe, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, 'torch.utils.tensorboard', None)
    done = page4d('train', recipe, '-o', tmp_path / 'run', '--set', 'data.validation=')
    assert done.exit_code == 0, done.output
    assert done.stderr.count('TensorBoard') == 1


@pytest.mark.parametrize(
    ('words', 'message'),
    [
        (['missing.yaml'], 'missing.yaml: no such file'),
        (
            ['huge'],
            "no recipe 'huge'; there are distill, finetune, places, small, tiny, tiny_poses",
        ),
        (['tiny', '--set', 'loss.rain=1'], "unknown setting 'loss.rain'"),
        (['tiny', '--set', 'steps'], 'expected NAME=VALUE'),
        (['tiny', '--device', 'toaster'], '--device toaster: take auto'),
        (['tiny', '--device', 'cuda:99'], 'there is no such GPU'),
        (['tiny', '--set', 'data.train=nowhere'], 'nowhere: no shards'),
        (['finetune', '--set', 'weights=none.pt'], 'none.pt: no such weight file'),
    ],
)
def test_mistakes_are_one_line(tmp_path, words, message):
    done = page4d('train', *words, '-o', tmp_path / 'run')
    assert done.exit_code == 1, done.output
    assert message in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


def test_shipped_recipes_have_names(tmp_path, monkeypatch):
    assert _recipe_file('tiny').is_file()
    assert _recipe_file('finetune').is_file()
    monkeypatch.chdir(tmp_path)
    Path('own').write_text('')
    assert _recipe_file('own') == Path('own')


def test_an_installation_holds_the_recipes(tmp_path):
    root = Path(__file__).parents[2]
    code = (
        'from setuptools.dist import Distribution\nfrom distutils.core import run_setup\n'
        'dist = run_setup("setup.py", stop_after="init")\n'
        'print([f for _, files in dist.data_files for f in files])'
    )
    done = subprocess.run(
        [sys.executable, '-c', code], capture_output=True, text=True, check=True, cwd=root
    )
    found = done.stdout
    for path in (
        'config/training/tiny.yaml',
        'config/training/finetune.yaml',
        'config/perception.yaml',
    ):
        assert path in found
    assert "'config/training'" not in found  # a folder would end the installation
    assert 'install(DIRECTORY launch config ' in (root / 'CMakeLists.txt').read_text()


@pytest.fixture(scope='module')
def sample(tmp_path_factory):
    folder = tmp_path_factory.mktemp('sample')
    done = page4d('shards-from', SAMPLE, '-o', folder)
    assert done.exit_code == 0, done.output
    assert done.stdout == f'{folder}: 3 shards of 20 frames, 320x240 pixels\n'
    return find_shards(folder)


def test_shards_hold_what_the_recording_holds(sample):
    with open_bag(SAMPLE) as bag:
        log = BagIndex(bag)
        depths = dict(log.decoded(ground_truth.DEPTH, depth_of))
        masks = dict(log.decoded(ground_truth.MASK, mask_of))
        track = log.tracks[ground_truth.ODOMETRY]
        T_base_camera = log.transforms.lookup('base_link', ground_truth.CAMERA)
    assert [(s.frames, s.masked, s.room_seed) for s in sample] == [(20, True, -1)] * 3
    for index in (0, 25, 59):
        shard = sample[index // 20]
        (frame,) = shard.read(np.array([index % 20]))
        stamp = int(track.stamps[index])
        np.testing.assert_allclose(frame.depth, depths[stamp], rtol=1e-3)
        np.testing.assert_array_equal(frame.mask, masks[stamp])
        wanted = track.poses[index] @ T_base_camera
        np.testing.assert_allclose(frame.T_world_camera, wanted, atol=1e-5)
    masks = [frame.mask.view(np.uint8) for s in sample for frame in s.read(np.arange(20))]
    assert np.max(masks) == 1  # not 255


def test_views_of_a_recording_see_the_same_room(sample):
    """Depth of one view, moved by the poses, is the depth of another where nothing moves."""
    config = DataConfig(width=112, height=84, fov_x_deg=55)
    views = make_views(sample[0], np.array([0, 6]), config, 14, np.random.default_rng(0))
    _, depth, extrinsics, K = (torch.from_numpy(view).double() for view in views[:4])
    points = unproject(depth[:1], extrinsics[:1], K[:1])[0]
    seen = points @ extrinsics[1, :, :3].T + extrinsics[1, :, 3]
    uv = (seen @ K[1].T)[..., :2] / seen[..., 2:]
    u, v = uv.round().long().unbind(-1)
    inside = (u >= 0) & (u < 112) & (v >= 0) & (v < 84) & (depth[0] > 0)
    other = depth[1][v[inside], u[inside]]
    error = (other - seen[..., 2][inside]).abs() / other
    assert inside.float().mean() > 0.5
    assert error.median() < 0.01


def test_shards_can_be_small_and_thinned_out(tmp_path):
    words = ('shards-from', SAMPLE, '-o', tmp_path, '--width', 160, '--frames', 8, '--stride', 3)
    done = page4d(*words)
    assert done.stdout == f'{tmp_path}: 2 shards of 8 frames, 160x120 pixels\n'
    assert 'the last 4 images: fewer than 8' in done.stderr
    shard = find_shards(tmp_path)[0]
    assert shard.path.name == 'sample_room_0000.safetensors'
    assert (shard.camera.height, shard.camera.width) == (120, 160)
    assert shard.camera.cx == pytest.approx(79.5, abs=0.01)  # the middle stays the middle
    refused = page4d(*words)
    assert refused.exit_code == 1
    assert 'add --force' in refused.stderr
    assert page4d(*words, '--frames', 16, '--force').exit_code == 0
    assert [s.frames for s in find_shards(tmp_path)] == [16]


def poses(count, every=1, mount=FORWARD):
    out = []
    for index, stamp in enumerate(stamps(count)):
        if index % every == 0:
            T = pose_at((stamp - START_NS) / NS_PER_S) @ inverse(mount)
            odometry = encode.odometry(
                MAKE,
                head(stamp, 'world'),
                'base_link',
                encode.pose(MAKE, T),
                np.zeros(6),
                np.ones((2, 6, 6)),
            )
            out.append(('/ground_truth/odom', stamp, odometry))
    return out


def depths(count, late_ns=0, topic=ground_truth.DEPTH):
    out = []
    for stamp in stamps(count):
        metres = room_depth(pose_at((stamp - START_NS) / NS_PER_S), CAMERA)
        message = ground_truth.depth(MAKE, head(stamp + late_ns), metres)
        out.append((topic, stamp + late_ns, message))
    return out


def bag_of(folder, *messages):
    return write_bag(folder / 'drive', 'mcap', sorted(messages, key=lambda m: m[1]))


MOUNTED = transform(np.eye(3), (0.2, 0.0, 1.2)) @ FORWARD  # of camera_messages


def test_a_recording_without_masks_and_with_fewer_poses(tmp_path):
    """Depth is 5 ms late, and poses are interpolated: every second one is there."""
    bag = bag_of(
        tmp_path,
        *camera_messages(9),
        *depths(9, late_ns=5_000_000),
        *poses(9, every=2, mount=MOUNTED),
    )
    done = page4d('shards-from', bag, '-o', tmp_path / 'out', '--frames', 4)
    assert done.exit_code == 0, done.output
    assert 'no masks: what moves is unknown' in done.stderr
    shard = find_shards(tmp_path / 'out')[0]
    assert not shard.masked
    frames = shard.read(np.arange(4))
    for index, frame in enumerate(frames):
        wanted = pose_at(index * STEP_NS / NS_PER_S)
        # 0.2 s between poses bend the path by less than 5 mm
        np.testing.assert_allclose(frame.T_world_camera, wanted, atol=0.006)
        np.testing.assert_allclose(frame.depth, room_depth(wanted, CAMERA), rtol=2e-3)
    np.testing.assert_allclose(frames[2].T_world_camera, pose_at(0.2), atol=1e-5)


def test_pictures_without_truth_are_left_out(tmp_path):
    bag = bag_of(tmp_path, *camera_messages(8), *depths(6), *poses(5, mount=MOUNTED))
    done = page4d('shards-from', bag, '-o', tmp_path / 'out', '--frames', 3)
    assert '3 images: no pose' in done.stderr
    assert done.stdout.startswith(f'{tmp_path / "out"}: 1 shards of 3 frames')
    few = page4d('shards-from', bag, '-o', tmp_path / 'few')
    assert few.exit_code == 1
    assert 'not enough images with depth and pose for one shard' in few.stderr


@pytest.mark.parametrize(
    ('messages', 'words', 'message'),
    [
        ([*camera_messages(3), *poses(3)], [], 'no depth on /ground_truth/depth/compressed'),
        ([*camera_messages(3), *depths(3)], [], 'no poses on /ground_truth/odom'),
        (
            [*camera_messages(3), *depths(3), *poses(3)],
            ['--odom-topic', 'vio'],
            'no poses on /vio; those that it has are on /ground_truth/odom',
        ),
        (
            [m for m in camera_messages(3) if m[0] != '/tf_static'] + depths(3) + poses(3),
            [],
            "no transform from 'base_link' to 'camera'",
        ),
        (
            [m for m in camera_messages(3) if 'info' not in m[0]] + depths(3) + poses(3),
            [],
            'no calibration on /camera/camera_info',
        ),
        (
            [*camera_messages(3, width=32, height=24), *depths(3), *poses(3)],
            ['--frames', '2'],
            'images of 32x24 pixels, camera_info of 64x48',
        ),
    ],
)
def test_what_a_recording_lacks_is_one_line(tmp_path, messages, words, message):
    bag = bag_of(tmp_path, *messages)
    done = page4d('shards-from', bag, '-o', tmp_path / 'out', *words)
    assert done.exit_code == 1
    assert message in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert not (tmp_path / 'out').exists()


def test_lens_distortion_is_removed_from_all(tmp_path):
    """Depth follows the image: both are sampled at the same places."""
    info = camera_info(START_NS)
    info.d = MAKE.sequence(np.array([0.1, -0.05, 0.001, 0.0, 0.0]))
    pictures = [m for m in camera_messages(3) if 'info' not in m[0]]
    bag = bag_of(
        tmp_path,
        ('/camera/camera_info', START_NS, info),
        *pictures,
        *depths(3),
        *poses(3, mount=MOUNTED),
    )
    with open_bag(bag) as opened:
        truth = BagTruth(BagIndex(opened), complete=True)
        frame = next(truth.read(truth.matches()))
        known = truth._calibration
        depth = dict(BagIndex(opened).decoded(ground_truth.DEPTH, depth_of))[frame.stamp_ns]
    smooth = known.rectify(
        np.nan_to_num(depth)
    )  # the plane's depth is smooth, so blending is fair
    inside = np.isfinite(frame.depth)
    assert 0.9 < inside.mean() <= 1.0
    np.testing.assert_allclose(frame.depth[inside][50:], smooth[inside][50:], rtol=0.05)
    assert np.abs(frame.depth - depth)[inside].max() > 0.01


def test_poses_are_interpolated_only_between_close_ones():
    stamps_ = np.array([0, NS_PER_S // 10, NS_PER_S], np.int64)
    track = Track('world', 'camera', stamps_, np.stack([pose_at(s / NS_PER_S) for s in stamps_]))
    np.testing.assert_array_equal(track_pose(track, 0), pose_at(0))
    np.testing.assert_array_equal(track_pose(track, NS_PER_S), pose_at(1))
    np.testing.assert_allclose(track_pose(track, NS_PER_S // 20), pose_at(0.05), atol=1e-3)
    assert track_pose(track, NS_PER_S // 2) is None
    assert track_pose(track, -1) is track_pose(track, NS_PER_S + 1) is None


def test_own_data_fine_tunes_a_network(sample, watched, tmp_path):
    """End to end: a recording, its shards, the finetune preset by name, weights to use."""
    weights = cases.save_micro(tmp_path / 'standin.safetensors', cases.STANDIN)
    folder = sample[0].path.parent
    values = {
        'weights': weights,
        'steps': 1,
        'data.train': folder,
        'data.validation': folder,
        'data.width': 56,
        'data.height': 42,
        'data.frames_per_batch': 16,
        'data.workers': 0,
    }
    words = [word for name, value in values.items() for word in ('--set', f'{name}={value}')]
    done = page4d('train', 'finetune', '-o', tmp_path / 'run', *words)
    assert done.exit_code == 0, done.output
    assert 'step       1 of 1' in done.stdout
    assert load_network(tmp_path / 'run' / 'network.safetensors').name == 'page4d-finetuned'
