"""Fit of the motion classifier, and its command."""

import json

import numpy as np
import pytest
import training_cases as cases
from typer.testing import CliRunner

from page4d_ros.cli import app
from page4d_ros.perception.motion_classifier import SOURCES, MotionClassifier
from page4d_ros.training.motion_calibration import logistic


def test_the_fit_finds_the_model_that_made_the_data():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(200_000, 2)) * (1.0, 5.0)
    wanted = [1.5, -0.4, -1.0]
    truth = rng.random(len(X)) < 1 / (1 + np.exp(-(X @ wanted[:2] + wanted[2])))
    assert logistic(X, truth) == pytest.approx(wanted, abs=0.03)


def test_evidence_that_is_never_there_counts_nothing():
    rng = np.random.default_rng(0)
    X = np.column_stack([rng.normal(size=5000), np.zeros(5000)])
    found = logistic(X, rng.random(5000) < 0.2)
    assert found[1] == pytest.approx(0, abs=1e-6)
    assert found[2] == pytest.approx(np.log(0.25), abs=0.1)


def run(*words):
    return CliRunner().invoke(app, ['calibrate', *map(str, words)])


def test_the_command_writes_beside_the_weights(files, tmp_path):
    weights = tmp_path / 'micro.safetensors'
    weights.write_bytes((files / 'micro.safetensors').read_bytes())
    result = run(weights, '--shards', files / 'validation', '--set', 'model.resolution=56')
    assert result.exit_code == 0, result.output
    path = tmp_path / 'micro.motion.json'
    found = MotionClassifier.of(path)
    assert set(found.sources) == set(SOURCES)
    assert found.sources['fused']['gram'] == 0  # not asked for
    assert found.sources['gram']['gram'] != 0
    assert json.loads(path.read_text())['facts']['drives'] == 2
    assert str(path) in result.output


def test_shards_without_masks_are_refused(files, tmp_path):
    cases.plane_shard(tmp_path / 'unknown.safetensors', masked=False)
    result = run('untrained', '--shards', tmp_path, '-o', tmp_path / 'x.json')
    assert result.exit_code == 1
    assert 'nothing moves in these shards' in result.output
