"""Figures of `page4d evaluate odometry` that say how far an estimator may be believed."""

import json
from dataclasses import replace
from types import SimpleNamespace
from xml.etree import ElementTree

import cv2
import layouts
import numpy as np
import pytest
from pages import check_page
from typer.testing import CliRunner

from page4d_ros.cli import app
from page4d_ros.commands.show import SAMPLE
from page4d_ros.config import Config
from page4d_ros.datasets.bag import read
from page4d_ros.datasets.registry import open_sequences
from page4d_ros.evaluation.methods.followers import ORACLE, Oracle
from page4d_ros.evaluation.metrics.honesty import Honesty
from page4d_ros.evaluation.plans import odometry
from page4d_ros.evaluation.plans.odometry_gates import gate_table, gates
from page4d_ros.evaluation.plans.odometry_loop import Loop
from page4d_ros.evaluation.plans.odometry_stress import stresses, turning
from page4d_ros.evaluation.plans.odometry_switch import Switch, SwitchFigures, resized
from page4d_ros.evaluation.protocol import Selection
from page4d_ros.evaluation.result import Output, Source, Unknown, UnsuitableError
from page4d_ros.geometry.camera import PinholeCamera
from page4d_ros.perception.types import NETWORK, POINTS, OdometryEstimate
from page4d_ros.truth import GroundTruthFrame

DEPTH, UNIT = 4.0, 2.0  # metres; metres per unit of the estimates
FLOOR = Config().with_values(
    {'odometry.position_covariance': 1e-6, 'odometry.orientation_covariance': 1e-6}
)


@pytest.fixture(scope='module')
def room():
    return list(read(SAMPLE).frames())


def moved(x, side=0.0):
    T = np.eye(4)
    T[:2, 3] = x, side
    return T


def sharpness(image):
    return np.abs(cv2.Laplacian(image.astype(np.float32), cv2.CV_32F)).max()


def said(index, true, x, *, deviation=0.01, lost=False, trust=1.0, depth=DEPTH):
    """Output for a camera at `true`, estimated at `x` metres to the right; it zigzags."""
    side = 0.1 * (index % 2) * (true > 0)
    estimate = OdometryEstimate(
        moved(x / UNIT, side / UNIT),
        np.zeros(6),
        np.diag(np.repeat([(deviation / UNIT) ** 2, 1e-4], 3)),
        np.eye(6),
        1.0,
        metric=False,
        lost=lost,
        network_trust=trust,
        relies_on=POINTS,
    )
    view = SimpleNamespace(maps=SimpleNamespace(depth=np.full((2, 2), DEPTH / UNIT)))
    fit = SimpleNamespace(nearest=lambda depth: depth)
    known = None if depth is None else np.full((2, 2), depth)
    frame = GroundTruthFrame(
        index * 10**8, np.zeros((2, 2, 3), np.uint8), None, moved(true, side), known
    )
    return Output(frame, None, SimpleNamespace(odometry=estimate, views=[view], transform=fit))


def honest(outputs, begin=0):
    metric = Honesty(FLOOR.odometry, begin)
    for output in outputs:
        metric.add(output)
    return metric.result().tree['honesty']


def test_variances_are_honest_as_long_as_errors_stay_within_three_deviations():
    drift = [0.0] * 5 + [0.01 * k for k in range(10)]  # 1 cm a frame from the sixth frame on
    outputs = [said(k, 0.1 * k, 0.1 * k + off) for k, off in enumerate(drift)]
    found = honest(outputs, begin=4)
    assert found['unit'] == pytest.approx(UNIT)
    assert found['position']['within'] == pytest.approx(0.4)  # 0, 1, 2, 3 cm of ten
    assert found['position']['error'] == pytest.approx(0.09)
    assert found['orientation']['within'] == 1.0
    assert found['jump'] == pytest.approx(0.01 / DEPTH)
    assert found['drift'] == pytest.approx(0.09 / DEPTH)


def test_the_floor_of_the_settings_is_told_apart():
    outputs = [said(k, 0.1 * k, 0.1 * k + 0.001 * (k > 4), deviation=1e-5) for k in range(15)]
    found = honest(outputs, begin=4)['position']
    assert (found['within'], found['within_bare']) == (1.0, 0.0)


def test_a_still_camera_has_its_unit_from_depth():
    found = honest([said(k, 0.0, 0.02 * (k == 3)) for k in range(6)])
    assert found['unit'] == pytest.approx(UNIT)
    assert found['drift'] == pytest.approx(0.02 / DEPTH)


