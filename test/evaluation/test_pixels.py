import numpy as np
import pytest

from page4d_ros.evaluation.metrics.depth import depth_metrics, mask_metrics
from page4d_ros.evaluation.metrics.depth_alignment import (
    OURS,
    PUBLISHED,
    SizeError,
    at_source,
    optimal_scale,
)
from page4d_ros.evaluation.metrics.samples import Samples
from page4d_ros.evaluation.result import Unknown
from page4d_ros.geometry.camera import ImageTransform

SHAPE = (48, 56)  # what a source of 56x48 becomes is 56x42
RNG = np.random.default_rng(5)


def pairs(*rows):
    return lambda: iter([(index, *row) for index, row in enumerate(rows)])


def scene(shape=SHAPE, low=1.0, high=8.0):
    """Smooth depth, so that nearest-neighbour sampling costs nearly nothing."""
    v, u = np.mgrid[: shape[0], : shape[1]]
    return (low + (high - low) * (u / shape[1] + v / shape[0]) / 2).astype(np.float32)


def published(image, size=56):
    return ImageTransform.crop(image.shape[1], image.shape[0], size, 14).nearest(image)


def test_perfect_depth_has_no_error_up_to_sampling():
    truth = scene((42, 56))
    tree, over_time, _ = depth_metrics(pairs((truth, truth)), metric=True)
    for name in ('per_frame', 'per_sequence', 'unscaled'):
        assert tree[name]['abs_rel'] == pytest.approx(0, abs=1e-6)
        assert tree[name]['delta_1_25'] == 1
    assert tree['coverage'] == 1
    assert over_time == [(0, pytest.approx(0, abs=1e-6))]


def test_known_errors_give_known_numbers():
    truth = np.full((42, 56), 2.0, np.float32)
    half = truth.copy()
    half[:, :14] *= 1.5  # a quarter of the pixels is half too far
    tree, *_ = depth_metrics(pairs((half, truth)), metric=True)
    for name in ('per_frame', 'per_sequence', 'unscaled'):
        assert tree[name]['abs_rel'] == pytest.approx(0.125)
        assert tree[name]['delta_1_25'] == pytest.approx(0.75)
    assert tree['per_sequence_flat_wall']['abs_rel'] == pytest.approx(0)


def test_a_scale_and_a_shift_for_each_frame_mend_both():
    truth = scene((42, 56))
    rows = [(2 * truth + shift, truth) for shift in (0.5, 1.0, 3.0)]
    tree, *_ = depth_metrics(pairs(*rows), metric=False)
    assert tree['per_frame_scale_shift']['abs_rel'] == pytest.approx(0, abs=1e-4)
    assert tree['per_frame']['abs_rel'] > 0.02
    assert tree['per_sequence_scale_shift']['abs_rel'] > 0.02


def test_as_published_depth_is_cut_after_the_fit_and_smooth_between_pixels():
    truth = np.full((84, 112), 60.0, np.float32)
    prediction = np.full((42, 56), 100.0, np.float32)
    rules = PUBLISHED._replace(farthest=70.0)
    tree, *_ = depth_metrics(pairs((prediction, truth)), metric=True, rules=rules)
    assert tree['unscaled']['abs_rel'] == pytest.approx(10 / 60)
    edge = np.where(np.arange(56) < 28, 1.0, 3.0) * np.ones((42, 1))
    between = PUBLISHED.resample(edge.astype(np.float32), (84, 112))
    assert ((between > 1.2) & (between < 2.8)).any()
    assert set(np.unique(OURS.resample(edge, (84, 112)))) == {1.0, 3.0}


def test_one_scale_for_all_frames_is_harder_than_one_for_each():
    truth = scene((42, 56))
    rows = [(truth * factor, truth) for factor in (1.0, 1.0, 2.0)]
    tree, over_time, _ = depth_metrics(pairs(*rows), metric=False)
    assert tree['per_frame']['abs_rel'] == pytest.approx(0, abs=1e-6)
    assert len(over_time) == 3
    assert tree['per_sequence']['abs_rel'] > 0.1
    assert isinstance(tree['unscaled'], Unknown)


def test_the_scale_minimises_the_absolute_error():
    p, g = RNG.uniform(0.5, 3, 999), RNG.uniform(0.5, 9, 999)
    scale = optimal_scale(p, g)
    costs = [np.abs(s * p - g).sum() for s in np.append(np.linspace(0.1, 10, 5000), scale)]
    assert costs[-1] <= min(costs[:-1])


