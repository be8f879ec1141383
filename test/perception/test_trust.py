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
    trust.add(NAN, 0.05, NAN)
    assert trust.turn == pytest.approx(UNKNOWN[0])
    assert trust.shift > UNKNOWN[1]


def test_a_wrong_network_is_noticed_sooner_than_a_right_one():
    trust = Trust()
    for _ in range(100):
        trust.add(0.003, 0.005, 0.03)
    assert trust.value > 0.95
    fall = next(n for n in range(100) if trust.add(0.3, 0.5, 0.5) or trust.value < TRUSTED)
    for _ in range(10):
        trust.add(0.3, 0.5, 0.5)
    rise = next(n for n in range(1000) if trust.add(0.003, 0.005, 0.03) or trust.value > TRUSTED)
    assert fall < 10
    assert rise > fall


def test_one_bad_window_is_forgiven():
    trust = Trust()
    for _ in range(100):
        trust.add(0.003, 0.005, 0.03)
    trust.add(3.0, 10.0, 10.0)
    assert trust.value > 0.7


@pytest.mark.parametrize('doubted', [False, True])
def test_wrong_windows_say_nothing_of_right_ones(doubted):
    trust, rng = Trust(), np.random.default_rng(0)
    for _ in range(100):
        trust.add(0.003, 0.005, 0.03)
    found = []
    for _ in range(300):
        wrong = rng.random() < 0.3
        trust.add(*((0.15, 0.1, 0.03) if wrong else (0.003, 0.005, 0.03)), doubted=doubted)
        found.append((trust.turn, trust.value))
    turn, value = np.array(found).T
    assert np.median(turn) < 2 * LEAST[0]
    assert 0.5 < np.median(value) < 0.8  # the share of right ones
    assert (value > TRUSTED).mean() > 0.9
    if doubted:
        assert turn.max() < 2 * LEAST[0]


def test_a_network_that_is_always_off_is_not_wrong_but_coarse():
    trust = Trust()
    for _ in range(100):
        trust.add(0.02, 0.08, 0.2)
    assert trust.share > 0.99
    assert trust.shift == pytest.approx(0.08, rel=0.01)