def test_frames_without_a_pose_are_counted_and_no_jump_spans_them():
    outputs = [said(k, 0.1 * k, 0.1 * k, lost=5 < k < 10) for k in range(6)]
    outputs += [said(k, 0.1 * k, 0.0, lost=True) for k in range(6, 10)]
    outputs += [said(k, 0.1 * k, 0.1 * k - 0.4) for k in range(10, 16)]
    found = honest(outputs, begin=5)
    assert found['lost'] == pytest.approx(4 / 11)
    assert found['jump'] == pytest.approx(0.0, abs=1e-9)
    assert found['position']['within'] == 0.0


def test_without_depth_there_is_no_figure_by_depth():
    found = honest([said(k, 0.1 * k, 0.1 * k, depth=None) for k in range(6)])
    assert isinstance(found['drift'], Unknown)
    assert found['position']['within'] == 1.0


def test_stressed_streams_hide_what_they_claim_to(room):
    by_name = {stress.name: stress for stress in stresses(room)}
    dark = by_name['blackout of 2 s']
    black = [frame.rgb.max() == 0 for frame in dark.frames()]
    stamps = np.array([frame.stamp_ns for frame in dark.frames()])[black]
    assert (stamps[-1] - stamps[0]) / 1e9 == pytest.approx(2.0, abs=0.1)
    assert black.index(True) == dark.begin + 1
    covered = by_name['95 % of the view moves'].known[30].rgb
    same = (covered == room[30].rgb).all(2).mean()
    assert same == pytest.approx(0.05, abs=0.01)
    white = by_name['white walls'].known[30].rgb
    assert sharpness(white) < 0.05 * sharpness(room[30].rgb)
    still = by_name['still camera, noise, a mover']
    assert len({frame.T_world_camera.tobytes() for frame in still.frames()}) == 1
    first, later = still.known[0], still.known[5]
    unlike = np.abs(first.rgb.astype(int) - later.rgb).max(2)[~(first.mask | later.mask)]
    assert 5 < unlike.max() < 40  # noise alone
    for stress in by_name.values():
        assert (np.diff([frame.stamp_ns for frame in stress.frames()]) > 0).all()


def test_the_turning_camera_sees_the_points_where_its_pose_says(room):
    """The image and the pose of a turned frame agree: smooth colours of the room match."""
    frames = turning(room[:3], 20)
    turned = frames[5]  # the largest angle
    step = np.linalg.inv(room[2].T_world_camera) @ turned.T_world_camera
    assert np.linalg.norm(step[:3, 3]) < 1e-12
    assert np.degrees(np.arccos((np.trace(step[:3, :3]) - 1) / 2)) > 5
    v, u = np.mgrid[20:220:10, 20:300:10]
    rays = np.linalg.solve(turned.camera.K, np.stack([u, v, np.ones_like(u)]).reshape(3, -1))
    x = room[2].camera.K @ step[:3, :3] @ rays
    x = np.rint(x[:2] / x[2]).astype(int)
    smooth = cv2.GaussianBlur(room[2].rgb, (0, 0), 2)[x[1], x[0]].astype(float)
    seen = cv2.GaussianBlur(turned.rgb, (0, 0), 3)[v.ravel(), u.ravel()].astype(float)
    assert np.median(np.abs(smooth - seen)) < 4
    unturned = cv2.GaussianBlur(frames[2].rgb, (0, 0), 3)[v.ravel(), u.ravel()].astype(float)
    assert np.median(np.abs(unturned - seen)) > 8


def test_another_camera_keeps_its_rays():
    camera = PinholeCamera(640, 200, 500.0, 500.0, 320.0, 90.0)
    image = np.zeros((200, 640, 3), np.uint8)
    image[100:110, 330:340] = 255
    frame = resized(GroundTruthFrame(0, image, camera, np.eye(4)), (320, 240))
    assert frame.rgb.shape == (240, 320, 3)
    v, u = (
        np.average(np.indices(frame.rgb.shape[:2])[k], weights=frame.rgb[..., 0]) for k in (0, 1)
    )
    ray = np.linalg.solve(frame.camera.K, (u, v, 1))
    np.testing.assert_allclose(ray, np.linalg.solve(camera.K, (334.5, 104.5, 1)), atol=2e-3)