@pytest.mark.parametrize('shape', [(48, 56), (120, 56), (100, 75), (480, 640)])
def test_predictions_come_back_to_the_pixels_they_are_of(shape):
    truth = scene(shape)
    tree, *_ = depth_metrics(pairs((published(truth), truth)), metric=True)
    assert tree['unscaled']['abs_rel'] < 0.02
    shifted = np.roll(published(truth), 6, axis=0)
    worse, *_ = depth_metrics(pairs((shifted, truth)), metric=True)
    assert worse['unscaled']['abs_rel'] > 2 * tree['unscaled']['abs_rel']


def test_a_portrait_source_is_compared_only_where_the_crop_kept_it():
    truth = scene((112, 56))  # becomes 56x56: the middle half
    back = at_source(published(truth), truth.shape, np.nan)
    kept = np.flatnonzero(np.isfinite(back).all(1))
    assert (kept[0], kept[-1]) == (28, 83)
    tree, *_ = depth_metrics(pairs((published(truth), truth)), metric=True)
    assert tree['coverage'] == pytest.approx(0.5)
    mask = np.zeros((112, 56), bool)
    mask[:10] = True  # moves where the network saw nothing
    assert mask_metrics(pairs((published(mask), mask)))[0]['moving_share'] == 0


def test_another_camera_is_refused():
    with pytest.raises(SizeError, match='56x42'):
        at_source(np.zeros((56, 56)), SHAPE, 0)
    tree, *_ = depth_metrics(pairs((np.ones((56, 56)), scene())), metric=False)
    assert 'not the published 56x56' in tree
    assert isinstance(mask_metrics(pairs((np.ones((56, 56)), scene() > 2)))[0], Unknown)


def test_depth_without_a_valid_pixel_is_unknown():
    nothing = np.full((42, 56), np.nan, np.float32)
    for rows in ((nothing, scene((42, 56))), (scene((42, 56)), nothing)):
        tree, over_time, _ = depth_metrics(pairs(rows), metric=True)
        assert isinstance(tree, Unknown)
        assert over_time == []
    assert 'stamp' in depth_metrics(pairs(), metric=True)[0]


def test_a_frame_without_depth_does_not_spoil_the_others():
    truth = scene((42, 56))
    nothing = np.full_like(truth, np.nan)
    tree, over_time, _ = depth_metrics(pairs((truth, truth), (nothing, truth)), metric=True)
    assert tree['frames'] == 2
    assert len(over_time) == 1
    assert tree['coverage'] == pytest.approx(0.5)


def test_mask_scores_by_hand():
    truth, guess = np.zeros((2, 14, 28), bool)
    truth[:, :8] = True  # 112 of 392 pixels
    guess[:, 4:10] = True  # hits 56, and 28 more
    tree, over_time = mask_metrics(pairs((guess, truth)))
    assert over_time == [(0, pytest.approx((28 + 56) / 392))]
    assert tree['estimate']['precision'] == pytest.approx(56 / 84)
    assert tree['estimate']['recall'] == pytest.approx(0.5)
    assert tree['estimate']['iou'] == pytest.approx(56 / 140)
    assert tree['estimate']['accuracy'] == pytest.approx(1 - 84 / 392)
    assert tree['all_static']['accuracy'] == pytest.approx(1 - 112 / 392)
    assert isinstance(tree['all_static']['precision'], Unknown)
    assert tree['all_moving']['iou'] == pytest.approx(tree['moving_share'])


def test_masks_of_a_still_world():
    nothing = np.zeros((14, 28), bool)
    tree, _ = mask_metrics(pairs((nothing, nothing)))
    assert tree['estimate']['accuracy'] == 1
    assert all(isinstance(tree['estimate'][n], Unknown) for n in ('precision', 'recall', 'iou'))


def test_samples_stay_few_and_even():
    samples, frames = Samples(most=10_000), 500
    for index in range(frames):
        truth = np.full(500 + index % 5, float(index))
        samples.add(truth + 0.5, truth)
        assert samples.pixels().shape[1] <= 10_000
    prediction, truth = samples.pixels()
    assert truth.size > 4_000
    np.testing.assert_array_equal(prediction, truth + 0.5)
    assert np.median(truth) == pytest.approx(frames / 2, rel=0.03)  # as many of old as of new
    few = Samples()
    few.add(np.arange(9_000.0), np.arange(9_000.0))
    assert few.pixels()[0].tolist() == list(range(0, 9_000, 4))
