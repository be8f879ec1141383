"""Recordings for Rerun hold what was estimated; they are read back by its own reader."""

import importlib.util
from collections import defaultdict
from types import SimpleNamespace

import cv2
import layouts
import numpy as np
import pytest
from fakes import OracleEngine, frame_set, pose_at
from truth_bags import moving, stamps, write_bag
from typer.testing import CliRunner

from page4d_ros.cli import app
from page4d_ros.config import Config
from page4d_ros.perception.pipeline import Perception

try:
    import rerun as rr
    from rerun.chunk import RrdReader
except ImportError:
    rr = None
with_rerun = pytest.mark.skipif(rr is None, reason='rerun-sdk is not installed: pip install it')
UNTRAINED = '--checkpoint', 'untrained', '--set', 'model.resolution=112'
PLOTS = {'plots/moving/called', 'plots/milliseconds/forward'}
WORLD = {'world/camera', 'world/camera/image', 'world/camera/depth', 'world/camera/moving'} | {
    'world/path', 'world/static', 'world/dynamic', 'world/bodies',
}  # fmt: skip
TRUTH = {'world/truth/camera', 'world/truth/path'} | {
    'truth/depth', 'truth/moving', 'plots/moving/true',
}  # fmt: skip


@pytest.fixture(autouse=True)
def strict():
    if rr is not None:
        rr.set_strict_mode(True)


def read(path):
    """(stamp, columns) of each row, by entity; static ones have no stamp."""
    reader, out = RrdReader(path), defaultdict(list)
    assert len(reader.recordings()) == len(reader.blueprints()) == 1
    for chunk in reader.stream().to_chunks():
        batch = chunk.to_record_batch()
        times = (
            batch.column('stamp').to_numpy(zero_copy_only=False).astype(np.int64).tolist()
            if 'stamp' in batch.schema.names
            else [None] * batch.num_rows
        )
        names = [name for name in batch.schema.names if ':' in name]
        for row, time in enumerate(times):
            values = {name: batch.column(name)[row].as_py() for name in names}
            out[chunk.entity_path.lstrip('/')].append((time, values))
    return {name: sorted(rows, key=lambda r: r[0] or 0) for name, rows in out.items()}


def values_of(rows, name):
    return [np.array(values[name]) for _, values in rows if values.get(name) is not None]


def page4d(*words):
    return CliRunner().invoke(app, [*map(str, words)])


@with_rerun
def test_a_data_set_with_its_truth(tmp_path):
    path, file = write_bag(tmp_path), tmp_path / 'out' / 'drive.rrd'
    words = 'evaluate', 'data', 'bag', path, '-o', tmp_path / 'out', '--rrd', file
    words += *UNTRAINED, '--modes', 'streaming', '--set', 'depth.min_confidence=0.0'
    done = page4d(*words)
    assert done.exit_code == 0, done.output
    assert str(file) in done.stdout
    rows = read(file)
    assert 'world/truth' not in rows  # a straight path cannot be aligned
    for name in PLOTS | WORLD | TRUTH:
        assert {time for time, _ in rows[name]} == set(stamps()), name
    true = values_of(rows['world/truth/camera'], 'Transform3D:translation')
    np.testing.assert_allclose(
        np.concatenate(true), [layouts.pose(i)[:3, 3] for i in range(4)], atol=1e-6
    )
    shares = np.concatenate(values_of(rows['plots/moving/true'], 'Scalars:scalars'))
    np.testing.assert_allclose(shares, [moving(i).mean() for i in range(4)])
    assert 'untrained' in rows['about'][0][1]['TextDocument:text'][0]


