"""The record of the network."""

import numpy as np
import pytest

from page4d_ros.perception.trust import HALF, LEAST, MOST, TRUSTED, UNKNOWN, Trust

NAN = np.nan


def errors(trust):
    return trust.turn, trust.shift, trust.depth


def test_an_unknown_network_is_trusted_with_care():
    trust = Trust()
    np.testing.assert_allclose(errors(trust), UNKNOWN)
    assert TRUSTED < trust.value < 0.9


def test_errors_are_learned_and_have_limits():
    for said, kept in ((0.0, LEAST), (100.0, MOST)):
        trust = Trust()
        for _ in range(200):
            trust.add(said, said, said)
        np.testing.assert_allclose(errors(trust), kept, rtol=1e-3)
    assert trust.value < 1e-4
    trust = Trust()
    for _ in range(200):
        trust.add(*HALF)
    np.testing.assert_allclose(errors(trust), HALF, rtol=1e-6)
    assert trust.value == pytest.approx(1 / 8)


def test_what_is_not_measured_stays():
    trust = Trust()
    trust.add(NAN, NAN, NAN)
    np.testing.assert_allclose(errors(trust), UNKNOWN)
    trust.add(NAN, 0.1, NAN)
    assert trust.turn == pytest.approx(UNKNOWN[0])
    assert trust.shift > UNKNOWN[1]


def test_a_wrong_network_is_noticed_sooner_than_a_right_one():
    trust = Trust()
    for _ in range(100):
        trust.add(0.003, 0.005, 0.03)
    assert trust.value > 0.95
    fall = next(n for n in range(100) if trust.add(0.3, 0.5, 0.5) or trust.value < TRUSTED)
    rise = next(n for n in range(1000) if trust.add(0.003, 0.005, 0.03) or trust.value > TRUSTED)
    assert fall < 10
    assert rise > fall


def test_one_bad_window_is_forgiven():
    trust = Trust()
    for _ in range(100):
        trust.add(0.003, 0.005, 0.03)
    trust.add(3.0, 10.0, 10.0)
    assert trust.value > 0.7
