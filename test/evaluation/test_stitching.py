"""Windows in random gauges become one trajectory: near the best there is, without jumps."""

import json
import math

import numpy as np
import pytest
from pages import check_page
from pose_graph import optimum
from typer.testing import CliRunner

from page4d_ros.cli import app
from page4d_ros.commands import evaluate
from page4d_ros.config import Config
from page4d_ros.datasets.bag_index import Track
from page4d_ros.datasets.simulator import Noise
from page4d_ros.evaluation.metrics.trajectory import trajectory_metrics
from page4d_ros.evaluation.plans import odometry as whole
from page4d_ros.evaluation.plans.odometry_room import RoomWalk, room_depth, stand, walk
from page4d_ros.evaluation.plans.odometry_trials import (
    FOOLED,
    NOISY,
    SimulatedOdometry,
    Trial,
    TrialFigures,
)
from page4d_ros.evaluation.result import Source
from page4d_ros.perception.odometry import Odometry
from page4d_ros.perception.scale import MetricScale


def ate(truth, estimate):
    stamps = np.arange(len(truth)) * 10**8
    tracks = [Track('world', 'camera', stamps, np.asarray(T)) for T in (estimate, truth)]
    return trajectory_metrics(*tracks, metric=False)[0]['sim3']['ate_m']


def tried(trial):
    figures = TrialFigures(trial)
    for step in SimulatedOdometry().run(Source(trial.name, trial)):
        figures.add(step)
    return figures.result().tree


def test_exact_windows_keep_their_scale_for_a_thousand_windows():
    found = tried(Trial('exact', 1000))
    assert found['scale_drift'] < 1e-4
    assert found['ate_m'] < 1e-3


@pytest.mark.parametrize('size', [4, 8])
def test_noisy_windows_come_near_the_optimum_of_all_of_them(size):
    config = Config()
    engine = RoomWalk(walk, size, 10.0, NOISY, seed=1)
    odometry = Odometry(config.odometry, MetricScale(config.scale))
    truth, estimates, windows, units, scales = [], [], [], [], []
    for _ in range(1000):
        truth.append(engine.advance())
        window = engine.step(odometry.chain.anchor)
        estimates.append(odometry.update(window).T_world_camera)
        windows.append(window.T_gauge_camera)
        units.append(engine.unit)
        scales.append(odometry.chain.scale)
    best = optimum(windows, np.stack(estimates), np.array(scales), np.array(units), NOISY)
    assert ate(truth, estimates) <= 1.5 * ate(truth, best)


def test_a_third_of_the_windows_may_follow_something_else():
    found = tried(Trial('fooled', 600, noise=FOOLED))
    assert found['largest_step'] < 3
    assert found['ate_m'] < 0.05 * found['extent_m']


def test_windows_with_wrong_poses_and_depths_leave_the_scale_alone():
    config = Config()
    engine = RoomWalk(walk, 8, 10.0, Noise(position=1e-3, rotation=1e-3))
    odometry = Odometry(config.odometry, MetricScale(config.scale))
    units = []
    for i in range(60):
        wrong = 30 <= i < 36
        engine.noise = Noise(position=0.3, scale=0.3) if wrong else Noise(1e-3, 1e-3)
        engine.advance()
        units.append(odometry.update(engine.step(odometry.chain.anchor)).scale * engine.unit)
    assert abs(math.log(units[-1] / units[29])) < 0.01


def test_fooled_windows_are_told_from_honest_ones():
    config = Config()
    engine = RoomWalk(walk, 8, 10.0, FOOLED)
    odometry = Odometry(config.odometry, MetricScale(config.scale))
    variances = []
    for _ in range(200):
        engine.advance()
        window = engine.step(odometry.chain.anchor)
        variances.append(odometry.update(window).twist_covariance[0, 0] / engine.rate**2)
    doubted = np.array(variances) > 0.015**2
    assert 0.15 < doubted[20:].mean() < 0.45


def test_a_still_camera_stays_where_it_is():
    found = tried(Trial('still', 2000, noise=NOISY, still=True))
    assert found['wander'] < 0.01


def test_a_camera_that_only_turns_keeps_its_scale():
    def turning(seconds):
        T = walk(seconds)
        T[:3, 3] = 0.0
        return T

    engine = RoomWalk(turning, 6, 10.0, NOISY)
    config = Config()
    odometry = Odometry(config.odometry, MetricScale(config.scale))
    units = []
    for _ in range(200):
        engine.advance()
        units.append(odometry.update(engine.step(odometry.chain.anchor)).scale * engine.unit)
    assert abs(math.log(units[-1] / units[0])) < 0.1


def test_without_depth_in_common_long_baselines_tell_the_scale():
    engine = RoomWalk(walk, 8, 5.0, Noise(position=1e-4))
    config = Config()
    odometry = Odometry(config.odometry, MetricScale(config.scale))
    units = []
    for i in range(60):
        engine.advance()
        anchor = None if 20 <= i < 50 else odometry.chain.anchor
        units.append(odometry.update(engine.step(anchor)).scale * engine.unit)
    assert abs(math.log(units[-1] / units[0])) < 0.05


def test_a_world_that_changed_is_believed_in_the_end():
    config = Config()
    engine = RoomWalk(walk, 6, 10.0, Noise(position=1e-3, rotation=1e-3))
    odometry = Odometry(config.odometry, MetricScale(config.scale))
    for i in range(80):
        if i == 30:
            engine.noise = Noise(position=0.05, rotation=0.05)
        engine.advance()
        estimate = odometry.update(engine.step(odometry.chain.anchor))
    assert np.isfinite(estimate.T_world_camera).all()
    usual = config.odometry.position_covariance
    assert estimate.position_variance > usual + 1e-4  # says that it is worse now


def test_the_simulated_window_is_true():
    engine = RoomWalk(stand, 3, 10.0)
    engine.advance()
    window = engine.step()
    metres = window.depth[-1] / engine.unit
    np.testing.assert_allclose(metres, room_depth(stand(0.0)), rtol=1e-5)


def test_the_command_measures_and_reports(tmp_path, monkeypatch):
    short = [Trial('a', 40, noise=NOISY), Trial('b', 40, noise=NOISY, still=True)]
    monkeypatch.setattr(whole, 'trials', lambda *, quick: short)
    arguments = ['evaluate', 'odometry', str(evaluate.SAMPLE), '--output', str(tmp_path / 'out')]
    arguments += ['--set', 'window.stride=4', '--checkpoint', 'untrained', '--quick']
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output
    metrics = json.loads((tmp_path / 'out' / 'metrics.json').read_text())
    drive = metrics['drives']['sample_room']
    assert drive['frames'] == 15
    assert drive['methods']['KLT + essential matrix, told the lengths']['ate_m'] < 1.0
    assert 'wander' in metrics['trials']['b']
    page, _ = check_page(tmp_path / 'out' / 'report.html')
    assert '<svg' in page
    assert 'untrained' in page
    assert (tmp_path / 'out' / 'tables.md').read_text().count('## ') == 4


def test_a_recording_without_truth_is_one_clear_line(tmp_path, monkeypatch):
    monkeypatch.setattr(whole, 'trials', lambda *, quick: [])
    arguments = ['evaluate', 'odometry', str(tmp_path / 'no.mcap'), '-o', str(tmp_path / 'out')]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 1
    assert 'no.mcap' in result.output
