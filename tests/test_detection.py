"""Precision and recall, counted by hand."""

import math

import pytest

from evaluation.detection import detected

ONE, OTHER, FAR = (0, 0, 4, 4), (10, 10, 14, 14), (30, 30, 34, 34)


def test_each_box_matches_once():
    result = detected([([ONE, ONE, FAR], [ONE, OTHER])])
    assert (result.found, result.true, result.matched) == (3, 2, 1)
    assert result.precision == pytest.approx(1 / 3) and result.recall == 0.5


def test_images_add_up():
    result = detected([([ONE], [ONE]), ([OTHER], []), ([], [FAR])])
    assert (result.precision, result.recall) == (0.5, 0.5)


def test_a_box_takes_the_true_box_that_it_fits_best():
    near = (0, 0, 4, 5)
    assert detected([([near, ONE], [ONE, near])]).matched == 2


def test_nothing_found_has_no_precision():
    assert math.isnan(detected([([], [ONE])]).precision)
