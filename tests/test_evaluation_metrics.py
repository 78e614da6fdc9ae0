"""The figures, worked out by hand."""

import numpy as np
import pytest

from evaluation import metrics
from evaluation.bootstrap import bootstrap, seeds_summary

ONCE = np.ones((1, 4))
IOUS = np.array([0.5, 0.49, 0.9, 0.0])
RANKS = np.array([0, 0, 3, 7])


def test_localization_and_classification_at_a_fixed_tau():
    assert metrics.gt_known(ONCE, IOUS) == [0.5]  # images 0 and 2; 0.5 counts
    assert metrics.topk_cls(ONCE, RANKS, 1) == [0.5]
    assert metrics.topk_cls(ONCE, RANKS, 5) == [0.75]
    assert metrics.topk_loc(ONCE, IOUS, RANKS, 1) == [0.25]  # image 0 only
    assert metrics.topk_loc(ONCE, IOUS, RANKS, 5) == [0.5]  # images 0 and 2


def test_one_tau_for_all_images_not_one_for_each():
    # Each image has a tau at which its box is right, yet no tau is right for more than two.
    ious = np.array([[0.9, 0.0, 0.0], [0.9, 0.0, 0.0], [0.0, 0.9, 0.0], [0.0, 0.0, 0.9]])
    assert metrics.max_box_acc(ONCE, metrics.hits(ious, 0.5)) == [0.5]


def test_v2_averages_three_maxima_each_with_its_own_tau():
    ious = np.array([[0.35, 0.7], [0.35, 0.5], [0.35, 0.1], [0.35, 0.1]])
    # IoU 0.3: all four at the first tau; 0.5: two at the second; 0.7: one at the second.
    hits = [metrics.hits(ious, each) for each in metrics.IOU_THRESHOLDS_V2]
    assert metrics.max_box_acc_v2(ONCE, hits).ravel() == pytest.approx(
        [(1 + 0.5 + 0.25) / 3, 1, 0.5, 0.25])


def test_weights_count_images_more_than_once():
    weights = np.array([[1, 1, 1, 1], [0, 0, 4, 0], [2, 2, 0, 0]])
    assert metrics.gt_known(weights, IOUS).tolist() == [0.5, 1.0, 0.5]
    table = np.stack([IOUS, 1 - IOUS], axis=1)  # right at the second tau: 0, 1 and 3
    assert metrics.max_box_acc(weights, metrics.hits(table, 0.5)).tolist() == [0.75, 1.0, 1.0]


def test_pxap_of_three_bins():
    # From the top bin down: 2 of 2 pixels right, then 3 of 4, then 4 of 8.
    found = np.array([[1, 1, 2]])
    wrong = np.array([[3, 1, 0]])
    expected = 2 / 4 * 1 + 1 / 4 * 3 / 4 + 1 / 4 * 4 / 8
    assert metrics.pxap(np.ones((1, 1)), found, wrong) == [pytest.approx(expected)]


def test_pxap_of_all_pixels_together_not_of_each_image():
    found = np.array([[0, 1], [1, 0]])
    wrong = np.array([[0, 0], [2, 1]])
    # Top bin: 1 right, 1 wrong; then 2 right, 3 wrong.
    expected = 1 / 2 * 1 / 2 + 1 / 2 * 2 / 5
    assert metrics.pxap(np.ones((1, 2)), found, wrong) == [pytest.approx(expected)]


def test_bc_star_takes_boxes_that_cover_the_whole_object():
    ious = np.array([0.6, 0.3, 0.3, 0.0])
    covers = np.array([False, True, False, False])
    assert metrics.bc_star(ONCE, ious, covers) == [0.5]
    assert metrics.mask_strict(ONCE, ious) == [0.25]


def test_interval_of_a_share_is_that_of_the_binomial():
    values = np.arange(400) < 100
    figure = bootstrap(lambda weights: {"share": metrics.mean(weights, values)}, 400)["share"]
    deviation = np.sqrt(0.25 * 0.75 / 400)
    assert figure.value == 0.25
    assert figure.low == pytest.approx(0.25 - 1.96 * deviation, abs=0.006)
    assert figure.high == pytest.approx(0.25 + 1.96 * deviation, abs=0.006)


def test_interval_depends_on_the_seed_alone():
    values = np.arange(30) % 3 == 0

    def run(seed):
        return bootstrap(lambda weights: {"share": metrics.mean(weights, values)}, 30, 100, seed)

    assert run(1) == run(1)
    assert run(1) != run(2)


def test_resamples_choose_their_own_tau():
    # Half the images are right at one tau, half at the other: a resample is free to take the
    # better half, so its best is above one half more often than not.
    ious = np.repeat([[0.9, 0.0], [0.0, 0.9]], 50, axis=0)
    hits = metrics.hits(ious, 0.5)
    figure = bootstrap(lambda weights: {"best": metrics.max_box_acc(weights, hits)}, 100)["best"]
    assert figure.value == 0.5
    assert figure.low >= 0.5


def test_mean_and_sample_deviation_over_seeds():
    summary = seeds_summary([{"gt_known": 0.8}, {"gt_known": 0.9}, {"gt_known": 0.7}])
    assert summary["gt_known"] == (pytest.approx(0.8), pytest.approx(0.1))
    assert np.isnan(seeds_summary([{"gt_known": 0.8}])["gt_known"][1])
