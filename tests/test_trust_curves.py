"""Reliability and risk against coverage, worked out by hand."""

import numpy as np
import pytest

from evaluation.trust_curves import area_under_risk, least_area, reliability, risk_coverage

SCORES = np.array([0.9, 0.1, 0.5, 0.7])
RIGHT = np.array([True, False, False, True])


def test_risk_is_the_share_of_wrong_boxes_among_the_highest_scores():
    assert risk_coverage(SCORES, RIGHT).tolist() == [0, 0, pytest.approx(1 / 3), 0.5]
    assert area_under_risk(SCORES, RIGHT) == pytest.approx((1 / 3 + 1 / 2) / 4)
    assert area_under_risk(SCORES, RIGHT) == least_area(RIGHT)
    assert area_under_risk(-SCORES, RIGHT) == pytest.approx((1 + 1 + 2 / 3 + 1 / 2) / 4)


def test_a_score_that_says_nothing_has_the_share_of_wrong_boxes_as_its_area():
    assert area_under_risk(np.ones(4), RIGHT) == pytest.approx(0.5)


def test_bins_hold_as_many_pictures_each():
    low, high = reliability(SCORES, RIGHT, 2)
    assert (low.images, low.low, low.high, low.right) == (2, 0.1, 0.5, 0)
    assert (high.images, high.low, high.high, high.right) == (2, 0.7, 0.9, 1)
