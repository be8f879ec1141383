"""Sets of shards: splits apart, the same bits every time, nothing mixed, nothing halved."""

import json
import resource
from itertools import combinations

import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import load_file

from page4d_ros.errors import SceneError
from page4d_ros.synthetic.drive import Drive
from page4d_ros.synthetic.options import Rig, ShardFormat, Traffic
from page4d_ros.synthetic.render import SAMPLE_DRIVE_SEED, Renderer, centred_camera
from page4d_ros.synthetic.scene import Scene
from page4d_ros.synthetic.shards import (
    PLACE_RIGS,
    RIGS,
    SHADOW_SIZE,
    SPLIT_SIZE,
    SPLITS,
    TRAFFIC,
    conditions,
    lens,
    render_shards,
    save_shard,
)

TINY = ShardFormat(width=32, height=24, frames=3)
TRAIN = {'split': 'train', 'rooms': [1, 2], 'drives': 2, 'layout': TINY}


def render(folder, **changes):
    return list(render_shards(folder, **TRAIN | changes))


@pytest.fixture(scope='module')
def folder(renderer, tmp_path_factory):
    folder = tmp_path_factory.mktemp('shards') / 'train'
    assert len(render(folder, processes=2)) == 4
    return folder


def facts_of(path):
    with safe_open(path, 'np') as file:
        return json.loads(file.metadata()['shard'])


def test_splits_share_no_drive_with_each_other_nor_with_the_sample():
    ranges = {name: range(start, start + SPLIT_SIZE) for name, start in SPLITS.items()}
    assert set(ranges) == {'train', 'validation', 'test'}
    for a, b in combinations(ranges.values(), 2):
        assert a.stop <= b.start or b.stop <= a.start
    assert all(SAMPLE_DRIVE_SEED not in seeds for seeds in ranges.values())


@pytest.mark.parametrize('rigs', [RIGS, PLACE_RIGS])
def test_conditions_come_as_often_as_said(rigs):
    drawn = [conditions(seed, rigs) for seed in range(100_000, 101_000)]
    assert drawn[:5] == [conditions(seed, rigs) for seed in range(100_000, 100_005)]
    for odds, which in ((rigs, 0), (TRAFFIC, 1)):
        assert sum(odds.values()) == pytest.approx(1)
        for kind, share in odds.items():
            found = np.mean([condition[which] is kind for condition in drawn])
            assert found == pytest.approx(share, abs=0.05)
    assert set(TRAFFIC) == set(Traffic)
    assert set(PLACE_RIGS) == set(Rig)


def test_one_process_or_two_give_the_same_bits(folder, tmp_path):
    names = [path.name for path in render(tmp_path, processes=1)]
    assert names == [f'room000{r}_drive10000{d}.safetensors' for d in (0, 1) for r in (1, 2)]
    for name in names:
        assert (tmp_path / name).read_bytes() == (folder / name).read_bytes()


def test_a_shard_holds_its_drive(folder, room):
    path = folder / 'room0001_drive100001.safetensors'
    arrays, facts = load_file(path), facts_of(path)
    rig, traffic = conditions(100_001)
    drive = Drive.draw(room, 100_001, rig=rig, traffic=traffic, seconds=0.3)
    camera = centred_camera(32, 24, 72)
    with Renderer(Scene(room, drive, SHADOW_SIZE), camera) as renderer:
        frames = [renderer.frame(t / 10) for t in range(3)]
    for name, kind in (('rgb', 'u1'), ('depth', 'f2'), ('mask', 'u1'), ('T_world_camera', 'f4')):
        assert arrays[name].dtype == kind
        truth = np.stack([getattr(frame, name) for frame in frames])
        np.testing.assert_array_equal(arrays[name], truth.astype(kind))
    assert len(arrays) == 4
    assert facts == {
        'room_seed': 1,
        'drive_seed': 100_001,
        'rig': rig.value,
        'traffic': traffic.value,
        'rate_hz': 10.0,
        'fx': camera.fx,
        'fy': camera.fy,
        'cx': camera.cx,
        'cy': camera.cy,
    }


def test_each_place_has_drives_of_its_own(renderer, tmp_path):
    layout = TINY._replace(fov_x_deg=0.0)
    for places in (1, 2):  # the second time one more
        rooms = [1, *range(100_000, 100_000 + places)]
        paths = render(tmp_path, rooms=rooms, layout=layout, drives=1, processes=1)
    facts = [facts_of(path) for path in paths]
    drives = [(fact['room_seed'], fact['drive_seed']) for fact in facts]
    assert drives == [(1, 100_000), (100_000, 100_000), (100_001, 100_001)]
    for fact in facts:
        fov = np.degrees(2 * np.arctan(16 / fact['fx']))
        assert fov == pytest.approx(lens(fact['drive_seed']))
    assert all(np.isfinite(load_file(path)['depth']).all() for path in paths)


def test_lenses_from_narrow_to_wide():
    angles = [lens(seed) for seed in range(1000)]
    assert min(angles) < 57
    assert max(angles) > 117
    assert 0.4 < np.mean([65 < angle < 77 for angle in angles]) < 0.7