@with_rerun
def test_a_known_drive_lies_where_it_was(tmp_path):
    """Poses, clouds and pictures of an engine that tells the truth; then the alignment."""
    from page4d_ros.rrd import RrdWriter

    config = Config().with_values({'depth.max_range': 0.0, 'mask.source': 'head'})
    image = np.full((48, 64, 3), (200, 30, 60), np.uint8)
    perception, known, file = Perception(config, OracleEngine()), [], tmp_path / 'x.rrd'
    with RrdWriter(file, 'x') as writer:
        for index in range(5):
            estimate = perception.process(frame_set(10**9 + index * 10**8, image=image))
            T = pose_at(1 + index / 10)
            known.append((estimate, T))
            writer.add(estimate, SimpleNamespace(T_world_camera=T, depth=None, mask=None))
        scale, R, t = 0.5, T[:3, :3], np.array([1.0, 2.0, 3.0])
        writer.align(SimpleNamespace(rotation=R, translation=t, scale=scale))
    rows = read(file)
    estimate, T = known[-1]
    pose = estimate.odometry.T_world_camera
    camera = rows['world/camera'][-2:]
    (at,) = values_of(camera, 'Transform3D:translation')[0]
    np.testing.assert_allclose(at, pose[:3, 3], atol=1e-6)
    (matrix,) = values_of(camera, 'Transform3D:mat3x3')[0]  # by columns
    np.testing.assert_allclose(matrix.reshape(3, 3).T, pose[:3, :3], atol=1e-6)
    (K,) = values_of(camera, 'Pinhole:image_from_camera')[0]
    np.testing.assert_allclose(K.reshape(3, 3).T, estimate.camera.K, atol=1e-4)

    points = np.vstack([values_of(rows[f'world/{n}'][-1:], 'Points3D:positions')[0].reshape(-1, 3)
                        for n in ('static', 'dynamic')])  # fmt: skip
    z = ((points - pose[:3, 3]) @ pose[:3, :3])[:, 2]
    depth = estimate.maps.depth
    assert np.nanmin(depth) - 1e-3 <= z.min() <= z.max() <= np.nanmax(depth) + 1e-3
    assert len(points) > 0.9 * min(np.isfinite(depth).sum(), 3000)

    (blob,) = values_of(rows['world/camera/image'][-1:], 'EncodedImage:blob')[0]
    image = cv2.imdecode(np.array(blob, np.uint8), cv2.IMREAD_COLOR)[..., ::-1]
    assert image.shape[:2] == depth.shape
    assert np.abs(image.astype(int) - estimate.maps.rgb).max() < 8

    ((time, truth),) = rows['world/truth']
    assert time is None
    M = np.array(truth['Transform3D:mat3x3'][0]).reshape(3, 3).T
    moved = M @ (scale * R @ pose[:3, 3] + t) + truth['Transform3D:translation'][0]
    np.testing.assert_allclose(moved, pose[:3, 3], atol=1e-5)
    errors = np.concatenate(values_of(rows['plots/position_error'], 'Scalars:scalars'))
    wanted = np.linalg.norm(scale * R @ pose[:3, 3] + t - T[:3, 3])
    assert errors[-1] == pytest.approx(wanted)


@with_rerun
def test_a_replay(tmp_path):
    path, file = write_bag(tmp_path), tmp_path / 'drive.rrd'
    words = 'replay', path, '-o', tmp_path / 'out', *UNTRAINED, '--rrd', file
    done = page4d(*words)
    assert done.exit_code == 0, done.output
    rows = read(file)
    assert set(rows) >= PLOTS | {'world/camera', 'world/camera/image', 'world/path'}
    assert not TRUTH & set(rows)
    assert {time for time, _ in rows['world/camera/image']} == set(stamps())
    again = page4d(*words[:3], tmp_path / 'other', *words[4:])
    assert again.exit_code == 1
    assert 'drive.rrd: exists already' in again.stderr
    assert not (tmp_path / 'other').exists()


@with_rerun
def test_each_sequence_has_its_own_file(tmp_path):
    for name in ('cat', 'dog'):
        layouts.write_davis(tmp_path / 'davis', name)
    file = tmp_path / 'all.rrd'
    words = 'evaluate', 'data', 'davis', tmp_path / 'davis', '-o', tmp_path / 'out'
    done = page4d(*words, *UNTRAINED, '--modes', 'streaming', '--rrd', file)
    assert done.exit_code == 0, done.output
    assert sorted(p.name for p in tmp_path.glob('*.rrd')) == ['all-cat.rrd', 'all-dog.rrd']
    assert 'truth/moving' in read(tmp_path / 'all-dog.rrd')


@pytest.mark.parametrize('command', ['replay', 'evaluate'])
def test_what_is_wrong_is_one_line(command, tmp_path, monkeypatch):
    path = write_bag(tmp_path)
    words = ['replay', path] if command == 'replay' else ['evaluate', 'data', 'bag', path]
    words += ['-o', tmp_path / 'out', *UNTRAINED, '--rrd']
    if rr is not None:
        (tmp_path / 'file').write_text('')
        for name, text in (
            ('drive.bag', 'drive.bag: the name has to end in .rrd'),
            ('file/x.rrd', 'x.rrd: cannot be written'),
        ):
            done = page4d(*words, tmp_path / name)
            assert done.exit_code == 1
            assert text in done.stderr
            assert len(done.stderr.strip().splitlines()) == 1
    find = importlib.util.find_spec
    monkeypatch.setattr(
        'page4d_ros.commands.rrd.find_spec', lambda name: None if name == 'rerun' else find(name)
    )
    words[words.index('-o') + 1] = tmp_path / 'other'
    done = page4d(*words, tmp_path / 'drive.rrd')
    assert done.exit_code == 1
    assert done.stderr.strip().endswith('--rrd needs Rerun: pip install rerun-sdk')
    assert not (tmp_path / 'other').exists()
