"""The slope of a soak test, and its doubt."""

import numpy as np
import pytest

from chaos.soak import slope


@pytest.mark.parametrize('truth', [0.0, 3.0, -2.0])
def test_the_slope_is_found_within_its_interval(truth):
    seconds = np.arange(600.0)
    noise = np.random.default_rng(0).normal(0, 1, 600)
    change, half = slope(seconds, truth * seconds / 60 + noise)
    assert abs(change - truth) < half < 0.2


def test_the_beginning_does_not_count():
    seconds = np.arange(600.0)
    change, _ = slope(seconds, np.minimum(seconds, 60.0))
    assert change == pytest.approx(0.0, abs=1e-9)


def test_too_few_samples_give_no_slope():
    with pytest.raises(ValueError, match='too few'):
        slope([0.0, 1.0, 2.0], [1.0, 2.0, 3.0])


def test_a_constant_has_no_slope():
    assert slope(np.arange(60.0), np.full(60, 23.0)) == (0.0, 0.0)
