"""Dense depth that agrees with points."""

import numpy as np
import pytest

from page4d_ros.geometry.camera import ImageTransform
from page4d_ros.perception.depth_correction import FEWEST, PointDepths, corrected

FIT = ImageTransform(112, 84, 112, 84, 0, 0, 112, 84)
V, U = np.mgrid[:84, :112]
TRUE = (2 + U / 112).astype(np.float32)
WARPED = (TRUE * np.exp(0.3 * np.sin(U / 30))).astype(np.float32)


def points(count=100, deviation=0.001):
    rng = np.random.default_rng(0)
    at = np.column_stack([rng.integers(0, 112, count), rng.integers(0, 84, count)])
    depth = TRUE[at[:, 1], at[:, 0]].astype(np.float64)
    return PointDepths(at.astype(np.float64), depth, np.full(count, deviation))


def off(depth):
    return np.abs(depth / TRUE - 1).mean()


def test_points_take_out_smooth_errors():
    assert off(corrected(WARPED, FIT, points(), 0.3)) < off(WARPED) / 4


def test_a_network_that_was_right_lately_is_hardly_changed():
    found = corrected(WARPED, FIT, points(), 0.005)
    np.testing.assert_allclose(found, WARPED, rtol=0.016)


def test_doubtful_points_weigh_little():
    sure, doubtful = (corrected(WARPED, FIT, points(deviation=d), 0.3) for d in (0.001, 0.5))
    assert off(sure) < off(doubtful) < off(WARPED)


def test_a_wrong_point_cannot_tear_the_depth():
    good = points()
    wrong = good._replace(depth=np.where(np.arange(100) == 3, 100.0, good.depth))
    assert off(corrected(WARPED, FIT, wrong, 0.3)) < off(WARPED)


@pytest.mark.parametrize('count', [0, FEWEST - 1])
def test_few_points_change_nothing(count):
    assert corrected(WARPED, FIT, points(count), 0.3) is WARPED


def test_pixels_without_depth_stay_so():
    holes = WARPED.copy()
    holes[10:20] = np.nan
    found = corrected(holes, FIT, points(), 0.3)
    assert np.isnan(found[10:20]).all()
    assert np.isfinite(found[30:]).all()
