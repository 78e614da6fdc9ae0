import numpy as np
import pytest

from evaluation.bootstrap import bootstrap, paired_difference
from evaluation.metrics import mean


def test_a_paired_difference_is_the_mean_over_the_same_images():
    figure = paired_difference(np.array([True, True, False, True]),
                               np.array([True, False, False, False]))
    assert figure.value == 0.5 and figure.low == 0 and figure.high == 1
    figure = paired_difference(np.array([0.25, 0.5]), np.array([0.75, 1.0]))
    assert figure.value == figure.low == figure.high == -0.5


def test_pairing_leaves_out_what_both_have_in_common():
    random = np.random.default_rng(0)
    hard = random.random(400) < 0.5  # half of the images are missed by both
    better = np.where(random.random(400) < 0.1, True, hard)
    figure = paired_difference(better, hard)
    apart = [bootstrap(lambda weights: {"rate": mean(weights, values)}, 400, seed=seed)["rate"]
             for seed, values in enumerate((better, hard))]
    assert figure.value == pytest.approx(apart[0].value - apart[1].value)
    assert figure.low > 0 and figure.high - figure.low < 0.6 * (apart[0].high - apart[0].low)


def test_a_paired_interval_is_the_bootstrap_interval_of_the_differences():
    random = np.random.default_rng(1)
    values, reference = random.random((2, 50))
    expected = bootstrap(lambda weights: {"mean": mean(weights, values - reference)}, 50)["mean"]
    figure = paired_difference(values, reference)
    assert (figure.value, figure.low, figure.high) == pytest.approx(
        (expected.value, expected.low, expected.high))
