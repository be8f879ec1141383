"""Diagnostics tell when there is nothing to rely on."""

import time

import pytest

pytest.importorskip('rclpy', reason='rclpy is not installed')

from page4d_ros.config import DiagnosticsConfig
from page4d_ros.ros.diagnostics import ERROR, OK, SILENCE, WARN, Health, verdict


@pytest.fixture
def clock(monkeypatch):
    """Seconds of the steady clock, to be set."""
    now = [100.0]
    monkeypatch.setattr(time, 'monotonic', lambda: now[0])
    return now


def told(health):
    return verdict(health, DiagnosticsConfig(min_rate=0.0), caution='', place_known=True)


def test_frames_that_are_all_lost_are_an_error(clock):
    health = Health(started=clock[0])
    for i in range(100):
        clock[0] += 0.1
        health.saw_image()
        health.estimated(0.1, lost=True)
        assert told(health)[0] == (WARN if i * 0.1 < SILENCE - 0.05 else told(health)[0])
    level, text = told(health)
    assert level == ERROR
    assert 'every frame is lost' in text
    health.estimated(0.1)
    assert told(health) == (OK, 'running')


def test_the_reason_of_a_refusal_is_in_the_diagnostics(clock):
    health = Health(started=clock[0])
    health.refusal = 'encoding "nonsense" is not supported'
    health.saw_image()
    assert told(health) == (WARN, health.refusal)
    clock[0] += SILENCE + 1
    health.saw_image()
    level, text = told(health)
    assert level == ERROR
    assert health.refusal in text
    health.estimated(0.1)
    assert told(health) == (OK, 'running')