@pytest.mark.parametrize(('trust', 'frames'), [((0.8, 0.6, 0.2, 0.1), 3), ((0.1,) * 4, None)])
def test_the_switch_is_noticed_when_trust_falls(trust, frames):
    place = SimpleNamespace(frames=lambda: iter(()))
    before = [said(k, 0.1 * k, 0.1 * k).frame for k in range(4)]
    figures = SwitchFigures(Switch(before, place).at)
    for k in range(8):
        output = said(k, 0.1 * k, 0.1 * k, trust=0.9 if k < 4 else trust[k - 4])
        figures.add(output._replace(T_world_camera=output.frame.T_world_camera))
    found = figures.result().tree['switch']
    if frames is None:
        assert found['frames'] == 1
        assert found['seconds'] == 0
    else:
        assert found['frames'] == frames
        assert found['seconds'] == pytest.approx(0.2)


def test_trust_that_never_was_cannot_fall():
    figures = SwitchFigures(3 * 10**8)
    for k in range(6):
        figures.add(said(k, 0.0, 0.0, trust=0.1))
    assert figures.result().tree['switch']['seconds'] == 'it was not trusted before'


def test_a_loop_goes_there_and_back(room):
    loop = Loop('a', room[:4], 10)
    shown = [loop.at(k).stamp_ns for k in range(8)]
    stamps = [frame.stamp_ns for frame in room[:4]]
    assert shown == [stamps[k] for k in (0, 1, 2, 3, 2, 1, 0, 1)]


def metrics(**methods):
    """Settled metrics of one recording by ATE, with nothing else."""
    drive = {
        'dataset': 'tum',
        'pixels': 640 * 480,
        'truth': {'path_length_m': 2.0},
        'methods': {name: ate and {'ate_m': ate, 'cpu_ms': 9.0} for name, ate in methods.items()},
    }
    still = {'jump': 0.03, 'drift': None, 'lost': 0.0}
    still |= {kind: {'within': share} for kind, share in (('position', 1.0), ('orientation', 0.9))}
    return {
        'drives': {'desk': drive},
        'stress': {'still camera': {'small': still}},
        'false_motion': {'still camera': {'small': 0.01}},
        'switches': {'desk': {'small': {'seconds': 0.4}}},
        'trials': {'30 min': {'growth_mib': 9.0}, 'other': {'growth_mib': 99.0}},
    }


def test_gates_are_computed_from_the_figures():
    known = {'small': 0.03, 'small, corners alone': 0.02, 'untrained': 0.02}
    known |= {'oracle': 0.01, 'oracle, 30 % of windows fooled': 0.012}
    found = gates(metrics(**known), 'small', 'untrained')
    values = {gate['name']: (gate['value'], gate['met']) for gate in found}
    assert values == {
        'desk: ATE of untrained / small, corners alone': (pytest.approx(1.0), True),
        'desk: ATE of small / small, corners alone': (pytest.approx(1.5), False),
        'desk: ATE of oracle, 30 % of windows fooled / oracle': (pytest.approx(1.2), True),
        'desk: ATE [m] of small': (0.03, False),
        'desk: CPU time of corners and fusion [ms]': (9.0, True),
        'still camera: jump / depth': (0.03, False),
        'still camera: share of frames within 3 sigma': (0.9, False),
        'still camera: drift / depth': (None, None),
        'still camera: share of static pixels called moving (mask without its margin)': (
            0.01,
            True,
        ),
        'from a known room to desk: time until noticed [s]': (0.4, True),
        '30 min: memory growth [MiB]': (9.0, False),
    }
    cells = dict(gate_table(found).rows)['desk: ATE of small / small, corners alone']
    assert [cell.text for cell in cells] == ['1.5', '≤ 1.1', 'no']


def test_of_a_still_camera_only_the_drift_and_the_mask_are_asked():
    given = metrics(**{'small': None, 'small, corners alone': None})
    given['drives']['desk'] |= {
        'truth': {'path_length_m': 0.0},
        'honesty': {'small': {'drift': 0.004}},
        'false_motion': {'small': 0.03},
        'dataset': 'bag',
        'pixels': 100,
    }
    values = [
        (gate['name'], gate['met'])
        for gate in gates(given, 'small', 'untrained')
        if gate['name'].startswith('desk')
    ]
    assert values == [
        ('desk: drift / depth', True),
        ('desk: share of static pixels called moving (mask without its margin)', False),
    ]


