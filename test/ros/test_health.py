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


def told(health, **limits):
    limits = DiagnosticsConfig(**({'min_rate': 0.0} | limits))
    return verdict(health, limits, caution='', place_known=True)


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
    for _ in range(int(SILENCE) + 1):
        clock[0] += 1
        health.saw_image()
    level, text = told(health)
    assert level == ERROR
    assert health.refusal in text
    health.estimated(0.1)
    assert told(health) == (OK, 'running')


def test_a_camera_that_dies_is_an_error(clock):
    health = Health(started=clock[0])
    health.saw_image()
    health.estimated(0.1)
    assert told(health) == (OK, 'running')
    clock[0] += SILENCE + 1
    assert told(health) == (WARN, 'no image for 6 s')
    clock[0] += SILENCE
    assert told(health) == (ERROR, 'no image for 11 s')
    assert told(health, max_silence=60.0) == (WARN, 'no image for 11 s')
    assert told(health, max_silence=0.0)[0] == WARN
    health.saw_image()
    health.estimated(0.1)
    assert told(health) == (OK, 'running')


def test_images_without_results_are_an_error_after_a_time_to_choose(clock):
    health = Health(started=clock[0])
    health.saw_image()
    health.estimated(0.1)
    clock[0] += 100  # nothing to estimate
    for _ in range(40):
        health.saw_image()
        clock[0] += 0.1
    assert told(health)[0] == OK
    assert told(health, max_stall=3.0) == (ERROR, 'images arrive, but no estimate for 4 s')
    health.saw_image()
    clock[0] += 2.0
    assert told(health) == (ERROR, 'images arrive, but no estimate for 6 s')
    assert told(health, max_stall=0.0)[0] == OK
    clock[0] += SILENCE  # nor do images come any more
    assert told(health) == (WARN, 'no image for 7 s')
