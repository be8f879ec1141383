"""Error of tracked corners."""

import numpy as np
import pytest

from page4d_ros.perception.corner_noise import FIRST, LEAST, MOST, PATIENCE, CornerNoise


def learned(sigma, *, wrong=0.0, right=True, frames=60):
    """Noise after frames with errors of `sigma` pixels, some of them far off."""
    rng = np.random.default_rng(0)
    noise = CornerNoise()
    for _ in range(frames):
        error = np.linalg.norm(rng.normal(0, sigma, (200, 2)), axis=1)
        error[: round(200 * wrong)] = 30 * sigma
        noise.learn(error / noise.sigma, right=right)
    return noise.sigma


@pytest.mark.parametrize('sigma', [0.06, 0.15, 0.3])
def test_the_noise_is_measured(sigma):
    assert learned(sigma) == pytest.approx(sigma, rel=0.1)


def test_wrong_corners_change_it_little():
    assert learned(0.1, wrong=0.3) == pytest.approx(0.1, rel=0.4)


def test_it_stays_within_its_limits():
    assert learned(5.0) == pytest.approx(MOST, rel=0.01)
    assert learned(1e-4) == pytest.approx(LEAST, rel=0.01)


def test_frames_that_do_not_fit_count_less():
    assert learned(0.3, right=False, frames=PATIENCE) == FIRST
    assert FIRST < learned(0.3, right=False, frames=9) < learned(0.3, frames=9)


def test_unseen_corners_do_not_count():
    noise = CornerNoise()
    noise.learn(np.array([np.nan, 1.0, 1.0, 1.0]), right=True)
    assert np.isfinite(noise.sigma)