def test_a_gate_whose_figure_is_missing_is_not_met():
    known = {'small': None, 'small, corners alone': 0.02, 'untrained': 0.02}
    found = gates(metrics(**known), 'small', 'untrained')
    ratio = next(g for g in found if g['name'] == 'desk: ATE of small / small, corners alone')
    assert ratio['value'] is None
    assert ratio['met'] is None


def test_an_oracle_needs_depth(tmp_path):
    layouts.write_kitti(tmp_path)
    for path in tmp_path.glob('sequences/*/depth_2/*.png'):
        path.unlink()
    (sequence,) = open_sequences('kitti', tmp_path)
    source = Source('a', Selection(sequence))
    like = SimpleNamespace(resolution=56, patch_size=14)
    with pytest.raises(UnsuitableError, match='depth'):
        list(Oracle('oracle', ORACLE, Config(), like).run(source))


def test_an_oracle_tells_where_the_camera_is(room):
    sequence = SimpleNamespace(name='room', frames=lambda: iter(room[:12]))
    source = Source('a', SimpleNamespace(sequence=sequence, frames=sequence.frames))
    like = SimpleNamespace(resolution=112, patch_size=14)
    outputs = list(Oracle('oracle', ORACLE, Config(), like).run(source))
    assert len(outputs) == 12
    assert outputs[-1].estimate.odometry.network_trust > 0.7
    assert outputs[-1].estimate.odometry.relies_on != NETWORK
    assert outputs[-1].estimate.seconds['estimator_cpu'] > 0


def evaluated(*words):
    return CliRunner().invoke(app, ['evaluate', 'odometry', *map(str, words)])


def test_a_data_set_is_evaluated_beside_recordings(tmp_path, monkeypatch):
    monkeypatch.setattr(odometry, 'trials', lambda *, quick: [])
    layouts.write_tum(tmp_path / 'tum', count=4)
    words = ['--dataset', f'tum={tmp_path / "tum"}', '--quick', '--checkpoint', 'untrained']
    done = evaluated(*words, '-o', tmp_path / 'out', '--set', 'model.resolution=112')
    assert done.exit_code == 0, done.output
    text = (tmp_path / 'out' / 'tables.md').read_text()
    assert '## tum rgbd_dataset_freiburg3_x' in text
    assert '| untrained, corners alone |' in text
    assert '## Gates' in text


@pytest.mark.parametrize(
    ('given', 'told'),
    [('tum', 'NAME=FOLDER'), ('tun=x', 'there are tum'), ('tum=nowhere', 'no such folder')],
)
def test_a_data_set_that_cannot_be_opened_is_one_clear_line(tmp_path, given, told):
    done = evaluated('--dataset', given, '--quick', '-o', tmp_path / 'out')
    assert done.exit_code == 1
    assert told in done.output
    assert 'Traceback' not in done.output


def test_hard_streams_and_switches_are_reported(tmp_path, monkeypatch):
    def short(room):
        return [replace(stress, known=stress.known[:6]) for stress in stresses(room)[-1:]]

    monkeypatch.setattr(odometry, 'trials', lambda *, quick: [])
    monkeypatch.setattr(odometry, 'stresses', short)
    monkeypatch.setattr(odometry, 'KNOWN', 5)
    monkeypatch.setattr(odometry, 'LOOPED', 20)
    layouts.write_tum(tmp_path / 'tum', count=4)
    words = ['--dataset', f'tum={tmp_path / "tum"}', '--checkpoint', 'untrained']
    done = evaluated(*words, '-o', tmp_path / 'out', '--set', 'model.resolution=112')
    assert done.exit_code == 0, done.output
    found = json.loads((tmp_path / 'out' / 'metrics.json').read_text())
    (still,) = found['stress'].values()
    assert still['untrained']['drift'] < 0.1
    assert set(next(iter(found['switches'].values()))) == {'untrained', 'untrained, network alone'}
    assert found['trials']['30 min at 30 Hz, the first 200 s, with corners']['windows'] == 20
    (drive,) = found['drives'].values()
    assert drive['methods']['oracle']['relies_on']['network'] == 1.0  # noise has no corners
    names = [gate['name'] for gate in found['gates']]
    assert 'still camera, noise, a mover: drift / depth' in names
    page, _ = check_page(tmp_path / 'out' / 'report.html')
    assert 'Trust in the network, reliance and errors over time' in page
    picture = (tmp_path / 'out' / 'reliance-0.svg').read_text()
    assert ElementTree.fromstring(picture).tag == '{http://www.w3.org/2000/svg}svg'
    assert 'currentColor' not in picture
