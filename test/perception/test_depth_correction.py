"""Dense depth that agrees with points."""

import numpy as np
import pytest

from page4d_ros.geometry.camera import ImageTransform
from page4d_ros.perception.depth_correction import FEWEST, NOISE, PointDepths, TiedDepth

FIT = ImageTransform(112, 84, 112, 84, 0, 0, 112, 84)
V, U = np.mgrid[:84, :112]
TRUE = (2 + U / 112).astype(np.float32)
WARPED = (TRUE * np.exp(0.3 * np.sin(U / 30))).astype(np.float32)


def points(count=100, deviation=0.001):
    rng = np.random.default_rng(0)
    at = np.column_stack([rng.integers(0, 112, count), rng.integers(0, 84, count)])
    depth = TRUE[at[:, 1], at[:, 0]].astype(np.float64)
    return PointDepths(at.astype(np.float64), depth, np.full(count, deviation))


def tied(depth, known, error):
    return TiedDepth(depth, FIT, known, error)


def off(depth):
    return np.abs(depth / TRUE - 1).mean()


def test_points_take_out_smooth_errors():
    assert off(tied(WARPED, points(), 0.3).depth) < off(WARPED) / 4


def test_a_network_that_was_right_lately_is_hardly_changed():
    found = tied(WARPED, points(), 0.005).depth
    np.testing.assert_allclose(found, WARPED, rtol=0.016)


def test_doubtful_points_weigh_little():
    sure, doubtful = (tied(WARPED, points(deviation=d), 0.3).depth for d in (0.001, 0.5))
    assert off(sure) < off(doubtful) < off(WARPED)


def test_a_wrong_point_cannot_tear_the_depth():
    good = points()
    wrong = good._replace(depth=np.where(np.arange(100) == 3, 100.0, good.depth))
    assert off(tied(WARPED, wrong, 0.3).depth) < off(WARPED)


@pytest.mark.parametrize('count', [0, FEWEST - 1])
def test_few_points_change_nothing_and_leave_the_error(count):
    found = tied(WARPED, points(count), 0.3)
    assert found.depth is WARPED
    assert (found.deviation == np.float32(0.3)).all()


def test_pixels_without_depth_stay_so():
    holes = WARPED.copy()
    holes[10:20] = np.nan
    found = tied(holes, points(), 0.3).depth
    assert np.isnan(found[10:20]).all()
    assert np.isfinite(found[30:]).all()


def test_the_deviation_grows_away_from_points():
    corner = points(400)
    near = (corner.source < (40, 30)).all(1)
    deviation = tied(WARPED, PointDepths(*(each[near] for each in corner)), 0.3).deviation
    assert deviation[5:25, 5:35].max() < 2 * NOISE
    assert deviation[-10:, -10:].min() > 0.2
    assert deviation.max() < 0.3 * 1.1


def test_points_that_disagree_more_than_expected_raise_the_deviation():
    known = points()
    signs = np.where(np.arange(100) % 2, 0.5, 2.0)  # neighbours that contradict each other
    torn = tied(TRUE, known._replace(depth=signs * known.depth), 0.1).deviation
    assert torn.min() > 1.5 * tied(TRUE, known, 0.1).deviation.min()


def test_a_deviation_tells_the_error():
    found = tied(WARPED, points(30), 0.3)
    error = np.abs(np.log(found.depth / TRUE))
    assert (error < found.deviation).mean() > 0.5
    assert (error < 3 * found.deviation).mean() > 0.99
