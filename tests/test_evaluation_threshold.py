"""Where tau comes from, and the rows without a model."""

import numpy as np
import pytest

from evaluation.evaluator import Evaluator
from evaluation.references import (best_square_side, centred_gaussian_map, centred_square_map,
                                   reference_rows)
from evaluation.tau_sources import tau_from_boxes, tau_from_masks, tau_oracle
from evaluation.threshold import agreement, best_tau, choose_validation, fixed_tau
from evaluation.truth import EvaluationError, Truth, truth_from_mask

TAUS = [0.1, 0.3, 0.5, 0.7, 0.9]


def test_middle_of_the_longest_best_run():
    assert best_tau(TAUS, np.array([1, 0, 1, 1, 1])) == 0.7
    assert best_tau(TAUS, np.array([0, 1, 1, 0, 1])) == 0.3  # the lower of two middles
    assert best_tau(TAUS, np.array([0.2, 0.1, 0.9, 0.9 - 1e-15, 0.9])) == 0.7
    assert best_tau(TAUS, np.array([1, 0, 1, 0, 0])) == 0.1


def test_boxes_agree_by_the_share_that_reaches_a_half_and_then_by_the_mean():
    ious = np.array([[0.5, 1.0, 0.6], [0.5, 0.4, 0.6], [0.5, 0.4, 0.4]])
    assert np.argsort(agreement(ious)).tolist() == [1, 2, 0]  # 1/3, 2/3 and all, whatever the mean
    assert agreement(np.array([[0.5, 0.7], [0.6, 0.6]])).argmax() == 1
    assert agreement(np.array([[0.49, 0.5]])).argmax() == 1


def pyramid():
    """Rings of 0.2, 0.6 and 1.0 around the middle of 6 x 6 pixels."""
    made = np.full((6, 6), 0.2, np.float32)
    made[1:5, 1:5] = 0.6
    made[2:4, 2:4] = 1.0
    return made


def fed(truths):
    scored = Evaluator(truths, taus=TAUS, size=(6, 6))
    for truth in truths:
        scored.accumulate(pyramid(), truth.image_id)
    return scored


def test_tau_from_masks_looks_at_no_annotated_box():
    mask = np.zeros((6, 6), bool)
    mask[1:5, 1:5] = True
    choice = tau_from_masks(fed([truth_from_mask("a", mask),
                                 truth_from_mask("b", np.zeros((6, 6), bool))]))
    assert choice.tau == 0.3  # 0.3 and 0.5 cut at 0.6
    assert (choice.source, choice.image_ids) == ("masks", ())
    assert "of 1 training images" in choice.note and "1 more have an empty mask" in choice.note


def test_tau_from_a_few_boxes_lists_their_images():
    choice = tau_from_boxes(fed([Truth("a", ((4, 4, 8, 8),), (12, 12))]))  # the middle 2 x 2
    assert (choice.tau, choice.source, choice.image_ids) == (0.7, "val", ("a",))


def test_tau_of_the_test_images_says_oracle():
    scored = fed([Truth("a", ((0, 0, 12, 12),), (12, 12))])
    assert (tau_oracle(scored).tau, tau_oracle(scored).source) == (0.1, "test (oracle)")
    assert scored.compute(tau_oracle(scored)).metrics["gt_known"].value == 1


def test_stated_tau():
    assert fixed_tau(0.4).tau == 0.4
    with pytest.raises(EvaluationError, match="tau must lie in"):
        fixed_tau(1.2)


def test_validation_images_depend_on_the_seed_and_not_on_the_order():
    truths = [Truth(f"{label}/{index}", ((0, 0, 1, 1),), (2, 2), label)
              for label in range(3) for index in range(10)]
    truths += [Truth("0/none", (), (2, 2), 0), Truth("3/only", ((0, 0, 1, 1),), (2, 2), 3)]
    chosen = choose_validation(truths, per_class=4, seed=1)
    assert chosen == choose_validation(reversed(truths), per_class=4, seed=1)
    assert chosen != choose_validation(truths, per_class=4, seed=2)
    assert [sum(name.startswith(f"{label}/") for name in chosen) for label in range(4)] == [
        4, 4, 4, 1]
    assert "0/none" not in chosen
    with pytest.raises(EvaluationError, match="no training image has an annotated box"):
        choose_validation([Truth("a", (), (2, 2))])
    with pytest.raises(EvaluationError, match="must be positive"):
        choose_validation(truths, per_class=0)


def test_reference_maps():
    assert centred_square_map((4, 8), 0.5).tolist() == [
        [0] * 8, [0, 0, 1, 1, 1, 1, 0, 0], [0, 0, 1, 1, 1, 1, 0, 0], [0] * 8]
    gaussian = centred_gaussian_map((5, 5))
    assert gaussian[2, 2] == gaussian.max() == 1
    assert gaussian[0, 2] == gaussian[2, 0] == gaussian[2, 4]
    assert gaussian[0, 2] == pytest.approx(np.exp(-(0.4 ** 2) / (2 * 0.25 ** 2)))
    with pytest.raises(EvaluationError, match="side must lie in"):
        centred_square_map((4, 4), 1.2)


def test_square_side_from_boxes():
    truths = [Truth("a", ((25, 25, 75, 75),), (100, 100)), Truth("b", (), (100, 100))]
    assert best_square_side(truths) == 0.5
    with pytest.raises(EvaluationError, match="no image has a box"):
        best_square_side([Truth("b", (), (100, 100))])


def test_reference_rows_in_a_frame_of_ten():
    truths = [Truth("middle", ((20, 20, 80, 80),), (100, 100)),
              Truth("all", ((0, 0, 100, 100),), (100, 100))]
    rows = reference_rows(truths, size=(10, 10), side=0.6)
    assert {name: row.metrics["mean_iou"].value for name, row in rows.items()} == {
        "full_image": pytest.approx((0.36 + 1) / 2),
        "centred_square": pytest.approx((1 + 0.36) / 2),
        "centred_gaussian": pytest.approx((1 + 0.36) / 2)}
    assert rows["centred_square"].tau.note == "Side 0.60 of the image's, a fixed number."


def test_reference_rows_choose_where_the_method_chooses():
    test = [Truth("all", ((0, 0, 100, 100),), (100, 100))]
    masks = [Truth("a", ((3, 3, 7, 7),), (10, 10)), Truth("empty", (), (10, 10))]
    rows = reference_rows(test, tuning=masks, tuning_source="masks", size=(10, 10))
    assert rows["centred_square"].metrics["mean_iou"].value == pytest.approx(0.16)
    assert rows["centred_gaussian"].metrics["mean_iou"].value == pytest.approx(0.16)
    assert rows["centred_gaussian"].tau.source == "masks"
    assert "0.40" in rows["centred_square"].tau.note