def test_the_second_time_nothing_is_rendered(folder, monkeypatch):
    before = {path: path.stat().st_mtime_ns for path in folder.iterdir()}
    monkeypatch.setattr('page4d_ros.synthetic.workers.ProcessPoolExecutor', None)
    assert set(render(folder)) == set(before)
    assert len(render(folder, rooms=[2, 2])) == 2
    assert {path: path.stat().st_mtime_ns for path in folder.iterdir()} == before


@pytest.mark.parametrize(
    ('change', 'words'),
    [
        ({'width': 48}, '3 frames of 32x24 pixels and 72 degrees at 10 Hz instead of'),
        ({'height': 32}, '32x32'),
        ({'frames': 4}, '4 frames'),
        ({'rate_hz': 15.0}, '15 Hz'),
        ({'fov_x_deg': 60.0}, '60 degrees'),
    ],
)
def test_another_layout_is_refused(folder, change, words):
    layout = TINY._replace(**change)
    with pytest.raises(SceneError, match=words) as error:
        render_shards(folder, **TRAIN | {'rooms': [3], 'layout': layout})
    assert 'room0001_drive100000.safetensors' in str(error.value)


def test_another_split_is_refused(folder):
    with pytest.raises(SceneError, match=r"drive100000.*no drive of 'test'"):
        render_shards(folder, **TRAIN | {'split': 'test'})


@pytest.mark.parametrize('content', [b'', b'nonsense', b'\x02\0\0\0\0\0\0\0{}'])
def test_a_damaged_shard_is_named(tmp_path, content):
    (tmp_path / 'room0001_drive100000.safetensors').write_bytes(content)
    with pytest.raises(SceneError, match=r'room0001_drive100000.*no shard, or a damaged one'):
        render_shards(tmp_path, **TRAIN)


@pytest.mark.parametrize(
    ('change', 'words'),
    [
        ({'split': 'dev'}, "no split 'dev'; there are train, validation, test"),
        ({'drives': 0}, '0 drives: a split has from 1 to 100000'),
        ({'drives': SPLIT_SIZE + 1}, '100001 drives: a split has from 1 to 100000'),
        ({'rooms': []}, 'no rooms'),
        ({'rooms': [-1]}, 'no rooms'),
        ({'rooms': [200_000]}, "place 200000: 'train' has those from 100000 to 149999"),
        ({'layout': TINY._replace(frames=0)}, 'no shards of 0 frames'),
        ({'layout': TINY._replace(fov_x_deg=180.0)}, '180 degrees'),
    ],
)
def test_what_cannot_be_asked_for(tmp_path, change, words):
    with pytest.raises(SceneError, match=words):
        render_shards(tmp_path / 'none', **TRAIN | change)
    assert not (tmp_path / 'none').exists()


def test_a_drive_without_room_is_left_out(tmp_path, monkeypatch):
    monkeypatch.setattr(
        'page4d_ros.synthetic.shards.in_parallel',
        lambda _, tasks, __: (task.path if task.room_seed == 1 else None for task in tasks),
    )
    assert [path.name[:8] for path in render(tmp_path)] == ['room0001'] * 2


def test_what_is_left_of_an_interrupted_run_goes(tmp_path, monkeypatch):
    def interrupted(_, tasks, __):
        (tmp_path / f'{tasks[1].path.name}.part').touch()
        yield tasks[0].path
        raise KeyboardInterrupt

    monkeypatch.setattr('page4d_ros.synthetic.shards.in_parallel', interrupted)
    with pytest.raises(KeyboardInterrupt):
        render(tmp_path)
    assert not list(tmp_path.iterdir())


def test_save_shard(tmp_path):
    path = tmp_path / 'new' / 'folder' / 'a.b.safetensors'
    strided = np.arange(24, dtype=np.float32).reshape(2, 3, 4).transpose(2, 0, 1)
    arrays = {'strided': strided, 'every_other': strided[:, :, ::2], 'scalar': np.float64(1)}
    save_shard(path, arrays, {'one': 1, 'list': [1.5, 'x']})
    for name, array in load_file(path).items():
        np.testing.assert_array_equal(array, arrays[name])
    assert facts_of(path) == {'one': 1, 'list': [1.5, 'x']}
    assert [entry.name for entry in path.parent.iterdir()] == ['a.b.safetensors']
    (tmp_path / 'plain').touch()
    assert path.stat().st_mode == (tmp_path / 'plain').stat().st_mode


def test_a_full_disk_leaves_the_older_shard(tmp_path):
    path = tmp_path / 'shard.safetensors'
    save_shard(path, {'a': np.zeros(1)}, {})
    before, limits = path.read_bytes(), resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1]))
    try:
        with pytest.raises(SceneError, match=r'shard\.safetensors: cannot be written'):
            save_shard(path, {'a': np.zeros(1000)}, {})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert path.read_bytes() == before
    assert [entry.name for entry in tmp_path.iterdir()] == ['shard.safetensors']


def test_a_file_where_the_folder_should_be(tmp_path):
    (tmp_path / 'file').touch()
    with pytest.raises(SceneError, match='cannot be written'):
        save_shard(tmp_path / 'file' / 'shard.safetensors', {'a': np.zeros(1)}, {})
